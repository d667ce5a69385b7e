#include <gtest/gtest.h>

#include <bit>

#include "suanli/base/sha256.h"
#include "suanli/engine/cpu/exact/exact_reference_for_tests.h"
#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using exact::run_everywhere;
using graph::f32;
using graph::i32;

struct Extents {
  std::int64_t rows, width, vocabulary;
};

// Ragged tiles of rows, blocks of tokens, chunks of the vocabulary, groups of chunks, and blocks of the width.
const Extents kExtents[] = {{1, 16, 5}, {33, 20, 65}, {40, 530, 70}, {130, 17, 520}, {30, 9, 2100}, {600, 7, 65}};

void expect_same(const TestBytes& bytes, const std::vector<float>& want, const std::string& what) {
  const std::vector<float> got = values_of<float>(bytes);
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(want[i]))
        << what << ": element " << i << " is " << got[i] << ", expected " << want[i];
}

struct Problem {
  explicit Problem(const Extents& extents)
      : e(extents),
        x(exact::plain_rows(e.rows, e.width, 1)),
        w(exact::plain_rows(e.vocabulary, e.width, 2)),
        dlosses(exact::plain_rows(e.rows, 1, 3)) {
    for (std::int64_t n = 0; n < e.rows; ++n)
      targets.push_back(n % 7 == 3 ? -1 : static_cast<std::int32_t>(n * n * 31 % e.vocabulary));
  }

  KernelSpec loss_spec() const {
    return {.name = "exact_vocabulary_loss",
            .inputs = {f32({e.rows, e.width}), f32({e.vocabulary, e.width}), i32({e.rows})},
            .outputs = {f32({e.rows}), f32({e.rows})},
            .attrs = {}};
  }
  KernelSpec grad_spec() const {
    KernelSpec spec = loss_spec();
    spec.name = "exact_vocabulary_loss_grad";
    spec.inputs.insert(spec.inputs.end(), {f32({e.rows}), f32({e.rows})});
    spec.outputs = {f32({e.rows, e.width}), f32({e.vocabulary, e.width})};
    return spec;
  }
  std::vector<TestBytes> inputs() const { return {bytes_of(x), bytes_of(w), bytes_of(targets)}; }

  void check() const {
    SCOPED_TRACE(std::to_string(e.rows) + " rows of " + std::to_string(e.width) + ", " + std::to_string(e.vocabulary) +
                 " entries");
    const auto both = run_everywhere(loss_spec(), inputs());
    const auto want =
        exact::reference::vocabulary_loss(e.rows, e.width, e.vocabulary, x, w, targets, values_of<float>(both[1]), dlosses);
    expect_same(both[0], want.losses, "losses");
    expect_same(both[1], want.totals, "L");
    KernelSpec loss = loss_spec();
    loss.outputs.pop_back();
    EXPECT_EQ(run_everywhere(loss, inputs())[0], both[0]);
    std::vector<TestBytes> all = inputs();
    all.push_back(both[1]);
    all.push_back(bytes_of(dlosses));
    const auto grad = run_everywhere(grad_spec(), all);
    expect_same(grad[0], want.dx, "dx");
    expect_same(grad[1], want.dw, "dw");
    KernelSpec alone = grad_spec();
    alone.outputs.erase(alone.outputs.begin());
    EXPECT_EQ(run_everywhere(alone, all)[0], grad[1]);
  }

  Extents e;
  std::vector<float> x, w, dlosses;
  std::vector<std::int32_t> targets;
};

TEST(ExactVocabularyLoss, EqualsItsReferenceBitForBit) {
  for (const Extents& e : kExtents) {
    Problem p(e);
    p.check();
    for (float& d : p.dlosses) d = 1;
    p.check();
  }
}

// The digest of the bits that every build on every machine gives: another one is another version of exact arithmetic.
TEST(ExactVocabularyLoss, GoldenDigest) {
  const Problem p({530, 20, 1100});
  const std::vector<TestBytes> both = run_everywhere(p.loss_spec(), p.inputs());
  std::vector<TestBytes> all = p.inputs();
  all.push_back(both[1]);
  all.push_back(bytes_of(p.dlosses));
  const auto grad = run_everywhere(p.grad_spec(), all);
  Sha256 hash;
  for (const TestBytes& bytes : {both[0], both[1], grad[0], grad[1]}) hash.update(bytes);
  EXPECT_EQ(hash.finish().hex(), "119937b6246b5be5b32052eb55f3c4b512aeead197f71ce89fe36bcc1119e387");
}

TEST(ExactVocabularyLoss, EqualsItsReferenceOnNastyNumbers) {
  for (const Extents& e : {Extents{48, 12, 70}, Extents{530, 6, 530}}) {
    Problem p(e);
    p.x = exact::nasty_rows(e.rows, e.width, 5);
    p.check();
    for (const std::size_t n : {10, 11, 26, 27}) p.targets[n] = -1;
    p.w = exact::nasty_rows(e.vocabulary, e.width, 6);
    p.check();
    p = Problem(e);
    p.targets[5] = static_cast<std::int32_t>(e.vocabulary);
    p.check();
    p.targets[6] = std::numeric_limits<std::int32_t>::min();
    p.dlosses[7] = NAN;
    p.check();
  }
}

