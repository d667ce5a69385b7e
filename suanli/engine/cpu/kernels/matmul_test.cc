#include <gtest/gtest.h>

#include "suanli/engine/cpu/gemm_plan.h"
#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine {
void register_matmul(KernelTable& table);

namespace {

using graph::DType;

struct Case {
  graph::Shape lead;
  std::int64_t m, n, k;
  bool ta, tb;
};

struct Product {
  KernelSpec spec;
  std::vector<TestTensor> inputs;
};

Product product(const Case& c, DType dtype) {
  graph::Shape a = c.lead, b = c.lead, y = c.lead;
  a.insert(a.end(), {c.ta ? c.k : c.m, c.ta ? c.m : c.k});
  b.insert(b.end(), {c.tb ? c.n : c.k, c.tb ? c.k : c.n});
  y.insert(y.end(), {c.m, c.n});
  Product result;
  result.inputs = {random_tensor({dtype, a}, 1), random_tensor({dtype, b}, 2)};
  result.spec = {.name = "matmul",
                 .inputs = {{dtype, a}, {dtype, b}},
                 .outputs = {graph::f32(y)},
                 .attrs = {{"ta", std::int64_t{c.ta}}, {"tb", std::int64_t{c.tb}}}};
  return result;
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  KernelTable table;
  register_matmul(table);
  return table.find("matmul")(spec);
}

// Every `stride`-th element (large products are sampled), with the place of each in the output.
std::vector<double> expected(const Case& c, const Product& p, std::int64_t stride) {
  const std::vector<float>& a = p.inputs[0].values;
  const std::vector<float>& b = p.inputs[1].values;
  std::vector<double> y;
  const std::int64_t total = graph::element_count(c.lead) * c.m * c.n;
  for (std::int64_t at = 0; at < total; at += stride) {
    const std::int64_t item = at / (c.m * c.n), i = at / c.n % c.m, j = at % c.n;
    double sum = 0;
    for (std::int64_t q = 0; q < c.k; ++q)
      sum +=
          double{
              a[static_cast<std::size_t>(item * c.m * c.k + (c.ta ? q * c.m + i : i * c.k + q))]} *
          b[static_cast<std::size_t>(item * c.k * c.n + (c.tb ? j * c.k + q : q * c.n + j))];
    y.push_back(sum);
  }
  return y;
}

void check(const Case& c, DType dtype, std::initializer_list<int> more_threads = {2, 3, 4}) {
  SCOPED_TRACE("[" + graph::to_string(c.lead) + "] " + std::to_string(c.m) + "x" +
               std::to_string(c.n) + "x" + std::to_string(c.k) + (c.ta ? " T" : " N") +
               (c.tb ? "T " : "N ") + std::string(graph::name_of(dtype)));
  const Product p = product(c, dtype);
  const auto kernel = make(p.spec);
  if (!kernel && dtype == DType::bf16) GTEST_SKIP() << kernel.error().to_string();
  ASSERT_TRUE(kernel) << kernel.error().to_string();
  const KernelRun one = run_kernel(**kernel, p.spec, p.inputs, 1);
  EXPECT_TRUE(one.in_bounds);
  for (const float y : one.outputs[0]) ASSERT_TRUE(std::isfinite(y));

  const std::int64_t total = p.spec.outputs[0].elements();
  const std::int64_t stride = std::max<std::int64_t>(1, total * c.k / 20'000'000) | 1;
  std::vector<float> sampled;
  for (std::int64_t at = 0; at < total; at += stride)
    sampled.push_back(one.outputs[0][static_cast<std::size_t>(at)]);
  // Rounding errors of a sum of k products grow as its square root.
  EXPECT_LT(worst_error(sampled, expected(c, p, stride)),
            2e-6 * std::sqrt(static_cast<double>(c.k)))
      << (*kernel)->implementation();

  for (const int threads : more_threads) {
    const KernelRun run = run_kernel(**kernel, p.spec, p.inputs, threads);
    EXPECT_TRUE(run.in_bounds);
    EXPECT_TRUE(same_bits(run.outputs[0], one.outputs[0])) << threads << " threads";
  }
}

void check_all(graph::Shape lead, std::int64_t m, std::int64_t n, std::int64_t k) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) check({lead, m, n, k, ta, tb}, dtype);
}

TEST(Matmul, Small) {
  check_all({}, 1, 1, 1);
  check_all({}, 1, 7, 3);
  check_all({}, 5, 1, 13);
  check_all({}, 17, 31, 1);
  check_all({}, 33, 65, 47);
}

TEST(Matmul, FewRows) {  // generation: cut by columns, read in place
  check_all({}, 1, 1999, 64);
  check_all({}, 3, 1025, 129);
}

