#include "suanli/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace suanli::train {

std::optional<Decay> decay_from_name(std::string_view name) {
  if (name == "cosine") return Decay::cosine;
  if (name == "linear") return Decay::linear;
  if (name == "constant") return Decay::constant;
  return std::nullopt;
}

double Schedule::at(std::int64_t step) const {
  if (step < warmup_steps)
    return lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (decay == Decay::constant) return lr;
  // 0 in the first step after the warm-up's last, 1 in the run's last.
  const auto span = static_cast<double>(std::max<std::int64_t>(1, steps - warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps + 1) / span);
  const double height =
      decay == Decay::linear ? 1 - progress : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return lr * (min_ratio + (1 - min_ratio) * height);
}

}  // namespace suanli::train
