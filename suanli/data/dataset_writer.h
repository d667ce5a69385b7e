// Makes a dataset from a stream of documents of bytes, in bounded memory. The shards are filled in
// order; at the end the last part of the stream becomes the valid split, for which one shard at
// most is written again.
//
// Nothing is loadable before finish() has returned. A dataset that is replaced stays whole until
// then, and runs that have it open keep their shards.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "suanli/base/file.h"
#include "suanli/data/dataset.h"

namespace suanli::data {

struct DatasetWriterOptions {
  std::uint64_t shard_tokens = std::uint64_t{1}
                               << 26;  // of a full shard; a document goes on in the next
  bool overwrite = false;              // replace an earlier dataset in the folder
};

// One thread. Destroyed before finish(), it removes what it wrote.
class DatasetWriter {
 public:
  // `folder` is missing, empty, or holds a dataset (usage without `overwrite`); anything else is an
  // error (foreign). The folder is locked while the writer lives (busy).
  static Result<std::unique_ptr<DatasetWriter>> create(const std::string& folder,
                                                       const DatasetWriterOptions& options);
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  // Appends to the current document.
  [[nodiscard]] Status append(ByteSpan text);
  // Ends the current document with kDocumentEnd; false if it was empty, which adds nothing.
  Result<bool> end_document();

  std::uint64_t tokens() const { return tokens_; }
  std::uint64_t documents() const { return documents_; }

  // Splits off the last `valid_fraction` (in [0, 1)) for validation: whole documents if there are
  // at least 20, else bytes, cut where a document, paragraph or line ends if one ends near. There
  // is at least one document.
  Result<DatasetInfo> finish(double valid_fraction, std::vector<SourceEntry> sources);

 private:
  // A shard of the stream, under a name of its own until it is known which split it belongs to.
  struct Part {
    std::string path;
    ShardInfo info;
    std::uint64_t first_token = 0;       // position in the stream
    std::uint64_t documents_before = 0;  // that end before this part
    std::uint64_t documents_ended = 0;   // that end in it
    std::uint64_t end() const { return first_token + info.tokens; }
  };

  DatasetWriter(std::string folder, const DatasetWriterOptions& options, FolderLock lock)
      : folder_(std::move(folder)), options_(options), lock_(std::move(lock)) {}
  Status prepare();
  Status open_part();
  Status close_part();
  std::string part_path();
  Result<std::uint64_t> cut_position(double valid_fraction) const;
  Result<std::uint64_t> cut_after_document(std::uint64_t documents) const;
  Result<std::uint64_t> cut_near(std::uint64_t target) const;
  Status split_part(const Part& part, std::uint64_t cut, std::vector<Part>& train,
                    std::vector<Part>& valid);
  Result<Part> copy_range(const Part& part, std::uint64_t begin, std::uint64_t end);
  Status name_parts(const std::vector<Part>& parts, Split split, DatasetInfo& info);
  void remove_others(const std::set<std::string>& keep) const;

  std::string folder_;
  DatasetWriterOptions options_;
  FolderLock lock_;
  std::set<std::string> earlier_;  // files of the dataset being replaced
  std::vector<Part> parts_;
  std::optional<ShardWriter> part_;  // the one being filled, at the end of parts_
  int part_count_ = 0;
  std::uint64_t tokens_ = 0, documents_ = 0, document_bytes_ = 0;
  bool finished_ = false;
};

}  // namespace suanli::data
