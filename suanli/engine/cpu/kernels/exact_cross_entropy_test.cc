#include <gtest/gtest.h>

#include <bit>

#include "suanli/engine/cpu/exact/exact_reference_for_tests.h"
#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using exact::run_everywhere;
using graph::f32;
using graph::i32;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr struct { std::int64_t rows, columns; } kExtents[] = {{1, 1}, {7, 2}, {40, 65}, {3, 511}, {5, 512}, {4, 513}, {9, 2100}};

KernelSpec loss_spec(std::int64_t rows, std::int64_t columns) {
  return {.name = "exact_softmax_cross_entropy",
          .inputs = {f32({rows, columns}), i32({rows})},
          .outputs = {f32({rows}), f32({rows})},
          .attrs = {}};
}
KernelSpec grad_spec(std::int64_t rows, std::int64_t columns) {
  return {.name = "exact_softmax_cross_entropy_grad",
          .inputs = {f32({rows, columns}), i32({rows}), f32({rows}), f32({rows})},
          .outputs = {f32({rows, columns})},
          .attrs = {}};
}

std::vector<std::int32_t> targets_of(std::int64_t rows, std::int64_t columns) {
  std::vector<std::int32_t> targets;
  for (std::int64_t n = 0; n < rows; ++n) targets.push_back(n % 5 == 4 ? -1 : static_cast<std::int32_t>(n * 7919 % columns));
  return targets;
}

std::vector<float> logits_of(std::int64_t rows, std::int64_t columns, float scale) {
  std::vector<float> x = exact::plain_rows(rows, columns, 11);
  for (float& value : x) value *= scale;
  return x;
}

void check(std::int64_t rows, std::int64_t columns, const std::vector<float>& logits, const std::vector<std::int32_t>& targets) {
  SCOPED_TRACE(f32({rows, columns}).to_string());
  const auto both = run_everywhere(loss_spec(rows, columns), {bytes_of(logits), bytes_of(targets)});
  std::vector<float> losses, totals, gradient;
  const std::vector<float> dlosses = exact::plain_rows(rows, 1, 12);
  for (std::int64_t n = 0; n < rows; ++n) {
    const auto at = static_cast<std::size_t>(n);
    const float* row = logits.data() + n * columns;
    const auto sum = exact::reference::cross_entropy(row, columns, targets[at]);
    losses.push_back(sum.loss);
    totals.push_back(sum.total);
    for (std::int64_t v = 0; v < columns; ++v) {
      float p = exact::exp(row[v] - sum.total);
      if (v == targets[at]) p -= 1;
      const bool in_range = targets[at] >= 0 && targets[at] < columns;
      gradient.push_back(exact::reference::number(in_range ? p * dlosses[at] : targets[at] == -1 ? 0 : NAN));
    }
  }
  EXPECT_EQ(both[0], bytes_of(losses));
  EXPECT_EQ(both[1], bytes_of(totals));
  KernelSpec sums = loss_spec(rows, columns);
  sums.name = "exact_log_sum_exp";
  sums.inputs.pop_back();
  sums.outputs.pop_back();
  EXPECT_EQ(run_everywhere(sums, {bytes_of(logits)})[0], both[1]);
  const std::vector<TestBytes> inputs = {bytes_of(logits), bytes_of(targets), bytes_of(totals), bytes_of(dlosses)};
  const KernelSpec spec = grad_spec(rows, columns);
  EXPECT_EQ(run_everywhere(spec, inputs)[0], bytes_of(gradient));
  EXPECT_EQ(run_op(*kernel_for(spec), spec, inputs, {.threads = 2, .in_place = {{0, 0}}})[0], bytes_of(gradient));
}

TEST(ExactCrossEntropy, EqualsItsReferenceBitForBit) {
  for (const auto& [rows, columns] : kExtents)
    for (const float scale : {1.0F, 30.0F, 1e5F})
      check(rows, columns, logits_of(rows, columns, scale), targets_of(rows, columns));
}

TEST(ExactCrossEntropy, EqualsItsReferenceOnNastyNumbers) {
  for (const std::int64_t columns : {65, 1100}) {
    std::vector<float> logits = exact::nasty_rows(48, columns, 13);
    std::fill_n(logits.begin(), columns, -kInfinity);                                                 // nothing at all
    std::fill_n(logits.begin() + 5 * columns, std::min<std::int64_t>(columns - 1, 512), -kInfinity);  // an empty chunk
    std::fill_n(logits.begin() + 9 * columns, std::min<std::int64_t>(columns - 1, 512), -kInfinity);  // one with a NaN in it
    logits[static_cast<std::size_t>(9 * columns + 20)] = NAN;
    std::fill_n(logits.begin() + 6 * columns, columns, -kInfinity);
    logits[static_cast<std::size_t>(6 * columns + 64)] = NAN;
    logits[static_cast<std::size_t>(7 * columns)] = kInfinity;
    std::vector<std::int32_t> targets = targets_of(48, columns);
    targets[8] = static_cast<std::int32_t>(columns);
    targets[10] = -2;
    targets[11] = std::numeric_limits<std::int32_t>::min();
    targets[12] = std::numeric_limits<std::int32_t>::max();
    check(48, columns, logits, targets);
  }
}

TEST(ExactCrossEntropy, IsCloseToFloat64) {
  for (const auto& [rows, columns] : kExtents) {
    const std::vector<float> logits = logits_of(rows, columns, 8);
    const std::vector<std::int32_t> targets = targets_of(rows, columns);
    const auto both = run_everywhere(loss_spec(rows, columns), {bytes_of(logits), bytes_of(targets)});
    const graph::RefTensor x{f32({rows, columns}), std::vector<double>(logits.begin(), logits.end())};
    const graph::RefTensor t{i32({rows}), std::vector<double>(targets.begin(), targets.end())};
    KernelSpec loss = loss_spec(rows, columns), sums = loss;
    loss.name = "softmax_cross_entropy";
    sums.name = "log_sum_exp";
    expect_near(decode(graph::DType::f32, both[0]), reference_of(loss, {x, t}), 1e-6, "losses");
    expect_near(decode(graph::DType::f32, both[1]), reference_of(sums, {x}), 1e-6, "L");
  }
}

}  // namespace
}  // namespace suanli::engine
