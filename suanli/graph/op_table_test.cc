// Every op of the registry against its own promises; an op joins by being registered.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "suanli/base/philox.h"
#include "suanli/graph/autodiff.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/interpreter.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

using testing::HasSubstr;

// One case in a graph of its own: inputs x0, x1, .. with random values, and the op on them.
struct Wired {
  Graph graph;
  std::vector<NodeId> inputs;
  Values values;
  NodeId y = kNoNode;
};

RefTensor random_tensor(const CaseInput& input, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  RefTensor tensor{input.type, std::vector<double>(input.type.elements())};
  for (std::size_t i = 0; i < tensor.data.size(); ++i) {
    double value = input.low + (input.high - input.low) * random.uniform(i);
    if (!is_float(input.type.dtype)) value = std::floor(value);
    if (input.type.dtype == DType::bf16) value = round_to_bf16(value);
    tensor.data[i] = value;
  }
  return tensor;
}

Wired wire(const OpDef& op, const OpCase& c, bool decomposed = false) {
  Wired w;
  Builder b(w.graph);
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const std::string name = "x" + std::to_string(i);
    w.inputs.push_back(b.input(name, c.inputs[i].type));
    w.values[name] = random_tensor(c.inputs[i], 100 + i);
  }
  w.y = decomposed ? op.decompose(b, w.inputs, c.attrs) : b.apply(op.name, w.inputs, c.attrs);
  EXPECT_TRUE(b.status()) << b.status().error().to_string();
  return w;
}

// Adds the loss sum(y * weights) with random weights.
NodeId add_loss(Wired& w) {
  Builder b(w.graph);
  const TensorType type = f32(w.graph.node(w.y).type.shape);
  const NodeId weights = b.input("weights", type);
  w.values["weights"] = random_tensor({type, -1, 1}, 7);
  const NodeId loss = b.reduce_to(b.mul(w.y, weights), {});
  EXPECT_TRUE(b.status()) << b.status().error().to_string();
  return loss;
}

std::vector<RefTensor> evaluate(const Wired& w) {
  Result<std::vector<RefTensor>> values = Interpreter(w.graph).evaluate(w.values);
  EXPECT_TRUE(values) << values.error().to_string();
  return values ? *values : std::vector<RefTensor>(w.graph.size());
}

std::string describe(const OpDef& op, const OpCase& c) {
  std::string text(op.name);
  for (const CaseInput& input : c.inputs) text += " " + input.type.to_string();
  return text;
}

void expect_close(const std::vector<double>& got, const std::vector<double>& want, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0, std::abs(want[i])))
        << what << " at " << i;
}

class OpTable : public testing::TestWithParam<const OpDef*> {
 protected:
  const OpDef& op() const { return *GetParam(); }
  std::vector<OpCase> cases() const { return op().cases ? op().cases() : std::vector<OpCase>(); }
};

TEST_P(OpTable, EntryIsComplete) {
  EXPECT_FALSE(op().summary.empty());
  EXPECT_EQ(op().summary.find('\n'), std::string_view::npos);
  if (op().op_class == OpClass::source) {
    EXPECT_EQ(op().inputs, 0);
    return;
  }
  ASSERT_FALSE(cases().empty()) << "an op needs cases, or nothing of it is tested";
  bool checked = false;
  for (const OpCase& c : cases()) {
    EXPECT_EQ(static_cast<int>(c.inputs.size()), op().inputs);
    EXPECT_GT(c.tolerance, 0);
    if (op().gradient == nullptr) {
      EXPECT_FALSE(c.check_gradient) << "there is no gradient to check";
    }
    checked = checked || c.check_gradient;
  }
  if (op().gradient != nullptr && op().name != "cast") {
    EXPECT_TRUE(checked) << "no case checks the gradient";
  }
}

