// Matrix products with an epilogue, on every path that can compute them: our own AMX kernel and oneDNN.
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_matmul.h"
#include "suanli/engine/cpu/kernel_test_util.h"
#include "suanli/engine/cpu/onednn_matmul.h"

namespace suanli::engine {
namespace {

using graph::DType;

struct Case {
  std::int64_t m, n, k;
  bool ta, tb;
};

// c = a b; h = c + bias; outputs: h as bf16, h + residual as f32 (in place of nothing), c itself.
struct Problem {
  Problem(const Case& c_in, DType a, DType b) : c(c_in) {
    const graph::Shape all = {c.m, c.n};
    spec.name = "matmul";
    spec.inputs = {{a, c.ta ? graph::Shape{c.k, c.m} : graph::Shape{c.m, c.k}},
                   {b, c.tb ? graph::Shape{c.n, c.k} : graph::Shape{c.k, c.n}},
                   {DType::f32, {c.n}},
                   {DType::f32, all}};
    spec.outputs = {{DType::bf16, all}, {DType::f32, all}, {DType::f32, all}};
    spec.attrs = {{"ta", std::int64_t{c.ta}}, {"tb", std::int64_t{c.tb}}};
    const std::int64_t count = c.m * c.n;
    region.shape = all;
    region.inputs = {{DType::f32, Access::full, count}, {DType::f32, Access::periodic, c.n}, {DType::f32, Access::full, count}};
    region.code = {{RegionOp::add, 0, 1}, {RegionOp::round_bf16, 3}, {RegionOp::add, 3, 2}};
    region.outputs = {{4, DType::bf16}, {5, DType::f32}, {0, DType::f32}};
    spec.region = &region;
    for (std::size_t i = 0; i < spec.inputs.size(); ++i) inputs.push_back(random_tensor(spec.inputs[i], i + 1));
    shape = {.m = c.m, .n = c.n, .k = c.k, .ta = c.ta, .tb = c.tb};
  }

  float operand(std::size_t which, std::int64_t i) const {
    const float x = inputs[which].values[static_cast<std::size_t>(i)];
    return rounds_to_bf16(spec) ? round_to_bf16(x) : x;
  }
  double product(std::int64_t i, std::int64_t j) const {
    double sum = 0;
    for (std::int64_t p = 0; p < c.k; ++p)
      sum += double{operand(0, c.ta ? p * c.m + i : i * c.k + p)} * double{operand(1, c.tb ? j * c.k + p : p * c.n + j)};
    return sum;
  }

