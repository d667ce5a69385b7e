#include <gtest/gtest.h>

#include <cmath>

#include "suanli/engine/cpu/amx.h"
#include "suanli/engine/cpu/op_test_util.h"
#include "suanli/engine/cpu/vocabulary_amx.h"
#include "suanli/engine/cpu/vocabulary_tiles.h"

namespace suanli::engine {
namespace {

using graph::bf16;
using graph::DType;
using graph::f32;
using graph::i32;
using graph::RefTensor;

struct Extents {
  std::int64_t rows, width, vocabulary;
};

// Ragged panels, tiles, chunks and blocks of both paths.
const Extents kExtents[] = {{1, 16, 5},    {1, 40, 5000}, {33, 16, 70},   {33, 40, 5000},
                            {33, 16, 5},   {300, 40, 70}, {300, 16, 2100}, {2100, 16, 70}};

enum class Path { table, tiles };  // the kernel that the table gives, and oneDNN tiles

struct Kind {
  Path path;
  DType x, w;
  bool rounds() const { return x == DType::bf16 || w == DType::bf16; }
};

const Kind kKinds[] = {{Path::table, DType::f32, DType::f32},   {Path::table, DType::bf16, DType::f32},
                       {Path::table, DType::bf16, DType::bf16}, {Path::table, DType::f32, DType::bf16},
                       {Path::tiles, DType::bf16, DType::f32},  {Path::tiles, DType::f32, DType::bf16}};

Result<std::unique_ptr<Kernel>> make(const Kind& kind, const KernelSpec& spec) {
  if (kind.path == Path::table) return cpu_kernels().find(spec.name)(spec);
  const bool both = spec.outputs.size() == 2;
  return spec.name == "vocabulary_loss" ? make_vocabulary_loss_tiles(vocabulary_shape(spec), both)
                                        : make_vocabulary_loss_grad_tiles(vocabulary_shape(spec), both);
}

// The value of an op in float64, not rounded.
RefTensor value(std::string_view op, const std::vector<const RefTensor*>& inputs, const graph::Attrs& attrs = {}) {
  std::vector<graph::TensorType> types;
  for (const RefTensor* input : inputs) types.push_back(input->type);
  RefTensor out{*graph::op(op).infer(types, attrs), {}};
  out.data.resize(static_cast<std::size_t>(out.type.elements()));
  graph::op(op).reference({inputs, attrs, out});
  return out;
}

graph::Attrs transposed(bool a, bool b) { return {{"ta", std::int64_t{a}}, {"tb", std::int64_t{b}}}; }

RefTensor as_f32(RefTensor tensor) {
  tensor.type.dtype = DType::f32;
  return tensor;
}

struct Problem {
  Problem(const Extents& e, const Kind& kind, double scale = 1) {
    x = random_ref({kind.x, {e.rows, e.width}}, -scale, scale, 1);
    w = random_ref({kind.w, {e.vocabulary, e.width}}, -1, 1, 2);
    targets = random_ref(i32({e.rows}), -1, static_cast<double>(e.vocabulary), 3);
    if (e.rows > 2) targets.data[1] = -1;
    dlosses = random_ref(f32({e.rows}), 0.5, 2, 4);
    // What the products see.
    read_x = as_f32(x);
    read_w = as_f32(w);
    if (kind.rounds())
      for (RefTensor* tensor : {&read_x, &read_w})
        for (double& v : tensor->data) v = graph::round_to_bf16(v);
  }
  RefTensor logits() const { return value("matmul", {&read_x, &read_w}, transposed(false, true)); }

