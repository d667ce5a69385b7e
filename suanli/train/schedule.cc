#include "suanli/train/schedule.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <numbers>

#include "suanli/base/box_muller.h"

namespace suanli::train {
namespace {

// (1 + cos(pi x)) / 2 = sin^2(q pi / 2) with q = 1 - x, x in [0, 1], within 1e-15. By + - * / alone, which round alike
// everywhere: the cosine of libm differs between CPUs, and the bits of exact arithmetic would with it.
double half_wave(double x) {
  static constexpr std::array<double, 12> kSine = [] {
    constexpr double kQuarterTurn = std::numbers::pi / 2;
    std::array<double, 12> c{kQuarterTurn};  // sin(q pi / 2) = q P(q^2)
    for (std::size_t j = 1; j < c.size(); ++j)
      c[j] = -c[j - 1] * kQuarterTurn * kQuarterTurn / static_cast<double>(2 * j * (2 * j + 1));
    return c;
  }();
  const double q = 1 - x, sine = q * polynomial(kSine, q * q);
  return sine * sine;
}

}  // namespace

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
  const double height = decay == Decay::linear ? 1 - progress : half_wave(progress);
  return lr * (min_ratio + (1 - min_ratio) * height);
}

}  // namespace suanli::train
