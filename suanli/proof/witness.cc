#include "suanli/proof/witness.h"

#include <algorithm>

#include "suanli/checkpoint/local_tier.h"

namespace suanli::proof {

Result<std::vector<OpDigest>> Witness::ops(std::int64_t) { return std::vector<OpDigest>(); }
Result<std::optional<std::vector<std::byte>>> Witness::output(std::int64_t, std::size_t) { return std::nullopt; }
Result<std::vector<checkpoint::NamedTensor>> Witness::state(std::int64_t) { return std::vector<checkpoint::NamedTensor>(); }

Result<std::unique_ptr<RecordWitness>> RecordWitness::open(const std::string& run_folder) {
  SUANLI_ASSIGN_OR_RETURN(train::RunDescription run, train::describe_run(run_folder));
  SUANLI_ASSIGN_OR_RETURN(const auto records, records_of(run_folder));
  SUANLI_ASSIGN_OR_RETURN(auto tier, checkpoint::LocalTier::open(run_folder, checkpoint::LocalTier::Access::reader));
  std::unique_ptr<RecordWitness> witness(new RecordWitness(run_folder, RunJob(std::move(run), records), std::move(tier)));
  const auto add = [&](std::int64_t step, const Digest& root) {
    std::vector<Digest>& known = witness->roots_[step];
    if (std::ranges::find(known, root) == known.end()) known.push_back(root);
    witness->last_step_ = std::max(witness->last_step_, step);
  };
  SUANLI_ASSIGN_OR_RETURN(const auto infos, witness->tier_->list());
  for (const checkpoint::SnapshotInfo& info : infos) {
    if (info.damage) continue;
    witness->snapshots_.insert(info.step);
    add(info.step, info.root);
  }
  if (!records) return witness;
  for (const train::DigestRecord& record : records->digests) add(record.step, record.root);
  for (const train::StepTimeRecord& record : records->steps)
    if (record.loss && record.grad_norm)
      witness->figures_[record.step] = {static_cast<float>(*record.loss), static_cast<float>(*record.grad_norm)};
  witness->last_step_ = std::max(witness->last_step_, records->last_step());
  return witness;
}

Result<std::vector<Digest>> RecordWitness::roots(std::int64_t step) {
  const auto found = roots_.find(step);
  return found == roots_.end() ? std::vector<Digest>() : found->second;
}

Result<std::optional<StepFigures>> RecordWitness::figures(std::int64_t step) {
  const auto found = figures_.find(step);
  return found == figures_.end() ? std::nullopt : std::optional(found->second);
}

Result<std::vector<checkpoint::NamedTensor>> RecordWitness::state(std::int64_t step) {
  if (!snapshots_.contains(step)) return std::vector<checkpoint::NamedTensor>();
  SUANLI_ASSIGN_OR_RETURN(checkpoint::Snapshot snapshot, tier_->load(step, {}));
  return std::move(snapshot.tensors);
}

bool OutputCounter::next(const OpOutput& output) {
  const bool is_state = output.op == "state", begins = is_state && !in_state_;
  in_state_ = is_state;
  index_ = begins ? 0 : index_ + 1;
  return begins;
}

Result<std::vector<OpDigest>> digest_next_step(Replica& replica) {
  std::vector<OpDigest> ops;
  OutputCounter counter;
  SUANLI_RETURN_IF_ERROR(replica.advance([&](const OpOutput& output, std::span<std::byte> bytes) {
    if (counter.next(output)) ops.clear();
    ops.push_back({output, leaves_of(output.type, bytes)});
    return false;
  }));
  return ops;
}

Status ReplicaWitness::go_to(std::int64_t step) {
  if (replica_.step() > step) {
    SUANLI_ASSIGN_OR_RETURN(const std::int64_t from, replica_.nearest(step));
    SUANLI_RETURN_IF_ERROR(replica_.restore(from));
  }
  for (; replica_.step() < step; ++steps_made_) SUANLI_RETURN_IF_ERROR(replica_.advance());
  return {};
}

Result<std::vector<Digest>> ReplicaWitness::roots(std::int64_t step) {
  SUANLI_RETURN_IF_ERROR(go_to(step));
  return std::vector{replica_.root()};
}

Result<std::optional<StepFigures>> ReplicaWitness::figures(std::int64_t step) {
  if (replica_.step() != step || !replica_.figures()) {
    SUANLI_RETURN_IF_ERROR(go_to(step - 1));
    SUANLI_RETURN_IF_ERROR(go_to(step));
  }
  return replica_.figures();
}

Result<std::vector<OpDigest>> ReplicaWitness::ops(std::int64_t step) {
  SUANLI_RETURN_IF_ERROR(go_to(step - 1));
  ++steps_made_;
  return digest_next_step(replica_);
}

Result<std::optional<std::vector<std::byte>>> ReplicaWitness::output(std::int64_t step, std::size_t index) {
  SUANLI_RETURN_IF_ERROR(go_to(step - 1));
  ++steps_made_;
  std::optional<std::vector<std::byte>> found;
  OutputCounter counter;
  SUANLI_RETURN_IF_ERROR(replica_.advance([&](const OpOutput& output, std::span<std::byte> bytes) {
    counter.next(output);
    if (counter.index() == index) found.emplace(bytes.begin(), bytes.end());
    return false;
  }));
  return found;
}

Result<std::vector<checkpoint::NamedTensor>> ReplicaWitness::state(std::int64_t step) {
  SUANLI_RETURN_IF_ERROR(go_to(step));
  return replica_.state();
}

}  // namespace suanli::proof