TEST(Matmul, PackedTilesDividingEvenly) { check_all({}, 512, 384, 64); }

TEST(Matmul, PackedTilesOfOddSizes) {
  check_all({}, 257, 769, 31);   // a last tile of one row, of one column
  check_all({}, 521, 1031, 97);  // primes
  check_all({}, 1031, 65, 127);  // narrow, as with a byte vocabulary
  check_all({}, 65, 1031, 127);
}

TEST(Matmul, WeightGradient) { check({{}, 384, 512, 1500, true, false}, DType::bf16); }

TEST(Matmul, Batched) {
  check_all({2, 3}, 4, 3, 5);
  check_all({3}, 33, 48, 64);
  check_all({9}, 40, 40, 16);
  check_all({2}, 257, 300, 100);  // large enough to be packed
}

// More than one group of packed B and of transposed A: 5 tiles of either fill more than one group.
TEST(Matmul, GroupsOfPackedTiles) { check({{}, 1100, 3200, 7600, true, false}, DType::f32, {2}); }

TEST(Matmul, EmptySumIsZeroAndEmptyProductIsNothing) {
  for (const Case& c : {Case{{}, 3, 4, 0, false, false}, Case{{}, 0, 4, 3, false, false},
                        Case{{0}, 3, 4, 5, false, false}}) {
    const Product p = product(c, DType::f32);
    const auto kernel = make(p.spec);
    ASSERT_TRUE(kernel);
    const KernelRun run = run_kernel(**kernel, p.spec, p.inputs, 2);
    EXPECT_TRUE(run.in_bounds);
    for (const float y : run.outputs[0]) EXPECT_EQ(y, 0.0f);
  }
}

TEST(Matmul, NanAndInfinityPassThrough) {
  Product p = product({{}, 64, 512, 128, false, false}, DType::f32);
  p.inputs[0].values[5 * 128 + 9] = std::numeric_limits<float>::quiet_NaN();
  p.inputs[0].values[6 * 128 + 9] = std::numeric_limits<float>::infinity();
  const auto kernel = make(p.spec);
  ASSERT_TRUE(kernel);
  const KernelRun run = run_kernel(**kernel, p.spec, p.inputs, 2);
  for (std::size_t j = 0; j < 512; ++j) {
    EXPECT_TRUE(std::isnan(run.outputs[0][5 * 512 + j]));
    EXPECT_FALSE(std::isfinite(run.outputs[0][6 * 512 + j]));
    EXPECT_TRUE(std::isfinite(run.outputs[0][7 * 512 + j]));
  }
}

TEST(Matmul, IntegersAreRefused) {
  const KernelSpec spec{.name = "matmul",
                        .inputs = {graph::f32({2, 3}), graph::i32({3, 4})},
                        .outputs = {graph::f32({2, 4})},
                        .attrs = {{"ta", std::int64_t{0}}, {"tb", std::int64_t{0}}}};
  const auto kernel = make(spec);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
  EXPECT_NE(kernel.error().message.find("i32[3x4]"), std::string::npos);
}

TEST(Matmul, ImplementationTellsTheTiles) {
  const auto kernel = make(product({{}, 512, 1536, 64, true, false}, DType::f32).spec);
  ASSERT_TRUE(kernel);
  EXPECT_NE((*kernel)->implementation().find(" tiles "), std::string::npos);
  EXPECT_NE((*kernel)->implementation().find("A transposed, B packed"), std::string::npos);
}

TEST(GemmPlan, SplitsCoverTheWholeInOrderWithoutStubs) {
  for (std::int64_t total = 1; total < 700; ++total)
    for (const std::int64_t limit : {1, 64, 100, 256})
      for (const std::int64_t unit : {1, 32, 64}) {
        const Split s = split(total, limit, unit);
        std::int64_t at = 0;
        for (std::int64_t i = 0; i < s.count; ++i) {
          ASSERT_EQ(s.begin(i), at);
          ASSERT_GE(s.length(i), std::min(unit, total));
          ASSERT_LE(s.length(i), s.longest());
          at += s.length(i);
        }
        ASSERT_EQ(at, total);
      }
}

TEST(GemmPlan, WeightProductsGiveEnoughTiles) {
  for (const auto& [m, n, k] : {std::tuple{4096, 1536, 384},
                                {4096, 384, 1536},
                                {384, 1536, 4096},
                                {384, 384, 4096},
                                {2048, 3072, 768},
                                {768, 3072, 2048},
                                {2048, 50304, 768},
                                {4096, 65, 384}}) {
    const GemmPlan plan = plan_gemm(1, m, n, k);
    EXPECT_TRUE(plan.packed);
    EXPECT_GE(plan.m.count * plan.n.count, 4) << m << "x" << n << "x" << k;
  }
}

}  // namespace
}  // namespace suanli::engine
