#include <gtest/gtest.h>

#include <algorithm>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/amx_attention.h"
#include "suanli/engine/cpu/onednn_attention.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;

struct Case {
  std::int64_t batch, seq, heads, depth;

  std::int64_t width() const { return heads * depth; }
  std::int64_t rows() const { return batch * seq; }
  graph::TensorType qkv(DType dtype) const { return {dtype, {rows(), 3 * width()}}; }
  graph::TensorType out(DType dtype = DType::f32) const { return {dtype, {rows(), width()}}; }
  graph::TensorType stats() const { return graph::f32({batch * heads, seq}); }
  graph::Attrs attrs() const { return {{"heads", heads}, {"seq", seq}}; }
};

const Case kCases[] = {{1, 1, 1, 1},   {2, 3, 2, 4},   {1, 17, 3, 5},   {2, 128, 2, 64}, {1, 129, 1, 7}, {1, 300, 2, 32},
                       {3, 70, 1, 16}, {2, 31, 1, 40}, {1, 33, 2, 128}, {1, 100, 3, 40}, {1, 257, 1, 64}};

// With s, p in float64, straight from the definition.
struct Expected {
  std::vector<double> out, stats, dqkv;
};

// dqkv for given dy; delta is of the given y, or of the exact one.
Expected expected(const Case& c, const std::vector<float>& qkv, const std::vector<float>& dy = {},
                  const std::vector<float>& y = {}) {
  Expected e;
  const std::int64_t width = c.width(), depth = c.depth;
  e.out.assign(static_cast<std::size_t>(c.rows() * width), 0);
  e.stats.assign(static_cast<std::size_t>(c.batch * c.heads * c.seq), 0);
  e.dqkv.assign(qkv.size(), 0);
  const double scale = 1 / std::sqrt(static_cast<double>(depth));
  for (std::int64_t item = 0; item < c.batch; ++item)
    for (std::int64_t head = 0; head < c.heads; ++head) {
      const auto at = [&](std::int64_t t, std::int64_t part, std::int64_t x) {
        return static_cast<std::size_t>((item * c.seq + t) * 3 * width + part * width + head * depth + x);
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
        e.stats[static_cast<std::size_t>((item * c.heads + head) * c.seq + i)] = top + std::log(sum);
        for (std::int64_t x = 0; x < depth; ++x)
          for (std::int64_t j = 0; j <= i; ++j)
            e.out[out_at(i, x)] += p[static_cast<std::size_t>(j)] / sum * qkv[at(j, 2, x)];
        if (dy.empty()) continue;
        double delta = 0;
        for (std::int64_t x = 0; x < depth; ++x)
          delta += (y.empty() ? e.out[out_at(i, x)] : double{y[out_at(i, x)]}) * dy[out_at(i, x)];
        for (std::int64_t j = 0; j <= i; ++j) {
          const double pij = p[static_cast<std::size_t>(j)] / sum;
          double dp = 0;
          for (std::int64_t x = 0; x < depth; ++x) dp += double{dy[out_at(i, x)]} * qkv[at(j, 2, x)];
          const double ds = pij * (dp - delta) * scale;
          for (std::int64_t x = 0; x < depth; ++x) {
            e.dqkv[at(i, 0, x)] += ds * qkv[at(j, 1, x)];
            e.dqkv[at(j, 1, x)] += ds * qkv[at(i, 0, x)];
            e.dqkv[at(j, 2, x)] += pij * dy[out_at(i, x)];
          }
        }
      }
    }
  return e;
}

enum class Path { f32_onednn, bf16_onednn, bf16_amx };

std::string name_of(Path path) {
  return path == Path::f32_onednn ? "f32_onednn" : path == Path::bf16_onednn ? "bf16_onednn" : "bf16_amx";
}

Result<std::unique_ptr<Kernel>> make(Path path, const KernelSpec& spec) {
  const bool grad = spec.name == "attention_grad";
  if (path == Path::bf16_amx) return grad ? make_amx_attention_grad(spec) : make_amx_attention(spec);
  return grad ? make_onednn_attention_grad(spec) : make_onednn_attention(spec);
}

std::vector<TestBytes> run_with(const Kernel& kernel, const KernelSpec& spec, const std::vector<TestTensor>& inputs,
                                int threads) {
  std::vector<TestBytes> bytes;
  for (const TestTensor& tensor : inputs) bytes.push_back(tensor.bytes());
  return run_op(kernel, spec, bytes, {.threads = threads});
}

