// A standard normal number from two uniform ones: sqrt(-2 ln u) cos(2 pi v) (Box and Muller, "A
// note on the generation of random normal deviates", 1958), within 1e-13 of the formula,
// relatively.
//
// Computed in float64 by correctly rounded +, -, *, / and sqrt alone, in the order written here and
// never contracted, so that every machine and every vector length gives the same bits; libm's log
// and cos differ between machines. Code that computes many at once follows these steps with these
// constants.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace suanli {

struct BoxMuller {
  // u = 2^-n m with m in [sqrt(1/2), sqrt(2)). Then -2 ln u = n 2 ln 2 - s P(s^2) with s = (m - 1)
  // / (m + 1) and P(z) = 4 atanh(s) / s = sum of 4 / (2k + 1) z^k.
  static constexpr std::uint64_t kSqrtHalf =
      0x3FE6A09E667F3BCD;  // bits of the float64 above sqrt(1/2)
  static constexpr double kTwoLn2 = 2 * std::numbers::ln2;
  static constexpr std::array<double, 8> kLog = [] {
    std::array<double, 8> p{};
    for (std::size_t k = 0; k < p.size(); ++k) p[k] = 4.0 / static_cast<double>(2 * k + 1);
    return p;
  }();
  // cos(2 pi v) = sin(2 pi a) = a Q(a^2), a = |v - 1/2| - 1/4 in [-1/4, 1/4], which is exact;
  // Q(z) = sum of (-1)^k (2 pi)^(2k+1) / (2k+1)! z^k.
  static constexpr std::array<double, 9> kSine = [] {
    constexpr double kTurn = 2 * std::numbers::pi;
    std::array<double, 9> q{kTurn};
    for (std::size_t k = 1; k < q.size(); ++k)
      q[k] = -q[k - 1] * kTurn * kTurn / static_cast<double>(2 * k * (2 * k + 1));
    return q;
  }();
};

// By Horner's rule, the highest power first.
template <std::size_t kTerms>
constexpr double polynomial(const std::array<double, kTerms>& coefficients, double z) {
  double sum = coefficients[kTerms - 1];
  for (std::size_t k = kTerms - 1; k-- > 0;) sum = sum * z + coefficients[k];
  return sum;
}

// u in [2^-53, 1], v in [0, 1), both multiples of 2^-53.
inline double box_muller(double u, double v) {
  const auto bits = std::bit_cast<std::uint64_t>(u);
  // Counted from 64 so that nothing is negative: 64 - n = (exponent of u over that of sqrt(1/2))
  // + 64.
  const std::uint64_t exponent = (bits - BoxMuller::kSqrtHalf + (std::uint64_t{64} << 52)) >> 52;
  const double m = std::bit_cast<double>(bits + ((64 - exponent) << 52));
  const double n = 64.0 - static_cast<double>(exponent);
  const double s = (m - 1) / (m + 1);
  const double squared_radius = n * BoxMuller::kTwoLn2 - s * polynomial(BoxMuller::kLog, s * s);
  const double a = std::abs(v - 0.5) - 0.25;
  return std::sqrt(squared_radius) * (a * polynomial(BoxMuller::kSine, a * a));
}

}  // namespace suanli