  RefTensor x, w, targets, dlosses, read_x, read_w;
};

KernelSpec loss_spec(const Problem& p, bool with_sums) {
  KernelSpec spec{.name = "vocabulary_loss",
                  .inputs = {p.x.type, p.w.type, p.targets.type},
                  .outputs = {p.dlosses.type},
                  .attrs = {}};
  if (with_sums) spec.outputs.push_back(p.dlosses.type);
  return spec;
}

KernelSpec grad_spec(const Problem& p, bool with_dx) {
  KernelSpec spec{.name = "vocabulary_loss_grad",
                  .inputs = {p.x.type, p.w.type, p.targets.type, p.dlosses.type, p.dlosses.type},
                  .outputs = {f32(p.w.type.shape)},
                  .attrs = {}};
  if (with_dx) spec.outputs.insert(spec.outputs.begin(), f32(p.x.type.shape));
  return spec;
}

std::vector<TestBytes> loss_inputs(const Problem& p) { return {encode(p.x), encode(p.w), encode(p.targets)}; }

// With 1 to 4 threads, which must agree.
std::vector<std::vector<float>> run(const Kernel& kernel, const KernelSpec& spec, const std::vector<TestBytes>& inputs) {
  const std::vector<TestBytes> one = run_op(kernel, spec, inputs, {.threads = 1});
  for (const int threads : {2, 3, 4}) EXPECT_EQ(run_op(kernel, spec, inputs, {.threads = threads}), one) << threads << " threads";
  std::vector<std::vector<float>> values;
  for (const TestBytes& bytes : one) values.push_back(values_of<float>(bytes));
  return values;
}

// |a - b| over |b|, as vectors.
double distance(const std::vector<float>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return a.size() == b.size() ? std::sqrt(difference) / std::max(1e-12, std::sqrt(norm)) : INFINITY;
}

template <typename Check>
void for_cases(const Check& check) {
  for (const Kind& kind : kKinds)
    for (const Extents& e : kExtents) {
      SCOPED_TRACE(testing::Message() << (kind.path == Path::tiles ? "tiles " : "") << name_of(kind.x) << " x " << name_of(kind.w)
                                      << ", " << e.rows << " rows of " << e.width << ", " << e.vocabulary << " entries");
      check(kind, e);
    }
}

TEST(VocabularyLoss, LossesAndSumsAreThoseOfWholeLogits) {
  for_cases([](const Kind& kind, const Extents& e) {
    const Problem p(e, kind);
    const RefTensor logits = p.logits();
    const std::vector<double> losses = value("softmax_cross_entropy", {&logits, &p.targets}).data;
    const std::vector<double> sums = value("log_sum_exp", {&logits}).data;
    for (const bool with_sums : {true, false}) {
      const KernelSpec spec = loss_spec(p, with_sums);
      const auto kernel = make(kind, spec);
      ASSERT_TRUE(kernel) << kernel.error().to_string();
      const auto out = run(**kernel, spec, loss_inputs(p));
      EXPECT_LE(worst_error(out[0], losses), 2e-6);
      if (with_sums) {
        EXPECT_LE(worst_error(out[1], sums), 2e-6);
      }
    }
  });
}

TEST(VocabularyLoss, GradientsAreThoseOfWholeLogits) {
  for_cases([](const Kind& kind, const Extents& e) {
    const Problem p(e, kind);
    const RefTensor logits = p.logits();
    const RefTensor sums = value("log_sum_exp", {&logits});
    const RefTensor gradient = value("softmax_cross_entropy_grad", {&logits, &p.targets, &sums, &p.dlosses});
    const std::vector<double> dx = value("matmul", {&gradient, &p.read_w}, transposed(false, false)).data;
    const std::vector<double> dw = value("matmul", {&gradient, &p.read_x}, transposed(true, false)).data;
    std::vector<TestBytes> inputs = loss_inputs(p);
    inputs.push_back(encode(sums));
    inputs.push_back(encode(p.dlosses));
    const double tolerance = kind.rounds() ? 4e-3 : 2e-6;
    for (const bool with_dx : {true, false}) {
      const KernelSpec spec = grad_spec(p, with_dx);
      const auto kernel = make(kind, spec);
      ASSERT_TRUE(kernel) << kernel.error().to_string();
      const auto out = run(**kernel, spec, inputs);
      EXPECT_LE(distance(out.back(), dw), tolerance);
      if (with_dx) {
        EXPECT_LE(distance(out.front(), dx), tolerance);
      }
    }
  });
}

TEST(VocabularyLoss, IgnoredRowsHaveNoLossAndNoGradient) {
  for (const Kind& kind : kKinds) {
    Problem p({40, 16, 70}, kind);
    p.targets.data.assign(40, -1);
    p.x.data[3] = NAN;  // not even then
    const auto loss = make(kind, loss_spec(p, false));
    const auto losses = run(**loss, loss_spec(p, false), loss_inputs(p));
    for (const float x : losses[0]) EXPECT_EQ(x, 0);
    p.x.data[3] = 0;
    std::vector<TestBytes> inputs = loss_inputs(p);
    for (int i = 0; i < 2; ++i) inputs.push_back(encode(p.dlosses));
    const auto grad = make(kind, grad_spec(p, true));
    for (const auto& out : run(**grad, grad_spec(p, true), inputs))
      for (const float x : out) ASSERT_EQ(x, 0);
  }
}

TEST(VocabularyLoss, ForeignTargetsGiveNanAndTouchNothing) {
  for (const Kind& kind : kKinds) {
    Problem p({40, 16, 70}, kind);
    p.targets.data[5] = 70;
    p.targets.data[6] = -2;
    p.targets.data[7] = 2147483647;
    p.targets.data[8] = -2147483648.0;
    const auto is_foreign = [](std::size_t row) { return row >= 5 && row <= 8; };
    const auto loss = make(kind, loss_spec(p, true));
    const auto losses = run(**loss, loss_spec(p, true), loss_inputs(p));
    for (std::size_t row = 0; row < 40; ++row) {
      EXPECT_EQ(std::isnan(losses[0][row]), is_foreign(row)) << row;
      EXPECT_TRUE(std::isfinite(losses[1][row])) << row;
    }
    std::vector<TestBytes> inputs = loss_inputs(p);
    inputs.push_back(bytes_of(losses[1]));
    inputs.push_back(encode(p.dlosses));
    const auto grad = make(kind, grad_spec(p, true));
    const auto out = run(**grad, grad_spec(p, true), inputs);
    for (std::size_t i = 0; i < out[0].size(); ++i) EXPECT_EQ(std::isnan(out[0][i]), is_foreign(i / 16)) << i;
    for (const float x : out[1]) EXPECT_TRUE(std::isnan(x));
  }
}

TEST(VocabularyLoss, LargeLogitsStayFiniteAndNanShows) {
  for (const Kind& kind : kKinds) {
    Problem p({40, 16, 700}, kind, 1e5);
    for (double& t : p.targets.data) t = std::max(t, 0.0);
    p.x.data[4 * 16 + 1] = NAN;
    const auto loss = make(kind, loss_spec(p, true));
    const auto out = run(**loss, loss_spec(p, true), loss_inputs(p));
    for (std::size_t row = 0; row < 40; ++row)
      for (const auto& values : out) EXPECT_EQ(std::isfinite(values[row]), row != 4) << row;
  }
}

TEST(VocabularyLoss, WhatCannotBeComputedIsRefused) {
  const Problem p({4, 8, 16}, {Path::table, DType::f32, DType::f32});
  KernelSpec spec = grad_spec(p, true);
  spec.inputs[4] = bf16({4});
  const auto kernel = cpu_kernels().find(spec.name)(spec);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
}

TEST(VocabularyLoss, SaysWhatItDoes) {
  const Problem p({300, 40, 5000}, {Path::table, DType::bf16, DType::f32});
  const auto kernel = make({Path::table, DType::bf16, DType::f32}, grad_spec(p, true));
  ASSERT_TRUE(kernel);
  EXPECT_NE((*kernel)->implementation().find("logits again"), std::string::npos);
  if (amx::available()) {
    EXPECT_EQ((*kernel)->implementation().substr(0, 8), "amx bf16");
  }
  // Far from one number per row and entry.
  KernelSpec large = grad_spec(p, true);
  large.inputs = {bf16({2048, 768}), f32({50257, 768}), i32({2048}), f32({2048}), f32({2048})};
  large.outputs = {f32({2048, 768}), f32({50257, 768})};
  EXPECT_LT((*make({Path::table, DType::bf16, DType::f32}, large))->scratch(2), Bytes(64 << 20));
}

}  // namespace
}  // namespace suanli::engine