// Runs with 1 to 4 threads, which must agree.
std::vector<TestBytes> run(Path path, const KernelSpec& spec, const std::vector<TestTensor>& inputs) {
  const auto kernel = make(path, spec);
  if (!kernel) {
    ADD_FAILURE() << kernel.error().to_string();
    return std::vector<TestBytes>(spec.outputs.size());
  }
  const std::vector<TestBytes> one = run_with(**kernel, spec, inputs, 1);
  for (const int threads : {2, 3, 4}) EXPECT_EQ(run_with(**kernel, spec, inputs, threads), one) << threads << " threads";
  return one;
}

TestTensor tensor_of(const graph::TensorType& type, const std::vector<double>& values) {
  TestTensor tensor{type, {}};
  for (const double x : values) {
    const auto value = static_cast<float>(x);
    tensor.values.push_back(type.dtype == DType::bf16 ? round_to_bf16(value) : value);
  }
  return tensor;
}

class Attention : public testing::TestWithParam<Path> {
 protected:
  void SetUp() override {
    if (GetParam() == Path::bf16_amx && !amx::available()) GTEST_SKIP() << "no AMX";
    const Case c{1, 8, 1, 4};
    const auto kernel = make(GetParam(), forward(c));
    if (!kernel && GetParam() == Path::bf16_onednn) GTEST_SKIP() << kernel.error().to_string();
  }
  DType dtype() const { return GetParam() == Path::f32_onednn ? DType::f32 : DType::bf16; }
  // P is rounded to 8 bits of mantissa in bf16.
  double tolerance() const { return GetParam() == Path::f32_onednn ? 2e-5 : 1e-2; }

  KernelSpec forward(const Case& c) const {
    return {.name = "attention", .inputs = {c.qkv(dtype())}, .outputs = {c.out(), c.stats()}, .attrs = c.attrs()};
  }
  // y and dy of type `y`.
  KernelSpec backward(const Case& c, DType y = DType::f32) const {
    return {.name = "attention_grad",
            .inputs = {c.qkv(dtype()), c.out(y), c.stats(), c.out(y)},
            .outputs = {c.qkv(DType::f32)},
            .attrs = c.attrs()};
  }
  // qkv, y, stats, dy for backward(c, y).
  std::vector<TestTensor> backward_inputs(const Case& c, DType y = DType::f32) const {
    const TestTensor qkv = random_tensor(c.qkv(dtype()), 1);
    const Expected e = expected(c, qkv.values);
    return {qkv, tensor_of(c.out(y), e.out), tensor_of(c.stats(), e.stats), random_tensor(c.out(y), 2)};
  }
};

TEST_P(Attention, EqualsItsDefinition) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.qkv(dtype()).to_string());
    const TestTensor qkv = random_tensor(c.qkv(dtype()), 1);
    const Expected e = expected(c, qkv.values);
    const std::vector<TestBytes> both = run(GetParam(), forward(c), {qkv});
    EXPECT_LT(worst_error(values_of<float>(both[0]), e.out), tolerance());
    EXPECT_LT(worst_error(values_of<float>(both[1]), e.stats), 2e-5);
    // Each alone gives the same.
    const KernelSpec out{.name = "attention", .inputs = {qkv.type}, .outputs = {c.out()}, .attrs = c.attrs()};
    EXPECT_EQ(run(GetParam(), out, {qkv})[0], both[0]);
    const KernelSpec stats{.name = "attention_stats", .inputs = {qkv.type}, .outputs = {c.stats()}, .attrs = c.attrs()};
    EXPECT_EQ(run(GetParam(), stats, {qkv})[0], both[1]);
  }
}

TEST_P(Attention, GradientEqualsItsDefinition) {
  for (const Case& c : kCases)
    for (const DType y : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(c.qkv(dtype()).to_string() + ", y " + std::string(graph::name_of(y)));
      const std::vector<TestTensor> inputs = backward_inputs(c, y);
      const Expected e = expected(c, inputs[0].values, inputs[3].values, inputs[1].values);
      const std::vector<TestBytes> grad = run(GetParam(), backward(c, y), inputs);
      EXPECT_LT(worst_error(values_of<float>(grad[0]), e.dqkv), tolerance());
    }
}