  Case c;
  KernelSpec spec;
  Region region;
  MatmulShape shape;
  std::vector<TestTensor> inputs;
};

void check(const Problem& p, const Kernel& kernel) {
  SCOPED_TRACE(testing::Message() << p.c.m << "x" << p.c.n << "x" << p.c.k << (p.c.ta ? " ta" : "") << (p.c.tb ? " tb " : " ")
                                  << kernel.implementation());
  const KernelRun one = run_kernel(kernel, p.spec, p.inputs, 1);
  EXPECT_TRUE(one.in_bounds);
  for (const int threads : {2, 3}) {
    const KernelRun more = run_kernel(kernel, p.spec, p.inputs, threads);
    for (std::size_t o : {1U, 2U}) EXPECT_TRUE(same_bits(more.outputs[o], one.outputs[o])) << threads << " threads";
  }
  const auto* halves = reinterpret_cast<const std::uint16_t*>(one.outputs[0].data());
  const std::int64_t stride = std::max<std::int64_t>(1, p.c.m * p.c.n / 500);
  for (std::int64_t at = 0; at < p.c.m * p.c.n; at += stride) {
    const double y = p.product(at / p.c.n, at % p.c.n);
    const double tolerance = 1e-5 * std::max(1.0, std::sqrt(static_cast<double>(p.c.k)));
    const auto i = static_cast<std::size_t>(at);
    ASSERT_NEAR(one.outputs[2][i], y, tolerance) << at;
    const float h = one.outputs[2][i] + p.inputs[2].values[static_cast<std::size_t>(at % p.c.n)];
    ASSERT_EQ(one.outputs[1][i], h + p.inputs[3].values[i]) << at;
    ASSERT_EQ(std::bit_cast<float>(static_cast<std::uint32_t>(halves[i]) << 16), round_to_bf16(h)) << at;
  }
}

const std::vector<Case> kCases = {{1, 1, 1, false, false},     {5, 40, 33, false, true},    {33, 31, 65, true, false},
                                  {70, 100, 400, true, true},  {300, 65, 384, false, true}, {512, 1200, 100, false, false},
                                  {200, 330, 800, true, false}, {64, 96, 1000, false, false}};

TEST(MatmulEpilogue, OnAmxBf16AndRoundedF32Operands) {
  if (!amx::available()) GTEST_SKIP() << "no AMX on this machine";
  for (const Case& c : kCases)
    for (const auto& [a, b] : {std::pair{DType::bf16, DType::bf16}, {DType::bf16, DType::f32}, {DType::f32, DType::bf16}}) {
      const Problem p(c, a, b);
      check(p, *make_amx_matmul(p.spec, p.shape));
    }
}

TEST(MatmulEpilogue, OnOneDnn) {
  for (const Case& c : kCases)
    for (const auto& [a, b] : {std::pair{DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}}) {
      const Problem p(c, a, b);
      const auto kernel = make_onednn_matmul(p.spec, p.shape);
      if (!kernel && rounds_to_bf16(p.spec)) continue;  // an old CPU
      ASSERT_TRUE(kernel) << kernel.error().to_string();
      check(p, **kernel);
    }
}

TEST(MatmulEpilogue, ColumnSumsOfTheSecondOperand) {
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const std::int64_t m = 100, n = 70, k = 900;
    KernelSpec spec{.name = "matmul",
                    .inputs = {{dtype, {k, m}}, {dtype, {k, n}}},
                    .outputs = {graph::f32({m, n}), graph::f32({n})},
                    .attrs = {{"ta", std::int64_t{1}}, {"tb", std::int64_t{0}}, {"column_sums", std::int64_t{1}}}};
    const auto kernel = cpu_kernels().find("matmul")(spec);
    if (!kernel && dtype == DType::bf16) GTEST_SKIP() << kernel.error().to_string();
    ASSERT_TRUE(kernel) << kernel.error().to_string();
    const std::vector<TestTensor> inputs = {random_tensor(spec.inputs[0], 1), random_tensor(spec.inputs[1], 2)};
    const KernelRun one = run_kernel(**kernel, spec, inputs, 1);
    EXPECT_TRUE(one.in_bounds);
    EXPECT_TRUE(same_bits(run_kernel(**kernel, spec, inputs, 3).outputs[1], one.outputs[1]));
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += double{inputs[1].values[static_cast<std::size_t>(p * n + j)]};
      EXPECT_NEAR(one.outputs[1][static_cast<std::size_t>(j)], sum, 1e-3) << j;
    }
  }
}

TEST(AmxPlan, BlocksCoverTheProductAndKeepToTheGroup) {
  for (const MatmulShape& s : std::vector<MatmulShape>{{.m = 4096, .n = 1536, .k = 384},
                                                       {.m = 384, .n = 384, .k = 4096, .ta = true},
                                                       {.m = 3072, .n = 768, .k = 2048, .ta = true},
                                                       {.m = 2048, .n = 50257, .k = 768},
                                                       {.m = 1, .n = 1, .k = 1},
                                                       {.m = 33, .n = 7000, .k = 5}}) {
    const AmxPlan plan = plan_amx(s);
    EXPECT_EQ(plan.m.begin(plan.m.count - 1) + plan.m.last, s.m);
    EXPECT_EQ(plan.n.begin(plan.n.count - 1) + plan.n.last, s.n);
    EXPECT_EQ(plan.k.begin(plan.k.count - 1) + plan.k.last, s.k);
    EXPECT_GE(plan.group, plan.n.longest());
    EXPECT_EQ(plan.k.size % 32 == 0 || plan.k.count == 1, true);
    EXPECT_GE(plan.m.count * plan.n.count, s.m >= 256 ? 4 : 1);
  }
}

}  // namespace
}  // namespace suanli::engine