TEST_P(OpTable, ReferenceIsFiniteAndPriced) {
  const std::set<std::string_view> free = {"fill",    "cast",       "reshape",      "transpose",
                                           "slice",   "pad",        "broadcast_to", "embedding",
                                           "one_hot", "causal_mask"};
  for (const OpCase& c : cases()) {
    SCOPED_TRACE(describe(op(), c));
    const Wired w = wire(op(), c);
    const RefTensor y = evaluate(w)[w.y];
    EXPECT_EQ(y.type.to_string(), w.graph.node(w.y).type.to_string());
    EXPECT_EQ(static_cast<std::int64_t>(y.data.size()), y.type.elements());
    for (double value : y.data) ASSERT_TRUE(std::isfinite(value));
    const Cost cost = node_cost(w.graph, w.y);
    EXPECT_EQ(cost.flops > 0, !free.contains(op().name)) << cost.flops;
    const bool is_view = op().op_class == OpClass::view;
    EXPECT_GE(cost.bytes, is_view ? 0 : static_cast<double>(y.type.bytes().value()));
  }
}

// Central differences in float64, one input element at a time.
std::vector<double> differences(Wired& w, NodeId loss, const std::string& input) {
  constexpr double kStep = 1e-5;
  std::vector<double> result;
  for (double& element : w.values[input].data) {
    const double middle = element;
    element = middle + kStep;
    const double above = evaluate(w)[loss].data.at(0);
    element = middle - kStep;
    const double below = evaluate(w)[loss].data.at(0);
    element = middle;
    result.push_back((above - below) / (2 * kStep));
  }
  return result;
}

// With gradients asked for `targets` only; an absent gradient is zero.
std::vector<std::vector<double>> autodiff(const OpDef& op, const OpCase& c,
                                          const std::vector<std::size_t>& targets) {
  Wired w = wire(op, c);
  const NodeId loss = add_loss(w);
  std::vector<NodeId> nodes;
  for (std::size_t i : targets) nodes.push_back(w.inputs[i]);
  const Result<std::vector<NodeId>> ids = gradients(w.graph, loss, nodes);
  EXPECT_TRUE(ids) << ids.error().to_string();
  if (!ids) return {};
  const std::vector<RefTensor> values = evaluate(w);
  std::vector<std::vector<double>> result;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const TensorType& type = c.inputs[targets[i]].type;
    if (ids->at(i) == kNoNode) {
      result.emplace_back(type.elements(), 0.0);
      continue;
    }
    EXPECT_EQ(w.graph.node(ids->at(i)).type.to_string(), type.to_string());
    EXPECT_EQ(w.graph.node(ids->at(i)).phase, Phase::backward);
    result.push_back(values[ids->at(i)].data);
  }
  return result;
}

TEST_P(OpTable, GradientEqualsCentralDifferences) {
  for (const OpCase& c : cases()) {
    if (!c.check_gradient) continue;
    SCOPED_TRACE(describe(op(), c));
    std::vector<std::size_t> targets;
    for (std::size_t i = 0; i < c.inputs.size(); ++i)
      if (c.inputs[i].type.dtype == DType::f32) targets.push_back(i);
    ASSERT_FALSE(targets.empty());
    const auto together = autodiff(op(), c, targets);
    ASSERT_EQ(together.size(), targets.size());
    Wired plain = wire(op(), c);
    const NodeId loss = add_loss(plain);
    for (std::size_t k = 0; k < targets.size(); ++k) {
      const std::string name = "x" + std::to_string(targets[k]);
      const auto alone = autodiff(op(), c, {targets[k]});
      expect_close(alone.at(0), together[k], 0, name + " alone and together");
      expect_close(together[k], differences(plain, loss, name), 1e-6, name);
    }
  }
}

// Cases whose gradient is not compared with differences, such as bf16, must still give one of the
// right type.
TEST_P(OpTable, GradientHasTheTypeOfItsInput) {
  if (op().gradient == nullptr) return;
  for (const OpCase& c : cases()) {
    SCOPED_TRACE(describe(op(), c));
    Wired w = wire(op(), c);
    Builder b(w.graph);
    b.set_phase(Phase::backward);
    const TensorType type = w.graph.node(w.y).type;
    const NodeId ones = b.fill(type.shape, 1);
    const NodeId dy = type.dtype == DType::bf16 ? b.cast(ones, DType::bf16) : ones;
    std::vector<TensorType> types;
    for (const CaseInput& input : c.inputs) types.push_back(input.type);
    const std::vector<bool> wanted(types.size(), true);
    const Attrs attrs = c.attrs;
    const std::vector<NodeId> parts =
        op().gradient({b, w.y, w.inputs, types, type, attrs, dy, wanted});
    ASSERT_TRUE(b.status()) << b.status().error().to_string();
    EXPECT_EQ(b.phase(), Phase::backward);
    ASSERT_EQ(parts.size(), types.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i] != kNoNode, is_float(types[i].dtype)) << "input " << i;
      if (parts[i] == kNoNode) continue;
      EXPECT_EQ(w.graph.node(parts[i]).type.to_string(), types[i].to_string());
    }
  }
}

