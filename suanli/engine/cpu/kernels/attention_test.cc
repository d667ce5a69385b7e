#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/engine/cpu/kernel_test_util.h"

namespace suanli::engine {
void register_attention(KernelTable& table);
void register_attention_grad(KernelTable& table);

namespace {

using graph::DType;

struct Case {
  std::int64_t batch, seq, heads, depth;

  std::int64_t width() const { return heads * depth; }
  std::int64_t rows() const { return batch * seq; }
  graph::TensorType qkv(DType dtype) const { return {dtype, {rows(), 3 * width()}}; }
  graph::TensorType out() const { return graph::f32({rows(), width()}); }
  graph::TensorType stats() const { return graph::f32({batch * heads, seq}); }
  graph::Attrs attrs() const { return {{"heads", heads}, {"seq", seq}}; }
};

const Case kCases[] = {{1, 1, 1, 1},   {2, 3, 2, 4},    {1, 17, 3, 5}, {2, 128, 2, 64},
                       {1, 129, 1, 7}, {1, 300, 2, 32}, {3, 70, 1, 16}};

// With s, p in float64, straight from the definition.
struct Expected {
  std::vector<double> out, stats, dqkv;
};

Expected expected(const Case& c, const std::vector<float>& qkv, const std::vector<float>& dout) {
  Expected e;
  const std::int64_t width = c.width(), depth = c.depth;
  e.out.assign(static_cast<std::size_t>(c.rows() * width), 0);
  e.stats.assign(static_cast<std::size_t>(c.batch * c.heads * c.seq), 0);
  e.dqkv.assign(qkv.size(), 0);
  const double scale = 1 / std::sqrt(static_cast<double>(depth));
  for (std::int64_t item = 0; item < c.batch; ++item)
    for (std::int64_t head = 0; head < c.heads; ++head) {
      const auto at = [&](std::int64_t t, std::int64_t part, std::int64_t x) {
        return static_cast<std::size_t>((item * c.seq + t) * 3 * width + part * width +
                                        head * depth + x);
      };
      const auto out_at = [&](std::int64_t t, std::int64_t x) {
        return static_cast<std::size_t>((item * c.seq + t) * width + head * depth + x);
      };
      for (std::int64_t i = 0; i < c.seq; ++i) {
        std::vector<double> p(static_cast<std::size_t>(i + 1));
        double sum = 0;
        for (std::int64_t j = 0; j <= i; ++j) {
          double s = 0;
          for (std::int64_t x = 0; x < depth; ++x) s += double{qkv[at(i, 0, x)]} * qkv[at(j, 1, x)];
          p[static_cast<std::size_t>(j)] = s * scale;
        }
        const double top = *std::max_element(p.begin(), p.end());
        for (double& x : p) sum += x = std::exp(x - top);
        e.stats[static_cast<std::size_t>((item * c.heads + head) * c.seq + i)] =
            top + std::log(sum);
        double delta = 0;
        for (std::int64_t x = 0; x < depth; ++x) {
          for (std::int64_t j = 0; j <= i; ++j)
            e.out[out_at(i, x)] += p[static_cast<std::size_t>(j)] / sum * qkv[at(j, 2, x)];
          delta += e.out[out_at(i, x)] * dout[out_at(i, x)];
        }
        for (std::int64_t j = 0; j <= i; ++j) {
          const double pij = p[static_cast<std::size_t>(j)] / sum;
          double dp = 0;
          for (std::int64_t x = 0; x < depth; ++x)
            dp += double{dout[out_at(i, x)]} * qkv[at(j, 2, x)];
          const double ds = pij * (dp - delta) * scale;
          for (std::int64_t x = 0; x < depth; ++x) {
            e.dqkv[at(i, 0, x)] += ds * qkv[at(j, 1, x)];
            e.dqkv[at(j, 1, x)] += ds * qkv[at(i, 0, x)];
            e.dqkv[at(j, 2, x)] += pij * dout[out_at(i, x)];
          }
        }
      }
    }
  return e;
}

Result<std::unique_ptr<Kernel>> make(const KernelSpec& spec) {
  KernelTable table;
  register_attention(table);
  register_attention_grad(table);
  return table.find(spec.name)(spec);
}

// Runs with 1 to 4 threads, which must agree.
KernelRun run(const KernelSpec& spec, const std::vector<TestTensor>& inputs) {
  const auto kernel = make(spec);
  if (!kernel) {
    ADD_FAILURE() << kernel.error().to_string();
    return {};
  }
  const KernelRun one = run_kernel(**kernel, spec, inputs, 1);
  EXPECT_TRUE(one.in_bounds);
  for (const int threads : {2, 3, 4}) {
    const KernelRun more = run_kernel(**kernel, spec, inputs, threads);
    EXPECT_TRUE(more.in_bounds);
    for (std::size_t i = 0; i < one.outputs.size(); ++i)
      EXPECT_TRUE(same_bits(one.outputs[i], more.outputs[i])) << threads << " threads";
  }
  return one;
}

class Attention : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    const Case c{1, 8, 1, 4};
    const auto kernel = make({.name = "attention",
                              .inputs = {c.qkv(GetParam())},
                              .outputs = {c.out()},
                              .attrs = c.attrs()});
    if (!kernel && GetParam() == DType::bf16) GTEST_SKIP() << kernel.error().to_string();
  }
  // P is rounded to 8 bits of mantissa in bf16.
  double tolerance() const { return GetParam() == DType::f32 ? 2e-5 : 1e-2; }
};

