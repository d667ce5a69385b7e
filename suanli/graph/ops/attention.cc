// Causal self-attention: Vaswani and others, "Attention is all you need", 2017, section 3.2. Rows
// of qkv [N, 3C] are tokens, N = B seq; columns are q, k, v of C each; head h is columns h d .. of
// each, d = C / heads. Inside each sequence, for j <= i:
//   s_ij = q_i k_j / sqrt(d),   L_i = ln(sum_j e^s_ij)
//   p_ij = e^(s_ij - L_i),      y_i = sum_j p_ij v_j
// qkv may be bf16: then every operand of a product is bf16 (p and ds are rounded too) and sums are
// f32. The reference does not round p and ds, hence the wider tolerance of those cases.
#include <algorithm>
#include <cmath>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

struct Extents {
  std::int64_t batch, seq, heads, depth;
  std::int64_t width() const { return heads * depth; }
  double root() const { return 1 / std::sqrt(static_cast<double>(depth)); }
  // Pairs (i, j <= i) of all heads and sequences.
  double pairs() const {
    return static_cast<double>(batch * heads) * static_cast<double>(seq) *
           static_cast<double>(seq + 1) / 2;
  }
};

// Of a valid qkv.
Extents extents_of(const Shape& qkv, const Attrs& attrs) {
  const std::int64_t seq = attrs.integer("seq");
  const std::int64_t heads = attrs.integer("heads");
  return {qkv[0] / seq, seq, heads, qkv[1] / 3 / heads};
}

Result<Extents> expect_qkv(std::string_view op, InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_float(op, types, 0));
  SUANLI_RETURN_IF_ERROR(expect_rank(op, types, 0, 2));
  SUANLI_RETURN_IF_ERROR(expect_integer(op, attrs, "heads", 1, kMaxElements / 3));
  SUANLI_RETURN_IF_ERROR(expect_integer(op, attrs, "seq", 1, kMaxElements));
  const Shape& shape = types[0].shape;
  if (shape[0] % attrs.integer("seq") != 0)
    return op_error(op, std::to_string(shape[0]) + " rows of " + types[0].to_string() +
                            " are not whole sequences of " + std::to_string(attrs.integer("seq")));
  if (shape[1] == 0 || shape[1] % (3 * attrs.integer("heads")) != 0)
    return op_error(op, std::to_string(shape[1]) + " columns of " + types[0].to_string() +
                            " are not q, k and v of " + std::to_string(attrs.integer("heads")) +
                            " heads");
  return extents_of(shape, attrs);
}

// Rows of one head of one sequence; row t is at `data + t * stride`.
struct Rows {
  const double* data;
  std::int64_t stride;
  const double* operator[](std::int64_t t) const { return data + t * stride; }
};

// `part` 0, 1, 2: q, k, v.
std::int64_t offset_of(const Extents& e, std::int64_t batch, std::int64_t head, std::int64_t part) {
  return batch * e.seq * 3 * e.width() + part * e.width() + head * e.depth;
}

Rows rows_of(const RefTensor& qkv, const Extents& e, std::int64_t batch, std::int64_t head,
             std::int64_t part) {
  return {qkv.data.data() + offset_of(e, batch, head, part), 3 * e.width()};
}

Rows rows_of(const RefTensor& y, const Extents& e, std::int64_t batch, std::int64_t head) {
  return {y.data.data() + batch * e.seq * e.width() + head * e.depth, e.width()};
}

