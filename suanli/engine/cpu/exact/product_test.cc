#include "suanli/engine/cpu/exact/product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine::exact {
namespace {

enum class Lie { along_k, across_k, scattered };

// A matrix whose rows are `values`, lying in memory as asked.
struct Lying {
  std::vector<float> memory;
  Matrix matrix;
};
Lying lay(const std::vector<float>& values, std::int64_t rows, std::int64_t k, Lie how) {
  Lying lying;
  if (how == Lie::along_k) {
    lying.memory = values;
    lying.matrix = {lying.memory.data(), k, 1};
  } else if (how == Lie::across_k) {
    lying.memory = transposed(values, rows, k);
    lying.matrix = {lying.memory.data(), 1, rows};
  } else {
    lying.memory.assign(values.size() * 2, 5.0F);
    for (std::size_t i = 0; i < values.size(); ++i) lying.memory[2 * i] = values[i];
    lying.matrix = {lying.memory.data(), 2 * k, 2};
  }
  return lying;
}

struct Case {
  std::int64_t m, n, k, block = 512;
  int terms = 3;
  Lie a = Lie::along_k, b = Lie::across_k;
};

std::vector<float> product(const Case& c, const std::vector<float>& a, const std::vector<float>& b) {
  const Packing pa = packing(Side::a, c.m, c.k, c.block), pb = packing(Side::b, c.n, c.k, c.block);
  TestBuffer ta(pa.size().value()), tb(pb.size().value());
  const Lying la = lay(a, c.m, c.k, c.a), lb = lay(b, c.n, c.k, c.b);
  pack(pa, la.matrix, {0, c.m}, ta.data());
  pack(pb, lb.matrix, {0, c.n}, tb.data());
  EXPECT_TRUE(ta.guarded() && tb.guarded());
  std::vector<float> result(static_cast<std::size_t>(c.m * (c.n + 3)), 7.0F);
  multiply({pa, ta.data()}, {0, c.m}, {pb, tb.data()}, {0, c.n}, {.terms = c.terms}, {result.data(), c.n + 3});
  std::vector<float> dense;
  for (std::int64_t i = 0; i < c.m; ++i) {
    const auto row = result.begin() + i * (c.n + 3);
    dense.insert(dense.end(), row, row + c.n);
    EXPECT_TRUE(std::all_of(row + c.n, row + c.n + 3, [](float x) { return x == 7; })) << "wrote beyond its columns";
  }
  return dense;
}

std::vector<float> oracle(const Case& c, const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> result;
  for (std::int64_t i = 0; i < c.m; ++i)
    for (std::int64_t j = 0; j < c.n; ++j)
      result.push_back(oracle_dot({a.begin() + i * c.k, a.begin() + (i + 1) * c.k},
                                  {b.begin() + j * c.k, b.begin() + (j + 1) * c.k}, c.block, c.terms));
  return result;
}

void expect_oracle(const Case& c, const std::vector<float>& a, const std::vector<float>& b) {
  const std::vector<float> expected = oracle(c, a, b);
  for_each_isa([&](Isa isa) {
    const std::vector<float> result = product(c, a, b);
    ASSERT_EQ(result.size(), expected.size());
    for (std::size_t i = 0; i < result.size(); ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(result[i]), std::bit_cast<std::uint32_t>(expected[i]))
          << name_of(isa) << ": " << c.m << " x " << c.n << " x " << c.k << " block " << c.block << " terms " << c.terms
          << " element " << static_cast<std::int64_t>(i) / c.n << ", " << static_cast<std::int64_t>(i) % c.n << ": "
          << result[i] << ", expected " << expected[i];
  });
}

const Case kCases[] = {
    {.m = 1, .n = 1, .k = 1},      {.m = 1, .n = 40, .k = 0},     {.m = 33, .n = 1, .k = 64},
    {.m = 1, .n = 65, .k = 513},   {.m = 48, .n = 64, .k = 1030}, {.m = 35, .n = 50, .k = 127, .block = 128},
    {.m = 17, .n = 34, .k = 300, .block = 128},                   {.m = 20, .n = 20, .k = 10, .block = 3},
    {.m = 96, .n = 130, .k = 384}, {.m = 34, .n = 16, .k = 511},
};

TEST(ExactProduct, IsTheDefinitionOnNastyNumbers) {
  for (Case c : kCases)
    for (const int terms : {3, 4}) {
      c.terms = terms;
      expect_oracle(c, nasty_rows(c.m, c.k, 1), nasty_rows(c.n, c.k, 2));
    }
}

TEST(ExactProduct, IsTheDefinitionOnPlainNumbers) {
  for (Case c : kCases)
    for (const int terms : {3, 4}) {
      c.terms = terms;
      expect_oracle(c, plain_rows(c.m, c.k, 3), plain_rows(c.n, c.k, 4));
    }
}

TEST(ExactProduct, OperandsMayLieAnyWay) {
  for (const Lie a : {Lie::along_k, Lie::across_k, Lie::scattered})
    for (const Lie b : {Lie::along_k, Lie::across_k, Lie::scattered})
      for (Case c : {Case{.m = 70, .n = 45, .k = 530}, Case{.m = 64, .n = 32, .k = 67, .block = 64}}) {
        c.a = a;
        c.b = b;
        expect_oracle(c, nasty_rows(c.m, c.k, 5), nasty_rows(c.n, c.k, 6));
      }
}

TEST(ExactProduct, LargestSumsDoNotOverflow) {
  // All digits at their largest, of one sign: hh = 127^2 512, hl = 127 63 512.
  for (const int terms : {3, 4})
    for (const float sign : {1.0F, -1.0F}) {
      const Case c{.m = 2, .n = 33, .k = 512, .terms = terms};
      const std::vector<float> a(static_cast<std::size_t>(c.m * c.k), 16319.0F / 16384);
      const std::vector<float> b(static_cast<std::size_t>(c.n * c.k), sign * 16319.0F / 16384);
      expect_oracle(c, a, b);
    }
}

TEST(ExactProduct, ScalesAtTheEdgesOfTheShortWay) {
  // Exponents on both sides of the range in which values are scaled in f32; of one sign, so that T has more bits than a float
  // and to round it twice, to a float and then to a subnormal, would show.
  for (int e = -100; e <= 110; ++e)
    for (const int other : {e, -e}) {
      const Case c{.m = 2, .n = 17, .k = 500};
      std::vector<float> a = plain_rows(c.m, c.k, 8), b = plain_rows(c.n, c.k, 9);
      for (float& x : a) x = std::ldexp(std::fabs(x), e);
      for (float& x : b) x = std::ldexp(std::fabs(x), other);
      expect_oracle(c, a, b);
    }
}

TEST(ExactProduct, OverflowOfBothSignsIsNotANumber) {
  const Case c{.m = 1, .n = 1, .k = 1024};
  std::vector<float> a(1024, 3e38F), b(1024, 1);
  std::fill(b.begin() + 512, b.end(), -1.0F);
  const std::vector<float> expected = oracle(c, a, b);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(expected[0]), 0x7FC00000U);
  expect_oracle(c, a, b);
}

