// Files as streams of bytes: plain, gzip (.gz) or zstd (.zst), in bounded memory. Several gzip
// members or zstd frames in a row read as one stream, as gzip and zstd themselves do. A stream that
// ends early or does not match its checksum is an error (corrupt) that names the file and the
// position.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "suanli/base/error.h"

namespace suanli::data {

// One thread.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills at least one byte of `out` and returns how many; 0 only at the end. `out` is not empty.
  virtual Result<std::size_t> read(std::span<std::byte> out) = 0;
  // Bytes taken from the file so far, for progress: compressed ones if it is compressed.
  virtual std::uint64_t consumed() const = 0;
};

// Opens by the end of the name: ".gz", ".zst", else plain.
Result<std::unique_ptr<ByteSource>> open_source(const std::string& path);

// The name without ".gz" or ".zst".
std::string without_compression(const std::string& path);

}  // namespace suanli::data
