// The folder of a run (docs/formats/run-folder.md):
//
//   .lock          held while a trainer works in it
//   job.toml       the job in effect, every key
//   run.json       what the run is: digests of graph and dataset; written once, last
//   metrics.jsonl  what happened (metrics.h)
//   plan.json      what it was to take, if that was known (run_plan.h)
//   checkpoints/   snapshots (checkpoint/local_tier.h)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/file.h"
#include "suanli/base/sha256.h"
#include "suanli/train/job.h"

namespace suanli::train {

inline constexpr int kRunVersion = 1;

struct RunInfo {
  Digest graph;  // of the training graph
  Digest dataset;
  std::string tokenizer;  // of the dataset: "bytes"
  std::int64_t parameters = 0;
  std::string started;  // UTC, ISO 8601
  std::string suanli;   // the version that began the run
  std::int64_t size_since = 0;  // of a run whose model grows: the step after which it took on its size
  bool operator==(const RunInfo&) const = default;
};
std::string print_run_info(const RunInfo& info);
// Errors: empty, foreign, version, corrupt; `place` names the file.
Result<RunInfo> parse_run_info(std::string_view text, const std::string& place);
// Of now and of this build.
std::string utc_now();
std::string_view suanli_version();

struct RunPaths {
  std::string folder;
  std::string job() const { return folder + "/job.toml"; }
  std::string info() const { return folder + "/run.json"; }
  std::string metrics() const { return folder + "/metrics.jsonl"; }
  std::string plan() const { return folder + "/plan.json"; }
};

// What is known of a run without working in it; takes no lock.
struct RunDescription {
  JobConfig job;
  RunInfo info;
};
// No run there: not_found.
Result<RunDescription> describe_run(const std::string& folder);

// A run folder in the hands of one trainer, until destroyed.
class RunFolder {
 public:
  // Takes the folder for a new run; it is missing, empty, or was left by a start that was killed
  // before run.json was there. Errors: config (a run is there already), foreign (other files are),
  // busy.
  static Result<RunFolder> begin(const std::string& folder);
  // Writes job.toml and run.json: from now on the folder holds a run.
  [[nodiscard]] Status establish(const JobConfig& job, const RunInfo& info);

  // Takes the folder of an existing run. Errors: not_found, busy, and those of describe_run.
  static Result<RunFolder> resume(const std::string& folder);
  // Only after resume().
  const RunDescription& description() const { return description_; }
  // Replaces job.toml by the job that the resumed run goes on with.
  [[nodiscard]] Status update_job(const JobConfig& job);

  const RunPaths& paths() const { return paths_; }

 private:
  RunFolder(RunPaths paths, FolderLock lock) : paths_(std::move(paths)), lock_(std::move(lock)) {}
  RunPaths paths_;
  FolderLock lock_;
  RunDescription description_;
};

}  // namespace suanli::train
