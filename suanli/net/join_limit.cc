#include "suanli/net/join_limit.h"

#include <algorithm>
#include <asio/ip/address.hpp>

#include "suanli/base/text.h"

namespace suanli::net {
namespace {

tl::unexpected<Error> refused(const std::string& whose, Seconds wait) {
  return fail(ErrorCode::busy, "too many attempts to join " + whose + " were refused", "join",
              "check the token, and try again in " + format_duration(std::max(wait, Seconds(1))));
}

}  // namespace

void JoinLimit::refill(Spent& spent, Seconds each, Seconds now) {
  spent.attempts = std::max(0.0, spent.attempts - (now - spent.at) / each);
  spent.at = now;
}

void JoinLimit::forget(Seconds now) {
  for (auto each = spent_.begin(); each != spent_.end();) {
    refill(each->second, limits_.each_per_address, now);
    each = each->second.attempts <= 0 ? spent_.erase(each) : std::next(each);
  }
  if (spent_.size() < kMostAddresses) return;
  spent_.erase(std::ranges::min_element(spent_, {}, [](const auto& each) { return each.second.attempts; }));
}

Status JoinLimit::spend(const std::string& address, Seconds now) {
  refill(all_, limits_.each_in_all, now);
  if (all_.attempts + 1 > limits_.burst_in_all)
    return refused("this pool", limits_.each_in_all * (all_.attempts + 1 - limits_.burst_in_all));
  if (!spent_.contains(address) && spent_.size() >= kMostAddresses) forget(now);
  Spent& own = spent_.try_emplace(address, Spent{0, now}).first->second;
  refill(own, limits_.each_per_address, now);
  if (own.attempts + 1 > limits_.burst_per_address)
    return refused("from " + address, limits_.each_per_address * (own.attempts + 1 - limits_.burst_per_address));
  own.attempts += 1;
  all_.attempts += 1;
  return {};
}

void JoinLimit::give_back(const std::string& address) {
  all_.attempts = std::max(0.0, all_.attempts - 1);
  if (const auto own = spent_.find(address); own != spent_.end()) own->second.attempts = std::max(0.0, own->second.attempts - 1);
}

std::string join_limit_key(const std::string& host) {
  asio::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error || address.is_v4()) return host;
  const auto bytes = address.to_v6();
  if (bytes.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, bytes).to_string();
  auto network = bytes.to_bytes();
  std::fill(network.begin() + 8, network.end(), static_cast<unsigned char>(0));
  return asio::ip::address_v6(network).to_string() + "/64";
}

}  // namespace suanli::net
