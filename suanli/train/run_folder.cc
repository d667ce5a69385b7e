#include "suanli/train/run_folder.h"

#include <chrono>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"

namespace suanli::train {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "suanli-run";
constexpr Bytes kMaxRunInfo{1 << 16};

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A name that a start which was killed may have left.
bool is_ours(std::string_view name) {
  return name == ".lock" || name == "job.toml" || name == "checkpoints" || name == "metrics.jsonl";
}

// The name of a file in the folder that no run put there, or nothing.
Result<std::string> foreign_file(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    if (const std::string name = entry->path().filename().string(); !is_ours(name)) return name;
  if (error) return tl::unexpected(system_error(error.value(), "listing the folder", folder));
  return std::string();
}

template <typename Value>
Result<Value> field(const nlohmann::json& object, const char* key, const std::string& place) {
  const auto found = object.find(key);
  if (found != object.end()) {
    if constexpr (std::is_same_v<Value, std::string>) {
      if (found->is_string()) return found->get<std::string>();
    } else {
      if (found->is_number_integer()) return found->get<Value>();
    }
  }
  return fail(ErrorCode::corrupt,
              "'" + std::string(key) + "' is " +
                  (found == object.end() ? "missing" : printable(found->dump(), 60)),
              place, "restore the file from a copy");
}

Result<Digest> digest_field(const nlohmann::json& object, const char* key,
                            const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const std::string hex, field<std::string>(object, key, place));
  auto digest = Digest::from_hex(hex);
  if (!digest) return tl::unexpected(std::move(digest).error().within(place + ": " + key));
  return *digest;
}

}  // namespace

std::string_view suanli_version() { return SUANLI_VERSION; }

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc));
}

std::string print_run_info(const RunInfo& info) {
  json document = {{"format", kFormat},
                         {"version", kRunVersion},
                         {"graph_sha256", info.graph.hex()},
                         {"dataset_sha256", info.dataset.hex()},
                         {"tokenizer", info.tokenizer},
                         {"parameters", info.parameters},
                         {"started", info.started},
                         {"suanli", info.suanli}};
  if (info.size_since > 0) document["size_since"] = info.size_since;
  return document.dump(2) + "\n";
}

Result<RunInfo> parse_run_info(std::string_view text, const std::string& place) {
  if (text.empty())
    return fail(ErrorCode::empty, "the file is empty", place, "restore it from a copy");
  SUANLI_ASSIGN_OR_RETURN(const nlohmann::json document, model::parse_strict_json(text, place, 8));
  if (!document.is_object() || document.value("format", nlohmann::json()) != kFormat)
    return fail(ErrorCode::foreign,
                "not the description of a run: 'format' is not '" + std::string(kFormat) + "'",
                place, "name the folder of a run");
  SUANLI_ASSIGN_OR_RETURN(const auto version, field<std::int64_t>(document, "version", place));
  if (version != kRunVersion)
    return fail(ErrorCode::version,
                "the run has format version " + std::to_string(version) +
                    " but this build knows only version " + std::to_string(kRunVersion),
                place, "use the suanli that began the run, or a newer one");
  RunInfo info;
  SUANLI_ASSIGN_OR_RETURN(info.graph, digest_field(document, "graph_sha256", place));
  SUANLI_ASSIGN_OR_RETURN(info.dataset, digest_field(document, "dataset_sha256", place));
  SUANLI_ASSIGN_OR_RETURN(info.tokenizer, field<std::string>(document, "tokenizer", place));
  SUANLI_ASSIGN_OR_RETURN(info.parameters, field<std::int64_t>(document, "parameters", place));
  SUANLI_ASSIGN_OR_RETURN(info.started, field<std::string>(document, "started", place));
  SUANLI_ASSIGN_OR_RETURN(info.suanli, field<std::string>(document, "suanli", place));
  if (document.contains("size_since")) {
    SUANLI_ASSIGN_OR_RETURN(info.size_since, field<std::int64_t>(document, "size_since", place));
  }
  return info;
}

Result<RunDescription> describe_run(const std::string& folder) {
  const RunPaths paths{folder};
  if (!exists(paths.info()))
    return fail(ErrorCode::not_found, "there is no run in this folder: it has no run.json", folder,
                "name the run folder of a training that has begun");
  RunDescription run;
  SUANLI_ASSIGN_OR_RETURN(const std::string info, read_file(paths.info(), kMaxRunInfo));
  SUANLI_ASSIGN_OR_RETURN(run.info, parse_run_info(info, paths.info()));
  SUANLI_ASSIGN_OR_RETURN(const std::string job, read_file(paths.job(), Bytes(kMaxJobBytes)));
  SUANLI_ASSIGN_OR_RETURN(run.job, parse_job(job, paths.job()));
  // A folder that was moved is still this run's.
  run.job.run.dir = folder;
  SUANLI_RETURN_IF_ERROR(check_job(run.job, paths.job()));
  return run;
}

Result<RunFolder> RunFolder::begin(const std::string& folder) {
  const RunPaths paths{folder};
  std::optional<FolderLock> lock;
  // A folder that is not ours gets no lock file; in one that has it, another trainer may be at
  // work.
  if (exists(folder + "/.lock")) {
    SUANLI_ASSIGN_OR_RETURN(lock, FolderLock::acquire(folder));
  }
  if (exists(paths.info()))
    return fail(ErrorCode::config, "the folder already holds a run", folder,
                "continue it with --resume, or name another folder in 'run.dir'");
  if (exists(folder)) {
    remove_temporaries(folder);
    SUANLI_ASSIGN_OR_RETURN(const std::string file, foreign_file(folder));
    if (!file.empty())
      return fail(ErrorCode::foreign,
                  "the folder is not empty and holds no run: it has '" + printable(file) + "'",
                  folder, "name a new or empty folder in 'run.dir'");
  }
  SUANLI_RETURN_IF_ERROR(make_folders(folder));
  if (!lock) {
    SUANLI_ASSIGN_OR_RETURN(lock, FolderLock::acquire(folder));
  }
  return RunFolder(paths, std::move(*lock));
}

Status RunFolder::establish(const JobConfig& job, const RunInfo& info) {
  SUANLI_RETURN_IF_ERROR(update_job(job));
  SUANLI_RETURN_IF_ERROR(write_file_atomic(paths_.info(), as_bytes(print_run_info(info))));
  description_ = {job, info};
  return {};
}

Result<RunFolder> RunFolder::resume(const std::string& folder) {
  if (!exists(RunPaths{folder}.info()))
    return fail(ErrorCode::not_found, "there is no run to resume in this folder", folder,
                "start it without --resume");
  SUANLI_ASSIGN_OR_RETURN(FolderLock lock, FolderLock::acquire(folder));
  RunFolder run(RunPaths{folder}, std::move(lock));
  remove_temporaries(folder);
  SUANLI_ASSIGN_OR_RETURN(run.description_, describe_run(folder));
  return run;
}

Status RunFolder::update_job(const JobConfig& job) {
  const std::string text =
      "# The job in effect, with every key. docs/reference/job.md says what they mean.\n\n" +
      print_job(job);
  return write_file_atomic(paths_.job(), as_bytes(text));
}

}  // namespace suanli::train
