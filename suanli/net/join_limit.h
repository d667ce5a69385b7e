// How often somebody may try a token at the joining door: so many refused attempts from one address and in all, refilled slowly.
// Attempts that are admitted cost nothing, so a hundred machines behind one address join at once.
#pragma once

#include <map>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::net {

struct JoinLimits {
  double burst_per_address = 10, burst_in_all = 200;  // refused attempts in quick succession
  Seconds each_per_address{10}, each_in_all{0.5};     // one more after so long
};

// Pure; one thread. Times are of a clock that never goes backwards.
class JoinLimit {
 public:
  // Addresses that are remembered; beyond it the one that has spent least is forgotten.
  static constexpr std::size_t kMostAddresses = 4096;

  explicit JoinLimit(JoinLimits limits) : limits_(limits) {}

  // Spends an attempt before it is looked at, so that attempts at the same time count. busy: none is left, and when to come back.
  [[nodiscard]] Status spend(const std::string& address, Seconds now);
  // The attempt was admitted.
  void give_back(const std::string& address);
  std::size_t addresses() const { return spent_.size(); }

 private:
  struct Spent {
    double attempts = 0;
    Seconds at{0};
  };
  static void refill(Spent& spent, Seconds each, Seconds now);
  void forget(Seconds now);

  JoinLimits limits_;
  std::map<std::string, Spent> spent_;
  Spent all_;
};

// What addresses count as one: an IPv4 address, or the /64 of an IPv6 address, whose holder has all of it.
std::string join_limit_key(const std::string& host);

}  // namespace suanli::net
