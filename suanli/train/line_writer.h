// One JSON object as a line of text, written straight into a string: a tenth of what a general JSON library takes, which between
// short steps is worth having. Keys are ours and need no escaping; strings are not written here.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace suanli::train {

class LineWriter {
 public:
  // An object of this kind.
  explicit LineWriter(std::string_view kind) {
    text_.reserve(1024);
    ((text_ += "{\"kind\":\"") += kind) += '"';
  }

  void add(std::string_view key, std::int64_t value) {
    begin(key);
    std::array<char, 24> digits;
    append(digits, std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
  }
  // In as many digits as read back as the same number; what is not finite becomes null.
  void add(std::string_view key, double value) {
    begin(key);
    if (!std::isfinite(value)) {
      text_ += "null";
      return;
    }
    std::array<char, 32> digits;
    append(digits, std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
  }
  void add_null(std::string_view key) {
    begin(key);
    text_ += "null";
  }
  // A name of ours.
  void add_name(std::string_view key, std::string_view name) {
    begin(key);
    ((text_ += '"') += name) += '"';
  }
  void open(std::string_view key) {
    begin(key);
    text_ += '{';
    is_first_ = true;
  }
  void close() {
    text_ += '}';
    is_first_ = false;
  }

  // The whole object.
  std::string finish() {
    close();
    return std::move(text_);
  }

 private:
  void begin(std::string_view key) {
    if (!is_first_) text_ += ',';
    is_first_ = false;
    ((text_ += '"') += key) += "\":";
  }
  template <std::size_t size>
  void append(const std::array<char, size>& digits, const char* end) {
    text_.append(digits.data(), end);
  }

  std::string text_;
  bool is_first_ = false;  // of the innermost object
};

}  // namespace suanli::train
