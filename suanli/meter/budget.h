// A limit on the operations a run may use. It is never overrun: work starts only if it fits as a
// whole.
#pragma once

#include <cstdint>

#include "suanli/base/units.h"

namespace suanli::meter {

class Budget {
 public:
  // 0: no limit.
  explicit Budget(Flops limit = Flops(0)) : limit_(limit) {}

  bool limited() const { return limit_.value() > 0; }
  Flops limit() const { return limit_; }
  // May work of this size start when `used` is spent?
  bool may_start(Flops work, Flops used) const;
  // What is left, at least 0. Only of a limited budget.
  Flops left(Flops used) const;
  // How many pieces of work of this size fit into what is left. Only of a limited budget.
  std::int64_t fits(Flops work, Flops used) const;

 private:
  Flops limit_;
};

}  // namespace suanli::meter
