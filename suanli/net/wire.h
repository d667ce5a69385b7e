// Little-endian numbers and short texts of our own messages, as bytes. A text is its length and its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli::net {

class WireWriter {
 public:
  WireWriter& number(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>(value >> (8 * i)));
    return *this;
  }
  WireWriter& raw(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  // The length takes `length_bytes`; what does not fit into it is a promise broken.
  WireWriter& text(std::string_view value, int length_bytes) {
    SUANLI_CHECK(length_bytes >= 8 || value.size() < std::uint64_t{1} << (8 * length_bytes));
    return number(value.size(), length_bytes).raw(value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads what a peer sent. The first thing that is not there makes the reader bad, and everything after it is empty.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::uint64_t number(int bytes) {
    const auto part = take(static_cast<std::size_t>(bytes));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < part.size(); ++i) value |= std::to_integer<std::uint64_t>(part[i]) << (8 * i);
    return value;
  }
  std::string raw(std::size_t size) {
    const auto part = take(size);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::string text(int length_bytes, std::size_t most) {
    const std::uint64_t size = number(length_bytes);
    if (size > most) good_ = false;
    return raw(good_ ? static_cast<std::size_t>(size) : 0);
  }
  // All that was asked for was there, and nothing is left.
  bool is_complete() const { return good_ && bytes_.empty(); }

 private:
  std::span<const std::byte> take(std::size_t size) {
    if (!good_ || size > bytes_.size()) {
      good_ = false;
      return {};
    }
    const auto part = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return part;
  }
  std::span<const std::byte> bytes_;
  bool good_ = true;
};

}  // namespace suanli::net
