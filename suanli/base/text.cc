#include "suanli/base/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <utility>
#include <vector>

namespace suanli {
namespace {

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment:
// Damerau-Levenshtein in which no swapped pair is edited again).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last = std::exchange(last, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, changed});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

struct Unit {
  std::string_view suffix;
  double factor;
};

// `text` = an unsigned decimal number and one of the suffixes; nothing else.
std::optional<double> parse_with_unit(std::string_view text, std::span<const Unit> units) {
  const char* end = text.data() + text.size();
  double number = 0;
  if (text.empty() || !(text[0] == '.' || (text[0] >= '0' && text[0] <= '9'))) return std::nullopt;
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc()) return std::nullopt;
  const std::string_view suffix(parsed.ptr, static_cast<std::size_t>(end - parsed.ptr));
  for (const Unit& unit : units) {
    const double value = number * unit.factor;
    if (suffix == unit.suffix && std::isfinite(value)) return value;
  }
  return std::nullopt;
}

// Three significant digits without a decimal exponent, for 0 <= value < 10,000.
std::string three_digits(double value) {
  if (value < 9.995) return format("%.2f", value);
  if (value < 99.95) return format("%.1f", value);
  return format("%.0f", value);
}

// Divides by `base` until three digits suffice; `limit` is where the next prefix begins after
// rounding.
int scale(double& value, double base, double limit, int prefixes) {
  int prefix = 0;
  while (value >= limit && prefix + 1 < prefixes) {
    value /= base;
    ++prefix;
  }
  return prefix;
}

constexpr std::uint32_t kInvalid = 0xFFFFFFFF;

// The code point at the start of `bytes`, and how many bytes it takes; kInvalid and 1 if they are
// not UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
std::uint32_t decode_utf8(std::string_view bytes, std::size_t& length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const std::uint32_t first = byte(0);
  length = 1;
  if (first < 0x80) return first;
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || bytes.size() < size) return kInvalid;
  std::uint32_t code = first & (0x7Fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return kInvalid;
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::uint32_t kSmallest[] = {0x80, 0x800, 0x10000};
  if (code < kSmallest[size - 2] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    return kInvalid;
  }
  length = size;
  return code;
}

// Controls, and what would reorder or hide the text around it (bidirectional marks, zero widths,
// line separators).
bool is_unprintable(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
         code == 0x061C || code == 0xFEFF || code == kInvalid;
}

std::string escaped(std::string_view bytes) {
  if (bytes == "\n") return "\\n";
  if (bytes == "\t") return "\\t";
  if (bytes == "\r") return "\\r";
  std::string text;
  for (char c : bytes) text += format("\\x%02x", static_cast<unsigned char>(c));
  return text;
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr std::size_t kLongest =
      256;  // nobody types such a name; bounds the work on hostile input
  std::optional<std::string> best;
  std::size_t best_distance = kLongest;
  for (const std::string& candidate : candidates) {
    const std::size_t longer = std::max(word.size(), candidate.size());
    if (longer > kLongest) continue;
    const std::size_t allowed = std::max<std::size_t>(1, longer / 3);
    const std::size_t distance = edit_distance(word, candidate);
    if (distance > allowed || distance >= longer || distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> candidates) {
  const auto candidate = nearest(word, candidates);
  return candidate ? ", did you mean '" + *candidate + "'?" : "";
}

Result<double> parse_scaled(std::string_view text, std::string_view what) {
  static constexpr Unit kUnits[] = {
      {"", 1},     {"K", 1e3},  {"k", 1e3},     {"M", 1e6},     {"G", 1e9},     {"T", 1e12},
      {"P", 1e15}, {"E", 1e18}, {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}, {"Ti", 0x1p40},
  };
  if (const auto value = parse_with_unit(text, kUnits)) return *value;
  return fail(
      ErrorCode::usage, "'" + printable(text) + "' is not a number with an optional suffix",
      std::string(what),
      "write for example 50G or 1.5T (K M G T P E are powers of 1000, Ki Mi Gi Ti of 1024)");
}

Result<Seconds> parse_duration(std::string_view text, std::string_view what) {
  static constexpr Unit kUnits[] = {
      {"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400},
  };
  if (const auto value = parse_with_unit(text, kUnits)) return Seconds(*value);
  return fail(ErrorCode::usage, "'" + printable(text) + "' is not a duration", std::string(what),
              "write for example 90 (seconds), 3m, 1.5h or 2d");
}

std::string format_si(double value, std::string_view unit) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z", "Y"};
  const std::string name(unit);
  if (!std::isfinite(value)) return format("%g ", value) + name;
  if (value < 0) return "-" + format_si(-value, unit);
  const int prefix = scale(value, 1000, 999.5, std::size(kPrefixes));
  if (value >= 999.5) return format("%.2e ", value) + kPrefixes[prefix] + name;
  const bool whole = prefix == 0 && value == std::floor(value);
  return (whole ? format("%.0f", value) : three_digits(value)) + " " + kPrefixes[prefix] + name;
}

std::string format_flops(Flops flops) { return format_si(flops.value(), "FLOP"); }

std::string format_bytes(Bytes bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const std::string sign = bytes < Bytes(0) ? "-" : "";
  double value = std::abs(static_cast<double>(bytes.value()));
  const int unit = scale(value, 1024, 1023.5, std::size(kUnits));
  return sign + (unit == 0 ? format("%.0f", value) : three_digits(value)) + " " + kUnits[unit];
}

std::string format_duration(Seconds duration) {
  const double seconds = duration.value();
  if (!std::isfinite(seconds)) return "unknown";
  if (seconds < 0) return "-" + format_duration(-duration);
  if (seconds == 0) return "0 s";
  if (seconds < 0.9995e-3) return three_digits(seconds * 1e6) + " us";
  if (seconds < 0.9995) return three_digits(seconds * 1e3) + " ms";
  if (seconds < 59.95) return three_digits(seconds) + " s";
  if (seconds >= 1e15) return format("%.2e d", seconds / 86400);
  const std::int64_t whole = std::llround(seconds);
  if (whole < 3600) return format("%d min %02d s", int(whole / 60), int(whole % 60));
  const std::int64_t minutes = std::llround(seconds / 60);
  if (minutes < 24 * 60) return format("%d h %02d min", int(minutes / 60), int(minutes % 60));
  const std::int64_t hours = std::llround(seconds / 3600);
  return format("%lld d %02d h", static_cast<long long>(hours / 24), int(hours % 24));
}

std::string format_count(std::int64_t count) {
  std::string text = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t at = text.size(); at > first + 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string format(const char* pattern, ...) {
  va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, pattern, arguments);
  va_end(arguments);
  std::string text(static_cast<std::size_t>(std::max(length, 0)), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string printable(std::string_view bytes, std::size_t limit) {
  std::string text;
  std::size_t width = 0;
  while (!bytes.empty()) {
    std::size_t length;
    const std::uint32_t code = decode_utf8(bytes, length);
    const std::string_view character = bytes.substr(0, length);
    std::string shown(character);
    if (is_unprintable(code)) shown = escaped(character);
    if (code == '\\') shown = "\\\\";
    const std::size_t columns = shown == character ? 1 : shown.size();
    if (width + columns > limit) return text + "...";
    text += shown;
    width += columns;
    bytes.remove_prefix(length);
  }
  return text;
}

}  // namespace suanli
