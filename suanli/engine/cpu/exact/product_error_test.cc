// How far exact products are from the true ones: relative RMS error against float64, beside that of bf16 operands. Printed as
// the table of docs/formats/exact-arithmetic.md; the bounds are twice what was measured.
#include <gtest/gtest.h>

#include <cstdio>
#include <numbers>

#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/exact/product.h"
#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine::exact {
namespace {

enum class Inputs { normal, heavy, spiked };

std::vector<float> draw(Inputs inputs, std::int64_t count, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto uniform = [&](std::uint64_t which) { return random.uniform(4 * i + which) + 0x1p-54; };
    const double normal = std::sqrt(-2 * std::log(uniform(0))) * std::cos(2 * std::numbers::pi * uniform(1));
    double value = normal;
    if (inputs == Inputs::heavy) value = normal / std::sqrt(-std::log(uniform(2)));  // Student t, 2 degrees of freedom
    if (inputs == Inputs::spiked && uniform(2) < 0.001) value = 1000 * normal;
    x[i] = static_cast<float>(value);
  }
  return x;
}

// Relative RMS errors.
struct Errors {
  double three = 0, four = 0, bf16 = 0;
};

Errors measure(Inputs a_inputs, Inputs b_inputs, std::int64_t k) {
  const std::int64_t m = 64, n = 64;
  const std::vector<float> a = draw(a_inputs, m * k, 1), b = draw(b_inputs, n * k, 2);
  const Packing pa = packing(Side::a, m, k), pb = packing(Side::b, n, k);
  TestBuffer ta(pa.size().value()), tb(pb.size().value());
  pack(pa, Matrix{a.data(), k, 1}, {0, m}, ta.data());
  pack(pb, Matrix{b.data(), k, 1}, {0, n}, tb.data());
  std::vector<float> three(static_cast<std::size_t>(m * n)), four = three;
  multiply({pa, ta.data()}, {0, m}, {pb, tb.data()}, {0, n}, {.terms = 3}, {three.data(), n});
  multiply({pa, ta.data()}, {0, m}, {pb, tb.data()}, {0, n}, {.terms = 4}, {four.data(), n});
  Errors sums;
  double total = 0;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double truth = 0, rounded = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        const float x = a[static_cast<std::size_t>(i * k + p)], y = b[static_cast<std::size_t>(j * k + p)];
        truth += double{x} * double{y};
        rounded += double{round_to_bf16(x)} * double{round_to_bf16(y)};
      }
      const auto at = static_cast<std::size_t>(i * n + j);
      total += truth * truth;
      sums.three += (three[at] - truth) * (three[at] - truth);
      sums.four += (four[at] - truth) * (four[at] - truth);
      sums.bf16 += (rounded - truth) * (rounded - truth);
    }
  return {std::sqrt(sums.three / total), std::sqrt(sums.four / total), std::sqrt(sums.bf16 / total)};
}

TEST(ExactProductError, AgainstFloat64) {
  struct Row {
    const char* name;
    Inputs a, b;
    double three, four;  // bounds
  };
  const Row rows[] = {{"normal", Inputs::normal, Inputs::normal, 3e-4, 2.2e-4},
                      {"heavy-tailed (Student t, 2)", Inputs::heavy, Inputs::heavy, 5.4e-3, 2.8e-3},
                      {"normal x spiked", Inputs::normal, Inputs::spiked, 1.3e-3, 1.2e-3},
                      {"spiked in both", Inputs::spiked, Inputs::spiked, 1.3e-2, 1.2e-2}};
  std::printf("| inputs | K | 3 terms | 4 terms | bf16 |\n| --- | --- | --- | --- | --- |\n");
  for (const Row& row : rows)
    for (const std::int64_t k : {384, 1536, 4096}) {
      const Errors errors = measure(row.a, row.b, k);
      std::printf("| %s | %d | %.1e | %.1e | %.1e |\n", row.name, static_cast<int>(k), errors.three, errors.four, errors.bf16);
      EXPECT_LT(errors.three, row.three) << row.name << ", K " << k;
      EXPECT_LT(errors.four, row.four) << row.name << ", K " << k;
      EXPECT_LE(errors.four, errors.three) << row.name << ", K " << k;
      if (row.a == Inputs::normal) {
        EXPECT_LT(errors.three, errors.bf16) << row.name << ", K " << k;
      }
    }
}

}  // namespace
}  // namespace suanli::engine::exact
