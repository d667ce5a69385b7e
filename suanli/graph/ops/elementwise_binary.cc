// y = f(a, b) element by element in f32; b may be smaller and is repeated (right-aligned, each
// dimension equal or 1).
#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

// What goes back to each input; `da` and `db` have the shape of `a`, or are kNoNode.
std::vector<NodeId> flow(const GradientCall& c, NodeId da, NodeId db) {
  if (db != kNoNode) db = reduce_if_needed(c.b, db, c.types[1].shape, c.type.shape);
  return {da, db};
}

struct Add {
  static constexpr std::string_view kName = "add";
  static double value(double a, double b) { return a + b; }
  static std::vector<NodeId> gradient(const GradientCall& c) { return flow(c, c.dy, c.dy); }
};

struct Sub {
  static constexpr std::string_view kName = "sub";
  static double value(double a, double b) { return a - b; }
  static std::vector<NodeId> gradient(const GradientCall& c) {
    return flow(c, c.dy, c.wanted[1] ? c.b.scale(c.dy, -1) : kNoNode);
  }
};

struct Mul {
  static constexpr std::string_view kName = "mul";
  static double value(double a, double b) { return a * b; }
  static std::vector<NodeId> gradient(const GradientCall& c) {
    return flow(c, c.wanted[0] ? c.b.mul(c.dy, c.inputs[1]) : kNoNode,
                c.wanted[1] ? c.b.mul(c.dy, c.inputs[0]) : kNoNode);
  }
};

struct Div {
  static constexpr std::string_view kName = "div";
  static double value(double a, double b) { return a / b; }
  // d(a/b)/db = -(a/b)/b
  static std::vector<NodeId> gradient(const GradientCall& c) {
    const NodeId da = c.b.div(c.dy, c.inputs[1]);
    return flow(c, da, c.wanted[1] ? c.b.scale(c.b.mul(da, c.node), -1) : kNoNode);
  }
};

struct Greater {
  static constexpr std::string_view kName = "greater";
  static double value(double a, double b) { return a > b ? 1 : 0; }
};

struct Equal {
  static constexpr std::string_view kName = "equal";
  static double value(double a, double b) { return a == b ? 1 : 0; }
};

// At a tie the whole gradient goes to the input that is taken.
struct Maximum {
  static constexpr std::string_view kName = "maximum";
  static double value(double a, double b) { return a > b ? a : b; }
  static std::vector<NodeId> gradient(const GradientCall& c) {
    const NodeId da = c.b.mul(c.dy, c.b.apply("greater", {c.inputs[0], c.inputs[1]}));
    return flow(c, da, c.wanted[1] ? c.b.sub(c.dy, da) : kNoNode);
  }
};

struct Minimum {
  static constexpr std::string_view kName = "minimum";
  static double value(double a, double b) { return a > b ? b : a; }
  static std::vector<NodeId> gradient(const GradientCall& c) {
    const NodeId db = c.b.mul(c.dy, c.b.apply("greater", {c.inputs[0], c.inputs[1]}));
    return flow(c, c.wanted[0] ? c.b.sub(c.dy, db) : kNoNode, db);
  }
};

template <typename Op>
Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_dtype(Op::kName, types, 0, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_dtype(Op::kName, types, 1, DType::f32));
  if (!broadcasts(types[1].shape, types[0].shape))
    return op_error(Op::kName, "second input " + types[1].to_string() +
                                   " cannot be repeated to the shape of the first, " +
                                   types[0].to_string());
  return types[0];
}

template <typename Op>
void reference(const ReferenceCall& call) {
  const RefTensor& a = *call.inputs[0];
  const RefTensor& b = *call.inputs[1];
  const BroadcastIndex index(b.type.shape, a.type.shape);
  for (std::size_t i = 0; i < call.out.data.size(); ++i)
    call.out.data[i] = Op::value(a.data[i], b.data[index(static_cast<std::int64_t>(i))]);
}

// The second input stays away from 0 for the sake of div.
std::vector<OpCase> cases() {
  const auto pair = [](Shape a, Shape b) {
    return OpCase{.inputs = {{f32(std::move(a))}, {f32(std::move(b)), 0.5, 2}}};
  };
  return {pair({}, {}),
          pair({1}, {}),
          pair({1}, {1}),
          pair({3, 5}, {3, 5}),
          pair({7}, {}),
          pair({5, 17}, {17}),
          pair({5, 17}, {5, 1}),
          pair({5, 17}, {1, 17}),
          pair({5, 17}, {1, 1}),
          pair({2, 3, 4}, {3, 1}),
          pair({2, 3, 4}, {2, 1, 4}),
          pair({1, 19}, {1})};
}

// Both inputs over the same range, so that either may be the larger.
std::vector<OpCase> comparison_cases() {
  std::vector<OpCase> list = without_gradient(cases());
  for (OpCase& c : list) c.inputs[1].low = -2;
  return list;
}

template <typename Op>
OpDef define(std::string_view summary) {
  OpDef op{.name = Op::kName,
           .summary = summary,
           .inputs = 2,
           .op_class = OpClass::elementwise,
           .infer = infer<Op>,
           .flops = per_element<1>,
           .reference = reference<Op>,
           .cases = comparison_cases};
  if constexpr (requires { Op::gradient; }) {
    op.gradient = Op::gradient;
    op.cases = cases;
  }
  return op;
}

}  // namespace

void register_elementwise_binary(Registry& registry) {
  registry.add(define<Add>("y = a + b"));
  registry.add(define<Sub>("y = a - b"));
  registry.add(define<Mul>("y = a * b"));
  registry.add(define<Div>("y = a / b"));
  registry.add(define<Minimum>("y = a > b ? b : a"));
  registry.add(define<Maximum>("y = a > b ? a : b"));
  registry.add(define<Greater>("y = a > b ? 1 : 0; no gradient"));
  registry.add(define<Equal>("y = a == b ? 1 : 0; no gradient"));
}

}  // namespace suanli::graph
