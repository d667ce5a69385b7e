#include "suanli/proof/run_job.h"

#include "suanli/train/job_schema.h"

namespace suanli::proof {

Result<std::optional<train::RunRecords>> records_of(const std::string& run_folder) {
  auto records = train::read_run_records(run_folder);
  if (records) return std::move(*records);
  if (records.error().code == ErrorCode::not_found || records.error().code == ErrorCode::empty) return std::nullopt;
  return tl::unexpected(std::move(records).error());
}

RunJob::RunJob(train::RunDescription run, const std::optional<train::RunRecords>& records) : run_(std::move(run)) {
  if (!records) return;
  for (const train::SessionRecord& session : records->sessions)
    if (session.steps > 0) lengths_.emplace_back(session.first_step, session.steps);
}

std::int64_t RunJob::length_at(std::int64_t step) const {
  std::int64_t length = run_.job.train.steps;
  // What a session did after the step where a later one begins was done again by that one.
  for (const auto& [first_step, steps] : lengths_)
    if (first_step < step) length = steps;
  return length;
}

Digest RunJob::digest_at(std::int64_t step) const {
  Sha256 digest;
  digest.update(run_.info.graph.bytes);
  digest.update(run_.info.dataset.bytes);
  digest.update_u64(static_cast<std::uint64_t>(length_at(step)));
  for (const train::Key& key : train::job_keys())
    if (key.fixed) digest.update(key.full_name() + " = " + train::print_value(key, run_.job) + "\n");
  return digest.finish();
}

std::optional<std::string> RunJob::difference_to(const RunJob& other, std::int64_t from, std::int64_t to) const {
  if (run_.info.dataset != other.run_.info.dataset) return "they were trained on other datasets";
  for (const train::Key* key : train::changed_fixed_keys(run_.job, other.run_.job))
    return "'" + key->full_name() + "' is " + train::print_value(*key, run_.job) + " in one and " +
           train::print_value(*key, other.run_.job) + " in the other";
  if (run_.info.graph != other.run_.info.graph) return "their graphs differ";
  for (std::int64_t step = from + 1; step <= to; ++step)
    if (length_at(step) != other.length_at(step))
      return "step " + std::to_string(step) + " was made on the way to step " + std::to_string(length_at(step)) +
             " in one and to " + std::to_string(other.length_at(step)) + " in the other, which changes the learning rate";
  return std::nullopt;
}

}  // namespace suanli::proof
