// One line of JSON Lines: the text of a document in a named field of an object.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/data/decompress.h"

namespace suanli::data {

// Reuses its memory from line to line. One thread.
class JsonLineParser {
 public:
  explicit JsonLineParser(std::string field);
  JsonLineParser(JsonLineParser&&) noexcept;
  ~JsonLineParser();

  // Bytes that must be readable after a line, whatever they hold.
  static constexpr std::size_t kPadding = 64;

  // The field's text, valid until the next call. Errors (their place is for the caller to add):
  // corrupt if `line` is not one valid JSON value, foreign if it is no object with a text in this
  // field.
  Result<std::string_view> text(std::string_view line);

 private:
  struct State;
  std::string field_;
  std::unique_ptr<State> state_;
};

// The lines of a stream, without their ends. Memory: the longest line. One thread.
class LineReader {
 public:
  // A longer line is an error (corrupt), since it must be held whole.
  static constexpr std::size_t kMaxLine = std::size_t{1} << 30;

  LineReader(ByteSource& source, std::string place);

  // Moves to the next line; false at the end.
  Result<bool> next();
  // Followed by JsonLineParser::kPadding readable bytes; valid until next().
  std::string_view line() const { return {buffer_.data() + begin_, length_}; }
  // "file:line", counted from 1.
  std::string place() const;

 private:
  Status fill();
  ByteSource& source_;
  std::string place_;
  std::string buffer_;  // [begin_, end_) is read and not yet passed; then at least kPadding bytes
  std::size_t begin_ = 0, length_ = 0, end_ = 0;
  std::uint64_t number_ = 0;
  bool has_line_ = false, at_end_ = false;
};

}  // namespace suanli::data
