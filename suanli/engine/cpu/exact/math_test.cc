// The functions of exact arithmetic: their values at the edges, their errors, and the vectors against the reference, bit for bit,
// on every instruction set that runs here.
#include "suanli/engine/cpu/exact/math.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/exact/math_test.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "suanli/engine/cpu/exact/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {

template <class F>
void test_map(const float* x, float* y, std::size_t n, const F& f) {
  for_vectors(n, [&](std::size_t i, auto part) { store(f(load(x + i, part)), y + i, part); });
}

// Function `index` of kFunctions below.
void TestFunction(int index, const float* x, const float* dy, float* y, std::size_t n) {
  switch (index) {
    case 0: return test_map(x, y, n, [](Vec v) { return exact_exp(v); });
    case 1: return test_map(x, y, n, [](Vec v) { return exact_log(v); });
    case 2: return test_map(x, y, n, [](Vec v) { return exact_tanh(v); });
    case 3: return test_map(x, y, n, [](Vec v) { return exact_erf(v); });
    case 4: return test_map(x, y, n, [](Vec v) { return exact_rsqrt(v); });
    case 5: return test_map(x, y, n, [](Vec v) { return exact_gelu(v); });
    default:
      for_vectors(n, [&](std::size_t i, auto part) {
        store(exact_gelu_grad(load(x + i, part), load(dy + i, part)), y + i, part);
      });
  }
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "suanli/engine/cpu/exact/every_target_test_util.h"

namespace suanli::engine {
HWY_EXPORT(TestFunction);
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

double gelu_exponent(double x) { return -std::sqrt(8 / M_PI) * (x + 0.044715 * x * x * x); }
double gelu_slope(double x) {
  const double u = std::tanh(-gelu_exponent(x) / 2);
  return 0.5 * (1 + u) + 0.5 * x * (1 - u * u) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

struct Function {
  const char* name;
  float (*exact)(float x, float dy);
  double (*real)(double x);
  double ulps;      // largest error in units of the last place of the result, or
  double absolute;  // largest error, relative to max(1, |x|) (where ulps is 0)
};
// The bounds are the largest errors over all arguments, rounded up.
const Function kFunctions[] = {
    {"exp", [](float x, float) { return exact::exp(x); }, [](double x) { return std::exp(x); }, 0.98, 0},
    {"log", [](float x, float) { return exact::log(x); }, [](double x) { return std::log(x); }, 0.82, 0},
    {"tanh", [](float x, float) { return exact::tanh(x); }, [](double x) { return std::tanh(x); }, 1.33, 0},
    {"erf", [](float x, float) { return exact::erf(x); }, [](double x) { return std::erf(x); }, 1.27, 0},
    {"rsqrt", [](float x, float) { return exact::rsqrt(x); }, [](double x) { return 1 / std::sqrt(x); }, 1.50, 0},
    {"gelu", [](float x, float) { return exact::gelu(x); }, [](double x) { return x / (1 + std::exp(gelu_exponent(x))); }, 0,
     1.2e-7},
    {"gelu_grad", [](float x, float dy) { return exact::gelu_grad(x, dy); }, gelu_slope, 0, 2.2e-7},
};

// |value - real| in units of the last place of an f32 of the size of `real`.
double ulps_between(float value, double real) {
  int exponent = 0;
  std::frexp(real, &exponent);
  return std::abs(static_cast<double>(value) - real) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

TEST(ExactMath, ErrorsKeepTheirBounds) {
  for (const Function& f : kFunctions) {
    double worst = 0;
    std::uint32_t compared = 0;
    for (std::uint64_t pattern = 0; pattern < (std::uint64_t{1} << 32); pattern += 4099) {
      const float x = std::bit_cast<float>(static_cast<std::uint32_t>(pattern));
      const double real = f.real(x);
      const float value = f.exact(x, 1);
      if (std::isnan(real)) {
        if (std::abs(x) < 100 || f.ulps > 0) {
          ASSERT_EQ(bits(value), 0x7FC00000u) << f.name << " of " << x;
        }
        continue;
      }
      if (std::isinf(real) || std::abs(real) >= 0x1.ffffffp127) {
        ASSERT_EQ(value, static_cast<float>(real)) << f.name << " of " << x;
        continue;
      }
      const double error = std::abs(value - real) / std::max(1.0, std::abs(static_cast<double>(x)));
      worst = std::max(worst, f.ulps > 0 ? ulps_between(value, real) : error);
      ++compared;
    }
    EXPECT_LE(worst, f.ulps > 0 ? f.ulps : f.absolute) << f.name;
    EXPECT_GE(worst, (f.ulps > 0 ? f.ulps : f.absolute) / 4) << f.name << ": the bound says nothing";
    EXPECT_GT(compared, 200'000u) << f.name;
  }
}

TEST(ExactMath, EdgesAreRight) {
  const auto expect = [](float value, float expected, const char* what) { EXPECT_EQ(bits(value), bits(expected)) << what; };
  const float smallest = std::numeric_limits<float>::denorm_min();
  expect(exact::exp(0.0F), 1, "exp(0)");
  expect(exact::exp(-0.0F), 1, "exp(-0)");
  expect(exact::exp(kInfinity), kInfinity, "exp(inf)");
  expect(exact::exp(-kInfinity), 0, "exp(-inf)");
  expect(exact::exp(88.73F), kInfinity, "exp overflows");
  expect(exact::exp(-103.9F), smallest, "exp gives subnormals");
  expect(exact::exp(-103.98F), 0, "exp underflows");
  expect(exact::log(1), 0, "log(1)");
  expect(exact::log(0.0F), -kInfinity, "log(0)");
  expect(exact::log(-0.0F), -kInfinity, "log(-0)");
  expect(exact::log(kInfinity), kInfinity, "log(inf)");
  expect(exact::log(-1), exact::kNan, "log(-1)");
  expect(exact::log(-smallest), exact::kNan, "log of the least negative");
  expect(exact::log(smallest), static_cast<float>(-149 * M_LN2), "log of the smallest");
  for (const Function& f : {kFunctions[2], kFunctions[3]}) {  // odd, from -1 to 1
    expect(f.exact(kInfinity, 0), 1, f.name);
    expect(f.exact(-kInfinity, 0), -1, f.name);
    expect(f.exact(-0.0F, 0), -0.0F, f.name);
    for (const float x : {0.1F, 0.7F, 1.5F, 3.0F}) expect(f.exact(-x, 0), -f.exact(x, 0), f.name);
  }
  expect(exact::tanh(-smallest), -smallest, "tanh of a subnormal");
  expect(exact::rsqrt(-0.0F), -kInfinity, "rsqrt(-0)");
  expect(exact::rsqrt(kInfinity), 0, "rsqrt(inf)");
  expect(exact::rsqrt(-1), exact::kNan, "rsqrt(-1)");
  expect(exact::gelu(kInfinity), kInfinity, "gelu(inf)");
  expect(exact::gelu(-kInfinity), exact::kNan, "gelu(-inf)");
  expect(exact::gelu(-3e38F), -0.0F, "gelu of a large negative number");
  expect(exact::gelu_grad(kInfinity, 3), 3, "slope at inf");
  EXPECT_LT(std::abs(exact::gelu_grad(-kInfinity, 3)), 1e-25F);
  for (const Function& f : kFunctions)
    for (const std::uint32_t nan : {0x7FC00000u, 0xFFC00001u, 0x7F800001u, 0xFFFFFFFFu})
      expect(f.exact(std::bit_cast<float>(nan), 1), exact::kNan, f.name);
}

TEST(ExactMath, VectorsHaveTheBitsOfTheReference) {
  std::vector<float> x, dy;
  for (std::uint64_t pattern = 0; pattern < (std::uint64_t{1} << 32); pattern += 16411) {
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(pattern)));
    dy.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(pattern * 2654435761u)));
  }
  for (const float edge :
       {0.0F, 0.625F, 1.0F, 4.0F, 9.0F, 88.7228F, 88.73F, 89.0F, 103.97F, 104.0F, 0x1p-126F, 0x1p-149F, kInfinity})
    for (const int step : {-1, 0, 1})
      for (const std::uint32_t sign : {0u, 0x80000000u}) {
        x.push_back(std::bit_cast<float>((bits(edge) + static_cast<std::uint32_t>(step)) ^ sign));
        dy.push_back(-1.5F);
      }
  const int sets = on_every_target([&](const std::string& target) {
    for (int index = 0; index < 7; ++index) {
      std::vector<float> y(x.size());
      HWY_DYNAMIC_DISPATCH(TestFunction)(index, x.data(), dy.data(), y.data(), x.size());
      for (std::size_t i = 0; i < x.size(); ++i)
        ASSERT_EQ(bits(y[i]), bits(kFunctions[index].exact(x[i], dy[i])))
            << target << ": " << kFunctions[index].name << " of " << x[i];
    }
  });
  EXPECT_GE(sets, 2);
}

}  // namespace
}  // namespace suanli::engine
#endif
