#include "suanli/net/join_token.h"

#include <algorithm>
#include <charconv>

#include "suanli/base/text.h"

namespace suanli::net {
namespace {

constexpr std::string_view kPrefix = "suanli1";
constexpr std::size_t kIdDigits = 16, kSecretDigits = 32;
constexpr std::int64_t kLatest = 253'402'300'799;  // the end of the year 9999, the last that X.509 can say

tl::unexpected<Error> wrong(const std::string& what) {
  return fail(ErrorCode::usage, "this is no join token: " + what, "token", "copy it whole, as `suanli pool` printed it");
}

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Up to the next `separator`, which is taken off too; nothing if there is none.
std::string_view take(std::string_view& text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return {};
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at + 1);
  return part;
}

}  // namespace

std::string JoinToken::to_string() const {
  return std::string(kPrefix) + "-" + id + "-" + secret + "-" + authority.hex() + "-" + std::to_string(expires.value()) + "@" +
         address.to_string();
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
  if (take(text, '-') != kPrefix) return wrong("it does not begin with '" + std::string(kPrefix) + "-'");
  JoinToken token;
  token.id = take(text, '-');
  token.secret = take(text, '-');
  if (!is_hex(token.id, kIdDigits) || !is_hex(token.secret, kSecretDigits)) return wrong("its id or secret is damaged");
  const auto fingerprint = Digest::from_hex(take(text, '-'));
  if (!fingerprint) return wrong("its fingerprint is damaged");
  token.authority = *fingerprint;
  const std::string_view expires = take(text, '@');
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(expires.data(), expires.data() + expires.size(), seconds);
  if (expires.empty() || error != std::errc() || end != expires.data() + expires.size() || seconds < 0 || seconds > kLatest ||
      std::to_string(seconds) != expires)
    return wrong("its expiry is damaged");
  token.expires = WallTime(seconds);
  auto address = Address::parse(text);
  if (!address) return wrong("its address is damaged");
  token.address = *std::move(address);
  return token;
}

Status check_token(const JoinToken& token, const Digest& fingerprint, WallTime now) {
  if (fingerprint != token.authority) {
    return fail(ErrorCode::unauthorised,
                "the pool that answers has the authority " + fingerprint.hex().substr(0, 16) + "..., but the token was made by " +
                    token.authority.hex().substr(0, 16) + "...",
                token.address.to_string(), "ask the pool's operator for a new token; do not join this one");
  }
  if (now > token.expires) {
    return fail(ErrorCode::unauthorised,
                "the token expired at " + net::to_string(token.expires) + "; on this machine it is " + net::to_string(now),
                token.address.to_string(), "ask the pool's operator for a new token, or set the clock if it is wrong");
  }
  return {};
}

}  // namespace suanli::net
