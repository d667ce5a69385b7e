// The constants of the functions of exact arithmetic (docs/formats/exact-arithmetic.md, section 2). Every decimal below names
// one f32 exactly.
//
// How the polynomials were found: a weighted least squares fit, in 160-bit arithmetic, of the function at 160 Chebyshev nodes of
// the interval. The weight is what turns an error of the polynomial into a relative error of the result. The lowest coefficient
// is rounded to f32, and the others are fitted again with it fixed, until all are rounded. The errors given are the largest
// relative errors of the result that come from the rounded polynomial alone, at 4,000 points.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace suanli::engine::exact {

inline constexpr float kNan = std::bit_cast<float>(std::uint32_t{0x7FC00000});

// ln 2 = kLn2High + kLn2Low: the high part has 16 bits, so that its product with a whole number below 2^8 is exact.
inline constexpr float kLn2High = 0x1.62e4p-1F;
inline constexpr float kLn2Low = 0x1.7f7d1cp-20F;
inline constexpr float kLog2E = 0x1.715476p+0F;
// 1.5 * 2^23. Added to |x| < 2^22, it leaves x rounded to a whole number in the low bits.
inline constexpr float kRoundingShift = 12582912.0F;
inline constexpr std::uint32_t kRoundingShiftBits = 0x4B400000;

// exp(r) = 1 + r + r^2 P(r), |r| <= ln(2)/2; 2^-28.0.
inline constexpr std::array kExp = {0.499999881F, 0.166665182F, 0.0416696519F, 0.00836894847F, 0.00137450104F};
inline constexpr float kExpLeast = -104;    // exp is 0 below
inline constexpr float kExpLargest = 89;    // exp is infinite above (in fact from 88.73 on)

// log(1 + f) = f - f^2/2 + f^3 P(f), sqrt(1/2) <= 1 + f < sqrt(2); 2^-30.1.
inline constexpr std::array kLog = {0.333333105F, -0.250000149F, 0.200022265F, -0.166677266F, 0.14217563F,
                                    -0.124097466F, 0.119054131F, -0.116551459F, 0.0668415576F};
inline constexpr std::uint32_t kSqrtHalfBits = 0x3F3504F3;  // of the f32 nearest to sqrt(1/2)

// tanh(x) = x + x z P(z), z = x^2, 0 <= x < 0.625; 2^-27.7.
inline constexpr std::array kTanh = {-0.333332807F, 0.133314118F, -0.053737402F, 0.0206321161F, -0.00569772255F};
inline constexpr float kTanhNear = 0.625F;

// erf(x) = x + x P(z), z = x^2, 0 <= x < 1; 2^-29.3.
inline constexpr std::array kErf = {0.128379166F,  -0.37612626F,     0.112835824F,  -0.0268536434F,
                                    0.00518796267F, -0.000800679321F, 7.84228832e-05F};
// 1 - erf(1 + t) = exp(P(t)), 0 <= t <= 3; an error of 2^-27.1 of erf.
inline constexpr std::array kErfc = {-1.84960556F,    -2.63896537F,     -0.84313035F,    -0.0414617173F,
                                     0.00983395986F, -0.00178881921F, 0.000176699672F};
inline constexpr float kErfLargest = 4;  // erf is 1 from here on

// gelu(x) = x / (1 + exp(-x (linear + cubic x^2))): 2 sqrt(2/pi), and that times 0.044715; the last is three times the cubic.
inline constexpr float kGeluLinear = 0x1.988454p+0F;
inline constexpr float kGeluCubic = 0x1.2444f2p-4F;
inline constexpr float kGeluCubicSlope = 0x1.b6676cp-3F;
// Beyond |x| = 9 the slope of gelu is 0 or 1 within 2^-87; below, x^3 stays finite and 1 / (1 + exp) normal.
inline constexpr float kGeluGradLargest = 9;

}  // namespace suanli::engine::exact
