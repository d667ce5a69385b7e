// A folder of shards that were brought from elsewhere, named by content, bounded in bytes (docs/formats/shard-cache.md). When
// room is needed, what was used longest ago goes first; a shard that somebody holds stays. Processes may share a folder, and
// threads a cache: a shard is fetched by one of them while the others wait, and each keeps to its own limit over the folder.
//
//   SUANLI_ASSIGN_OR_RETURN(ShardCache::Claim claim, cache.claim(wanted));
//   if (claim.incoming) {                                          // it is ours to bring
//     SUANLI_RETURN_IF_ERROR(source.fetch(wanted, claim.incoming->bytes(), stop));
//     SUANLI_ASSIGN_OR_RETURN(claim.shard, cache.keep(std::move(claim.incoming), source.name(), stop));
//   }
//
// Nothing that was not verified is ever found: a file gets its name after its bytes were checked and are on disk, and is checked
// again when a process first uses it. A process that dies leaves at most a file that the next claim removes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>

#include "suanli/base/units.h"
#include "suanli/data/shard.h"
#include "suanli/data/shard_source.h"

namespace suanli::data {

// Room for a shard that is on its way: a file of its size without a name to be found by. Destroyed before keep(), it is gone.
class IncomingShard {
 public:
  ~IncomingShard();
  IncomingShard(const IncomingShard&) = delete;
  IncomingShard& operator=(const IncomingShard&) = delete;

  // All of the file, to be filled; zeros or leftovers before. The disk has room for it.
  std::span<std::byte> bytes() const { return {data_, size_}; }
  const WantedShard& wanted() const { return wanted_; }

 private:
  friend class ShardCache;
  IncomingShard(WantedShard wanted, std::string path, int descriptor) noexcept
      : wanted_(std::move(wanted)), path_(std::move(path)), descriptor_(descriptor) {}
  Status make_room();
  WantedShard wanted_;
  std::string path_;
  int descriptor_;  // holds the lock
  bool kept_ = false;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Any thread may call.
class ShardCache {
 public:
  // Makes the folder if need be. `limit` bounds the bytes of all shards in it, those on their way included; the shards that are
  // there may exceed it until the next claim. Errors: io and the like.
  static Result<std::unique_ptr<ShardCache>> open(const std::string& folder, Bytes limit);

  // The shard if it is here, held as long as the pointer lives; null if not. Counts as a use. The first time in this process all
  // of it is verified, which takes a second for some gigabytes; what turns out damaged is removed and so is not here. Null too if
  // `*stop` became true meanwhile.
  std::shared_ptr<const Shard> find(const Digest& digest, const std::atomic<bool>* stop = nullptr);
  // The same, not held: the file may be removed from the folder while its bytes are read (they stay valid, and their room comes
  // back with the last pointer). For serving others, who must not keep this machine from making room.
  std::shared_ptr<const Shard> peek(const Digest& digest, const std::atomic<bool>* stop = nullptr);
  // Whether there is such a file. Its content may yet turn out damaged.
  bool contains(const Digest& digest) const;
  // Counts as a use.
  void touch(const Digest& digest) const;

  // Why a shard can be neither found nor brought at this moment.
  enum class Wait { none, fetched_by_another, full_of_shards_in_use };
  struct Claim {
    std::shared_ptr<const Shard> shard;       // it is here; or
    std::unique_ptr<IncomingShard> incoming;  // it is the caller's to bring, and nobody else will meanwhile; or
    Wait wait = Wait::none;                   // ask again soon
  };
  // Errors: no_space (larger than the limit, or the disk is full), interrupted, io.
  Result<Claim> claim(const WantedShard& wanted, const std::atomic<bool>* stop = nullptr);
  // Verifies what has come and makes it a shard of the cache, held as by find(). Errors: corrupt or mismatch, with `source` in
  // the message; interrupted; io, no_space. After an error nothing is kept.
  Result<std::shared_ptr<const Shard>> keep(std::unique_ptr<IncomingShard> incoming, const std::string& source,
                                            const std::atomic<bool>* stop = nullptr);

  const std::string& folder() const { return folder_; }
  Bytes limit() const { return limit_; }
  // Of all files that count.
  Bytes size() const;
  // Fails if the limit is too small for the shard: no_space, with what to do.
  [[nodiscard]] Status check_fits(const WantedShard& wanted) const;

 private:
  ShardCache(std::string folder, Bytes limit) : folder_(std::move(folder)), limit_(limit) {}
  std::string path_of(const Digest& digest) const;
  std::shared_ptr<const Shard> hold(const Digest& digest, Shard shard, int descriptor);
  // With the folder locked: removes leftovers and as much else as it takes; false if what is in use leaves no room.
  bool make_room(std::uint64_t bytes) const;

  const std::string folder_;
  const Bytes limit_;
  std::mutex mutex_;  // guards those below
  std::map<Digest, std::weak_ptr<const Shard>> held_, peeked_;
  std::set<Digest> verified_;  // by this process
};

}  // namespace suanli::data
