#include "suanli/cli/run_copy.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "suanli/base/file.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kTries = 5;

Error copy_error(const std::error_code& failed, const std::string& place) {
  return system_error(failed.value(), "copying", place);
}

// The newest snapshot; false if it was pruned meanwhile, because the run has a newer one.
Result<bool> copy_snapshot(const std::string& from, const std::string& to, RunCopy& copy) {
  SUANLI_ASSIGN_OR_RETURN(const auto tier, checkpoint::LocalTier::open(from, checkpoint::LocalTier::Access::reader));
  SUANLI_ASSIGN_OR_RETURN(const auto snapshots, tier->list());
  if (snapshots.empty()) return true;
  std::int64_t step = 0;
  for (const auto& each : snapshots) step = std::max(step, each.step);
  const fs::path source = tier->folder_of(step), target = fs::path(to) / fs::relative(source, from);
  SUANLI_RETURN_IF_ERROR(make_folders(target));
  std::error_code failed;
  Bytes bytes;
  for (const auto& entry : fs::directory_iterator(source, failed)) {
    fs::copy_file(entry.path(), target / entry.path().filename(), fs::copy_options::overwrite_existing, failed);
    if (failed) break;
    bytes += Bytes(static_cast<std::int64_t>(entry.file_size(failed)));
  }
  if (failed && !fs::exists(source)) {
    std::error_code ignored;
    fs::remove_all(target, ignored);
    return false;
  }
  if (failed) return tl::unexpected(copy_error(failed, target));
  copy.step = step;
  copy.bytes += bytes;
  return true;
}

}  // namespace

Result<RunCopy> copy_run(const std::string& from, const std::string& to) {
  SUANLI_RETURN_IF_ERROR(train::describe_run(from));
  std::error_code ignored;
  if (fs::exists(to, ignored) && !fs::is_empty(to, ignored))
    return fail(ErrorCode::config, "there is something already", to, "name a folder that is empty or not there");
  SUANLI_RETURN_IF_ERROR(make_folders(to));
  RunCopy copy;
  for (int left = kTries;; --left) {
    SUANLI_ASSIGN_OR_RETURN(const bool is_whole, copy_snapshot(from, to, copy));
    if (is_whole) break;
    if (left == 1)
      return fail(ErrorCode::busy, "the run saves states faster than they can be copied", from,
                  "try again, or once the job is over");
  }
  // What the run is comes last: with it the folder holds a run.
  const train::RunPaths source{from}, target{to};
  for (const auto& [path, goal] : {std::pair{source.metrics(), target.metrics()},
                                   {source.plan(), target.plan()},
                                   {source.job(), target.job()},
                                   {source.info(), target.info()}}) {
    if (!fs::exists(path)) continue;
    SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, Bytes(std::int64_t{1} << 34)));
    SUANLI_RETURN_IF_ERROR(write_file_atomic(goal, as_bytes(text)));
    copy.bytes += Bytes(static_cast<std::int64_t>(text.size()));
  }
  return copy;
}

}  // namespace suanli::cli
