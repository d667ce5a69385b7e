#include "suanli/meter/budget.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/error.h"

namespace suanli::meter {

bool Budget::may_start(Flops work, Flops used) const { return !limited() || used + work <= limit_; }

Flops Budget::left(Flops used) const {
  SUANLI_CHECK(limited());
  return std::max(Flops(0), limit_ - used);
}

std::int64_t Budget::fits(Flops work, Flops used) const {
  SUANLI_CHECK(work.value() > 0);
  constexpr double kMost = 1e18;  // converts to an integer without overflow
  return static_cast<std::int64_t>(std::min(kMost, std::floor(left(used) / work)));
}

}  // namespace suanli::meter
