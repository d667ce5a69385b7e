#include "suanli/data/decompress.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <vector>

namespace suanli::data {
namespace {

constexpr std::size_t kInputBytes = 256 * 1024;
// zstd frames may ask for windows of gigabytes; `zstd -d` too stops here without --long.
constexpr int kZstdWindowLog = 27;

class FileSource final : public ByteSource {
 public:
  FileSource(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  ~FileSource() override { ::close(descriptor_); }

  Result<std::size_t> read(std::span<std::byte> out) override {
    while (true) {
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count >= 0) {
        consumed_ += static_cast<std::uint64_t>(count);
        return static_cast<std::size_t>(count);
      }
      if (errno != EINTR) return tl::unexpected(system_error(errno, "reading", path_));
    }
  }
  std::uint64_t consumed() const override { return consumed_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_;
  std::uint64_t consumed_ = 0;
};

// What both decoders share: a refillable buffer of compressed bytes, and one kind of error.
class CompressedSource : public ByteSource {
 public:
  explicit CompressedSource(std::unique_ptr<FileSource> file)
      : file_(std::move(file)), buffer_(kInputBytes) {}
  std::uint64_t consumed() const override { return file_->consumed() - input_.size(); }

 protected:
  // Makes input_ non-empty unless the file is at its end.
  Status refill() {
    if (!input_.empty()) return {};
    SUANLI_ASSIGN_OR_RETURN(const std::size_t count, file_->read(buffer_));
    input_ = std::span(buffer_).first(count);
    return {};
  }
  tl::unexpected<Error> corrupt(const std::string& kind, const std::string& what) const {
    return fail(
        ErrorCode::corrupt,
        "the " + kind + " stream " + what + " at compressed byte " + std::to_string(consumed()),
        file_->path(), "fetch or compress the file again");
  }
  tl::unexpected<Error> foreign(const std::string& kind) const {
    return fail(ErrorCode::foreign, "the name says " + kind + ", the bytes do not", file_->path(),
                "rename the file, or fetch it again");
  }

  std::unique_ptr<FileSource> file_;
  std::vector<std::byte> buffer_;
  std::span<std::byte> input_;  // read and not yet decoded
};

class GzipSource final : public CompressedSource {
 public:
  explicit GzipSource(std::unique_ptr<FileSource> file) : CompressedSource(std::move(file)) {
    // 16: a gzip header is required, and its CRC-32 and length are checked.
    SUANLI_CHECK(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK);
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  Result<std::size_t> read(std::span<std::byte> out) override {
    while (true) {
      SUANLI_RETURN_IF_ERROR(refill());
      if (input_.empty()) {
        if (inside_ || !any_) return corrupt("gzip", "was cut short");
        return std::size_t{0};
      }
      if (!inside_) {
        // Zero padding after the last member is legal, as tapes leave it.
        if (any_ && input_.front() == std::byte{0}) {
          input_ = input_.subspan(1);
          continue;
        }
        inflateReset(&stream_);
        inside_ = true;
      }
      SUANLI_ASSIGN_OR_RETURN(const std::size_t count, decode(out));
      if (count > 0) return count;
    }
  }

 private:
  Result<std::size_t> decode(std::span<std::byte> out) {
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(input_.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    input_ = input_.last(stream_.avail_in);
    if (code == Z_STREAM_END) {
      inside_ = false;
      any_ = true;
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      if (!any_ && stream_.total_out == 0 && stream_.total_in <= 2) return foreign("gzip");
      return corrupt("gzip",
                     std::string("is damaged (") + (stream_.msg ? stream_.msg : "no detail") + ")");
    }
    return out.size() - stream_.avail_out;
  }

  z_stream stream_{};
  bool inside_ = false;  // of a member
  bool any_ = false;     // a whole member was read
};

class ZstdSource final : public CompressedSource {
 public:
  explicit ZstdSource(std::unique_ptr<FileSource> file)
      : CompressedSource(std::move(file)), stream_(ZSTD_createDStream()) {
    SUANLI_CHECK(stream_ != nullptr);
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kZstdWindowLog);
  }

  Result<std::size_t> read(std::span<std::byte> out) override {
    while (true) {
      // A full output buffer last time may hide more inside the decoder, so it is asked before the
      // file is.
      if (!flushing_) {
        SUANLI_RETURN_IF_ERROR(refill());
        if (input_.empty()) {
          if (inside_ || !any_) return corrupt("zstd", "was cut short");
          return std::size_t{0};
        }
      }
      ZSTD_inBuffer in{input_.data(), input_.size(), 0};
      ZSTD_outBuffer to{out.data(), out.size(), 0};
      const std::size_t code = ZSTD_decompressStream(stream_.get(), &to, &in);
      input_ = input_.subspan(in.pos);
      if (ZSTD_isError(code)) {
        const std::string detail = ZSTD_getErrorName(code);
        if (!any_ && !inside_) return foreign("zstd (" + detail + ")");
        return corrupt("zstd", "is damaged (" + detail + ")");
      }
      any_ = any_ || code == 0;
      inside_ = code != 0;
      flushing_ = inside_ && to.pos == to.size;
      if (to.pos > 0) return to.pos;
    }
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  bool inside_ = false;    // of a frame
  bool any_ = false;       // a whole frame was read
  bool flushing_ = false;  // the decoder may hold output
};

}  // namespace

std::string without_compression(const std::string& path) {
  if (path.ends_with(".gz")) return path.substr(0, path.size() - 3);
  if (path.ends_with(".zst")) return path.substr(0, path.size() - 4);
  return path;
}

Result<std::unique_ptr<ByteSource>> open_source(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return tl::unexpected(system_error(errno, "opening", path));
  auto file = std::make_unique<FileSource>(path, descriptor);
  std::unique_ptr<ByteSource> source;
  if (path.ends_with(".gz")) {
    source = std::make_unique<GzipSource>(std::move(file));
  } else if (path.ends_with(".zst")) {
    source = std::make_unique<ZstdSource>(std::move(file));
  } else {
    source = std::move(file);
  }
  return source;
}

}  // namespace suanli::data