TEST(ExactProduct, PoisonWinsOverAll) {
  const Case c{.m = 3, .n = 3, .k = 1100};
  std::vector<float> a(static_cast<std::size_t>(c.m * c.k)), b = plain_rows(c.n, c.k, 7);
  a[5] = std::numeric_limits<float>::quiet_NaN();                  // row 0: else zero
  b[static_cast<std::size_t>(c.k + 1099)] = -std::numeric_limits<float>::infinity();  // column 1, in the last block
  for_each_isa([&](Isa isa) {
    const std::vector<float> result = product(c, a, b);
    for (std::size_t i = 0; i < 9; ++i) {
      const bool poisoned = i / 3 == 0 || i % 3 == 1;
      EXPECT_EQ(std::bit_cast<std::uint32_t>(result[i]), poisoned ? 0x7FC00000U : 0U) << name_of(isa) << " " << i;
    }
  });
}

TEST(ExactProduct, PartsAndAccumulationGiveTheSameBits) {
  const Case c{.m = 100, .n = 90, .k = 1300};
  const std::vector<float> a = nasty_rows(c.m, c.k, 11), b = nasty_rows(c.n, c.k, 12);
  for_each_isa([&](Isa isa) {
    const std::vector<float> whole = product(c, a, b);
    const Packing pa = packing(Side::a, c.m, c.k), pb = packing(Side::b, c.n, c.k);
    TestBuffer ta(pa.size().value()), tb(pb.size().value());
    for (std::int64_t block = 0; block < 3; ++block) {
      pack(pa, {a.data(), c.k, 1}, {64, 36}, {block, 1}, ta.data());
      pack(pa, {a.data(), c.k, 1}, {0, 64}, {block, 1}, ta.data());
      for (std::int64_t j = 0; j < c.n; j += 32)
        pack(pb, {b.data(), c.k, 1}, {j, std::min<std::int64_t>(32, c.n - j)}, {block, 1}, tb.data());
    }
    std::vector<float> result(whole.size(), 9.0F);
    for (std::int64_t i = 0; i < c.m; i += 32)
      for (std::int64_t j = 0; j < c.n; j += 64)
        for (std::int64_t block = 0; block < 3; block += 2)
          multiply({pa, ta.data()}, {i, std::min<std::int64_t>(32, c.m - i)}, {pb, tb.data()},
                   {j, std::min<std::int64_t>(64, c.n - j)},
                   {.accumulate = block > 0, .blocks = {block, block == 0 ? 2 : -1}},
                   {result.data() + i * c.n + j, c.n});
    EXPECT_TRUE(same_bits(result, whole)) << name_of(isa);
  });
}

