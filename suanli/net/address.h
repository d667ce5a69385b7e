// Where a peer listens: HOST:PORT, with brackets around an IPv6 host.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli::net {

struct Address {
  std::string host;
  std::uint16_t port = 0;  // 0, for a listener: any free one
  auto operator<=>(const Address&) const = default;
  std::string to_string() const;
  // A host of letters, digits, '.', '-', '_', or in brackets also ':' and '%'; at most 253 bytes.
  static Result<Address> parse(std::string_view text);
};

}  // namespace suanli::net