TEST_P(Attention, EqualsItsDefinition) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.qkv(GetParam()).to_string());
    const TestTensor qkv = random_tensor(c.qkv(GetParam()), 1);
    const Expected e = expected(c, qkv.values, std::vector<float>(qkv.values.size()));
    const KernelRun both = run({.name = "attention",
                                .inputs = {qkv.type},
                                .outputs = {c.out(), c.stats()},
                                .attrs = c.attrs()},
                               {qkv});
    ASSERT_EQ(both.outputs.size(), 2u);
    EXPECT_LT(worst_error(both.outputs[0], e.out), tolerance());
    EXPECT_LT(worst_error(both.outputs[1], e.stats), 2e-5);
    // Each alone gives the same.
    const KernelRun out =
        run({.name = "attention", .inputs = {qkv.type}, .outputs = {c.out()}, .attrs = c.attrs()},
            {qkv});
    EXPECT_TRUE(same_bits(out.outputs[0], both.outputs[0]));
    const KernelRun stats = run({.name = "attention_stats",
                                 .inputs = {qkv.type},
                                 .outputs = {c.stats()},
                                 .attrs = c.attrs()},
                                {qkv});
    EXPECT_TRUE(same_bits(stats.outputs[0], both.outputs[1]));
  }
}

TEST_P(Attention, GradientEqualsItsDefinition) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.qkv(GetParam()).to_string());
    const TestTensor qkv = random_tensor(c.qkv(GetParam()), 1);
    const TestTensor dout = random_tensor(c.out(), 2);
    const Expected e = expected(c, qkv.values, dout.values);
    TestTensor out{c.out(), {}}, stats{c.stats(), {}};
    for (const double x : e.out) out.values.push_back(static_cast<float>(x));
    for (const double x : e.stats) stats.values.push_back(static_cast<float>(x));
    const KernelRun grad = run({.name = "attention_grad",
                                .inputs = {qkv.type, c.out(), c.stats(), c.out()},
                                .outputs = {graph::f32(qkv.type.shape)},
                                .attrs = c.attrs()},
                               {qkv, out, stats, dout});
    ASSERT_EQ(grad.outputs.size(), 1u);
    EXPECT_LT(worst_error(grad.outputs[0], e.dqkv), tolerance());
  }
}

// Large scores: neither overflow nor a zero sum.
TEST_P(Attention, LargeScores) {
  const Case c{1, 200, 1, 8};
  TestTensor qkv = random_tensor(c.qkv(GetParam()), 3);
  for (float& x : qkv.values) x *= 64;
  const Expected e = expected(c, qkv.values, std::vector<float>(qkv.values.size()));
  const KernelRun both = run({.name = "attention",
                              .inputs = {qkv.type},
                              .outputs = {c.out(), c.stats()},
                              .attrs = c.attrs()},
                             {qkv});
  EXPECT_LT(worst_error(both.outputs[0], e.out), GetParam() == DType::f32 ? 5e-3 : 2e-2);
  EXPECT_LT(worst_error(both.outputs[1], e.stats), 1e-5);
}

// A later token never changes an earlier row; NaN reaches its own row and no other.
TEST_P(Attention, IsCausalAndKeepsNan) {
  const Case c{1, 150, 2, 16};
  TestTensor qkv = random_tensor(c.qkv(GetParam()), 4);
  const KernelSpec spec{
      .name = "attention", .inputs = {qkv.type}, .outputs = {c.out()}, .attrs = c.attrs()};
  const KernelRun before = run(spec, {qkv});
  constexpr std::int64_t kRow = 140;
  qkv.values[static_cast<std::size_t>(kRow * 3 * c.width())] =
      std::numeric_limits<float>::quiet_NaN();  // q of head 0
  const KernelRun after = run_kernel(**make(spec), spec, {qkv}, 2);
  for (std::int64_t t = 0; t < c.seq; ++t)
    for (std::int64_t x = 0; x < c.width(); ++x) {
      const auto at = static_cast<std::size_t>(t * c.width() + x);
      if (t == kRow && x < c.depth)
        EXPECT_TRUE(std::isnan(after.outputs[0][at])) << t << ", " << x;
      else
        EXPECT_EQ(after.outputs[0][at], before.outputs[0][at]) << t << ", " << x;
    }
}

TEST_P(Attention, NoTokensIsNothing) {
  const Case c{0, 4, 2, 3};
  const KernelRun both = run({.name = "attention",
                              .inputs = {c.qkv(GetParam())},
                              .outputs = {c.out(), c.stats()},
                              .attrs = c.attrs()},
                             {random_tensor(c.qkv(GetParam()), 1)});
  ASSERT_EQ(both.outputs.size(), 2u);
  EXPECT_TRUE(both.outputs[0].empty());
}

INSTANTIATE_TEST_SUITE_P(Types, Attention, testing::Values(DType::f32, DType::bf16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

}  // namespace
}  // namespace suanli::engine
