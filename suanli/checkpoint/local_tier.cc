#include "suanli/checkpoint/local_tier.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <ranges>

#include "suanli/base/text.h"
#include "suanli/checkpoint/manifest.h"
#include "suanli/checkpoint/restore.h"
#include "suanli/model/safetensors.h"

namespace suanli::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kData = "state.safetensors";
constexpr std::string_view kManifest = "manifest.json";
// Endings of folders in the making. partial: being written. replaced: stood under this name until a
// new snapshot of the same step took its place. removed: being deleted.
constexpr std::string_view kPartial = ".partial";
constexpr std::string_view kReplaced = ".replaced";
constexpr std::string_view kRemoved = ".removed";

std::string folder_name(std::int64_t step) {
  return format("step-%08lld", static_cast<long long>(step));
}

std::string data_path(const std::string& folder) { return folder + "/" + std::string(kData); }
std::string manifest_path(const std::string& folder) {
  return folder + "/" + std::string(kManifest);
}

std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with("step-")) return std::nullopt;
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + 5, end, step);
  if (error != std::errc() || stop != end || step < 0 || folder_name(step) != name)
    return std::nullopt;
  return step;
}

// "step-00000100.partial" with ending ".partial" -> 100.
std::optional<std::int64_t> step_of(std::string_view name, std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  return step_of(name.substr(0, name.size() - ending.size()));
}

Status remove_folder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return tl::unexpected(system_error(error.value(), "removing the folder", path));
  return {};
}

Status rename_folder(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return tl::unexpected(system_error(error.value(), "renaming to " + to, from));
  return {};
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

Result<std::vector<std::string>> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory)
    return tl::unexpected(system_error(error.value(), "listing the folder", folder));
  return names;
}

Result<Manifest> read_manifest(const std::string& folder, std::int64_t step) {
  const std::string path = manifest_path(folder);
  if (!exists(path))
    return fail(
        ErrorCode::not_found,
        "the snapshot of step " + std::to_string(step) + " has no " + std::string(kManifest), path,
        "restore the file from a copy, or go back to an older snapshot");
  SUANLI_ASSIGN_OR_RETURN(std::string text, read_file(path, kMaxManifest));
  SUANLI_ASSIGN_OR_RETURN(Manifest manifest, parse_manifest(text, path));
  if (manifest.step != step)
    return fail(ErrorCode::mismatch,
                "the manifest is of step " + std::to_string(manifest.step) +
                    " but lies in the folder of step " + std::to_string(step),
                path, "move the folder to the name of its step");
  return manifest;
}

Result<MappedFile> map_data(const std::string& folder, std::int64_t step) {
  const std::string path = data_path(folder);
  if (!exists(path))
    return fail(ErrorCode::not_found,
                "the snapshot of step " + std::to_string(step) + " has no " + std::string(kData),
                path, "restore the file from a copy, or go back to an older snapshot");
  return MappedFile::open(path);
}

std::vector<model::TensorView> views_of(const Snapshot& snapshot) {
  std::vector<model::TensorView> views;
  for (const NamedTensor& tensor : snapshot.tensors)
    views.push_back({tensor.name, tensor.type, tensor.bytes()});
  return views;
}

}  // namespace

Result<std::unique_ptr<LocalTier>> LocalTier::open(const std::string& run_folder, Access access) {
  std::unique_ptr<LocalTier> tier(new LocalTier(run_folder + "/checkpoints", access));
  if (access == Access::owner) {
    SUANLI_RETURN_IF_ERROR(make_folders(tier->folder_));
    SUANLI_RETURN_IF_ERROR(sync_folder(run_folder));
    SUANLI_RETURN_IF_ERROR(tier->tidy());
  }
  return tier;
}

std::string LocalTier::folder_of(std::int64_t step) const {
  return folder_ + "/" + folder_name(step);
}

// Undoes or completes what a killed process began; see kPartial and its siblings.
Status LocalTier::tidy() {
  SUANLI_ASSIGN_OR_RETURN(std::vector<std::string> names, names_in(folder_));
  for (const std::string& name : names) {
    const std::string path = folder_ + "/" + name;
    if (step_of(name, kPartial) || step_of(name, kRemoved)) {
      SUANLI_RETURN_IF_ERROR(remove_folder(path));
    } else if (const auto step = step_of(name, kReplaced)) {
      SUANLI_RETURN_IF_ERROR(exists(folder_of(*step)) ? remove_folder(path)
                                                      : rename_folder(path, folder_of(*step)));
    }
  }
  return sync_folder(folder_);
}

Status LocalTier::save(const Snapshot& snapshot) {
  SUANLI_CHECK(access_ == Access::owner);
  const std::scoped_lock lock(mutex_);
  const std::string partial = folder_of(snapshot.step) + std::string(kPartial);
  SUANLI_RETURN_IF_ERROR(remove_folder(partial));
  Status status = write_into(partial, snapshot);
  if (status) status = publish(partial, snapshot.step);
  if (!status) {
    (void)remove_folder(partial);  // best effort: the first error is the one to report
    return status;
  }
  if (const auto marks = marks_of(snapshot.step)) good_[snapshot.step] = *marks;
  return {};
}

