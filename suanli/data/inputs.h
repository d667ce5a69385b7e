// The files that an ingest reads: what a person named, with folders walked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "suanli/base/error.h"

namespace suanli::data {

struct InputFile {
  std::string path;
  std::uint64_t bytes = 0;  // on disk
  std::size_t source = 0;   // index of the named file or folder it came from
  bool is_jsonl = false;    // by its name, compression aside
};

struct Inputs {
  std::vector<InputFile> files;
  std::map<std::string, std::uint64_t> skipped;  // reason -> count
  std::uint64_t bytes = 0;
};

// Files in the order named; a folder gives its regular files, subfolders included, sorted by path.
// Inside folders, hidden names, links to folders, special files and the folder `except` (where the
// output goes) are skipped and counted. A named file that is missing is an error (not_found), one
// that is no regular file is foreign.
Result<Inputs> find_inputs(const std::vector<std::string>& named, const std::string& except);

}  // namespace suanli::data
