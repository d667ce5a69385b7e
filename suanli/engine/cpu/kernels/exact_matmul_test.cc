#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;

struct Case {
  graph::Shape lead;
  std::int64_t m, n, k;
  bool ta = false, tb = false;
  std::int64_t terms = 3;
};

std::string to_string(const Case& c) {
  return "[" + graph::to_string(c.lead) + "] " + std::to_string(c.m) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k) +
         (c.ta ? " ta" : "") + (c.tb ? " tb" : "") + ", terms " + std::to_string(c.terms);
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) { return cpu_kernels().find("exact_matmul")(spec); }

KernelSpec spec_of(const Case& c) {
  graph::Shape a = c.lead, b = c.lead, y = c.lead;
  a.insert(a.end(), {c.ta ? c.k : c.m, c.ta ? c.m : c.k});
  b.insert(b.end(), {c.tb ? c.n : c.k, c.tb ? c.k : c.n});
  y.insert(y.end(), {c.m, c.n});
  return {.name = "exact_matmul",
          .inputs = {graph::f32(a), graph::f32(b)},
          .outputs = {graph::f32(y)},
          .attrs = {{"ta", std::int64_t{c.ta}}, {"tb", std::int64_t{c.tb}}, {"terms", c.terms}}};
}

// Operands as rows along K, one product of the batch after the other.
struct Rows {
  std::vector<float> a, b;
};

std::vector<TestTensor> tensors_of(const Case& c, const KernelSpec& spec, const Rows& rows) {
  const auto lay = [&](const std::vector<float>& x, std::int64_t count, bool across) {
    std::vector<float> y;
    for (std::size_t at = 0; across && at < x.size(); at += static_cast<std::size_t>(count * c.k)) {
      const auto from = x.begin() + static_cast<std::ptrdiff_t>(at);
      const std::vector<float> turned = exact::transposed({from, from + count * c.k}, count, c.k);
      y.insert(y.end(), turned.begin(), turned.end());
    }
    return across ? y : x;
  };
  return {{spec.inputs[0], lay(rows.a, c.m, c.ta)}, {spec.inputs[1], lay(rows.b, c.n, !c.tb)}};
}

// Every `stride`-th element is compared with the oracle, all of them with each other.
void check(const Case& c, bool nasty, std::int64_t stride = 1) {
  SCOPED_TRACE(to_string(c));
  const std::int64_t batch = graph::element_count(c.lead);
  Rows rows;
  rows.a = nasty ? exact::nasty_rows(batch * c.m, c.k, 1) : exact::plain_rows(batch * c.m, c.k, 1);
  rows.b = nasty ? exact::nasty_rows(batch * c.n, c.k, 2) : exact::plain_rows(batch * c.n, c.k, 2);
  const KernelSpec spec = spec_of(c);
  const std::vector<TestTensor> inputs = tensors_of(c, spec, rows);
  std::vector<float> first;
  exact::for_each_isa([&](exact::Isa isa) {
    const auto kernel = make(spec);
    ASSERT_TRUE(kernel) << kernel.error().to_string();
    EXPECT_NE((*kernel)->implementation().find(name_of(isa)), std::string::npos) << (*kernel)->implementation();
    for (const int threads : {1, 2, 3, 4}) {
      const KernelRun run = run_kernel(**kernel, spec, inputs, threads);
      EXPECT_TRUE(run.in_bounds);
      if (first.empty()) first = run.outputs[0];
      ASSERT_TRUE(same_bits(run.outputs[0], first)) << (*kernel)->implementation() << ", threads " << threads;
    }
  });
  for (std::int64_t at = 0; at < batch * c.m * c.n; at += stride) {
    const std::int64_t item = at / (c.m * c.n), i = item * c.m + at / c.n % c.m, j = item * c.n + at % c.n;
    const float expected = exact::oracle_dot({rows.a.begin() + i * c.k, rows.a.begin() + (i + 1) * c.k},
                                             {rows.b.begin() + j * c.k, rows.b.begin() + (j + 1) * c.k}, 512,
                                             static_cast<int>(c.terms));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(first[static_cast<std::size_t>(at)]), std::bit_cast<std::uint32_t>(expected)) << at;
  }
}

TEST(ExactMatmul, EveryTranspositionOfSmallProducts) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const bool nasty : {false, true}) {
        check({{}, 1, 1, 1, ta, tb}, nasty);
        check({{}, 33, 65, 47, ta, tb}, nasty);
        check({{}, 1, 200, 64, ta, tb}, nasty, 3);
        check({{}, 130, 1, 600, ta, tb, 4}, nasty);
        check({{2, 3}, 4, 3, 5, ta, tb}, nasty);
        check({{3}, 40, 33, 520, ta, tb, 4}, nasty, 7);
      }
}

