// Matrix product; both operands f32 or both bf16, the result always f32.
#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// y[batch, m, n] = sum over k of a[batch, m, k] b[batch, k, n]
struct Extents {
  std::int64_t batch = 1, m = 0, n = 0, k = 0;
};

bool flag(const Attrs& attrs, std::string_view name) { return attrs.integer(name) != 0; }

// Of valid operands.
Extents extents_of(InputTypes types, const Attrs& attrs) {
  const Shape& a = types[0].shape;
  const Shape& b = types[1].shape;
  const std::size_t rank = a.size();
  Extents e;
  for (std::size_t i = 0; i + 2 < rank; ++i) e.batch *= a[i];
  e.m = a[rank - (flag(attrs, "ta") ? 1 : 2)];
  e.k = a[rank - (flag(attrs, "ta") ? 2 : 1)];
  e.n = b[rank - (flag(attrs, "tb") ? 2 : 1)];
  return e;
}

Result<TensorType> infer(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_integer("matmul", attrs, "ta", 0, 1));
  SUANLI_RETURN_IF_ERROR(expect_integer("matmul", attrs, "tb", 0, 1));
  SUANLI_RETURN_IF_ERROR(expect_float("matmul", types, 0));
  SUANLI_RETURN_IF_ERROR(expect_dtype("matmul", types, 1, types[0].dtype));
  const Shape& a = types[0].shape;
  const Shape& b = types[1].shape;
  const std::string both = types[0].to_string() + (flag(attrs, "ta") ? " transposed" : "") + " x " +
                           types[1].to_string() + (flag(attrs, "tb") ? " transposed" : "");
  const std::size_t rank = a.size();
  if (rank < 2 || b.size() != rank)
    return op_error("matmul", "operands need the same number of dimensions, at least 2: " + both);
  for (std::size_t i = 0; i + 2 < rank; ++i)
    if (a[i] != b[i]) return op_error("matmul", "leading dimensions differ: " + both);
  const Extents e = extents_of(types, attrs);
  if (b[rank - (flag(attrs, "tb") ? 1 : 2)] != e.k)
    return op_error("matmul", "inner dimensions differ: " + both);
  TensorType out = f32(a);
  out.shape[rank - 2] = e.m;
  out.shape[rank - 1] = e.n;
  SUANLI_RETURN_IF_ERROR(expect_shape("matmul", out.shape));
  return out;
}

double flops(InputTypes types, const Attrs& attrs, const TensorType&) {
  const Extents e = extents_of(types, attrs);
  return 2.0 * static_cast<double>(e.batch) * static_cast<double>(e.m) * static_cast<double>(e.n) *
         static_cast<double>(e.k);
}

void reference(const ReferenceCall& call) {
  const RefTensor& a = *call.inputs[0];
  const RefTensor& b = *call.inputs[1];
  const TensorType types[] = {a.type, b.type};
  const Extents e = extents_of(types, call.attrs);
  const bool ta = flag(call.attrs, "ta");
  const bool tb = flag(call.attrs, "tb");
  for (std::int64_t batch = 0; batch < e.batch; ++batch) {
    const double* left = a.data.data() + batch * e.m * e.k;
    const double* right = b.data.data() + batch * e.k * e.n;
    double* out = call.out.data.data() + batch * e.m * e.n;
    for (std::int64_t m = 0; m < e.m; ++m)
      for (std::int64_t n = 0; n < e.n; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < e.k; ++k)
          sum += left[ta ? k * e.m + m : m * e.k + k] * right[tb ? n * e.k + k : k * e.n + n];
        out[m * e.n + n] = sum;
      }
  }
}

// With A' and B' the operands as multiplied, dA' = dY B'^T and dB' = A'^T dY; a transposed operand
// takes the transpose of that. Gradients have the operands' type.
std::vector<NodeId> gradient(const GradientCall& c) {
  const bool ta = flag(c.attrs, "ta");
  const bool tb = flag(c.attrs, "tb");
  const DType dtype = c.types[0].dtype;
  const NodeId a = c.inputs[0];
  const NodeId b = c.inputs[1];
  const NodeId dy = cast_if_needed(c.b, c.dy, DType::f32, dtype);
  NodeId da = kNoNode;
  NodeId db = kNoNode;
  if (c.wanted[0]) {
    da = ta ? c.b.matmul(b, dy, tb, true) : c.b.matmul(dy, b, false, !tb);
    da = cast_if_needed(c.b, da, DType::f32, dtype);
  }
  if (c.wanted[1]) {
    db = tb ? c.b.matmul(dy, a, true, ta) : c.b.matmul(a, dy, !ta, false);
    db = cast_if_needed(c.b, db, DType::f32, dtype);
  }
  return {da, db};
}

OpCase one(DType dtype, Shape lead, Extents e, bool ta, bool tb, bool check_gradient) {
  Shape a = lead;
  Shape b = std::move(lead);
  a.insert(a.end(), {ta ? e.k : e.m, ta ? e.m : e.k});
  b.insert(b.end(), {tb ? e.n : e.k, tb ? e.k : e.n});
  return {.inputs = {{{dtype, std::move(a)}}, {{dtype, std::move(b)}}},
          .attrs = {{"ta", std::int64_t{ta}}, {"tb", std::int64_t{tb}}},
          .check_gradient = check_gradient};
}

std::vector<OpCase> cases() {
  std::vector<OpCase> list;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      list.push_back(one(DType::f32, {}, {.m = 1, .n = 1, .k = 1}, ta, tb, true));
      list.push_back(one(DType::f32, {}, {.m = 5, .n = 7, .k = 3}, ta, tb, true));
      list.push_back(one(DType::f32, {2, 3}, {.m = 4, .n = 3, .k = 5}, ta, tb, true));
      list.push_back(one(DType::f32, {}, {.m = 33, .n = 65, .k = 47}, ta, tb, false));
      list.push_back(one(DType::bf16, {}, {.m = 1, .n = 1, .k = 1}, ta, tb, false));
      list.push_back(one(DType::bf16, {}, {.m = 17, .n = 19, .k = 23}, ta, tb, false));
      list.push_back(one(DType::bf16, {3}, {.m = 33, .n = 48, .k = 64}, ta, tb, false));
    }
  list.push_back(one(DType::f32, {}, {.m = 1, .n = 31, .k = 2}, false, false, true));
  list.push_back(one(DType::f32, {}, {.m = 17, .n = 1, .k = 13}, false, true, true));
  return list;
}

}  // namespace

void register_matmul(Registry& registry) {
  registry.add({.name = "matmul",
                .summary = "y = a b in f32, [.., M, K] x [.., K, N]; ta, tb: the operand is given "
                           "transposed",
                .inputs = 2,
                .attrs = {{"ta", AttrKind::integer}, {"tb", AttrKind::integer}},
                .infer = infer,
                .flops = flops,
                .gradient = gradient,
                .reference = reference,
                .cases = cases});
}

}  // namespace suanli::graph
