#include "suanli/train/activation_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <set>

namespace suanli::train {

// A file without a name, in slots. A slot is used again for a buffer of its size; there are few sizes, one for each boundary.
class ActivationStore::SpillFile {
 public:
  static Result<std::unique_ptr<SpillFile>> create(const std::string& folder, Bytes limit) {
    std::string path = folder + "/activations-XXXXXX";
    const int descriptor = mkostemp(path.data(), O_CLOEXEC);
    if (descriptor < 0) return tl::unexpected(system_error(errno, "making a file for activations", folder));
    unlink(path.c_str());
    return std::unique_ptr<SpillFile>(new SpillFile(descriptor, limit.value(), folder));
  }
  ~SpillFile() { close(descriptor_); }
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  // The lowest free slot, or -1.
  std::int64_t take(std::int64_t size) {
    std::set<std::int64_t>& free = free_[size];
    if (!free.empty()) {
      const std::int64_t offset = *free.begin();
      free.erase(free.begin());
      return offset;
    }
    if (size > limit_ - end_) return -1;
    end_ += size;
    return end_ - size;
  }
  void give_back(std::int64_t offset, std::int64_t size) { free_[size].insert(offset); }

  Status write(std::int64_t offset, ByteSpan bytes) {
    while (!bytes.empty()) {
      const ssize_t done = pwrite(descriptor_, bytes.data(), bytes.size(), offset);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return tl::unexpected(system_error(errno, "writing activations", folder_));
      bytes = bytes.subspan(static_cast<std::size_t>(done));
      offset += done;
    }
    return {};
  }
  Status read(std::int64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t done = pread(descriptor_, bytes.data(), bytes.size(), offset);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return tl::unexpected(system_error(errno, "reading activations", folder_));
      if (done == 0) {  // cut short by somebody: what is missing shows in the digest
        std::ranges::fill(bytes, std::byte{0});
        return {};
      }
      bytes = bytes.subspan(static_cast<std::size_t>(done));
      offset += done;
    }
    return {};
  }

 private:
  SpillFile(int descriptor, std::int64_t limit, std::string folder)
      : descriptor_(descriptor), limit_(limit), folder_(std::move(folder)) {}

  int descriptor_;
  std::int64_t limit_, end_ = 0;
  std::string folder_;
  std::map<std::int64_t, std::set<std::int64_t>> free_;  // by size
};

namespace {

// False: the machine has none, though the options would allow it.
bool take_memory(std::vector<std::byte>& data, std::size_t size) {
  try {
    data.resize(size);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

ActivationStore::ActivationStore(Options options) : options_(std::move(options)) {}
ActivationStore::ActivationStore(ActivationStore&&) noexcept = default;
ActivationStore& ActivationStore::operator=(ActivationStore&&) noexcept = default;
ActivationStore::~ActivationStore() = default;

Result<ActivationStore> ActivationStore::create(Options options) {
  ActivationStore store(std::move(options));
  if (store.options_.disk > Bytes(0)) {
    SUANLI_ASSIGN_OR_RETURN(store.spill_, SpillFile::create(store.options_.folder, store.options_.disk));
  }
  return store;
}

Result<bool> ActivationStore::put(Key key, std::uint64_t visit, ByteSpan buffer) {
  const auto size = static_cast<std::int64_t>(buffer.size());
  auto found = entries_.find(key);
  if (found != entries_.end() && found->second.size != size) {
    remove(found);
    found = entries_.end();
  }
  if (found == entries_.end()) {
    Entry entry{.mark = {}, .last_use = 0, .age = {}, .size = size, .data = {}, .offset = -1};
    if (!find_place(entry)) {
      ++stats_.refused;
      ++uses_;
      return false;
    }
    if (entry.offset < 0 && !take_memory(entry.data, buffer.size())) {
      if (spill_) entry.offset = spill_->take(size);
      if (entry.offset < 0)
        return fail(ErrorCode::no_memory, "the machine has no memory for another activation", "activations of AQ-SGD",
                    "lower 'codec.memory', or lend less memory (--memory)");
    }
    const bool in_memory = entry.offset < 0;
    entry.age = ages_.insert(ages_.end(), key);
    found = entries_.emplace(key, std::move(entry)).first;
    ++stats_.entries;
    (in_memory ? stats_.memory : stats_.disk) += Bytes(size);
    if (!in_memory) ++stats_.spilled;
  }
  Entry& entry = found->second;
  entry.mark = {visit, sha256(buffer)};
  use(entry);
  if (entry.offset < 0) {
    std::ranges::copy(buffer, entry.data.begin());
  } else if (Status written = spill_->write(entry.offset, buffer); !written) {
    remove(found);
    return tl::unexpected(std::move(written).error());
  }
  return true;
}

// A place in memory (offset -1) or on disk for a newcomer; what is stale gives way if there is none.
bool ActivationStore::find_place(Entry& entry) {
  for (;;) {
    if (stats_.memory + Bytes(entry.size) <= options_.memory) return true;
    if (spill_) entry.offset = spill_->take(entry.size);
    if (entry.offset >= 0) return true;
    if (options_.stale_after == 0 || ages_.empty()) return false;
    const auto oldest = entries_.find(ages_.front());
    if (uses_ - oldest->second.last_use <= options_.stale_after) return false;
    remove(oldest);
    ++stats_.evicted;
  }
}

void ActivationStore::use(Entry& entry) {
  entry.last_use = uses_++;
  ages_.splice(ages_.end(), ages_, entry.age);
}

void ActivationStore::remove(Entries::iterator entry) {
  const Entry& old = entry->second;
  --stats_.entries;
  if (old.offset >= 0) {
    spill_->give_back(old.offset, old.size);
    stats_.disk -= Bytes(old.size);
    --stats_.spilled;
  } else {
    stats_.memory -= Bytes(old.size);
  }
  ages_.erase(old.age);
  entries_.erase(entry);
}

Result<bool> ActivationStore::read(Entries::iterator entry, std::span<std::byte> buffer) {
  if (entry->second.offset < 0) {
    std::ranges::copy(entry->second.data, buffer.begin());
    return true;
  }
  SUANLI_RETURN_IF_ERROR(spill_->read(entry->second.offset, buffer));
  if (sha256(buffer) == entry->second.mark.digest) return true;
  remove(entry);
  ++stats_.damaged;
  return false;
}

Result<bool> ActivationStore::get(Key key, std::span<std::byte> buffer) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) {
    ++uses_;
    return false;
  }
  if (static_cast<std::int64_t>(buffer.size()) != found->second.size)
    return fail(ErrorCode::mismatch,
                "the buffer of sample " + std::to_string(key.sample) + " has " + std::to_string(found->second.size) +
                    " bytes, and " + std::to_string(buffer.size()) + " are asked for",
                "boundary " + std::to_string(key.boundary));
  use(found->second);
  return read(found, buffer);
}

std::optional<ActivationStore::Mark> ActivationStore::mark(Key key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? std::nullopt : std::optional(found->second.mark);
}

void ActivationStore::erase(Key key) {
  if (const auto found = entries_.find(key); found != entries_.end()) remove(found);
}

void ActivationStore::erase_boundary(std::int32_t boundary) {
  auto at = entries_.lower_bound({boundary, INT64_MIN});
  while (at != entries_.end() && at->first.boundary == boundary) remove(at++);
}

}  // namespace suanli::train
