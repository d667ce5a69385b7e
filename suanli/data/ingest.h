// Text into a dataset: plain files (one document each), JSON Lines (one document a line), either of
// them compressed with gzip or zstd; folders are walked in sorted order. Tokens are bytes; byte 0
// ends each document.
//
//   IngestOptions options;
//   options.out = "data/bible";
//   SUANLI_ASSIGN_OR_RETURN(IngestReport report, ingest({"bible.txt"}, options));
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/base/units.h"

namespace suanli::data {

struct IngestProgress {
  Bytes done, total;  // of the input files as they lie on disk
  std::uint64_t documents = 0;
  Tokens tokens;
};

struct IngestOptions {
  std::string out;                                      // a new or empty folder
  double valid_fraction = 0.05;                         // in [0, 1); see DatasetWriter::finish
  std::uint64_t shard_tokens = std::uint64_t{1} << 26;  // at least 1,024
  std::string jsonl_field = "text";
  bool overwrite = false;  // `out` may hold an earlier dataset; it stays whole until the new one is
  // Called every few megabytes and at the end, from the calling thread.
  std::function<void(const IngestProgress&)> progress;
  // Becomes true: stop soon, with error interrupted, leaving nothing behind.
  const std::atomic<bool>* stop = nullptr;
};

struct IngestReport {
  std::uint64_t documents = 0;
  Bytes bytes_in;    // of the input files as they lie on disk
  Bytes bytes_text;  // of the documents
  Tokens tokens, train_tokens, valid_tokens;
  std::map<std::string, std::uint64_t> skipped;  // reason -> count
  std::vector<std::string> warnings;  // at most a few; the last says how many more there were
  Seconds seconds;
  Digest digest;  // DatasetInfo::digest
};

// Errors: usage (an option), not_found, foreign, corrupt (file:line or position), empty (no
// document in any input), interrupted, busy, no_space, io. On error the folder is as loadable, or
// not, as it was.
Result<IngestReport> ingest(const std::vector<std::string>& inputs, const IngestOptions& options);

}  // namespace suanli::data