double dot(const double* a, const double* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double* to, double factor, const double* from, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

// L of row i of a head; s_ij for j <= i are left in `scores`.
double log_sum_exp(const Extents& e, Rows q, Rows k, std::int64_t i, std::vector<double>& scores) {
  double top = -INFINITY;
  for (std::int64_t j = 0; j <= i; ++j) {
    scores[j] = dot(q[i], k[j], e.depth) * e.root();
    top = std::max(top, scores[j]);
  }
  double sum = 0;
  for (std::int64_t j = 0; j <= i; ++j) sum += std::exp(scores[j] - top);
  return top + std::log(sum);
}

template <typename Visit>
void for_heads(const Extents& e, Visit visit) {
  for (std::int64_t batch = 0; batch < e.batch; ++batch)
    for (std::int64_t head = 0; head < e.heads; ++head) visit(batch, head);
}

// ---- attention(qkv) -> y [N, C]

Result<TensorType> infer(InputTypes types, const Attrs& attrs) {
  SUANLI_ASSIGN_OR_RETURN(const Extents e, expect_qkv("attention", types, attrs));
  return f32({types[0].shape[0], e.width()});
}

void reference(const ReferenceCall& call) {
  const RefTensor& qkv = *call.inputs[0];
  const Extents e = extents_of(qkv.type.shape, call.attrs);
  std::vector<double> scores(e.seq);
  std::ranges::fill(call.out.data, 0);
  for_heads(e, [&](std::int64_t batch, std::int64_t head) {
    const Rows q = rows_of(qkv, e, batch, head, 0);
    const Rows k = rows_of(qkv, e, batch, head, 1);
    const Rows v = rows_of(qkv, e, batch, head, 2);
    for (std::int64_t i = 0; i < e.seq; ++i) {
      const double total = log_sum_exp(e, q, k, i, scores);
      double* y = call.out.data.data() + (batch * e.seq + i) * e.width() + head * e.depth;
      for (std::int64_t j = 0; j <= i; ++j)
        add_scaled(y, std::exp(scores[j] - total), v[j], e.depth);
    }
  });
}

// Two products over the pairs; scale, subtract, exponential, sum.
double flops(InputTypes types, const Attrs& attrs, const TensorType&) {
  const Extents e = extents_of(types[0].shape, attrs);
  return e.pairs() * (4 * static_cast<double>(e.depth) + 4);
}

// L is kept from the forward phase, so that backward need not sum rows again.
std::vector<NodeId> gradient(const GradientCall& c) {
  const Phase phase = c.b.phase();
  c.b.set_phase(Phase::forward);
  const NodeId stats = c.b.apply("attention_stats", {c.inputs[0]}, c.attrs);
  c.b.set_phase(phase);
  const NodeId dqkv = c.b.apply("attention_grad", {c.inputs[0], c.node, stats, c.dy}, c.attrs);
  return {cast_if_needed(c.b, dqkv, DType::f32, c.types[0].dtype)};
}

// ---- attention_stats(qkv) -> L [B heads, seq]

Result<TensorType> infer_stats(InputTypes types, const Attrs& attrs) {
  SUANLI_ASSIGN_OR_RETURN(const Extents e, expect_qkv("attention_stats", types, attrs));
  return f32({e.batch * e.heads, e.seq});
}

void reference_stats(const ReferenceCall& call) {
  const RefTensor& qkv = *call.inputs[0];
  const Extents e = extents_of(qkv.type.shape, call.attrs);
  std::vector<double> scores(e.seq);
  for_heads(e, [&](std::int64_t batch, std::int64_t head) {
    const Rows q = rows_of(qkv, e, batch, head, 0);
    const Rows k = rows_of(qkv, e, batch, head, 1);
    for (std::int64_t i = 0; i < e.seq; ++i)
      call.out.data[(batch * e.heads + head) * e.seq + i] = log_sum_exp(e, q, k, i, scores);
  });
}

// What it adds to the attention of the same qkv, which has the sums at hand: a logarithm and an
// addition per row.
double flops_stats(InputTypes, const Attrs&, const TensorType& out) {
  return 2 * static_cast<double>(out.elements());
}
double bytes_stats(InputTypes, const Attrs&, const TensorType& out) {
  return static_cast<double>(out.bytes().value());
}

// ---- attention_grad(qkv, y, L, dy) -> dqkv [N, 3C]. With D_i = dy_i y_i and ds_ij = p_ij (dy_i
// v_j - D_i):
//   dq_i = sum_j ds_ij k_j / sqrt(d),  dk_j = sum_i ds_ij q_i / sqrt(d),  dv_j = sum_i p_ij dy_i

Result<TensorType> infer_grad(InputTypes types, const Attrs& attrs) {
  SUANLI_ASSIGN_OR_RETURN(const Extents e, expect_qkv("attention_grad", types, attrs));
  const Shape y = {types[0].shape[0], e.width()};
  SUANLI_RETURN_IF_ERROR(expect_float_shape("attention_grad", types, 1, y));
  SUANLI_RETURN_IF_ERROR(expect_type("attention_grad", types, 2, f32({e.batch * e.heads, e.seq})));
  SUANLI_RETURN_IF_ERROR(expect_float_shape("attention_grad", types, 3, y));
  return f32(types[0].shape);
}

void reference_grad(const ReferenceCall& call) {
  const RefTensor& qkv = *call.inputs[0];
  const Extents e = extents_of(qkv.type.shape, call.attrs);
  std::ranges::fill(call.out.data, 0);
  for_heads(e, [&](std::int64_t batch, std::int64_t head) {
    const Rows q = rows_of(qkv, e, batch, head, 0);
    const Rows k = rows_of(qkv, e, batch, head, 1);
    const Rows v = rows_of(qkv, e, batch, head, 2);
    const Rows y = rows_of(*call.inputs[1], e, batch, head);
    const double* stats = call.inputs[2]->data.data() + (batch * e.heads + head) * e.seq;
    const Rows dy = rows_of(*call.inputs[3], e, batch, head);
    double* dq = call.out.data.data() + offset_of(e, batch, head, 0);
    double* dk = call.out.data.data() + offset_of(e, batch, head, 1);
    double* dv = call.out.data.data() + offset_of(e, batch, head, 2);
    const std::int64_t stride = 3 * e.width();
    for (std::int64_t i = 0; i < e.seq; ++i) {
      const double delta = dot(dy[i], y[i], e.depth);
      for (std::int64_t j = 0; j <= i; ++j) {
        const double p = std::exp(dot(q[i], k[j], e.depth) * e.root() - stats[i]);
        const double ds = p * (dot(dy[i], v[j], e.depth) - delta) * e.root();
        add_scaled(dq + i * stride, ds, k[j], e.depth);
        add_scaled(dk + j * stride, ds, q[i], e.depth);
        add_scaled(dv + j * stride, p, dy[i], e.depth);
      }
    }
  });
}

// Five products over the pairs; scale, subtract, exponential, subtract, two multiplications; D.
double flops_grad(InputTypes types, const Attrs& attrs, const TensorType&) {
  const Extents e = extents_of(types[0].shape, attrs);
  return e.pairs() * (10 * static_cast<double>(e.depth) + 6) +
         2 * static_cast<double>(types[1].elements());
}

// ---- decompositions

// x [N, C] -> [B, heads, seq, d] and back.
NodeId split_heads(Builder& b, NodeId x, const Extents& e) {
  return b.transpose(b.reshape(x, {e.batch, e.seq, e.heads, e.depth}), {0, 2, 1, 3});
}
NodeId merge_heads(Builder& b, NodeId x, const Extents& e) {
  return b.reshape(b.transpose(x, {0, 2, 1, 3}), {e.batch * e.seq, e.width()});
}

struct Heads {
  Extents e;
  NodeId q, k, v;  // [B, heads, seq, d]
  NodeId scores;   // s, masked [B, heads, seq, seq]
  Shape column;    // [B, heads, seq, 1]
};

Heads heads_of(Builder& b, NodeId qkv, const Attrs& attrs) {
  const TensorType type = b.type(qkv);
  const Extents e = extents_of(type.shape, attrs);
  const NodeId x = cast_if_needed(b, qkv, type.dtype, DType::f32);
  Heads h{.e = e, .q = {}, .k = {}, .v = {}, .scores = {}, .column = {e.batch, e.heads, e.seq, 1}};
  h.q = split_heads(b, b.slice(x, 1, 0, e.width()), e);
  h.k = split_heads(b, b.slice(x, 1, e.width(), e.width()), e);
  h.v = split_heads(b, b.slice(x, 1, 2 * e.width(), e.width()), e);
  const NodeId scores = b.scale(b.matmul(h.q, h.k, false, true), e.root());
  h.scores = b.apply("causal_mask", {scores}, {{"seq", e.seq}});
  return h;
}

NodeId decompose(Builder& b, std::span<const NodeId> in, const Attrs& attrs) {
  const Heads h = heads_of(b, in[0], attrs);
  const NodeId exps = b.exp(b.sub(h.scores, b.reduce_max(h.scores)));
  const NodeId p = b.div(exps, b.reduce_to(exps, h.column));
  return merge_heads(b, b.matmul(p, h.v), h.e);
}

NodeId decompose_stats(Builder& b, std::span<const NodeId> in, const Attrs& attrs) {
  const Heads h = heads_of(b, in[0], attrs);
  const NodeId top = b.reduce_max(h.scores);
  const NodeId sums = b.reduce_to(b.exp(b.sub(h.scores, top)), h.column);
  return b.reshape(b.add(top, b.log(sums)), {h.e.batch * h.e.heads, h.e.seq});
}

NodeId decompose_grad(Builder& b, std::span<const NodeId> in, const Attrs& attrs) {
  const Heads h = heads_of(b, in[0], attrs);
  const NodeId y = split_heads(b, in[1], h.e);
  const NodeId dy = split_heads(b, in[3], h.e);
  const NodeId p = b.exp(b.sub(h.scores, b.reshape(in[2], h.column)));
  const NodeId delta = b.reduce_to(b.mul(dy, y), h.column);
  const NodeId dp = b.matmul(dy, h.v, false, true);
  const NodeId ds = b.scale(b.mul(p, b.sub(dp, delta)), h.e.root());
  const auto place = [&](NodeId x, std::int64_t part) {
    const std::int64_t width = h.e.width();
    return b.apply("pad", {merge_heads(b, x, h.e)},
                   {{"axis", 1}, {"before", part * width}, {"after", (2 - part) * width}});
  };
  const NodeId dq = place(b.matmul(ds, h.k), 0);
  const NodeId dk = place(b.matmul(ds, h.q, true, false), 1);
  const NodeId dv = place(b.matmul(p, dy, true, false), 2);
  return b.add(b.add(dq, dk), dv);
}

// ---- cases

// `with_grad_inputs`: also y, L and dy.
std::vector<OpCase> cases_with(bool with_grad_inputs) {
  constexpr struct {
    Extents e;
    bool check_gradient;
  } kCases[] = {{{1, 1, 1, 1}, true},    {{1, 5, 1, 3}, true},   {{2, 3, 2, 2}, true},
                {{3, 7, 3, 1}, true},    {{1, 17, 2, 5}, false}, {{2, 70, 3, 16}, false},
                {{1, 129, 1, 20}, false}};
  std::vector<OpCase> list;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [e, check_gradient] : kCases) {
      const std::int64_t rows = e.batch * e.seq;
      const TensorType y = f32({rows, e.width()});
      OpCase c{.inputs = {{{dtype, {rows, 3 * e.width()}}}},
               .attrs = {{"heads", e.heads}, {"seq", e.seq}},
               .tolerance = dtype == DType::bf16 ? 2e-2 : 1e-4,
               .check_gradient = check_gradient && dtype == DType::f32 && !with_grad_inputs};
      // L as of real rows, so that no p is far above 1.
      if (with_grad_inputs)
        c.inputs.insert(c.inputs.end(),
                        {{y, -1, 1}, {f32({e.batch * e.heads, e.seq}), 4, 6}, {y, -1, 1}});
      list.push_back(std::move(c));
    }
  return list;
}

