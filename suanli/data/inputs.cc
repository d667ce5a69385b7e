#include "suanli/data/inputs.h"

#include <algorithm>
#include <filesystem>

#include "suanli/data/decompress.h"

namespace suanli::data {
namespace {

namespace fs = std::filesystem;

Status add_file(const fs::path& path, std::size_t source, Inputs& inputs) {
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(path, error);
  if (error) return tl::unexpected(system_error(error.value(), "reading the size", path.string()));
  inputs.files.push_back(
      {path.string(), bytes, source, without_compression(path.string()).ends_with(".jsonl")});
  inputs.bytes += bytes;
  return {};
}

Status walk(const fs::path& folder, const fs::path& except, std::size_t source, Inputs& inputs) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  while (!error && entry != fs::recursive_directory_iterator()) {
    std::error_code unknown;  // a link to nowhere has no status
    const bool is_folder = entry->is_directory(unknown);
    const char* reason = nullptr;
    if (entry->path().filename().string().starts_with('.')) {
      reason = "hidden name";
    } else if (is_folder && entry->is_symlink(unknown)) {
      reason = "link to a folder";
    } else if (is_folder && fs::weakly_canonical(entry->path(), unknown) == except) {
      reason = "output folder";
    } else if (!is_folder && !entry->is_regular_file(unknown)) {
      reason = "not a regular file";
    }
    if (reason != nullptr) {
      ++inputs.skipped[reason];
      entry.disable_recursion_pending();
    } else if (!is_folder) {
      found.push_back(entry->path());
    }
    entry.increment(error);
  }
  if (error)
    return tl::unexpected(system_error(error.value(), "listing the folder", folder.string()));
  std::sort(found.begin(), found.end());
  for (const fs::path& path : found) SUANLI_RETURN_IF_ERROR(add_file(path, source, inputs));
  return {};
}

}  // namespace

Result<Inputs> find_inputs(const std::vector<std::string>& named, const std::string& except) {
  Inputs inputs;
  std::error_code error;
  const fs::path except_path = fs::weakly_canonical(except, error);
  for (std::size_t source = 0; source < named.size(); ++source) {
    const fs::path path = named[source];
    const fs::file_status found = fs::status(path, error);
    if (found.type() == fs::file_type::not_found) {
      return fail(ErrorCode::not_found, "there is no such file or folder", named[source],
                  "check the path");
    }
    if (error) return tl::unexpected(system_error(error.value(), "looking at", named[source]));
    if (fs::is_directory(found)) {
      SUANLI_RETURN_IF_ERROR(walk(path, except_path, source, inputs));
    } else if (fs::is_regular_file(found)) {
      SUANLI_RETURN_IF_ERROR(add_file(path, source, inputs));
    } else {
      return fail(ErrorCode::foreign, "this is neither a regular file nor a folder", named[source],
                  "write the text to a file first");
    }
  }
  return inputs;
}

}  // namespace suanli::data