Status LocalTier::write_into(const std::string& folder, const Snapshot& snapshot) const {
  const std::vector<model::TensorView> views = views_of(snapshot);
  const std::map<std::string, std::string> metadata = {{"step", std::to_string(snapshot.step)}};
  const std::string text = to_text(describe(snapshot, model::safetensors_header(views, metadata)));
  SUANLI_CHECK(static_cast<std::int64_t>(text.size()) <= kMaxManifest.value());
  SUANLI_RETURN_IF_ERROR(make_folders(folder));
  SUANLI_RETURN_IF_ERROR(model::save_safetensors(data_path(folder), views, metadata));
  return write_file_atomic(manifest_path(folder), as_bytes(text));
}

Status LocalTier::publish(const std::string& partial, std::int64_t step) {
  const std::string target = folder_of(step);
  const std::string replaced = target + std::string(kReplaced);
  const bool replaces = exists(target);
  if (replaces) {
    SUANLI_RETURN_IF_ERROR(remove_folder(replaced));
    SUANLI_RETURN_IF_ERROR(rename_folder(target, replaced));
  }
  if (Status status = rename_folder(partial, target); !status) {
    if (replaces) (void)rename_folder(replaced, target);
    return status;
  }
  SUANLI_RETURN_IF_ERROR(sync_folder(folder_));
  if (replaces) (void)remove_folder(replaced);  // if it stays, the next owner removes it
  return {};
}

Result<std::vector<SnapshotInfo>> LocalTier::list() const {
  SUANLI_ASSIGN_OR_RETURN(std::vector<std::string> names, names_in(folder_));
  std::vector<SnapshotInfo> infos;
  for (const std::string& name : names) {
    const auto step = step_of(name);
    if (!step) continue;
    SnapshotInfo info;
    info.step = *step;
    auto manifest = read_manifest(folder_of(*step), *step);
    if (manifest) {
      info.bytes = manifest->data_bytes;
      info.root = state_root(manifest->tensors);
    } else {
      info.damage = std::move(manifest).error();
    }
    infos.push_back(std::move(info));
  }
  std::ranges::sort(infos, {}, &SnapshotInfo::step);
  return infos;
}

Result<Snapshot> LocalTier::load(std::int64_t step, const TensorFilter& filter) const {
  const std::string folder = folder_of(step);
  if (!exists(folder)) {
    std::string present;
    if (auto infos = list())
      for (const SnapshotInfo& info : *infos)
        present += (present.empty() ? "" : ", ") + std::to_string(info.step);
    return fail(ErrorCode::not_found, "there is no snapshot of step " + std::to_string(step),
                folder_, present.empty() ? "train first" : "use one of the steps " + present);
  }
  SUANLI_ASSIGN_OR_RETURN(Manifest manifest, read_manifest(folder, step));
  SUANLI_ASSIGN_OR_RETURN(MappedFile data, map_data(folder, step));
  return restore(manifest, data.bytes(), data_path(folder), filter);
}

// Looks at every byte, unless the files have not changed since this object wrote or verified them.
bool LocalTier::can_load(std::int64_t step) {
  const auto marks = marks_of(step);
  if (!marks) return false;
  if (const auto known = good_.find(step); known != good_.end() && known->second == *marks)
    return true;
  const std::string folder = folder_of(step);
  const auto manifest = read_manifest(folder, step);
  if (!manifest) return false;
  const auto data = map_data(folder, step);
  if (!data || !verify(*manifest, data->bytes(), data_path(folder), {})) return false;
  good_[step] = *marks;
  return true;
}

std::optional<LocalTier::Marks> LocalTier::marks_of(std::int64_t step) const {
  const std::string folder = folder_of(step);
  const std::string paths[] = {data_path(folder), manifest_path(folder)};
  Marks marks;
  for (std::size_t i = 0; i < marks.size(); ++i) {
    struct stat info;
    if (::stat(paths[i].c_str(), &info) != 0) return std::nullopt;
    marks[i] = {info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
  }
  return marks;
}

Status LocalTier::prune(int keep) {
  SUANLI_CHECK(access_ == Access::owner && keep >= 1);
  const std::scoped_lock lock(mutex_);
  SUANLI_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> infos, list());
  int kept = 0;
  bool safe = false;  // one of those kept can be loaded
  for (const SnapshotInfo& info : infos | std::views::reverse) {
    if (kept < keep || !safe) {
      if (info.damage) continue;
      ++kept;
      safe = safe || can_load(info.step);
      continue;
    }
    SUANLI_RETURN_IF_ERROR(take_away(info.step));
  }
  return {};
}

Status LocalTier::remove(std::int64_t step) {
  SUANLI_CHECK(access_ == Access::owner);
  const std::scoped_lock lock(mutex_);
  return exists(folder_of(step)) ? take_away(step) : Status();
}

// With the mutex.
Status LocalTier::take_away(std::int64_t step) {
  // The rename takes it away at once; what follows may be interrupted.
  const std::string removed = folder_of(step) + std::string(kRemoved);
  SUANLI_RETURN_IF_ERROR(remove_folder(removed));
  SUANLI_RETURN_IF_ERROR(rename_folder(folder_of(step), removed));
  SUANLI_RETURN_IF_ERROR(sync_folder(folder_));
  SUANLI_RETURN_IF_ERROR(remove_folder(removed));
  good_.erase(step);
  return {};
}

}  // namespace suanli::checkpoint
