#include "suanli/data/jsonl.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "suanli/base/text.h"

namespace suanli::data {
namespace {

constexpr std::size_t kFillBytes = 1 << 20;

std::string_view kind_of(simdjson::dom::element_type type) {
  using simdjson::dom::element_type;
  switch (type) {
    case element_type::ARRAY:
      return "a list";
    case element_type::OBJECT:
      return "an object";
    case element_type::STRING:
      return "a text";
    case element_type::BOOL:
      return "true or false";
    case element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

}  // namespace

static_assert(JsonLineParser::kPadding >= simdjson::SIMDJSON_PADDING);

struct JsonLineParser::State {
  simdjson::dom::parser parser;
};

JsonLineParser::JsonLineParser(std::string field)
    : field_(std::move(field)), state_(std::make_unique<State>()) {}
JsonLineParser::JsonLineParser(JsonLineParser&&) noexcept = default;
JsonLineParser::~JsonLineParser() = default;

Result<std::string_view> JsonLineParser::text(std::string_view line) {
  if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // a byte order mark
  simdjson::dom::element value;
  // The document parser, not the on-demand one: it validates the whole line.
  auto error =
      state_->parser.parse(line.data(), line.size(), /*realloc_if_needed=*/false).get(value);
  if (error != simdjson::SUCCESS) {
    return fail(ErrorCode::corrupt,
                std::string("this line is not valid JSON (") + simdjson::error_message(error) +
                    "): '" + printable(line) + "'",
                {}, "mend or remove the line");
  }
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    return fail(ErrorCode::foreign,
                "this line holds " + std::string(kind_of(value.type())) + ", not an object: '" +
                    printable(line) + "'",
                {}, "write one JSON object per line");
  }
  simdjson::dom::element member;
  if (object.at_key(field_).get(member) != simdjson::SUCCESS) {
    std::string keys;
    for (const auto& pair : object) keys += (keys.empty() ? "" : ", ") + printable(pair.key, 30);
    return fail(ErrorCode::foreign,
                "this line has no field '" + field_ + "', its fields are: " + printable(keys, 200),
                {}, "name the field that holds the text");
  }
  std::string_view text;
  if (member.get(text) != simdjson::SUCCESS) {
    return fail(
        ErrorCode::foreign,
        "the field '" + field_ + "' holds " + std::string(kind_of(member.type())) + ", not a text",
        {}, "name the field that holds the text, or mend the line");
  }
  return text;
}

LineReader::LineReader(ByteSource& source, std::string place)
    : source_(source),
      place_(std::move(place)),
      buffer_(kFillBytes + JsonLineParser::kPadding, '\0') {}

std::string LineReader::place() const { return place_ + ":" + std::to_string(number_); }

Status LineReader::fill() {
  // Pass what was read to the front, then double the buffer if a single line fills it.
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ + JsonLineParser::kPadding == buffer_.size()) {
    if (end_ >= kMaxLine) {
      return fail(ErrorCode::corrupt,
                  "the line is longer than " + std::to_string(kMaxLine) + " bytes", place(),
                  "write one JSON object per line");
    }
    buffer_.resize(2 * end_ + JsonLineParser::kPadding);
  }
  const auto room = std::as_writable_bytes(std::span(buffer_))
                        .subspan(end_, buffer_.size() - JsonLineParser::kPadding - end_);
  SUANLI_ASSIGN_OR_RETURN(const std::size_t count, source_.read(room));
  end_ += count;
  at_end_ = count == 0;
  return {};
}

Result<bool> LineReader::next() {
  if (has_line_) begin_ = std::min(begin_ + length_ + 1, end_);
  ++number_;
  has_line_ = true;
  std::size_t searched = 0;  // no newline among the first `searched` bytes
  while (true) {
    const char* start = buffer_.data() + begin_;
    const void* newline = end_ - begin_ == searched
                              ? nullptr
                              : std::memchr(start + searched, '\n', end_ - begin_ - searched);
    if (newline != nullptr) {
      length_ = static_cast<std::size_t>(static_cast<const char*>(newline) - start);
      return true;
    }
    searched = end_ - begin_;
    if (at_end_) {
      length_ = searched;
      return length_ > 0;
    }
    SUANLI_RETURN_IF_ERROR(fill());
  }
}

}  // namespace suanli::data