std::vector<OpCase> cases() { return cases_with(false); }
std::vector<OpCase> cases_stats() { return without_gradient(cases_with(false)); }
std::vector<OpCase> cases_grad() { return cases_with(true); }

}  // namespace

void register_attention(Registry& registry) {
  const std::vector<AttrSpec> attrs = {{"heads", AttrKind::integer}, {"seq", AttrKind::integer}};
  registry.add({.name = "attention",
                .summary = "of qkv [N, 3C]: y_i = sum_{j <= i} softmax_j(q_i k_j / sqrt(d)) v_j "
                           "for each head and sequence",
                .inputs = 1,
                .attrs = attrs,
                .infer = infer,
                .flops = flops,
                .gradient = gradient,
                .reference = reference,
                .decompose = decompose,
                .cases = cases});
  registry.add({.name = "attention_stats",
                .summary = "of qkv: L_i = ln(sum_{j <= i} e^(q_i k_j / sqrt(d))) for each head "
                           "and sequence, [B heads, seq]",
                .inputs = 1,
                .attrs = attrs,
                .cut = CutRule::stays,
                .infer = infer_stats,
                .flops = flops_stats,
                .bytes = bytes_stats,
                .reference = reference_stats,
                .decompose = decompose_stats,
                .cases = cases_stats});
  registry.add({.name = "attention_grad",
                .summary = "of (qkv, y, stats, dy): dqkv of attention, with p_ij = e^(s_ij - L_i)",
                .inputs = 4,
                .attrs = attrs,
                .infer = infer_grad,
                .flops = flops_grad,
                .reference = reference_grad,
                .decompose = decompose_grad,
                .cases = cases_grad});
}

}  // namespace suanli::graph
