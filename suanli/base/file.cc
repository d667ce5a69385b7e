#include "suanli/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

namespace suanli {
namespace {

constexpr std::string_view kTemporaryPrefix = ".tmp-";

// Repeats a system call that a signal interrupted.
template <typename Call>
auto retry(Call call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// An open file, closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const std::string& path, int flags, mode_t mode = 0666)
      : descriptor_(retry([&] { return open(path.c_str(), flags | O_CLOEXEC, mode); })) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(other.release()) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    const int kept = errno;
    if (descriptor_ >= 0) close(descriptor_);
    errno = kept;
  }
  bool valid() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

// The error of the system call that has just failed.
tl::unexpected<Error> failed(std::string_view doing, const std::string& place) {
  const int error_number = errno;
  return tl::unexpected<Error>(system_error(error_number, doing, place));
}

struct SplitPath {
  std::string folder, name;
};

SplitPath split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// Unique among the living processes of one machine; a clash on a shared disk only costs another
// try.
std::string temporary_name(const std::string& name) {
  static std::atomic<std::uint64_t> counter{0};
  constexpr std::size_t kKept = 180;  // of the name, so that the whole stays within NAME_MAX
  return std::string(kTemporaryPrefix) + std::to_string(getpid()) + "-" +
         std::to_string(counter++) + "-" + name.substr(0, kKept);
}

bool try_lock(int descriptor) {
  return retry([&] { return flock(descriptor, LOCK_EX | LOCK_NB); }) == 0;
}

bool is_linked(int descriptor) {
  struct stat info;
  return fstat(descriptor, &info) == 0 && info.st_nlink > 0;
}

bool names_same_file(const std::string& path, int descriptor) {
  struct stat named, opened;
  return lstat(path.c_str(), &named) == 0 && fstat(descriptor, &opened) == 0 &&
         named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

// False with errno set. A full disk often takes a part of the bytes before it refuses the rest.
bool put(int descriptor, std::int64_t offset, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        retry([&] { return pwrite(descriptor, bytes.data(), bytes.size(), offset); });
    if (written < 0) return false;
    offset += written;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

// Opens what can be read as a file: not a folder.
Result<Descriptor> open_for_reading(const std::string& path, struct stat& info) {
  Descriptor file(path, O_RDONLY);
  if (!file.valid() || fstat(file.get(), &info) != 0) return failed("opening", path);
  if (S_ISDIR(info.st_mode)) {
    return fail(ErrorCode::foreign, "this is a folder, not a file", path, "name a file in it");
  }
  return file;
}

}  // namespace

Result<std::string> read_file(const std::string& path, Bytes limit) {
  struct stat info;
  SUANLI_ASSIGN_OR_RETURN(const Descriptor file, open_for_reading(path, info));
  const auto most = static_cast<std::size_t>(limit.value());
  // The size is only a hint: pipes and /proc report 0. One byte more shows the end in one go.
  std::string content(std::min(static_cast<std::size_t>(info.st_size), most) + 1, '\0');
  for (std::size_t filled = 0;;) {
    const ssize_t count =
        retry([&] { return read(file.get(), content.data() + filled, content.size() - filled); });
    if (count < 0) return failed("reading", path);
    filled += static_cast<std::size_t>(count);
    if (count == 0) {
      content.resize(filled);
      return content;
    }
    if (filled > most) {
      const auto size = std::max(info.st_size, static_cast<off_t>(filled));
      return fail(ErrorCode::corrupt,
                  "the file has " + std::to_string(size) + " bytes or more, but at most " +
                      std::to_string(most) + " are expected",
                  path, "check that this is the right file");
    }
    if (filled == content.size()) content.resize(std::min(2 * filled + 4096, most + 1));
  }
}

void ignore_file_size_signal() { std::signal(SIGXFSZ, SIG_IGN); }

AtomicFile::AtomicFile(std::string path, std::string temporary, int descriptor)
    : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  abandon();
  path_ = std::move(other.path_);
  temporary_ = std::move(other.temporary_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  size_ = other.size_;
  return *this;
}

AtomicFile::~AtomicFile() { abandon(); }

// Unlinks before it closes, hence before it unlocks. Keeps errno.
void AtomicFile::abandon() {
  if (descriptor_ < 0) return;
  const Descriptor file(std::exchange(descriptor_, -1));
  const int kept = errno;
  unlink(temporary_.c_str());
  errno = kept;
}

Result<AtomicFile> AtomicFile::create(const std::string& path, FileAccess access) {
  const auto [folder, name] = split(path);
  if (name.empty() || name == "." || name == "..") {
    errno = EISDIR;
    return failed("creating", path);
  }
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::string temporary = folder + "/" + temporary_name(name);
    // The mode is there from the first moment on: a secret is never readable under its temporary name either.
    Descriptor file(temporary, O_WRONLY | O_CREAT | O_EXCL, access == FileAccess::owner_only ? 0600 : 0666);
    if (!file.valid()) {
      if (errno == EEXIST) continue;  // the leftover of a killed process that had our number
      return failed("creating", path);
    }
    // Between open and lock, remove_temporaries may have taken the file for a leftover.
    const bool locked = try_lock(file.get());
    if ((!locked && errno == EWOULDBLOCK) || !is_linked(file.get())) continue;
    return AtomicFile(path, temporary, file.release());
  }
  errno = EEXIST;
  return failed("creating a temporary file", path);
}

Status AtomicFile::write(ByteSpan bytes) {
  SUANLI_CHECK(descriptor_ >= 0);
  if (!put(descriptor_, size_, bytes)) {
    abandon();
    return failed("writing", path_);
  }
  size_ += static_cast<std::int64_t>(bytes.size());
  return {};
}

Status AtomicFile::write_at(std::int64_t offset, ByteSpan bytes) {
  SUANLI_CHECK(descriptor_ >= 0);
  SUANLI_CHECK(offset >= 0 && offset <= size_);
  SUANLI_CHECK(static_cast<std::int64_t>(bytes.size()) <= size_ - offset);
  if (put(descriptor_, offset, bytes)) return {};
  abandon();
  return failed("writing", path_);
}

Status AtomicFile::commit() {
  SUANLI_CHECK(descriptor_ >= 0);
  if (retry([&] { return fsync(descriptor_); }) != 0) {
    abandon();
    return failed("writing to disk", path_);
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    abandon();
    return failed("renaming the finished file", path_);
  }
  close(std::exchange(descriptor_, -1));  // fsync has reported what close could
  return sync_folder(split(path_).folder);
}

Status write_file_atomic(const std::string& path, ByteSpan bytes, FileAccess access) {
  SUANLI_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path, access));
  SUANLI_RETURN_IF_ERROR(file.write(bytes));
  return file.commit();
}