// The losses are those of the logits that exact_matmul would give, whatever cuts them (section 6).
TEST(ExactVocabularyLoss, AgreesWithWholeLogits) {
  const Problem p({33, 20, 1100});
  const auto both = run_everywhere(p.loss_spec(), p.inputs());
  const auto logits = exact::reference::product(
      33, 1100, 0, 20, [&](std::int64_t n, std::int64_t c) { return p.x[static_cast<std::size_t>(n * 20 + c)]; },
      [&](std::int64_t c, std::int64_t v) { return p.w[static_cast<std::size_t>(v * 20 + c)]; });
  const KernelSpec whole{.name = "exact_softmax_cross_entropy",
                         .inputs = {f32({33, 1100}), i32({33})},
                         .outputs = {f32({33}), f32({33})},
                         .attrs = {}};
  EXPECT_EQ(run_everywhere(whole, {bytes_of(logits), bytes_of(p.targets)}), both);
}

TEST(ExactVocabularyLoss, IgnoredRowsHaveNoLossAndNoGradient) {
  Problem p({40, 16, 70});
  p.targets.assign(40, -1);
  p.x[3] = NAN;  // not even then
  const auto both = run_everywhere(p.loss_spec(), p.inputs());
  for (const float x : values_of<float>(both[0])) EXPECT_EQ(std::bit_cast<std::uint32_t>(x), 0U);
  std::vector<TestBytes> all = p.inputs();
  all.push_back(both[1]);
  all.push_back(bytes_of(p.dlosses));
  for (const TestBytes& bytes : run_everywhere(p.grad_spec(), all))
    for (const float x : values_of<float>(bytes)) ASSERT_EQ(std::bit_cast<std::uint32_t>(x), 0U);
}

double distance(const TestBytes& bytes, const std::vector<double>& want) {
  const std::vector<float> got = values_of<float>(bytes);
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / std::max(norm, 1e-30));
}

TEST(ExactVocabularyLoss, IsCloseToFloat64) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(e.rows);
    const Problem p(e);
    const auto both = run_everywhere(p.loss_spec(), p.inputs());
    std::vector<TestBytes> all = p.inputs();
    all.push_back(both[1]);
    all.push_back(bytes_of(p.dlosses));
    const auto grad = run_everywhere(p.grad_spec(), all);
    std::vector<double> losses, dx(p.x.size(), 0), dw(p.w.size(), 0);
    for (std::int64_t n = 0; n < e.rows; ++n) {
      const float* x = p.x.data() + n * e.width;
      const std::int32_t target = p.targets[static_cast<std::size_t>(n)];
      std::vector<double> logits;
      double sum = 0;
      for (std::int64_t v = 0; v < e.vocabulary; ++v) {
        double dot = 0;
        for (std::int64_t c = 0; c < e.width; ++c) dot += double{x[c]} * p.w[static_cast<std::size_t>(v * e.width + c)];
        logits.push_back(dot);
        sum += std::exp(dot);
      }
      losses.push_back(target < 0 ? 0 : std::log(sum) - logits[static_cast<std::size_t>(target)]);
      for (std::int64_t v = 0; v < e.vocabulary && target >= 0; ++v) {
        const double g = (std::exp(logits[static_cast<std::size_t>(v)]) / sum - (v == target ? 1 : 0)) *
                         p.dlosses[static_cast<std::size_t>(n)];
        for (std::int64_t c = 0; c < e.width; ++c) {
          dx[static_cast<std::size_t>(n * e.width + c)] += g * p.w[static_cast<std::size_t>(v * e.width + c)];
          dw[static_cast<std::size_t>(v * e.width + c)] += g * x[c];
        }
      }
    }
    expect_near(decode(graph::DType::f32, both[0]), losses, 5e-4, "losses");
    EXPECT_LT(distance(grad[0], dx), 5e-4);
    EXPECT_LT(distance(grad[1], dw), 5e-4);
  }
}

TEST(ExactVocabularyLoss, SaysWhatItRunsOn) {
  const Problem p({4, 8, 16});
  exact::for_each_isa([&](exact::Isa isa) {
    for (const KernelSpec& spec : {p.loss_spec(), p.grad_spec()}) {
      EXPECT_NE(kernel_for(spec)->implementation().find(exact::name_of(isa)), std::string::npos);
    }
  });
}

TEST(ExactVocabularyLoss, WhatCannotBeComputedIsRefused) {
  const Problem p({4, 8, 16});
  KernelSpec spec = p.grad_spec();
  spec.inputs[0].dtype = graph::DType::bf16;
  const auto kernel = cpu_kernels().find(spec.name)(spec);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace suanli::engine
