// The definition, in plain C++: what the other instruction sets are held to.
#include <bit>

#include "suanli/engine/cpu/exact/product_panels.h"

namespace suanli::engine::exact {
namespace {

// T / (sA sB), rounded once; a poisoned row's inverse is not a number. All of it but the last step is without rounding.
inline float value_of(std::int64_t t, double a_inverse, double b_inverse) {
  return static_cast<float>(static_cast<double>(t) * a_inverse * b_inverse);
}

inline void put(float value, bool add, float& c) {
  const float sum = (add ? c : 0.0F) + value;
  c = sum == sum ? sum : std::bit_cast<float>(0x7FC00000U);
}

// The digits of one panel's rows, k after k.
struct Digits {
  std::int16_t high[kPanel][kLongestBlock];
  std::int16_t low[kPanel][kLongestBlock];
};
void digits_of(const std::int16_t* v, std::int64_t rows, std::int64_t length, Digits& digits) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t k = 0; k < length; ++k) {
      digits.high[r][k] = static_cast<std::int16_t>(high_digit(v[r * length + k]));
      digits.low[r][k] = static_cast<std::int16_t>(low_digit(v[r * length + k]));
    }
}

std::int32_t dot(const std::int16_t* x, const std::int16_t* y, std::int64_t length) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < length; ++k) sum += x[k] * y[k];
  return sum;
}

}  // namespace

void multiply_panels_scalar(const PanelProduct& p) {
  Digits a, b;
  digits_of(reinterpret_cast<const std::int16_t*>(p.a), p.rows, p.length, a);
  digits_of(reinterpret_cast<const std::int16_t*>(p.b), p.columns, p.length, b);
  for (std::int64_t i = 0; i < p.rows; ++i)
    for (std::int64_t j = 0; j < p.columns; ++j) {
      const std::int64_t high = dot(a.high[i], b.high[j], p.length);
      const std::int64_t cross = dot(a.high[i], b.low[j], p.length) + dot(a.low[i], b.high[j], p.length);
      std::int64_t t = (high << 14) + (cross << 7);
      if (p.terms == 4) t += dot(a.low[i], b.low[j], p.length);
      put(value_of(t, p.a_scales->inverse[i], p.b_scales->inverse[j]), p.add, p.c[i * p.stride + j]);
    }
}

}  // namespace suanli::engine::exact
