#include <gtest/gtest.h>

#include <bit>

#include "suanli/base/sha256.h"
#include "suanli/engine/cpu/exact/exact_reference_for_tests.h"
#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using exact::reference::AttentionSize;
using graph::f32;
using graph::RefTensor;

// Odd lengths and depths, lengths around blocks of 128, a depth beyond a block of 512.
const AttentionSize kSizes[] = {{1, 1, 1, 1},    {2, 3, 2, 4},   {1, 17, 3, 5},  {1, 128, 2, 64}, {1, 129, 1, 7},
                                {1, 300, 2, 32}, {3, 70, 1, 16}, {1, 33, 2, 40}, {1, 40, 1, 600}, {1, 257, 1, 64}};

graph::TensorType qkv_type(const AttentionSize& c) { return f32({c.batch * c.seq, 3 * c.width()}); }
graph::TensorType out_type(const AttentionSize& c) { return f32({c.batch * c.seq, c.width()}); }
graph::TensorType stats_type(const AttentionSize& c) { return f32({c.batch * c.heads, c.seq}); }

KernelSpec forward(const AttentionSize& c) {
  return {.name = "exact_attention",
          .inputs = {qkv_type(c)},
          .outputs = {out_type(c), stats_type(c)},
          .attrs = {{"heads", c.heads}, {"seq", c.seq}}};
}
KernelSpec backward(const AttentionSize& c) {
  return {.name = "exact_attention_grad",
          .inputs = {qkv_type(c), out_type(c), stats_type(c), out_type(c)},
          .outputs = {qkv_type(c)},
          .attrs = {{"heads", c.heads}, {"seq", c.seq}}};
}

// On every instruction set of this CPU and 1 to 4 threads, which must agree.
std::vector<TestBytes> run(const KernelSpec& spec, const std::vector<TestBytes>& inputs) {
  std::vector<TestBytes> first;
  exact::for_each_isa([&](exact::Isa isa) {
    const auto kernel = kernel_for(spec);
    ASSERT_NE(kernel, nullptr);
    EXPECT_NE(kernel->implementation().find(exact::name_of(isa)), std::string::npos);
    for (const int threads : {1, 2, 3, 4}) {
      const auto got = run_op(*kernel, spec, inputs, {.threads = threads});
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << exact::name_of(isa) << ", " << threads << " threads";
    }
  });
  return first;
}

void expect_same(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(want[i]))
        << "element " << i << " is " << got[i] << ", expected " << want[i];
}

struct Problem {
  explicit Problem(const AttentionSize& size, float scale = 1)
      : c(size), qkv(exact::plain_rows(c.batch * c.seq, 3 * c.width(), 1)), dy(exact::plain_rows(c.batch * c.seq, c.width(), 2)) {
    for (float& x : qkv) x *= scale;
  }

  // The kernels' own outputs for these inputs, held to the reference.
  void check() const {
    SCOPED_TRACE(qkv_type(c).to_string() + ", " + std::to_string(c.heads) + " heads");
    const std::vector<TestBytes> both = run(forward(c), {bytes_of(qkv)});
    const std::vector<float> y = values_of<float>(both[0]);
    const auto want = exact::reference::attention(c, qkv, y, dy);
    expect_same(y, want.out);
    expect_same(values_of<float>(both[1]), want.stats);
    const auto grad = run(backward(c), {bytes_of(qkv), both[0], both[1], bytes_of(dy)});
    expect_same(values_of<float>(grad[0]), want.dqkv);
  }

  AttentionSize c;
  std::vector<float> qkv, dy;
};

TEST(ExactAttention, EqualsItsReferenceBitForBit) {
  for (const AttentionSize& c : kSizes) Problem(c).check();
}

// The digest of the bits that every build on every machine gives: another one is another version of exact arithmetic.
TEST(ExactAttention, GoldenDigest) {
  const Problem p({2, 200, 3, 24}, 3);
  const std::vector<TestBytes> both = run(forward(p.c), {bytes_of(p.qkv)});
  const auto grad = run(backward(p.c), {bytes_of(p.qkv), both[0], both[1], bytes_of(p.dy)});
  Sha256 hash;
  for (const TestBytes& bytes : {both[0], both[1], grad[0]}) hash.update(bytes);
  EXPECT_EQ(hash.finish().hex(), "e0ffb67084289ce1e18bd29aa694afaa158925c91db787c3290839ab9a691618");
}

// Sharp softmaxes: most weights are 0.
TEST(ExactAttention, EqualsItsReferenceWhereOneKeyWins) { Problem({1, 150, 2, 24}, 20).check(); }

TEST(ExactAttention, EqualsItsReferenceOnNastyNumbers) {
  for (const AttentionSize& c : {AttentionSize{2, 31, 2, 12}, AttentionSize{1, 140, 1, 8}, AttentionSize{1, 140, 1, 70}}) {
    Problem p(c);
    p.qkv = exact::nasty_rows(c.batch * c.seq, 3 * c.width(), 3);
    p.check();  // rows that are not finite show in the queries after them
    p.dy = exact::nasty_rows(c.batch * c.seq, c.width(), 4);
    p.check();
    p.qkv = exact::plain_rows(c.batch * c.seq, 3 * c.width(), 5);
    p.check();
  }
}

double relative_rms(const std::vector<float>& got, const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / std::max(norm, 1e-30));
}

RefTensor ref(const graph::TensorType& type, const std::vector<float>& values) {
  return {type, std::vector<double>(values.begin(), values.end())};
}
std::vector<double> value(const std::string& op, const KernelSpec& exact, const graph::TensorType& out,
                          const std::vector<RefTensor>& inputs) {
  KernelSpec spec = exact;
  spec.name = op;
  spec.outputs = {out};
  return reference_of(spec, inputs);
}

