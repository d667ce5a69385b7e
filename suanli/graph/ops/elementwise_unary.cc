// y = f(x) element by element in f32.
#include <cmath>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

struct Scale {
  static constexpr std::string_view kName = "scale";
  static double value(double x, const Attrs& attrs) { return x * attrs.real("factor"); }
  static NodeId gradient(const GradientCall& c) { return c.b.scale(c.dy, c.attrs.real("factor")); }
};

struct Shift {
  static constexpr std::string_view kName = "shift";
  static double value(double x, const Attrs& attrs) { return x + attrs.real("offset"); }
  static NodeId gradient(const GradientCall& c) { return c.dy; }
};

struct Exp {
  static constexpr std::string_view kName = "exp";
  static double value(double x, const Attrs&) { return std::exp(x); }
  static NodeId gradient(const GradientCall& c) { return c.b.mul(c.dy, c.node); }
};

struct Log {
  static constexpr std::string_view kName = "log";
  static double value(double x, const Attrs&) { return std::log(x); }
  static NodeId gradient(const GradientCall& c) { return c.b.div(c.dy, c.inputs[0]); }
};

struct Sqrt {
  static constexpr std::string_view kName = "sqrt";
  static double value(double x, const Attrs&) { return std::sqrt(x); }
  static NodeId gradient(const GradientCall& c) { return c.b.scale(c.b.div(c.dy, c.node), 0.5); }
};

struct Rsqrt {
  static constexpr std::string_view kName = "rsqrt";
  static double value(double x, const Attrs&) { return 1 / std::sqrt(x); }
  // -y^3 / 2
  static NodeId gradient(const GradientCall& c) {
    const NodeId cube = c.b.mul(c.node, c.b.mul(c.node, c.node));
    return c.b.scale(c.b.mul(c.dy, cube), -0.5);
  }
};

struct Tanh {
  static constexpr std::string_view kName = "tanh";
  static double value(double x, const Attrs&) { return std::tanh(x); }
  // 1 - y^2
  static NodeId gradient(const GradientCall& c) {
    const NodeId square = c.b.mul(c.node, c.node);
    return c.b.mul(c.dy, c.b.shift(c.b.scale(square, -1), 1));
  }
};

template <typename Op>
Result<TensorType> infer(InputTypes types, const Attrs&) {
  SUANLI_RETURN_IF_ERROR(expect_dtype(Op::kName, types, 0, DType::f32));
  return types[0];
}

template <typename Op>
void reference(const ReferenceCall& call) {
  for (std::size_t i = 0; i < call.out.data.size(); ++i)
    call.out.data[i] = Op::value(call.inputs[0]->data[i], call.attrs);
}

std::vector<OpCase> cases_in(double low, double high, const Attrs& attrs = {}) {
  std::vector<OpCase> list;
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{7}, Shape{5, 17}, Shape{2, 3, 19}})
    list.push_back({.inputs = {{f32(shape), low, high}}, .attrs = attrs});
  return list;
}

std::vector<OpCase> cases_real() { return cases_in(-3, 3); }
std::vector<OpCase> cases_positive() { return cases_in(0.2, 3); }
std::vector<OpCase> cases_scale() { return cases_in(-3, 3, {{"factor", -1.75}}); }
std::vector<OpCase> cases_shift() { return cases_in(-3, 3, {{"offset", 0.625}}); }

template <typename Op>
OpDef define(std::string_view summary, std::vector<OpCase> (*cases)(),
             std::vector<AttrSpec> attrs = {}) {
  return {.name = Op::kName,
          .summary = summary,
          .inputs = 1,
          .attrs = std::move(attrs),
          .op_class = OpClass::elementwise,
          .infer = infer<Op>,
          .flops = per_element<1>,
          .gradient = [](const GradientCall& c) { return std::vector<NodeId>{Op::gradient(c)}; },
          .reference = reference<Op>,
          .cases = cases};
}

}  // namespace

void register_elementwise_unary(Registry& registry) {
  registry.add(define<Scale>("y = x * factor", cases_scale, {{"factor", AttrKind::real}}));
  registry.add(define<Shift>("y = x + offset", cases_shift, {{"offset", AttrKind::real}}));
  registry.add(define<Exp>("y = e^x", cases_real));
  registry.add(define<Log>("y = ln x", cases_positive));
  registry.add(define<Sqrt>("y = x^(1/2)", cases_positive));
  registry.add(define<Rsqrt>("y = x^(-1/2)", cases_positive));
  registry.add(define<Tanh>("y = tanh x", cases_real));
}

}  // namespace suanli::graph
