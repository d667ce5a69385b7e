// Softmax cross-entropy per row, its log-sum-exp and its gradient; target -1 means that the row does not count:
//   L_n = ln(sum_v e^logits_nv),  y_n = L_n - logits_nt,  dlogits_nv = (e^(logits_nv - L_n) - [v = t]) dy_n,  t = targets_n
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

// L is kept from the forward phase, so that backward need not sum rows again.
std::vector<NodeId> gradient(const GradientCall& c) {
  const Phase phase = c.b.phase();
  c.b.set_phase(Phase::forward);
  const NodeId sums = c.b.apply("log_sum_exp", {c.inputs[0]});
  c.b.set_phase(phase);
  return {c.b.apply("softmax_cross_entropy_grad", {c.inputs[0], c.inputs[1], sums, c.dy}), kNoNode};
}

NodeId decompose(Builder& b, std::span<const NodeId> in, const Attrs&) {
  const Shape shape = b.type(in[0]).shape;
  const Shape column = {shape[0], 1};
  const NodeId hot = b.apply("one_hot", {in[1]}, {{"depth", shape[1]}});
  const NodeId shifted = b.sub(in[0], b.reduce_max(in[0]));
  const NodeId sums = b.reduce_to(b.exp(shifted), column);
  const NodeId picked = b.reduce_to(b.mul(hot, shifted), column);
  return b.reshape(b.sub(b.mul(b.log(sums), b.reduce_to(hot, column)), picked), {shape[0]});
}

// ---- log_sum_exp

Result<TensorType> infer_sums(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_rows("log_sum_exp", types, 0));
  return f32({types[0].shape[0]});
}

void reference_sums(const ReferenceCall& call) {
  const RefTensor& logits = *call.inputs[0];
  const std::int64_t width = logits.type.shape[1];
  for (std::size_t n = 0; n < call.out.data.size(); ++n)
    call.out.data[n] = log_sum_exp(logits.data.data() + static_cast<std::int64_t>(n) * width, width);
}

// What it adds to the softmax_cross_entropy of the same logits, which has the sums at hand: a logarithm and an addition per
// row.
double flops_sums(InputTypes, const Attrs&, const TensorType& out) {
  return 2 * static_cast<double>(out.elements());
}
double bytes_sums(InputTypes, const Attrs&, const TensorType& out) {
  return static_cast<double>(out.bytes().value());
}

// dlogits_nv = e^(logits_nv - L_n) dy_n.
std::vector<NodeId> gradient_sums(const GradientCall& c) {
  const Shape column = {c.type.shape[0], 1};
  const NodeId probabilities = c.b.exp(c.b.sub(c.inputs[0], c.b.reshape(c.node, column)));
  return {c.b.mul(probabilities, c.b.reshape(c.dy, column))};
}

NodeId decompose_sums(Builder& b, std::span<const NodeId> in, const Attrs&) {
  const Shape shape = b.type(in[0]).shape;
  const NodeId top = b.reduce_max(in[0]);
  const NodeId sums = b.reduce_to(b.exp(b.sub(in[0], top)), {shape[0], 1});
  return b.reshape(b.add(top, b.log(sums)), {shape[0]});
}

// ---- softmax_cross_entropy_grad

Result<TensorType> infer_grad(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_logits_and_targets("softmax_cross_entropy_grad", types));
  for (std::size_t i : {2, 3})
    SUANLI_RETURN_IF_ERROR(expect_type("softmax_cross_entropy_grad", types, i, f32({types[0].shape[0]})));
  return types[0];
}

void reference_grad(const ReferenceCall& call) {
  const RefTensor& logits = *call.inputs[0];
  const std::int64_t width = logits.type.shape[1];
  for (std::int64_t n = 0; n < logits.type.shape[0]; ++n) {
    const double* row = logits.data.data() + n * width;
    double* out = call.out.data.data() + n * width;
    const std::int64_t target = target_of(call.inputs[1]->data[n], width);
    const double total = call.inputs[2]->data[n];
    const double dloss = call.inputs[3]->data[n];
    for (std::int64_t v = 0; v < width; ++v)
      out[v] = target < 0 ? 0 : (std::exp(row[v] - total) - (v == target ? 1 : 0)) * dloss;
  }
}

NodeId decompose_grad(Builder& b, std::span<const NodeId> in, const Attrs&) {
  const Shape shape = b.type(in[0]).shape;
  const Shape column = {shape[0], 1};
  const NodeId hot = b.apply("one_hot", {in[1]}, {{"depth", shape[1]}});
  const NodeId probabilities = b.exp(b.sub(in[0], b.reshape(in[2], column)));
  const NodeId counted = b.mul(probabilities, b.reduce_to(hot, column));
  return b.mul(b.sub(counted, hot), b.reshape(in[3], column));
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

std::vector<OpCase> cases_sums() {
  std::vector<OpCase> list = cases();
  for (OpCase& c : list) c.inputs.resize(1);
  return list;
}

std::vector<OpCase> cases_grad() {
  std::vector<OpCase> list = without_gradient(cases());
  for (OpCase& c : list) {
    const TensorType row = f32({c.inputs[0].type.shape[0]});
    c.inputs.push_back({row, 4, 6});  // L as of real rows, so that no probability is far above 1
    c.inputs.push_back({row});
  }
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
  registry.add({.name = "log_sum_exp",
                .summary = "of logits [N, V]: L[n] = ln(sum_v e^logits[n, v])",
                .inputs = 1,
                .cut = CutRule::stays,
                .infer = infer_sums,
                .flops = flops_sums,
                .bytes = bytes_sums,
                .gradient = gradient_sums,
                .reference = reference_sums,
                .decompose = decompose_sums,
                .cases = cases_sums});
  registry.add({.name = "softmax_cross_entropy_grad",
                .summary = "of (logits, targets, L [N], dloss [N]): (e^(logits - L) - onehot(targets)) "
                           "dloss, 0 for target -1",
                .inputs = 4,
                .infer = infer_grad,
                .flops = per_input_element<4>,
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
