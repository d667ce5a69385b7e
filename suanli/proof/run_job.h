// What decides the steps of a run: its graph and dataset, the fixed keys of its job, and how long it was to be when a step was
// made, on which the learning rate depends and which a resumed session may change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "suanli/train/run_folder.h"
#include "suanli/train/run_records.h"

namespace suanli::proof {

// Nothing where the folder has none yet; other errors are those of read_run_records.
Result<std::optional<train::RunRecords>> records_of(const std::string& run_folder);

class RunJob {
 public:
  // Without records the job's length is all that is known.
  RunJob(train::RunDescription run, const std::optional<train::RunRecords>& records);

  const train::JobConfig& job() const { return run_.job; }
  const train::RunInfo& info() const { return run_.info; }
  // The length that step `step` (from 1) was made for.
  std::int64_t length_at(std::int64_t step) const;
  // SHA-256 over all that decides step `step`: two machines that agree on it must get the same bits.
  Digest digest_at(std::int64_t step) const;
  // The first of steps (from, to] that the runs make differently, and why; nothing if there is none.
  std::optional<std::string> difference_to(const RunJob& other, std::int64_t from, std::int64_t to) const;

 private:
  train::RunDescription run_;
  std::vector<std::pair<std::int64_t, std::int64_t>> lengths_;  // first step of a session, its length; in order
};

}  // namespace suanli::proof
