#include "suanli/data/shard_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace suanli::data {
namespace {

constexpr std::size_t kCopyBytes = 1 << 20;  // between two looks at the stop flag

}  // namespace

Result<WantedShard> wanted_shard(const DatasetInfo& info, const ShardEntry& entry) {
  auto bytes = shard_file_bytes(info.vocab, entry.tokens, entry.documents);
  if (!bytes) return tl::unexpected(std::move(bytes).error().within(entry.file));
  return WantedShard{entry.file, entry.digest, *bytes};
}

FolderShards::FolderShards(std::string folder, const DatasetInfo& info) : folder_(std::move(folder)) {
  for (const Split split : kSplits) {
    for (const ShardEntry& shard : info.of(split)) files_.emplace(shard.digest, shard.file);
  }
}

Status FolderShards::fetch(const WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) {
  SUANLI_CHECK(to.size() == shard.bytes);
  const auto listed = files_.find(shard.digest);
  const std::string path = folder_ + "/" + (listed == files_.end() ? shard.file : listed->second);
  SUANLI_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  const ByteSpan bytes = file.bytes();
  if (bytes.size() != to.size())
    return fail(ErrorCode::mismatch,
                "the file has " + std::to_string(bytes.size()) + " bytes, the dataset lists " + std::to_string(to.size()), path,
                "restore the shard, or make the dataset again with `suanli data load`");
  for (std::size_t at = 0; at < bytes.size(); at += kCopyBytes) {
    if (stop) return fail(ErrorCode::interrupted, "stopped on request while a shard was copied", path);
    std::memcpy(to.data() + at, bytes.data() + at, std::min(kCopyBytes, bytes.size() - at));
  }
  return {};
}

std::shared_ptr<const Shard> FolderShards::find(const Digest& digest) {
  const auto file = files_.find(digest);
  if (file == files_.end()) return nullptr;
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const Shard>& known = open_[digest];
  if (auto shard = known.lock()) return shard;
  auto opened = Shard::open(folder_ + "/" + file->second);
  if (!opened || opened->info().digest != digest) return nullptr;
  auto shard = std::make_shared<const Shard>(std::move(*opened));
  known = shard;
  return shard;
}

}  // namespace suanli::data
