// Files, with errors as values. Writing is atomic: a reader sees the old content or the new, never a part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli {

using ByteSpan = std::span<const std::byte>;

inline ByteSpan as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Reads a whole file. A file larger than `limit` is an error (corrupt).
[[nodiscard]] Result<std::string> read_file(const std::string& path,
                                            Bytes limit = Bytes(std::int64_t{1} << 30));

// Lets writes past the process's file size limit (ulimit -f) fail with no_space; by default the kernel kills the
// process instead (SIGXFSZ). Every main() that writes files calls it first.
void ignore_file_size_signal();

// Who may read a file that we write: what the process's umask leaves, or (secrets) its owner alone, mode 0600.
enum class FileAccess { by_umask, owner_only };

// A file being written under a temporary name in the folder of `path`. commit() makes it durable (fsync) and gives it
// its name (rename, fsync of the folder). Destroyed without commit, it leaves nothing behind. After commit or a failed
// write it is finished: any further call is a bug.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path, FileAccess access = FileAccess::by_umask);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();
  // Appends; the disk being full is an error (no_space) and leaves the old file untouched.
  [[nodiscard]] Status write(ByteSpan bytes);
  // Overwrites bytes already written, for headers known only at the end.
  [[nodiscard]] Status write_at(std::int64_t offset, ByteSpan bytes);
  [[nodiscard]] Status commit();
  std::int64_t size() const { return size_; }

 private:
  AtomicFile(std::string path, std::string temporary, int descriptor);
  void abandon();
  std::string path_, temporary_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

[[nodiscard]] Status write_file_atomic(const std::string& path, ByteSpan bytes,
                                       FileAccess access = FileAccess::by_umask);

// Removes the leftovers of AtomicFiles whose process was killed; a file that any process is still writing stays (each
// writer holds a flock on its temporary file). Where the file system knows no locks, nothing is removed.
void remove_temporaries(const std::string& folder);

// A file mapped read-only; its bytes stay valid while the object lives. Any thread may read.
// A file that another process truncates while it is mapped kills the process (SIGBUS): formats are written
// atomically and never changed in place.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  ~MappedFile();
  ByteSpan bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  MappedFile(const void* data, std::size_t size) : data_(data), size_(size) {}
  const void* data_ = nullptr;
  std::size_t size_ = 0;
};

// An exclusive lock on a folder, held until destroyed or the process ends, however it ends (flock).
// Held by another process: error busy, which names that process.
class FolderLock {
 public:
  static Result<FolderLock> acquire(const std::string& folder);
  FolderLock(FolderLock&&) noexcept;
  FolderLock& operator=(FolderLock&&) noexcept;
  ~FolderLock();

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

[[nodiscard]] Status make_folders(const std::string& path);
// fsync of a folder: makes the names in it durable.
[[nodiscard]] Status sync_folder(const std::string& path);

}  // namespace suanli
