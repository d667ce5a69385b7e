#include "suanli/data/shard_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"

namespace suanli::data {
namespace {

constexpr std::string_view kShardSuffix = ".shard", kIncomingSuffix = ".part";
constexpr Seconds kLockPause{0.002};

// A file that is open, and locked through its descriptor: a shard in use is locked shared, one that is being brought or removed
// exclusively. Locks go with the descriptor, however its process ends.
class LockedFile {
 public:
  // Not valid if the file is not there, or another holds a lock against `operation` (errno EWOULDBLOCK).
  LockedFile(const std::string& path, int flags, int operation) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (descriptor_ >= 0 && (flock(descriptor_, operation | LOCK_NB) != 0 || !is_at(path))) drop();
  }
  LockedFile(LockedFile&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  LockedFile& operator=(LockedFile&&) = delete;
  ~LockedFile() { drop(); }
  bool valid() const { return descriptor_ >= 0; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  // Between opening and locking it may have been removed.
  bool is_at(const std::string& path) const {
    struct stat opened, named;
    const bool same = fstat(descriptor_, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
                      opened.st_ino == named.st_ino;
    if (!same) errno = EWOULDBLOCK;
    return same;
  }
  void drop() {
    const int kept = errno;
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    errno = kept;
  }
  int descriptor_;
};

// The folder's lock is held for moments only.
Result<FolderLock> lock_folder(const std::string& folder, const std::atomic<bool>* stop) {
  for (;;) {
    auto lock = FolderLock::acquire(folder);
    if (lock || lock.error().code != ErrorCode::busy) return lock;
    if (stop != nullptr && *stop) return fail(ErrorCode::interrupted, "stopped on request", folder);
    real_clock().sleep_for(kLockPause);
  }
}

struct CacheFile {
  std::string path;
  std::uint64_t bytes = 0;
  std::pair<std::int64_t, std::int64_t> used;  // seconds and nanoseconds
  bool incoming = false;
};

// The files that count; others in the folder are not ours.
std::vector<CacheFile> list(const std::string& folder) {
  std::vector<CacheFile> files;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool incoming = name.ends_with(kIncomingSuffix);
    if (!incoming && !name.ends_with(kShardSuffix)) continue;
    if (!Digest::from_hex(std::string_view(name).substr(0, name.rfind('.')))) continue;
    struct stat info;
    if (stat(entry->path().c_str(), &info) != 0) continue;
    files.push_back({entry->path().string(), static_cast<std::uint64_t>(info.st_size),
                     {info.st_mtim.tv_sec, info.st_mtim.tv_nsec}, incoming});
  }
  return files;
}

// A shard with the file that it is mapped from, locked while both live.
struct HeldShard {
  HeldShard(Shard mapped, int file) : shard(std::move(mapped)), descriptor(file) {}
  ~HeldShard() { ::close(descriptor); }
  HeldShard(const HeldShard&) = delete;
  HeldShard& operator=(const HeldShard&) = delete;
  Shard shard;
  int descriptor;
};

}  // namespace

IncomingShard::~IncomingShard() {
  if (data_ != nullptr) munmap(data_, size_);
  if (!kept_) unlink(path_.c_str());
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status IncomingShard::make_room() {
  // Reserved before it is mapped: a full disk is an error here, and not a signal later.
  if (ftruncate(descriptor_, 0) != 0) return tl::unexpected(system_error(errno, "emptying", path_));
  const int refused = posix_fallocate(descriptor_, 0, static_cast<off_t>(wanted_.bytes));
  if (refused != 0) return tl::unexpected(system_error(refused, "making room for a shard", path_));
  void* data = mmap(nullptr, wanted_.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
  if (data == MAP_FAILED) return tl::unexpected(system_error(errno, "mapping", path_));
  data_ = static_cast<std::byte*>(data);
  size_ = wanted_.bytes;
  return {};
}

Result<std::unique_ptr<ShardCache>> ShardCache::open(const std::string& folder, Bytes limit) {
  SUANLI_RETURN_IF_ERROR(make_folders(folder));
  // Whether we may write and lock here shows now and not in the middle of a run.
  auto lock = lock_folder(folder, nullptr);
  if (!lock) return tl::unexpected(std::move(lock).error());
  return std::unique_ptr<ShardCache>(new ShardCache(folder, limit));
}

std::string ShardCache::path_of(const Digest& digest) const { return folder_ + "/" + digest.hex(); }

bool ShardCache::contains(const Digest& digest) const {
  return access((path_of(digest) + std::string(kShardSuffix)).c_str(), R_OK) == 0;
}

void ShardCache::touch(const Digest& digest) const {
  // The exact time: the kernel's own moves in steps of milliseconds, within which uses would have no order.
  timespec times[2] = {{0, UTIME_OMIT}, {}};
  clock_gettime(CLOCK_REALTIME, &times[1]);
  (void)utimensat(AT_FDCWD, (path_of(digest) + std::string(kShardSuffix)).c_str(), times, 0);
}

std::shared_ptr<const Shard> ShardCache::hold(const Digest& digest, Shard shard, int descriptor) {
  auto held = std::make_shared<HeldShard>(std::move(shard), descriptor);
  std::shared_ptr<const Shard> pointer(held, &held->shard);
  const std::lock_guard lock(mutex_);
  held_[digest] = pointer;
  verified_.insert(digest);
  return pointer;
}

std::shared_ptr<const Shard> ShardCache::find(const Digest& digest, const std::atomic<bool>* stop) {
  bool verified = false;
  {
    const std::lock_guard lock(mutex_);
    const auto known = held_.find(digest);
    std::shared_ptr<const Shard> held = known == held_.end() ? nullptr : known->second.lock();
    if (held && contains(digest)) {
      touch(digest);
      return held;
    }
    verified = verified_.contains(digest);
  }
  const std::string path = path_of(digest) + std::string(kShardSuffix);
  LockedFile file(path, O_RDONLY, LOCK_SH);
  if (!file.valid()) return nullptr;
  auto shard = Shard::open(path);
  Status sound = shard ? Status() : tl::unexpected(shard.error());
  if (sound && shard->info().digest != digest) sound = fail(ErrorCode::mismatch, "another shard", path);
  if (sound && !verified) sound = shard->verify(stop);
  if (!sound) {
    // Damaged on this disk after it was written: it is brought again like one that never was here.
    if (sound.error().code != ErrorCode::interrupted) unlink(path.c_str());
    return nullptr;
  }
  touch(digest);
  return hold(digest, std::move(*shard), file.release());
}

std::shared_ptr<const Shard> ShardCache::peek(const Digest& digest, const std::atomic<bool>* stop) {
  const auto held = find(digest, stop);
  if (!held) return nullptr;
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const Shard>& known = peeked_[digest];
  if (auto shard = known.lock()) return shard;
  auto opened = Shard::open(path_of(digest) + std::string(kShardSuffix));
  if (!opened) return nullptr;
  auto shard = std::make_shared<const Shard>(std::move(*opened));
  known = shard;
  return shard;
}

Status ShardCache::check_fits(const WantedShard& wanted) const {
  const Bytes bytes(static_cast<std::int64_t>(wanted.bytes));
  if (bytes <= limit_) return {};
  return fail(ErrorCode::no_space,
              "shard " + wanted.file + " has " + format_bytes(bytes) + ", but the cache of shards may hold " +
                  format_bytes(limit_),
              folder_,
              "allow the cache " + std::to_string(wanted.bytes) +
                  " bytes or more, or make the dataset of smaller shards (`suanli data load --shard-tokens`)");
}

bool ShardCache::make_room(std::uint64_t bytes) const {
  const auto limit = static_cast<std::uint64_t>(limit_.value());
  std::vector<CacheFile> files = list(folder_);
  std::uint64_t total = bytes;
  for (const CacheFile& file : files) {
    // The leftover of a process that died is locked by nobody.
    if (file.incoming && LockedFile(file.path, O_RDWR, LOCK_EX).valid() && unlink(file.path.c_str()) == 0) continue;
    total += file.bytes;
  }
  std::ranges::sort(files, {}, &CacheFile::used);
  std::vector<std::pair<LockedFile, std::string>> going;
  for (const CacheFile& file : files) {
    if (total <= limit) break;
    if (file.incoming) continue;
    LockedFile lock(file.path, O_RDONLY, LOCK_EX);
    if (!lock.valid()) continue;
    total -= file.bytes;
    going.emplace_back(std::move(lock), file.path);
  }
  if (total > limit) return false;  // nothing goes in vain
  for (const auto& [lock, path] : going) unlink(path.c_str());
  return true;
}

Result<ShardCache::Claim> ShardCache::claim(const WantedShard& wanted, const std::atomic<bool>* stop) {
  SUANLI_RETURN_IF_ERROR(check_fits(wanted));
  if (auto shard = find(wanted.digest, stop)) return Claim{std::move(shard), nullptr};
  SUANLI_ASSIGN_OR_RETURN(const FolderLock lock, lock_folder(folder_, stop));
  // It may have come meanwhile; then the next claim finds it. A damaged one was removed by find().
  if (contains(wanted.digest)) return Claim{nullptr, nullptr, Wait::fetched_by_another};
  const std::string path = path_of(wanted.digest) + std::string(kIncomingSuffix);
  {
    // What a dead process left of this very shard goes first, or it would count twice.
    LockedFile file(path, O_RDWR, LOCK_EX);
    if (!file.valid() && errno == EWOULDBLOCK) return Claim{nullptr, nullptr, Wait::fetched_by_another};
    if (file.valid()) unlink(path.c_str());
  }
  if (!make_room(wanted.bytes)) return Claim{nullptr, nullptr, Wait::full_of_shards_in_use};
  LockedFile file(path, O_RDWR | O_CREAT, LOCK_EX);
  if (!file.valid()) return tl::unexpected(system_error(errno, "creating", path));
  std::unique_ptr<IncomingShard> incoming(new IncomingShard(wanted, path, file.release()));
  SUANLI_RETURN_IF_ERROR(incoming->make_room());
  return Claim{nullptr, std::move(incoming)};
}

Result<std::shared_ptr<const Shard>> ShardCache::keep(std::unique_ptr<IncomingShard> incoming, const std::string& source,
                                                      const std::atomic<bool>* stop) {
  const Digest& digest = incoming->wanted().digest;
  const auto blame = [&](Error error) {
    if (error.code != ErrorCode::interrupted)
      error = {error.code == ErrorCode::mismatch ? ErrorCode::mismatch : ErrorCode::corrupt,
               "the shard that came from " + source + " is damaged: " + error.message, incoming->wanted().file,
               "it is asked of another source; restore it at this one"};
    return tl::unexpected(std::move(error));
  };
  auto shard = Shard::open(incoming->path_);
  if (!shard) return blame(std::move(shard).error());
  if (shard->info().digest != digest)
    return blame({ErrorCode::mismatch, "it is another shard, " + shard->info().digest.hex().substr(0, 16), {}, {}});
  if (const Status sound = shard->verify(stop); !sound) return blame(sound.error());
  if (fsync(incoming->descriptor_) != 0) return tl::unexpected(system_error(errno, "writing to disk", incoming->path_));

  const std::string path = path_of(digest) + std::string(kShardSuffix);
  // Other claims wait: the lock that we hold changes from exclusive to shared, and there is a moment between the two.
  SUANLI_ASSIGN_OR_RETURN(const FolderLock lock, lock_folder(folder_, stop));
  if (flock(incoming->descriptor_, LOCK_SH) != 0 || rename(incoming->path_.c_str(), path.c_str()) != 0)
    return tl::unexpected(system_error(errno, "naming the finished shard", path));
  incoming->kept_ = true;
  SUANLI_RETURN_IF_ERROR(sync_folder(folder_));
  touch(digest);
  // The same file once more, so that errors of reading name it as it is called now.
  SUANLI_ASSIGN_OR_RETURN(Shard named, Shard::open(path));
  return hold(digest, std::move(named), std::exchange(incoming->descriptor_, -1));
}

Bytes ShardCache::size() const {
  std::uint64_t sum = 0;
  for (const CacheFile& file : list(folder_)) sum += file.bytes;
  return Bytes(static_cast<std::int64_t>(sum));
}

}  // namespace suanli::data
