// Softmax cross-entropy per row and its gradient; target -1 means that the row does not count.
#include <algorithm>
#include <cmath>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

Status expect_logits_and_targets(std::string_view op, InputTypes types) {
  SUANLI_RETURN_IF_ERROR(expect_rows(op, types, 0));
  return expect_type(op, types, 1, i32({types[0].shape[0]}));
}

double log_sum_exp(const double* row, std::int64_t width) {
  const double top = *std::max_element(row, row + width);
  double sum = 0;
  for (std::int64_t v = 0; v < width; ++v) sum += std::exp(row[v] - top);
  return top + std::log(sum);
}

std::int64_t target_of(double value, std::int64_t width) {
  SUANLI_CHECK(value >= -1 && value < static_cast<double>(width));
  return static_cast<std::int64_t>(value);
}

// ---- softmax_cross_entropy

Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_logits_and_targets("softmax_cross_entropy", types));
  return f32({types[0].shape[0]});
}

void reference(const ReferenceCall& call) {
  const RefTensor& logits = *call.inputs[0];
  const std::int64_t width = logits.type.shape[1];
  for (std::size_t n = 0; n < call.out.data.size(); ++n) {
    const double* row = logits.data.data() + static_cast<std::int64_t>(n) * width;
    const std::int64_t target = target_of(call.inputs[1]->data[n], width);
    call.out.data[n] = target < 0 ? 0 : log_sum_exp(row, width) - row[target];
  }
}

std::vector<NodeId> gradient(const GradientCall& c) {
  return {c.b.apply("softmax_cross_entropy_grad", {c.inputs[0], c.inputs[1], c.dy}), kNoNode};
}

// Shared by both decompositions, for logits [N, V].
struct Parts {
  NodeId hot;      // one-hot targets [N, V]
  NodeId counts;   // 1 where a row counts, else 0 [N, 1]
  NodeId shifted;  // logits less their row's maximum [N, V]
  NodeId exps;     // e^shifted [N, V]
  NodeId sums;     // of exps over rows [N, 1]
};

Parts parts_of(Builder& b, NodeId logits, NodeId targets, const Shape& shape) {
  const Shape column = {shape[0], 1};
  Parts p;
  p.hot = b.apply("one_hot", {targets}, {{"depth", shape[1]}});
  p.counts = b.reduce_to(p.hot, column);
  p.shifted = b.sub(logits, b.reduce_max(logits));
  p.exps = b.exp(p.shifted);
  p.sums = b.reduce_to(p.exps, column);
  return p;
}

NodeId decompose(Builder& b, std::span<const NodeId> in, const Attrs&) {
  const Shape shape = b.type(in[0]).shape;
  const Parts p = parts_of(b, in[0], in[1], shape);
  const NodeId picked = b.reduce_to(b.mul(p.hot, p.shifted), {shape[0], 1});
  return b.reshape(b.sub(b.mul(b.log(p.sums), p.counts), picked), {shape[0]});
}

// ---- softmax_cross_entropy_grad

Result<TensorType> infer_grad(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_logits_and_targets("softmax_cross_entropy_grad", types));
  SUANLI_RETURN_IF_ERROR(
      expect_type("softmax_cross_entropy_grad", types, 2, f32({types[0].shape[0]})));
  return types[0];
}

void reference_grad(const ReferenceCall& call) {
  const RefTensor& logits = *call.inputs[0];
  const std::int64_t width = logits.type.shape[1];
  for (std::int64_t n = 0; n < logits.type.shape[0]; ++n) {
    const double* row = logits.data.data() + n * width;
    double* out = call.out.data.data() + n * width;
    const std::int64_t target = target_of(call.inputs[1]->data[n], width);
    const double dloss = call.inputs[2]->data[n];
    const double total = log_sum_exp(row, width);
    for (std::int64_t v = 0; v < width; ++v)
      out[v] = target < 0 ? 0 : (std::exp(row[v] - total) - (v == target ? 1 : 0)) * dloss;
  }
}

NodeId decompose_grad(Builder& b, std::span<const NodeId> in, const Attrs&) {
  const Shape shape = b.type(in[0]).shape;
  const Parts p = parts_of(b, in[0], in[1], shape);
  const NodeId probabilities = b.mul(b.div(p.exps, p.sums), p.counts);
  return b.mul(b.sub(probabilities, p.hot), b.reshape(in[2], {shape[0], 1}));
}

// ---- count_tokens

Result<TensorType> infer_count(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("count_tokens", types, 0, DType::i32));
  SUANLI_RETURN_IF_ERROR(expect_rank("count_tokens", types, 0, 1));
  return f32({});
}

void reference_count(const ReferenceCall& call) {
  call.out.data[0] = static_cast<double>(
      std::ranges::count_if(call.inputs[0]->data, [](double target) { return target >= 0; }));
}

// ---- cases

constexpr struct { std::int64_t rows, columns; } kExtents[] = {{1, 1}, {7, 2}, {5, 17}, {3, 67}};

std::vector<OpCase> cases() {
  std::vector<OpCase> list;
  for (const auto& [rows, columns] : kExtents)
    list.push_back({.inputs = {{f32({rows, columns}), -5, 5},
                               {i32({rows}), -1, static_cast<double>(columns)}}});
  list.push_back({.inputs = {{f32({3, 5})}, {i32({3}), -1, 0}}});  // no row counts
  return list;
}

std::vector<OpCase> cases_grad() {
  std::vector<OpCase> list = without_gradient(cases());
  for (OpCase& c : list) c.inputs.push_back({f32({c.inputs[0].type.shape[0]})});
  return list;
}

std::vector<OpCase> cases_count() {
  return without_gradient({{.inputs = {{i32({1}), 0, 1}}},
                           {.inputs = {{i32({3}), -1, 0}}},
                           {.inputs = {{i32({37}), -1, 2}}}});
}

}  // namespace

void register_cross_entropy(Registry& registry) {
  registry.add({.name = "softmax_cross_entropy",
                .summary = "of (logits [N, V], targets [N]): y[n] = ln(sum_v e^logits[n, v]) - "
                           "logits[n, targets[n]], 0 for target -1",
                .inputs = 2,
                .infer = infer,
                .flops = per_input_element<4>,
                .gradient = gradient,
                .reference = reference,
                .decompose = decompose,
                .cases = cases});
  registry.add({.name = "softmax_cross_entropy_grad",
                .summary = "of (logits, targets, dloss [N]): (softmax(logits) - onehot(targets)) "
                           "dloss, 0 for target -1",
                .inputs = 3,
                .infer = infer_grad,
                .flops = per_input_element<6>,
                .reference = reference_grad,
                .decompose = decompose_grad,
                .cases = cases_grad});
  registry.add({.name = "count_tokens",
                .summary = "the number of targets [N] from 0 up, as a f32 scalar",
                .inputs = 1,
                .infer = infer_count,
                .flops = per_input_element<1>,
                .reference = reference_count,
                .cases = cases_count});
}

}  // namespace suanli::graph
