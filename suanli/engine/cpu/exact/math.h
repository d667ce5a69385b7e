// The elementwise functions of exact arithmetic, one number at a time: the reference that the vectors of math-inl.h are held to,
// bit for bit (docs/formats/exact-arithmetic.md, section 2, where every step is written down).
//
// Each takes any f32 and is right at NaN, infinities, zeros of both signs and subnormals; a result that is not a number is
// 0x7FC00000. The errors given are the largest in units of the last place of the result; section 2 says over which arguments
// each was measured.
// Thread rule: pure functions.
#pragma once

#include "suanli/engine/cpu/exact/math_coefficients.h"

namespace suanli::engine::exact {

// x, or 0x7FC00000 if x is not a number.
inline float canonical(float x) { return x != x ? kNan : x; }

float exp(float x);    // 0.98
float log(float x);    // 0.82
float tanh(float x);   // 1.33
float erf(float x);    // 1.27
float rsqrt(float x);  // 1.50; 1 / sqrt(x), each rounded; -infinity at -0
// x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016, section 2, the tanh form). Not a number at
// -infinity. 1.90 from 0 up, 2.57 from -1 to 0; within 1.2e-7 max(1, |x|) everywhere.
float gelu(float x);
// dy times the slope of gelu at x, which is within 2.2e-7.
float gelu_grad(float x, float dy);

}  // namespace suanli::engine::exact
