// The text tools that see untrusted bytes: printable() must give printable UTF-8 within its limit,
// the parsers finite numbers or an error that can itself be shown.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/base/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string shown = suanli::printable(text, 100);
  SUANLI_CHECK(shown.size() <= 4 * 100 + 3);
  for (char c : shown) SUANLI_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  if (const auto scaled = suanli::parse_scaled(text, "input")) {
    SUANLI_CHECK(std::isfinite(*scaled) && *scaled >= 0);
  } else {
    SUANLI_CHECK(!scaled.error().to_string().empty());
  }
  if (const auto duration = suanli::parse_duration(text, "input")) {
    SUANLI_CHECK(std::isfinite(duration->value()) && duration->value() >= 0);
    SUANLI_CHECK(!suanli::format_duration(*duration).empty());
  }
  if (const auto digest = suanli::Digest::from_hex(text)) SUANLI_CHECK(digest->hex() == text);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {"50G",
          "1.5e3Ti",
          "250ms",
          "1.5h",
          suanli::sha256("seed").hex(),
          "plain\n\t\x1b[31m \xe7\xae\x97\xe5\x8a\x9b \xf0\x9f\x98\x80 \xe2\x80\xae \xed\xa0\x80"};
}
