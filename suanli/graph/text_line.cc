#include "suanli/graph/text_line.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/graph/text_form.h"

namespace suanli::graph {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_name_char(char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-' || c == '/'; }
bool is_number_char(char c) { return is_alnum(c) || c == '.' || c == '-' || c == '+'; }

template <typename Predicate>
std::string_view leading(std::string_view text, Predicate predicate) {
  const auto stop = std::find_if_not(text.begin(), text.end(), predicate);
  return text.substr(0, static_cast<std::size_t>(stop - text.begin()));
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// What stands here, for a message: a name or number, or one other character.
std::string token_at(std::string_view text) {
  if (text.empty()) return "the end of the line";
  const std::size_t start = text.front() == '%' ? 1 : 0;
  const std::size_t length = start + leading(text.substr(start), is_name_char).size();
  return "'" + printable(text.substr(0, std::max<std::size_t>(length, 1)), 40) + "'";
}

}  // namespace

void TextLine::skip_spaces() {
  rest_.remove_prefix(leading(rest_, [](char c) { return c == ' ' || c == '\t'; }).size());
}

tl::unexpected<Error> TextLine::error(std::string message) const {
  return fail(ErrorCode::graph, std::move(message),
              std::string(place_) + ":" + std::to_string(number_));
}

void TextLine::set_error(std::string message) {
  if (status_) status_ = error(std::move(message));
}

void TextLine::expected(std::string_view what) {
  set_error("expected " + std::string(what) + ", got " + token_at(rest_));
}

Status TextLine::located(Status inner) const {
  if (inner) return inner;
  return tl::unexpected(
      std::move(inner).error().within(std::string(place_) + ":" + std::to_string(number_)));
}

Status TextLine::end() {
  if (!at_end()) expected("the end of the line");
  return status_;
}

bool TextLine::at_end() {
  skip_spaces();
  return rest_.empty();
}

char TextLine::next() {
  skip_spaces();
  return rest_.empty() ? '\0' : rest_.front();
}

bool TextLine::accept(std::string_view token) {
  if (!status_) return false;
  skip_spaces();
  if (!rest_.starts_with(token)) return false;
  // A word must end where it ends: "blocks" is not "block".
  if (is_name_char(token.back()) && rest_.size() > token.size() &&
      is_name_char(rest_[token.size()]))
    return false;
  rest_.remove_prefix(token.size());
  return true;
}

void TextLine::expect(std::string_view token) {
  if (!accept(token)) expected("'" + std::string(token) + "'");
}

std::string_view TextLine::name(std::string_view what) {
  if (!status_) return {};
  skip_spaces();
  const std::string_view found = leading(rest_, is_name_char);
  if (found.empty()) expected(what);
  rest_.remove_prefix(found.size());
  return found;
}

std::int64_t TextLine::integer(std::string_view what) {
  if (!status_) return 0;
  skip_spaces();
  std::int64_t value = 0;
  const auto [stop, code] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
  if (code != std::errc{}) {
    expected(what);
    return 0;
  }
  rest_.remove_prefix(static_cast<std::size_t>(stop - rest_.data()));
  return value;
}

NodeId TextLine::reference() {
  if (!status_) return kNoNode;
  if (next() != '%' || rest_.size() < 2 || !is_digit(rest_[1])) {
    expected("a node such as %0");
    return kNoNode;
  }
  const std::string token = token_at(rest_);
  rest_.remove_prefix(1);
  const std::int64_t id = integer("a node's number");
  if (id >= kMaxTextNodes)
    set_error(token + " is past the " + std::to_string(kMaxTextNodes) + " nodes a graph may have");
  return status_ ? static_cast<NodeId>(id) : kNoNode;
}

AttrValue TextLine::value() {
  if (!status_) return std::int64_t{0};
  if (next() == '"') return quoted();
  if (next() == '[') return list();
  return number();
}

AttrValue TextLine::number() {
  const std::string_view token = leading(rest_, is_number_char);
  const char* end = token.data() + token.size();
  std::int64_t integer = 0;
  const auto whole = std::from_chars(token.data(), end, integer);
  double real = 0;
  const auto broken = std::from_chars(token.data(), end, real);
  const bool is_integer = whole.ptr == end && whole.ec == std::errc{};
  const bool is_real = broken.ptr == end && broken.ec == std::errc{} &&
                       token.find_first_of(".eEn") != std::string_view::npos;
  if (token.empty() || (!is_integer && !is_real)) {
    expected("a value (1, 1.0, [1, 2] or \"word\")");
    return std::int64_t{0};
  }
  rest_.remove_prefix(token.size());
  return is_integer ? AttrValue(integer) : AttrValue(real);
}

std::vector<std::int64_t> TextLine::list() {
  std::vector<std::int64_t> values;
  expect("[");
  if (accept("]")) return values;
  do {
    values.push_back(integer("an integer"));
    if (values.size() > kMaxTextList)
      set_error("a list has more than " + std::to_string(kMaxTextList) + " numbers");
  } while (accept(","));
  expect("]");
  return values;
}

std::string TextLine::quoted() {
  std::string word;
  std::size_t at = 1;
  for (; at < rest_.size() && rest_[at] != '"'; ++at) {
    if (rest_[at] != '\\') {
      word += rest_[at];
      continue;
    }
    const std::string_view escape = rest_.substr(at, 4);
    if (escape.size() >= 2 && (escape[1] == '"' || escape[1] == '\\')) {
      word += escape[1];
      at += 1;
    } else if (escape.size() == 4 && escape[1] == 'x' && hex_digit(escape[2]) >= 0 &&
               hex_digit(escape[3]) >= 0) {
      word += static_cast<char>(hex_digit(escape[2]) * 16 + hex_digit(escape[3]));
      at += 3;
    } else {
      set_error("'" + printable(escape) +
                "' is not an escape (\\\", \\\\ or \\x and two of 0-9a-f)");
      return {};
    }
  }
  if (at >= rest_.size()) {
    set_error("the word " + printable(rest_, 40) + " has no closing quote");
    return {};
  }
  rest_.remove_prefix(at + 1);
  return word;
}

TensorType TextLine::type() {
  const std::string_view dtype_name = name("a type such as f32[4x8]");
  if (!status_) return {};
  const std::optional<DType> dtype = dtype_from_name(dtype_name);
  if (!dtype) {
    set_error("'" + printable(dtype_name) + "' is not an element type (f32, bf16, i32, i64, u8)");
    return {};
  }
  TensorType type{*dtype, {}};
  expect("[");
  if (accept("]")) return type;
  do {
    type.shape.push_back(integer("a dimension"));
    if (status_ && !is_valid(type.shape))
      set_error("the shape " + to_string(type.shape) +
                " has a negative dimension, more than 8, or too many elements");
    // Not accept(): the digits of the next dimension follow at once.
  } while (status_ && rest_.starts_with('x') && (rest_.remove_prefix(1), true));
  expect("]");
  return type;
}

}  // namespace suanli::graph
