// Quantities with units. A Quantity becomes a plain number only through value(), so that FLOPs are never
// added to bytes. Products and quotients that mean something are listed at the end.
//
//   FlopsPerSecond rate = Flops(3e12) / Seconds(2);   // 1.5 TFLOP/s
//   Seconds left = Flops(1e15) / rate;
#pragma once

#include <compare>
#include <cstdint>

namespace suanli {

template <typename Tag, typename Number>
class Quantity {
 public:
  using number_type = Number;
  constexpr Quantity() = default;
  constexpr explicit Quantity(Number value) : value_(value) {}
  constexpr Number value() const { return value_; }

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity operator-() const { return Quantity(-value_); }
  constexpr Quantity& operator+=(Quantity other) { value_ += other.value_; return *this; }
  constexpr Quantity& operator-=(Quantity other) { value_ -= other.value_; return *this; }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return a += b; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return a -= b; }
  friend constexpr Quantity operator*(Quantity a, Number factor) { return Quantity(a.value_ * factor); }
  friend constexpr Quantity operator*(Number factor, Quantity a) { return Quantity(a.value_ * factor); }
  friend constexpr Quantity operator/(Quantity a, Number divisor) { return Quantity(a.value_ / divisor); }
  // The ratio of two like quantities is a number.
  friend constexpr double operator/(Quantity a, Quantity b) {
    return static_cast<double>(a.value_) / static_cast<double>(b.value_);
  }

 private:
  Number value_{};
};

using Flops = Quantity<struct FlopsTag, double>;  // operations; a 64-bit integer ends at 1.8e19
using Bytes = Quantity<struct BytesTag, std::int64_t>;
using Seconds = Quantity<struct SecondsTag, double>;
using Tokens = Quantity<struct TokensTag, std::int64_t>;
using FlopsPerSecond = Quantity<struct FlopsPerSecondTag, double>;
using BytesPerSecond = Quantity<struct BytesPerSecondTag, double>;
using TokensPerSecond = Quantity<struct TokensPerSecondTag, double>;
using Joules = Quantity<struct JoulesTag, double>;
using Watts = Quantity<struct WattsTag, double>;
using Dollars = Quantity<struct DollarsTag, double>;  // US dollars of an estimate; accounts will count whole micro-units

constexpr FlopsPerSecond operator/(Flops a, Seconds b) { return FlopsPerSecond(a.value() / b.value()); }
constexpr Seconds operator/(Flops a, FlopsPerSecond b) { return Seconds(a.value() / b.value()); }
constexpr Flops operator*(FlopsPerSecond a, Seconds b) { return Flops(a.value() * b.value()); }
constexpr BytesPerSecond operator/(Bytes a, Seconds b) {
  return BytesPerSecond(static_cast<double>(a.value()) / b.value());
}
constexpr Joules operator*(Watts a, Seconds b) { return Joules(a.value() * b.value()); }
constexpr Watts operator/(Joules a, Seconds b) { return Watts(a.value() / b.value()); }
constexpr TokensPerSecond operator/(Tokens a, Seconds b) {
  return TokensPerSecond(static_cast<double>(a.value()) / b.value());
}

}  // namespace suanli