void remove_temporaries(const std::string& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().rfind(kTemporaryPrefix, 0) != 0) continue;
    const std::string path = entry->path().string();
    const Descriptor file(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    if (!file.valid() || !try_lock(file.get())) continue;
    if (names_same_file(path, file.get())) unlink(path.c_str());  // not if committed meanwhile
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<void*>(data_), size_);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  struct stat info;
  SUANLI_ASSIGN_OR_RETURN(const Descriptor file, open_for_reading(path, info));
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorCode::foreign, "this is a pipe or device, not a regular file", path,
                "copy its content into a file");
  }
  if (info.st_size == 0) return MappedFile(nullptr, 0);
  const auto size = static_cast<std::size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return failed("mapping", path);
  return MappedFile(data, size);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

// The file stays: unlinking it would let two processes lock two files of one name.
FolderLock::~FolderLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

Result<FolderLock> FolderLock::acquire(const std::string& folder) {
  const std::string path = folder + "/.lock";
  Descriptor file(path, O_RDWR | O_CREAT);
  if (!file.valid()) return failed("locking", folder);
  char holder[24] = {};
  if (!try_lock(file.get())) {
    if (errno != EWOULDBLOCK) return failed("locking", folder);
    const bool known = pread(file.get(), holder, sizeof holder - 1, 0) > 0;
    const std::string pid(holder, std::strspn(holder, "0123456789"));
    return fail(ErrorCode::busy,
                known ? "the folder is in use by process " + pid
                      : std::string("the folder is in use by another process"),
                folder, "stop that process or wait until it ends, then try again");
  }
  // Only a courtesy to whom the lock keeps out: a full disk must not refuse the lock.
  const int length = std::snprintf(holder, sizeof holder, "%ld\n", static_cast<long>(getpid()));
  const auto text = std::string_view(holder, static_cast<std::size_t>(length));
  const bool noted = ftruncate(file.get(), 0) == 0 && put(file.get(), 0, as_bytes(text));
  static_cast<void>(noted);
  return FolderLock(file.release());
}

Status make_folders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return tl::unexpected(system_error(error.value(), "making the folder", path));
  return {};
}

Status sync_folder(const std::string& path) {
  const Descriptor folder(path, O_RDONLY | O_DIRECTORY);
  if (!folder.valid()) return failed("opening the folder", path);
  const bool synced = retry([&] { return fsync(folder.get()); }) == 0;
  if (!synced && errno != EINVAL) {  // EINVAL: this file system knows no such thing
    return failed("writing the folder to disk", path);
  }
  return {};
}

}  // namespace suanli