TEST_P(OpTable, EqualsItsDecomposition) {
  if (op().decompose == nullptr) return;
  for (const OpCase& c : cases()) {
    SCOPED_TRACE(describe(op(), c));
    const Wired fused = wire(op(), c);
    const Wired parts = wire(op(), c, true);
    for (const Node& node : parts.graph.nodes()) EXPECT_NE(node.op, &op());
    EXPECT_EQ(parts.graph.node(parts.y).type.to_string(),
              fused.graph.node(fused.y).type.to_string());
    expect_close(evaluate(fused)[fused.y].data, evaluate(parts)[parts.y].data, 1e-12,
                 "fused and decomposed");
  }
}

// The message of the error that adding the op with these inputs and attributes gives, or "".
std::string complaint(const OpDef& op, const std::vector<TensorType>& types, const Attrs& attrs) {
  Graph graph;
  Builder b(graph);
  std::vector<NodeId> inputs;
  for (std::size_t i = 0; i < types.size(); ++i)
    inputs.push_back(b.input("x" + std::to_string(i), types[i]));
  EXPECT_TRUE(b.status());
  b.apply(op.name, inputs, attrs);
  if (b.status()) return "";
  EXPECT_EQ(b.status().error().code, ErrorCode::graph);
  return b.status().error().to_string();
}

TEST_P(OpTable, RejectsWrongInputsByName) {
  for (const OpCase& c : cases()) {
    SCOPED_TRACE(describe(op(), c));
    const std::string name(op().name);
    std::vector<TensorType> types;
    for (const CaseInput& input : c.inputs) types.push_back(input.type);

    std::vector<TensorType> more = types;
    more.push_back(f32({}));
    EXPECT_THAT(complaint(op(), more, c.attrs), HasSubstr(name));
    if (!types.empty()) {
      const std::vector<TensorType> fewer(types.begin(), types.end() - 1);
      EXPECT_THAT(complaint(op(), fewer, c.attrs), HasSubstr(name));
    }
    for (std::size_t i = 0; i < types.size() && op().op_class != OpClass::view; ++i) {
      std::vector<TensorType> wrong = types;
      wrong[i].dtype = types[i].dtype == DType::u8 ? DType::i64 : DType::u8;
      const std::string message = complaint(op(), wrong, c.attrs);
      EXPECT_THAT(message, HasSubstr(name));
      EXPECT_THAT(message, HasSubstr(wrong[i].to_string()));
    }
  }
}

TEST_P(OpTable, RejectsMissingAndUnknownAttributes) {
  for (const OpCase& c : cases()) {
    SCOPED_TRACE(describe(op(), c));
    std::vector<TensorType> types;
    for (const CaseInput& input : c.inputs) types.push_back(input.type);
    for (const AttrSpec& spec : op().attrs) {
      if (!spec.required) continue;
      Attrs fewer;
      for (const auto& [name, value] : c.attrs.entries())
        if (name != spec.name) fewer.set(name, value);
      EXPECT_THAT(complaint(op(), types, fewer), HasSubstr(std::string(spec.name)));
    }
    Attrs more = c.attrs;
    more.set("no_such_attribute", std::int64_t{1});
    EXPECT_THAT(complaint(op(), types, more), HasSubstr("no_such_attribute"));
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, OpTable, testing::ValuesIn(ops().all()),
                         [](const auto& entry) { return std::string(entry.param->name); });

}  // namespace
}  // namespace suanli::graph