// The result rounded, and the result plus an operand; the statistic comes after both.
TEST_P(Attention, Epilogue) {
  for (const Case& c : {Case{2, 45, 2, 16}, Case{1, 100, 1, 40}, Case{2, 64, 2, 64}}) {
    SCOPED_TRACE(c.qkv(dtype()).to_string());
    for (const bool grad : {false, true}) {
      const KernelSpec plain = grad ? backward(c) : forward(c);
      std::vector<TestTensor> inputs = backward_inputs(c);
      if (!grad) inputs.resize(1);
      const std::vector<TestBytes> want = run(GetParam(), plain, inputs);

      const graph::TensorType result = plain.outputs[0];
      const Region region{
          .shape = result.shape,
          .inputs = {{DType::f32, Access::full, result.elements()}, {DType::f32, Access::full, result.elements()}},
          .code = {{.op = RegionOp::add, .a = 0, .b = 1}},
          .outputs = {{0, DType::bf16}, {2, DType::f32}}};
      KernelSpec spec = plain;
      spec.region = &region;
      spec.inputs.push_back(result);
      spec.outputs = {{DType::bf16, result.shape}, result};
      spec.outputs.insert(spec.outputs.end(), plain.outputs.begin() + 1, plain.outputs.end());
      const TestTensor operand = random_tensor(result, 7);
      inputs.push_back(operand);
      const std::vector<TestBytes> got = run(GetParam(), spec, inputs);

      const std::vector<float> values = values_of<float>(want[0]), sums = values_of<float>(got[1]);
      const std::vector<double> rounded = decode(DType::bf16, got[0]);
      for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(rounded[i], round_to_bf16(values[i])) << i;
        ASSERT_EQ(sums[i], values[i] + operand.values[i]) << i;
      }
      if (!grad) {
        EXPECT_EQ(got[2], want[1]);
      }
    }
  }
}

