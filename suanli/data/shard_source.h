// Where shards come from when they are not here: a folder on this machine, a web server, a peer (the last two in room pool). A
// source only brings bytes; whoever asked checks them against the digest, so no source needs to be trusted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/data/dataset.h"
#include "suanli/data/shard.h"

namespace suanli::data {

// A shard as a dataset's list tells it.
struct WantedShard {
  std::string file;  // its plain name in the dataset's folder
  Digest digest;
  std::uint64_t bytes = 0;  // of the whole file: follows from the list, so that no source can announce another size
};
// Errors: corrupt (counts that no shard can have).
Result<WantedShard> wanted_shard(const DatasetInfo& info, const ShardEntry& entry);

class ShardSource {
 public:
  virtual ~ShardSource() = default;
  // For messages: "folder data/bible", "https://host/bible", "peer 3f09...".
  virtual std::string name() const = 0;
  // Fills `to`, which has shard.bytes bytes; blocks until then. Errors: interrupted soon after `stop` is true, not_found (the
  // source has no such shard), mismatch (it has another size there), and what reading or the network gives. After an error the
  // bytes are of no use. Any number of threads may call at once.
  [[nodiscard]] virtual Status fetch(const WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) = 0;
};

// The folder of a dataset: brings its shards by name, and finds them by digest for who serves them to others.
class FolderShards final : public ShardSource {
 public:
  // The folder need not be there; then nothing is found in it.
  FolderShards(std::string folder, const DatasetInfo& info);

  std::string name() const override { return "folder " + folder_; }
  [[nodiscard]] Status fetch(const WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) override;
  // Null if the folder lacks it or holds something else under its name. The content is not verified. Any thread.
  std::shared_ptr<const Shard> find(const Digest& digest);

 private:
  const std::string folder_;
  std::map<Digest, std::string> files_;  // plain names
  std::mutex mutex_;                     // guards the one below
  std::map<Digest, std::weak_ptr<const Shard>> open_;
};

}  // namespace suanli::data
