#include "suanli/plan/calibrate_disk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "suanli/base/clock.h"
#include "suanli/base/file.h"

namespace suanli::plan {
namespace {

constexpr double kFloor = 0.30;  // disks of virtual machines swing with everyone who shares them
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr int kSmallWrites = 5;
constexpr std::size_t kSmall = 4096;  // about what a manifest takes

// A file of its own name, removed when this ends.
class Scratch {
 public:
  static Result<Scratch> create(const std::string& folder) {
    std::string path = folder + "/.suanli-calibrate-XXXXXX";
    const int descriptor = ::mkstemp(path.data());
    if (descriptor < 0) return tl::unexpected(system_error(errno, "cannot make a file to measure the disk", folder));
    return Scratch(path, descriptor);
  }
  Scratch(Scratch&& other) noexcept : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(path_.c_str());
  }
  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }

 private:
  Scratch(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
};

Status write_all(const Scratch& file, const std::vector<char>& piece, std::int64_t size) {
  for (std::int64_t done = 0; done < size;) {
    const std::size_t want = std::min<std::size_t>(piece.size(), static_cast<std::size_t>(size - done));
    const ssize_t wrote = ::write(file.descriptor(), piece.data(), want);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return tl::unexpected(system_error(errno, "cannot write while measuring the disk", file.path()));
    done += wrote;
  }
  if (::fsync(file.descriptor()) != 0)
    return tl::unexpected(system_error(errno, "cannot make a file durable while measuring the disk", file.path()));
  return {};
}

Status read_all(const Scratch& file, std::vector<char>& piece, std::int64_t size) {
  for (std::int64_t done = 0; done < size;) {
    const ssize_t got = ::pread(file.descriptor(), piece.data(), piece.size(), done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(system_error(errno, "cannot read while measuring the disk", file.path()));
    if (got == 0) return fail(ErrorCode::io, "a file ended early while measuring the disk", file.path(), "try again");
    done += got;
  }
  return {};
}

// Is the file's first page in the page cache? Then it was not dropped, and reading it says nothing of the disk.
bool is_cached(const Scratch& file) {
  void* page = ::mmap(nullptr, kSmall, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (page == MAP_FAILED) return true;
  unsigned char resident = 1;
  const bool known = ::mincore(page, kSmall, &resident) == 0;
  ::munmap(page, kSmall);
  return !known || (resident & 1) != 0;
}

}  // namespace

Status DiskSampler::sample() {
  std::vector<char> piece(kPiece);
  // Not zeros, nor anything that repeats: some file systems store such things without writing them.
  std::uint64_t random = 0x9E3779B97F4A7C15;
  for (char& each : piece) each = static_cast<char>((random = random * 6364136223846793005U + 1442695040888963407U) >> 56);
  SUANLI_ASSIGN_OR_RETURN(const Scratch file, Scratch::create(folder_));
  const auto size = static_cast<double>(size_.value());
  Seconds begin = real_clock().now();
  SUANLI_RETURN_IF_ERROR(write_all(file, piece, size_.value()));
  write_.add(size / (real_clock().now() - begin).value());
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  from_cache_ = is_cached(file);
  begin = real_clock().now();
  SUANLI_RETURN_IF_ERROR(read_all(file, piece, size_.value()));
  read_.add(size / (real_clock().now() - begin).value());
  const std::string_view small(piece.data(), kSmall);
  for (int i = 0; i < kSmallWrites; ++i) {
    begin = real_clock().now();
    SUANLI_RETURN_IF_ERROR(write_file_atomic(file.path() + ".small", as_bytes(small)));
    sync_.add((real_clock().now() - begin).value());
  }
  ::unlink((file.path() + ".small").c_str());
  return {};
}

DiskRate DiskSampler::rate() const {
  return {.write = write_.interval(kFloor), .read = read_.interval(kFloor), .read_from_cache = from_cache_,
          .sync_seconds = sync_.interval(kFloor)};
}

}  // namespace suanli::plan
