// The learning rate of a step: a pure function, so that a resumed run continues exactly, with the same bits on every machine
// (docs/formats/exact-arithmetic.md, section 4).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace suanli::train {

enum class Decay : std::uint8_t { cosine, linear, constant };
std::optional<Decay> decay_from_name(std::string_view name);

struct Schedule {
  double lr = 1e-3;        // at the end of the warm-up
  double min_ratio = 0.1;  // at the end of the run, as a fraction of lr
  std::int64_t warmup_steps = 100;
  std::int64_t steps = 1000;  // of the run
  Decay decay = Decay::cosine;

  // Of step 0, 1, ...: rises linearly and reaches lr in step warmup_steps - 1; then falls to
  // min_ratio * lr in step steps - 1 (cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, without
  // restarts). Steps beyond keep the last value.
  double at(std::int64_t step) const;
};

}  // namespace suanli::train
