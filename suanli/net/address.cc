#include "suanli/net/address.h"

#include <algorithm>
#include <charconv>

#include "suanli/base/text.h"

namespace suanli::net {
namespace {

constexpr std::size_t kMostHostBytes = 253;  // of a name in the DNS

bool is_host_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
}

}  // namespace

std::string Address::to_string() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> Address::parse(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorCode::usage, "'" + printable(text) + "' is no address", "address",
                "write HOST:PORT, such as 10.0.0.1:7000, example.org:7000 or [::1]:7000");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  const bool good = !host.empty() && host.size() <= kMostHostBytes && std::ranges::all_of(host, [&](char c) {
    return is_host_character(c) || (brackets && (c == ':' || c == '%'));
  });
  // Brackets mark an address with colons; around anything else they would not come back.
  if (!good || brackets != (host.find(':') != std::string_view::npos)) return wrong();
  Address address{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) return wrong();
  return address;
}

}  // namespace suanli::net
