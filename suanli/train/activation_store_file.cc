// A saved store (docs/formats/activation-store.md).
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "suanli/train/activation_store.h"

namespace suanli::train {
namespace {

constexpr std::array<std::uint8_t, 8> kMagic = {0x89, 'S', 'U', 'A', 'N', 'A', 'S', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeader = 96, kSigned = 64, kIndexEntry = 72, kDigest = 32;

template <typename Number>
void put_number(std::vector<std::byte>& out, std::size_t at, Number value) {
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(out.data() + at, &value, sizeof value);
}

template <typename Number>
Number number_at(ByteSpan bytes, std::size_t at) {
  Number value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

Digest digest_at(ByteSpan bytes, std::size_t at) {
  Digest digest;
  std::ranges::copy(bytes.subspan(at, kDigest), digest.bytes.begin());
  return digest;
}

Digest digest_of(ByteSpan head, ByteSpan index) {
  Sha256 digest;
  digest.update(head.first(kSigned));
  digest.update(index);
  return digest.finish();
}

tl::unexpected<Error> corrupt(const std::string& place, std::string message) {
  return fail(ErrorCode::corrupt, std::move(message), place, "resume from an earlier snapshot, or without the buffers");
}

}  // namespace

Result<SavedActivations> parse_activations(ByteSpan file, const std::string& place) {
  if (file.empty()) return fail(ErrorCode::empty, "the file holds nothing", place);
  if (file.size() < kMagic.size() || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    return fail(ErrorCode::foreign, "the file is not a saved activation store", place);
  if (file.size() < kHeader) return corrupt(place, "the file ends within its header");
  const auto version = number_at<std::uint32_t>(file, 8);
  if (version != kVersion)
    return fail(ErrorCode::version, "the file is of version " + std::to_string(version) + ", this build reads 1", place);
  const auto count = number_at<std::uint64_t>(file, 16);
  if (number_at<std::uint32_t>(file, 12) != kHeader || number_at<std::uint64_t>(file, 32) != file.size() ||
      count > (file.size() - kHeader) / kIndexEntry)
    return corrupt(place, "the sizes in the header do not fit the file's " + std::to_string(file.size()) + " bytes");
  const ByteSpan index = file.subspan(kHeader, static_cast<std::size_t>(count) * kIndexEntry);
  if (digest_of(file, index) != digest_at(file, kSigned)) return corrupt(place, "header or index do not have their digest");

  SavedActivations saved{.uses = number_at<std::uint64_t>(file, 24), .entries = {}};
  std::set<std::uint64_t> uses;
  std::size_t at = kHeader + index.size();
  for (std::size_t i = 0; i < count; ++i) {
    const ByteSpan row = index.subspan(i * kIndexEntry, kIndexEntry);
    SavedActivation entry{.key = {number_at<std::int32_t>(row, 0), number_at<std::int64_t>(row, 8)},
                          .mark = {number_at<std::uint64_t>(row, 16), digest_at(row, 40)},
                          .last_use = number_at<std::uint64_t>(row, 24),
                          .data = {}};
    const auto size = number_at<std::uint64_t>(row, 32);
    const std::string which = "entry " + std::to_string(i);
    if (size > file.size() - at) return corrupt(place, which + " lies beyond the end of the file");
    if (number_at<std::uint32_t>(row, 4) != 0) return corrupt(place, which + " has bytes set that are to be zero");
    if (i > 0 && !(saved.entries.back().key < entry.key)) return corrupt(place, which + " is not in order");
    if (entry.last_use >= saved.uses || !uses.insert(entry.last_use).second)
      return corrupt(place, which + " has a last use that cannot be");
    entry.data = file.subspan(at, static_cast<std::size_t>(size));
    if (sha256(entry.data) != entry.mark.digest) return corrupt(place, which + " does not have its digest");
    at += static_cast<std::size_t>(size);
    saved.entries.push_back(entry);
  }
  if (at != file.size()) return corrupt(place, std::to_string(file.size() - at) + " bytes follow the last entry");
  return saved;
}

// Each buffer is read once and written behind the room left for header and index, which are known when all have been read. A
// damaged one leaves the store while the file is written, so that the room would be too large: then it is written anew.
Status ActivationStore::save(const std::string& path) {
  for (;;) {
    SUANLI_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
    std::vector<std::byte> head(kHeader), index(entries_.size() * kIndexEntry), buffer;
    SUANLI_RETURN_IF_ERROR(file.write(head));
    SUANLI_RETURN_IF_ERROR(file.write(index));
    bool whole = true;
    std::size_t row = 0;
    for (auto at = entries_.begin(); at != entries_.end(); row += kIndexEntry) {
      const auto current = at++;  // read() may remove it
      const Key key = current->first;
      const Entry& entry = current->second;
      if (whole) {
        put_number(index, row, key.boundary);
        put_number(index, row + 8, key.sample);
        put_number(index, row + 16, entry.mark.visit);
        put_number(index, row + 24, entry.last_use);
        put_number(index, row + 32, static_cast<std::uint64_t>(entry.size));
        std::ranges::copy(entry.mark.digest.bytes, index.begin() + static_cast<std::ptrdiff_t>(row + 40));
      }
      buffer.resize(static_cast<std::size_t>(entry.size));
      SUANLI_ASSIGN_OR_RETURN(const bool good, read(current, buffer));
      whole = whole && good;
      if (whole) SUANLI_RETURN_IF_ERROR(file.write(buffer));
    }
    if (!whole) continue;
    std::memcpy(head.data(), kMagic.data(), kMagic.size());
    put_number(head, 8, kVersion);
    put_number(head, 12, static_cast<std::uint32_t>(kHeader));
    put_number(head, 16, static_cast<std::uint64_t>(entries_.size()));
    put_number(head, 24, uses_);
    put_number(head, 32, static_cast<std::uint64_t>(file.size()));
    std::ranges::copy(digest_of(head, index).bytes, head.begin() + kSigned);
    SUANLI_RETURN_IF_ERROR(file.write_at(0, head));
    SUANLI_RETURN_IF_ERROR(file.write_at(static_cast<std::int64_t>(kHeader), index));
    return file.commit();
  }
}

Result<ActivationStore> ActivationStore::restore(const std::string& path, Options options) {
  SUANLI_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  SUANLI_ASSIGN_OR_RETURN(const SavedActivations saved, parse_activations(file.bytes(), path));
  const std::uint64_t stale_after = std::exchange(options.stale_after, 0);  // nothing gives way to what is restored after it
  SUANLI_ASSIGN_OR_RETURN(ActivationStore store, create(std::move(options)));
  for (const SavedActivation& entry : saved.entries) {
    SUANLI_RETURN_IF_ERROR(store.put(entry.key, entry.mark.visit, entry.data).map([](bool) {}));
  }
  // Uses in the order in which they were made.
  std::map<std::uint64_t, Key> by_use;
  for (const SavedActivation& entry : saved.entries)
    if (const auto kept = store.entries_.find(entry.key); kept != store.entries_.end()) {
      kept->second.last_use = entry.last_use;
      by_use.emplace(entry.last_use, entry.key);
    }
  for (const auto& [use, key] : by_use) store.ages_.splice(store.ages_.end(), store.ages_, store.entries_.at(key).age);
  store.uses_ = saved.uses;
  store.options_.stale_after = stale_after;
  store.stats_.refused = store.stats_.evicted = 0;
  return store;
}

}  // namespace suanli::train
