// Any text is refused without being repeated, or is a token whose text form is that text.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/net/join_token.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto token = JoinToken::parse(text)) {
    const auto again = JoinToken::parse(token->to_string());
    SUANLI_CHECK(again && again->secret == token->secret && again->address == token->address && again->expires == token->expires);
  } else {
    SUANLI_CHECK(token.error().code == suanli::ErrorCode::usage && !token.error().next_step.empty());
    SUANLI_CHECK(size < 12 || token.error().to_string().find(text) == std::string::npos);
  }
  if (const auto address = Address::parse(text)) SUANLI_CHECK(Address::parse(address->to_string()).value() == *address);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  const std::string head = "suanli1-0123456789abcdef-0123456789abcdef0123456789abcdef-" + std::string(64, 'a');
  return {head + "-1800000000@10.0.0.1:7000", head + "-0@[fe80::1%eth0]:65535", "example.org:7000", "[::1]:0"};
}
