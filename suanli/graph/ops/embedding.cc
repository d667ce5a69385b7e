// Rows of a table by number. Numbers outside the table are a broken promise: inputs are checked
// before a step.
#include <algorithm>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

Status expect_ids(std::string_view op, InputTypes types, std::size_t index) {
  SUANLI_RETURN_IF_ERROR(expect_dtype(op, types, index, DType::i32));
  return expect_rank(op, types, index, 1);
}

std::int64_t row_of(double id, std::int64_t rows) {
  SUANLI_CHECK(id >= 0 && id < static_cast<double>(rows));
  return static_cast<std::int64_t>(id);
}

Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_rows("embedding", types, 0));
  SUANLI_RETURN_IF_ERROR(expect_ids("embedding", types, 1));
  return f32({types[1].shape[0], types[0].shape[1]});
}

void reference(const ReferenceCall& call) {
  const RefTensor& table = *call.inputs[0];
  const std::int64_t width = table.type.shape[1];
  for (std::size_t i = 0; i < call.inputs[1]->data.size(); ++i) {
    const std::int64_t row = row_of(call.inputs[1]->data[i], table.type.shape[0]);
    std::copy_n(table.data.begin() + row * width, width,
                call.out.data.begin() + static_cast<std::int64_t>(i) * width);
  }
}

// Only the rows that are asked for are read.
double bytes(InputTypes types, const Attrs&, const TensorType& out) {
  return static_cast<double>(types[1].bytes().value() + 2 * out.bytes().value());
}

std::vector<NodeId> gradient(const GradientCall& c) {
  return {c.b.apply("embedding_grad", {c.inputs[1], c.dy}, {{"rows", c.types[0].shape[0]}}),
          kNoNode};
}

Result<TensorType> infer_grad(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_integer("embedding_grad", attrs, "rows", 1, kMaxElements));
  SUANLI_RETURN_IF_ERROR(expect_ids("embedding_grad", types, 0));
  SUANLI_RETURN_IF_ERROR(expect_rows("embedding_grad", types, 1));
  if (types[1].shape[0] != types[0].shape[0])
    return op_error("embedding_grad",
                    types[0].to_string() + " numbers for the rows of " + types[1].to_string());
  const TensorType out = f32({attrs.integer("rows"), types[1].shape[1]});
  SUANLI_RETURN_IF_ERROR(expect_shape("embedding_grad", out.shape));
  return out;
}

void reference_grad(const ReferenceCall& call) {
  const RefTensor& dy = *call.inputs[1];
  const std::int64_t width = dy.type.shape[1];
  std::ranges::fill(call.out.data, 0);
  for (std::size_t i = 0; i < call.inputs[0]->data.size(); ++i) {
    const std::int64_t row = row_of(call.inputs[0]->data[i], call.out.type.shape[0]);
    for (std::int64_t c = 0; c < width; ++c)
      call.out.data[row * width + c] += dy.data[static_cast<std::int64_t>(i) * width + c];
  }
}

double flops_grad(InputTypes types, const Attrs&, const TensorType&) {
  return static_cast<double>(types[1].elements());
}

struct Extents {
  std::int64_t rows, columns, ids;
};
constexpr Extents kExtents[] = {{1, 1, 1}, {5, 3, 7}, {2, 17, 11}, {13, 19, 4}};

std::vector<OpCase> cases() {
  std::vector<OpCase> list;
  for (const auto& [rows, columns, ids] : kExtents)
    list.push_back(
        {.inputs = {{f32({rows, columns})}, {i32({ids}), 0, static_cast<double>(rows)}}});
  return list;
}

std::vector<OpCase> cases_grad() {
  std::vector<OpCase> list;
  for (const auto& [rows, columns, ids] : kExtents)
    list.push_back({.inputs = {{i32({ids}), 0, static_cast<double>(rows)}, {f32({ids, columns})}},
                    .attrs = {{"rows", rows}}});
  return without_gradient(std::move(list));
}

}  // namespace

void register_embedding(Registry& registry) {
  registry.add({.name = "embedding",
                .summary = "of (table [V, C], ids [N]): y[n] = table[ids[n]]",
                .inputs = 2,
                .infer = infer,
                .flops = no_cost,
                .bytes = bytes,
                .gradient = gradient,
                .reference = reference,
                .cases = cases});
  registry.add({.name = "embedding_grad",
                .summary = "of (ids [N], dy [N, C]): row v of dtable [rows, C] is the sum of the "
                           "dy[n] with ids[n] = v",
                .inputs = 2,
                .attrs = {{"rows", AttrKind::integer}},
                .infer = infer_grad,
                .flops = flops_grad,
                .reference = reference_grad,
                .cases = cases_grad});
}

}  // namespace suanli::graph
