// Small text tools that every message to a person needs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli {

// The candidate with the least edit distance (Damerau-Levenshtein), if near enough to be a typing error.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string> candidates);

// ", did you mean 'x'?" or "".
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

// "50G" -> 5e10; suffixes K M G T P E (powers of 1000), none = 1; "Ki Mi Gi Ti" (powers of 1024). No sign, no exponent
// overflow, nothing after the suffix. `what` names the value in the error.
[[nodiscard]] Result<double> parse_scaled(std::string_view text, std::string_view what);

// "3m", "1.5h", "90", "2d" -> seconds.
[[nodiscard]] Result<Seconds> parse_duration(std::string_view text, std::string_view what);

std::string format_si(double value, std::string_view unit);  // 1.53e12, "FLOP/s" -> "1.53 TFLOP/s"
std::string format_flops(Flops flops);                       // "262 GFLOP"
std::string format_bytes(Bytes bytes);                       // "1.50 GiB"
std::string format_duration(Seconds duration);               // "2 min 05 s", "340 ms", "3 h 12 min"
std::string format_count(std::int64_t count);                // "10,788,864"

// printf into a string.
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

// What a person may see of untrusted bytes: control characters and invalid UTF-8 escaped, cut at `limit` characters.
std::string printable(std::string_view bytes, std::size_t limit = 80);

}  // namespace suanli