TEST(ExactMatmul, ManyBlocksOfC) {
  check({{}, 300, 800, 100}, false, 997);
  check({{}, 290, 1600, 1100, true, false, 4}, true, 9973);
  check({{}, 600, 70, 513, false, true}, true, 997);
}

TEST(ExactMatmul, EmptySumIsZeroAndEmptyProductIsNothing) {
  for (const Case& c : {Case{{}, 3, 4, 0}, Case{{2}, 3, 40, 0, true, true}, Case{{}, 0, 4, 3}, Case{{}, 3, 0, 3},
                        Case{{0}, 3, 4, 5}}) {
    const KernelSpec spec = spec_of(c);
    const auto kernel = make(spec);
    ASSERT_TRUE(kernel);
    const KernelRun run = run_kernel(**kernel, spec, {random_tensor(spec.inputs[0], 1), random_tensor(spec.inputs[1], 2)}, 2);
    EXPECT_TRUE(run.in_bounds);
    for (const float y : run.outputs[0]) EXPECT_EQ(std::bit_cast<std::uint32_t>(y), 0U);
  }
}

TEST(ExactMatmul, BatchLargerThanOneGroup) {  // packed operands of more than 32 MiB
  check({{400}, 8, 8, 1500, false, true}, false, 101);
}

TEST(ExactMatmul, EpilogueAndColumnSums) {
  // c = a^T b; outputs: c + bias as f32, c, and the column sums of b.
  const std::int64_t m = 100, n = 70, k = 900;
  const graph::Shape all = {m, n};
  Region region{.shape = all,
                .inputs = {{DType::f32, Access::full, m * n}, {DType::f32, Access::periodic, n}},
                .code = {{RegionOp::add, 0, 1}},
                .outputs = {{2, DType::f32}, {0, DType::f32}}};
  KernelSpec spec{.name = "exact_matmul",
                  .inputs = {graph::f32({k, m}), graph::f32({k, n}), graph::f32({n})},
                  .outputs = {graph::f32(all), graph::f32(all), graph::f32({n})},
                  .attrs = {{"ta", std::int64_t{1}}, {"column_sums", std::int64_t{1}}},
                  .region = &region};
  std::vector<TestTensor> inputs;
  for (std::size_t i = 0; i < 3; ++i) inputs.push_back(random_tensor(spec.inputs[i], i + 1));
  const KernelSpec plain{.name = "exact_matmul", .inputs = {spec.inputs[0], spec.inputs[1]}, .outputs = {graph::f32(all)},
                         .attrs = {{"ta", std::int64_t{1}}}};
  const KernelSpec sums{.name = "reduce_to", .inputs = {spec.inputs[1]}, .outputs = {spec.outputs[2]},
                        .attrs = {{"shape", std::vector<std::int64_t>{n}}}};
  exact::for_each_isa([&](exact::Isa) {
    const auto kernel = make(spec);
    ASSERT_TRUE(kernel) << kernel.error().to_string();
    const KernelRun c = run_kernel(**make(plain), plain, {inputs[0], inputs[1]}, 1);
    const KernelRun s = run_kernel(**cpu_kernels().find("reduce_to")(sums), sums, {inputs[1]}, 1);
    for (const int threads : {1, 3}) {
      const KernelRun run = run_kernel(**kernel, spec, inputs, threads);
      EXPECT_TRUE(run.in_bounds);
      EXPECT_TRUE(same_bits(run.outputs[1], c.outputs[0]));
      EXPECT_TRUE(same_bits(run.outputs[2], s.outputs[0]));
      for (std::size_t i = 0; i < run.outputs[0].size(); ++i)
        ASSERT_EQ(run.outputs[0][i], c.outputs[0][i] + inputs[2].values[i % static_cast<std::size_t>(n)]);
    }
  });
}

TEST(ExactMatmul, RefusesWhatItDoesNotCompute) {
  KernelSpec spec = spec_of({{}, 4, 4, 4});
  spec.inputs[0].dtype = DType::bf16;
  EXPECT_EQ(make(spec).error().code, ErrorCode::unsupported);
  EXPECT_EQ(make(spec_of({{}, 4, 4, 4, false, false, 5})).error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace suanli::engine