// A bf16 result without a region.
TEST_P(Attention, RoundedResult) {
  const Case c{1, 50, 2, 24};
  const TestTensor qkv = random_tensor(c.qkv(dtype()), 1);
  KernelSpec spec = forward(c);
  const std::vector<float> want = values_of<float>(run(GetParam(), spec, {qkv})[0]);
  spec.outputs[0].dtype = DType::bf16;
  const std::vector<double> rounded = decode(DType::bf16, run(GetParam(), spec, {qkv})[0]);
  ASSERT_EQ(rounded.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_EQ(rounded[i], round_to_bf16(want[i]));
}

// Large scores: neither overflow nor a zero sum.
TEST_P(Attention, LargeScores) {
  const Case c{1, 200, 1, 8};
  TestTensor qkv = random_tensor(c.qkv(dtype()), 3);
  for (float& x : qkv.values) x *= 64;
  const Expected e = expected(c, qkv.values);
  const std::vector<TestBytes> both = run(GetParam(), forward(c), {qkv});
  EXPECT_LT(worst_error(values_of<float>(both[0]), e.out), dtype() == DType::f32 ? 5e-3 : 2e-2);
  EXPECT_LT(worst_error(values_of<float>(both[1]), e.stats), 1e-5);
}

// A later token never changes an earlier row; NaN in q reaches its own row and no other.
TEST_P(Attention, IsCausalAndKeepsNan) {
  const Case c{1, 150, 2, 16};
  TestTensor qkv = random_tensor(c.qkv(dtype()), 4);
  const std::vector<float> before = values_of<float>(run(GetParam(), forward(c), {qkv})[0]);
  constexpr std::int64_t kRow = 140;
  qkv.values[static_cast<std::size_t>(kRow * 3 * c.width())] = std::numeric_limits<float>::quiet_NaN();  // q of head 0
  const std::vector<TestBytes> both = run(GetParam(), forward(c), {qkv});
  const std::vector<float> after = values_of<float>(both[0]), stats = values_of<float>(both[1]);
  for (std::int64_t t = 0; t < c.seq; ++t) {
    EXPECT_EQ(std::isnan(stats[static_cast<std::size_t>(t)]), t == kRow);
    for (std::int64_t x = 0; x < c.width(); ++x) {
      const auto at = static_cast<std::size_t>(t * c.width() + x);
      if (t == kRow && x < c.depth) {
        EXPECT_TRUE(std::isnan(after[at])) << t << ", " << x;
      } else {
        EXPECT_EQ(after[at], before[at]) << t << ", " << x;
      }
    }
  }
}

// NaN in a key or value reaches every later query of its head; that of another head stays as it is.
TEST_P(Attention, NanOfKeysAndValuesReachesLaterQueries) {
  const Case c{1, 150, 2, 16};
  constexpr std::int64_t kRow = 70;
  for (const std::int64_t part : {1, 2}) {
    TestTensor qkv = random_tensor(c.qkv(dtype()), 4);
    const std::size_t at = static_cast<std::size_t>(kRow * 3 * c.width() + part * c.width() + 3);
    qkv.values[at] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> out = values_of<float>(run(GetParam(), forward(c), {qkv})[0]);
    for (std::int64_t t = 0; t < c.seq; ++t)
      for (std::int64_t x = 0; x < c.width(); ++x) {
        const bool nan = std::isnan(out[static_cast<std::size_t>(t * c.width() + x)]);
        if (x >= c.depth) {
          EXPECT_FALSE(nan) << t << ", " << x;
        } else if (t >= kRow && (part == 1 || x == 3)) {
          EXPECT_TRUE(nan) << t << ", " << x;
        }
      }
  }
}

// NaN in dy of query t: its dq, and dk and dv of all keys that it saw, in its head only.
TEST_P(Attention, GradientKeepsNan) {
  const Case c{1, 150, 2, 16};
  constexpr std::int64_t kRow = 70;
  std::vector<TestTensor> inputs = backward_inputs(c);
  inputs[3].values[static_cast<std::size_t>(kRow * c.width() + 3)] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> grad = values_of<float>(run(GetParam(), backward(c), inputs)[0]);
  for (std::int64_t t = 0; t < c.seq; ++t)
    for (std::int64_t x = 0; x < 3 * c.width(); ++x) {
      const std::int64_t part = x / c.width(), column = x % c.width();
      const bool nan = std::isnan(grad[static_cast<std::size_t>(t * 3 * c.width() + x)]);
      if (column >= c.depth || (part == 0 && t != kRow)) {
        EXPECT_FALSE(nan) << t << ", " << x;
      } else if (part == 0 || (t <= kRow && (part == 1 || column == 3))) {
        EXPECT_TRUE(nan) << t << ", " << x;
      }
    }
}

TEST_P(Attention, NoTokensIsNothing) {
  const Case c{0, 4, 2, 3};
  const std::vector<TestBytes> both = run(GetParam(), forward(c), {random_tensor(c.qkv(dtype()), 1)});
  EXPECT_TRUE(both.at(0).empty());
  EXPECT_TRUE(both.at(1).empty());
  const TestTensor y{c.out(), {}}, stats{c.stats(), {}};
  EXPECT_TRUE(run(GetParam(), backward(c), {random_tensor(c.qkv(dtype()), 1), y, stats, y})[0].empty());
}

INSTANTIATE_TEST_SUITE_P(Paths, Attention, testing::Values(Path::f32_onednn, Path::bf16_onednn, Path::bf16_amx),
                         [](const auto& tested) { return name_of(tested.param); });

// Both ways of bf16 are the same function; which one runs shows in the kernel's description.
TEST(AttentionOnAmx, EqualsOneDnn) {
  if (!amx::available()) GTEST_SKIP() << "no AMX";
  const Case c{2, 200, 3, 64};
  const TestTensor qkv = random_tensor(c.qkv(DType::bf16), 1);
  const KernelSpec spec{.name = "attention", .inputs = {qkv.type}, .outputs = {c.out(), c.stats()}, .attrs = c.attrs()};
  if (const auto oracle = make(Path::bf16_onednn, spec); !oracle) GTEST_SKIP() << oracle.error().to_string();
  EXPECT_EQ(kernel_for(spec)->implementation().substr(0, 8), "amx bf16");
  const std::vector<TestBytes> ours = run(Path::bf16_amx, spec, {qkv}), theirs = run(Path::bf16_onednn, spec, {qkv});
  EXPECT_LT(worst_error(values_of<float>(ours[0]), decode(DType::f32, theirs[0])), 2e-3);
  EXPECT_LT(worst_error(values_of<float>(ours[1]), decode(DType::f32, theirs[1])), 2e-6);

  const KernelSpec grad{.name = "attention_grad",
                        .inputs = {qkv.type, c.out(), c.stats(), c.out()},
                        .outputs = {c.qkv(DType::f32)},
                        .attrs = c.attrs()};
  EXPECT_EQ(kernel_for(grad)->implementation().substr(0, 8), "amx bf16");
  const TestTensor out = tensor_of(c.out(), decode(DType::f32, theirs[0]));
  const TestTensor stats = tensor_of(c.stats(), decode(DType::f32, theirs[1]));
  const std::vector<TestTensor> inputs = {qkv, out, stats, random_tensor(c.out(), 2)};
  EXPECT_LT(worst_error(values_of<float>(run(Path::bf16_amx, grad, inputs)[0]),
                        decode(DType::f32, run(Path::bf16_onednn, grad, inputs)[0])),
            2e-3);
}

}  // namespace
}  // namespace suanli::engine