TEST(ExactProduct, IntegersKeepTheirScale) {
  // Weights w / 2^13 against values: as if the row had been split with scale 2^13, whatever its largest element.
  const std::int64_t m = 40, n = 33, k = 200, block = 128;
  const Philox random(3, Stream::test);
  std::vector<std::int16_t> w(static_cast<std::size_t>(m * k));
  for (std::size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<std::int16_t>(random.uniform(i) * (i / static_cast<std::size_t>(k) % 2 == 0 ? 8192 : 30));
  w[7] = kLargest;
  w[8] = -kLargest;
  const std::vector<float> x = plain_rows(n, k, 4);
  std::vector<float> expected;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t p = 0; p < k; p += block) {
        const std::int64_t end = std::min(k, p + block);
        const OracleBlock a{.poisoned = false, .exponent = 13, .v = {w.begin() + i * k + p, w.begin() + i * k + end}};
        sum += oracle_value(a, oracle_split({x.begin() + j * k + p, x.begin() + j * k + end}), 3);
      }
      expected.push_back(sum);
    }
  for_each_isa([&](Isa isa) {
    const Packing pa = packing(Side::a, m, k, block), pb = packing(Side::b, n, k, block);
    TestBuffer ta(pa.size().value()), tb(pb.size().value());
    pack(pa, IntegerMatrix{w.data(), k, 1, 13}, {0, m}, ta.data());
    pack(pb, Matrix{x.data(), k, 1}, {0, n}, tb.data());
    std::vector<float> result(expected.size());
    multiply({pa, ta.data()}, {0, m}, {pb, tb.data()}, {0, n}, {}, {result.data(), n});
    EXPECT_TRUE(same_bits(result, expected)) << name_of(isa);
  });
}

}  // namespace
}  // namespace suanli::engine::exact