TEST(ExactAttention, IsCloseToFloat64) {
  for (const AttentionSize& c : kSizes) {
    SCOPED_TRACE(qkv_type(c).to_string());
    const Problem p(c);
    const auto kernel = kernel_for(forward(c));
    const auto both = run_op(*kernel, forward(c), {bytes_of(p.qkv)});
    const RefTensor qkv = ref(qkv_type(c), p.qkv);
    const auto y = value("attention", forward(c), out_type(c), {qkv});
    const auto stats = value("attention_stats", forward(c), stats_type(c), {qkv});
    EXPECT_LT(relative_rms(values_of<float>(both[0]), y), 5e-4);
    expect_near(decode(graph::DType::f32, both[1]), stats, 5e-4, "stats");
    const auto grad = kernel_for(backward(c));
    const auto got = run_op(*grad, backward(c), {bytes_of(p.qkv), both[0], both[1], bytes_of(p.dy)});
    const auto want = value("attention_grad", backward(c), qkv_type(c),
                            {qkv, {out_type(c), y}, {stats_type(c), stats}, ref(out_type(c), p.dy)});
    EXPECT_LT(relative_rms(values_of<float>(got[0]), want), 5e-4);
  }
}

TEST(ExactAttention, EachOutputAloneIsTheSame) {
  const Problem p({2, 45, 2, 16});
  const auto both = run(forward(p.c), {bytes_of(p.qkv)});
  KernelSpec out = forward(p.c), stats = forward(p.c);
  out.outputs.pop_back();
  stats.name = "exact_attention_stats";
  stats.outputs.erase(stats.outputs.begin());
  EXPECT_EQ(run(out, {bytes_of(p.qkv)})[0], both[0]);
  EXPECT_EQ(run(stats, {bytes_of(p.qkv)})[0], both[1]);
}

// A query does not see what is wrong with the keys behind it; the values of its block of keys it does.
TEST(ExactAttention, PoisonStaysWhereItBelongs) {
  Problem p({1, 200, 1, 8});
  const auto at = [](std::int64_t t, std::int64_t part, std::int64_t x) {
    return static_cast<std::size_t>(t * 24 + part * 8 + x);
  };
  p.qkv[at(140, 1, 3)] = NAN;                                     // a key
  p.qkv[at(20, 0, 0)] = -std::numeric_limits<float>::infinity();  // a query
  p.qkv[at(50, 2, 5)] = std::bit_cast<float>(0xFFC12345U);        // a value
  const auto both = run(forward(p.c), {bytes_of(p.qkv)});
  const std::vector<float> y = values_of<float>(both[0]), stats = values_of<float>(both[1]);
  for (std::int64_t i = 0; i < 200; ++i) {
    const bool poisoned = i == 20 || i >= 140;
    ASSERT_EQ(std::isnan(stats[static_cast<std::size_t>(i)]), poisoned) << i;
    for (std::int64_t x = 0; x < 8; ++x) {
      const float value = y[static_cast<std::size_t>(i * 8 + x)];
      ASSERT_EQ(std::isnan(value), poisoned || x == 5) << i << " " << x;
      if (std::isnan(value)) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(value), 0x7FC00000U);
      }
    }
  }
}

// The result rounded to bf16, and the result plus an operand; the statistic comes after both.
TEST(ExactAttention, Epilogue) {
  for (const bool grad : {false, true}) {
    const Problem p({2, 45, 2, 16});
    const auto both = run(forward(p.c), {bytes_of(p.qkv)});
    std::vector<TestBytes> inputs = {bytes_of(p.qkv)};
    if (grad) inputs.insert(inputs.end(), {both[0], both[1], bytes_of(p.dy)});
    const KernelSpec plain = grad ? backward(p.c) : forward(p.c);
    const std::vector<TestBytes> want = run(plain, inputs);
    const graph::TensorType result = plain.outputs[0];
    const Region region{
        .shape = result.shape,
        .inputs = {{graph::DType::f32, Access::full, result.elements()}, {graph::DType::f32, Access::full, result.elements()}},
        .code = {{.op = RegionOp::add, .a = 0, .b = 1}},
        .outputs = {{0, graph::DType::bf16}, {2, graph::DType::f32}}};
    KernelSpec spec = plain;
    spec.region = &region;
    spec.inputs.push_back(result);
    spec.outputs = {{graph::DType::bf16, result.shape}, result};
    spec.outputs.insert(spec.outputs.end(), plain.outputs.begin() + 1, plain.outputs.end());
    const std::vector<float> operand = exact::plain_rows(result.shape[0], result.shape[1], 7);
    inputs.push_back(bytes_of(operand));
    const std::vector<TestBytes> got = run(spec, inputs);
    const std::vector<float> values = values_of<float>(want[0]), sums = values_of<float>(got[1]);
    const std::vector<double> rounded = decode(graph::DType::bf16, got[0]);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(rounded[i], round_to_bf16(values[i])) << i;
      ASSERT_EQ(sums[i], values[i] + operand[i]) << i;
    }
    if (!grad) {
      EXPECT_EQ(got[2], want[1]);
    }
  }
}

TEST(ExactAttention, OtherTypesAreRefused) {
  KernelSpec spec = forward({1, 8, 1, 4});
  spec.inputs[0].dtype = graph::DType::bf16;
  const auto kernel = cpu_kernels().find(spec.name)(spec);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
}

TEST(ExactAttention, NoSequencesAreNoWork) {
  const AttentionSize none{0, 8, 1, 4};
  EXPECT_TRUE(run(forward(none), {TestBytes()})[0].empty());
}

}  // namespace
}  // namespace suanli::engine
