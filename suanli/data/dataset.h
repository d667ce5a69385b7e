// A dataset: a folder of shards and a dataset.json that lists them (docs/formats/dataset.md). The
// list is written last and atomically, so a folder is a whole dataset or none.
//
//   SUANLI_ASSIGN_OR_RETURN(Dataset dataset, Dataset::open("data/bible"));
//   SUANLI_ASSIGN_OR_RETURN(Windows windows, Windows::create(dataset, Split::train, 256));
//   SUANLI_RETURN_IF_ERROR(windows.read(7, inputs, targets));   // 256 tokens each
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/data/shard.h"

namespace suanli::data {

enum class Split { train, valid };
inline constexpr std::array kSplits = {Split::train, Split::valid};
std::string_view name_of(Split split);

inline constexpr std::uint64_t kByteVocab = 256;
// Byte 0 follows every document.
inline constexpr std::byte kDocumentEnd{0};

struct ShardEntry {
  std::string file;  // a plain name in the dataset's folder
  Digest digest;     // ShardInfo::digest
  std::uint64_t tokens = 0;
  std::uint64_t documents = 0;
};

struct SourceEntry {
  std::string path;  // as given
  std::uint64_t bytes = 0;
  std::uint64_t documents = 0;
};

// What dataset.json says.
struct DatasetInfo {
  std::string tokenizer = "bytes";
  std::uint64_t vocab = kByteVocab;
  std::array<std::vector<ShardEntry>, 2> shards;  // by Split
  std::vector<SourceEntry> sources;               // where it came from; no part of the digest

  const std::vector<ShardEntry>& of(Split split) const {
    return shards[static_cast<std::size_t>(split)];
  }
  std::vector<ShardEntry>& of(Split split) { return shards[static_cast<std::size_t>(split)]; }
  std::uint64_t tokens(Split split) const;
  std::uint64_t documents(Split split) const;
  // Names the content: tokenizer, vocabulary and the shards' digests in order. File names and
  // sources do not matter.
  Digest digest() const;
};

// The text form of dataset.json. Parsing checks everything that the text alone can tell, the digest
// too. Errors: empty, foreign, version, corrupt.
Result<DatasetInfo> parse_dataset(std::string_view json, const std::string& place);
std::string print_dataset(const DatasetInfo& info);
std::string dataset_file(const std::string& folder);

// An open dataset. Any thread may read.
class Dataset {
 public:
  // Opens every shard and checks that it is the one listed. Errors: not_found, foreign, version,
  // corrupt, mismatch.
  static Result<Dataset> open(const std::string& folder);

  // Reads all shards and checks every digest. Errors: corrupt; interrupted soon after `*stop` is
  // true.
  [[nodiscard]] Status verify(const std::atomic<bool>* stop = nullptr) const;

  const DatasetInfo& info() const { return info_; }
  const std::string& folder() const { return folder_; }
  Digest digest() const { return info_.digest(); }

 private:
  friend class Windows;
  Dataset() = default;
  using Shards = std::shared_ptr<const std::vector<Shard>>;
  std::string folder_;
  DatasetInfo info_;
  std::array<Shards, 2> shards_;  // by Split
};

// The stable number of a window in its split at one context length.
using WindowId = std::uint64_t;

// Where each window of a split lies, from the shards' token counts alone, so that a machine without
// the shards can say which of them a window needs. A split is cut into windows of context + 1 tokens
// at stride `context` inside each shard, numbered in shard order. A shard with too few tokens gives
// none; windows run across documents, never across shards. Any thread.
class WindowNumbers {
 public:
  // No window at all is an error (empty) that names the lengths; `place` names the dataset in it.
  static Result<WindowNumbers> create(const DatasetInfo& info, Split split, std::int64_t context,
                                      const std::string& place);

  std::uint64_t count() const { return first_.back(); }
  std::int64_t context() const { return context_; }
  struct Place {
    std::size_t shard = 0;    // index in the split's list
    std::uint64_t begin = 0;  // the window's first token in that shard
  };
  // `id` is below count().
  Place at(WindowId id) const;

 private:
  WindowNumbers() = default;
  std::int64_t context_ = 0;
  std::vector<WindowId> first_;  // of each shard; then the count
};

// Reads the window that begins at token `begin`: inputs = its first `context` tokens, targets = its
// last `context`; targets[i] follows inputs[i].
[[nodiscard]] Status read_window(const Shard& shard, std::uint64_t begin,
                                 std::span<std::int32_t> inputs, std::span<std::int32_t> targets);

// The samples of a split. Keeps the dataset's shards alive. Any thread may read.
class Windows {
 public:
  // No window at all is an error (empty) that names the lengths.
  static Result<Windows> create(const Dataset& dataset, Split split, std::int64_t context);

  std::uint64_t count() const { return numbers_.count(); }
  std::int64_t context() const { return numbers_.context(); }
  // As read_window().
  [[nodiscard]] Status read(WindowId id, std::span<std::int32_t> inputs,
                            std::span<std::int32_t> targets) const;

 private:
  Windows(Dataset::Shards shards, WindowNumbers numbers)
      : shards_(std::move(shards)), numbers_(std::move(numbers)) {}
  Dataset::Shards shards_;
  WindowNumbers numbers_;
};

}  // namespace suanli::data
