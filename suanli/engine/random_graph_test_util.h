// Random graphs for tests, and runs of both the engine and the reference on them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>

#include "suanli/engine/engine_test_support.h"
#include "suanli/graph/edit.h"
#include "suanli/graph/op.h"
#include "suanli/graph/text_form.h"

namespace suanli::engine::test {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::NodeId;
using graph::Phase;
using graph::Shape;

struct Size {
  std::int64_t rows = 6, columns = 20;
};

// A graph drawn from a seed: most values have the shape [rows, columns], beside scalars, rows and
// columns that broadcast into it.
class RandomGraph {
 public:
  RandomGraph(std::uint64_t seed, std::int64_t micro_batches, Size size = {})
      : random_(seed, suanli::Stream::test), size_(size), b_(graph_) {
    SUANLI_CHECK(graph_.set_micro_batches(micro_batches).has_value());
  }

  Graph draw() && {
    add_sources();
    for (int block = 0; block < 3; ++block) {
      b_.set_block(block);
      grow(3 + below(7));
    }
    const NodeId loss = b_.scale(b_.reduce_to(any(Phase::forward), {}), 0.01);
    nodes_.push_back(loss);
    check(b_.status());
    const auto gradients = graph::differentiate(graph_, loss);
    SUANLI_CHECK(gradients.has_value());
    b_.set_phase(Phase::backward);
    collect(Phase::backward);
    grow(6 + below(12));
    add_sums();
    b_.set_phase(Phase::update);
    const NodeId lr = b_.step_input("lr", f32({}));
    readable_ = sums_;
    for (const auto& gradient : *gradients) readable_.push_back(gradient.gradient);
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (graph_.node(id).op->name == "param") readable_.push_back(id);
    readable_.push_back(lr);
    nodes_ = readable_;
    grow(6 + below(12));
    add_adamw(*gradients, lr);
    grow(below(6));  // some read what AdamW has made
    add_updates();
    add_outputs();
    return std::move(graph_);
  }

 private:
  static void check(const Status& status) {
    if (!status) ADD_FAILURE() << status.error().to_string();
    SUANLI_CHECK(status.has_value());
  }

  std::int64_t below(std::int64_t n) {
    return std::min<std::int64_t>(
        n - 1, static_cast<std::int64_t>(random_.uniform(draws_++) * static_cast<double>(n)));
  }
  const Shape& shape(NodeId id) const { return graph_.node(id).type.shape; }

  void add_sources() {
    const auto [rows, columns] = size_;
    nodes_ = {b_.input("x", f32({rows, columns})),
              b_.input("row", f32({columns})),
              b_.param("w", f32({rows, columns}), "normal", 0.5),
              b_.param("v", f32({rows, columns}), "normal", 0.5),
              b_.param("square", f32({columns, columns}), "normal", 0.2),
              b_.param("bias", f32({columns}), "normal", 0.5),
              b_.param("column", f32({rows, 1}), "normal", 0.5),
              b_.param("scalar", f32({}), "normal", 0.5)};
  }

  // A node that may be read now; with preference for late ones, so that chains grow.
  NodeId any() {
    const auto count = static_cast<std::int64_t>(nodes_.size());
    const std::int64_t from = below(2) == 0 ? std::max<std::int64_t>(0, count - 5) : 0;
    return nodes_[static_cast<std::size_t>(from + below(count - from))];
  }
  NodeId any(Phase phase) {
    for (;;) {
      const NodeId id = any();
      if (graph_.node(id).phase == phase && !is_source(graph_.node(id))) return id;
    }
  }

  void collect(Phase phase) {
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (graph_.node(id).phase == phase && graph_.node(id).op->name != "micro_sum" &&
          std::find(nodes_.begin(), nodes_.end(), id) == nodes_.end() &&
          !is_source(graph_.node(id)))
        nodes_.push_back(id);
  }

  bool broadcasts(NodeId small, NodeId large) const {
    const Shape &s = shape(small), &l = shape(large);
    if (s.size() > l.size()) return false;
    for (std::size_t i = 0; i < s.size(); ++i)
      if (s[s.size() - 1 - i] != 1 && s[s.size() - 1 - i] != l[l.size() - 1 - i]) return false;
    return true;
  }

  // Values stay small, so that f32 and float64 stay close.
  NodeId tame(NodeId x) { return b_.apply("tanh", {x}); }

  NodeId binary(NodeId a, NodeId b) {
    if (broadcasts(a, b) && !broadcasts(b, a)) std::swap(a, b);
    if (!broadcasts(b, a)) return b_.scale(a, 0.5);
    const char* const ops[] = {"add", "sub", "mul", "minimum", "maximum", "add"};
    const NodeId result = b_.apply(ops[below(6)], {a, b});
    return below(4) == 0 ? tame(result) : result;
  }

  NodeId reshaped(NodeId x) {
    const std::int64_t count = graph::element_count(shape(x));
    if (shape(x).size() == 2 && below(2) == 0) return b_.reshape(b_.reshape(x, {count}), shape(x));
    return b_.reshape(x, shape(x));
  }

  NodeId reduced(NodeId x) {
    if (shape(x).size() != 2) return b_.scale(x, 0.7);
    const Shape targets[] = {{shape(x)[1]}, {shape(x)[0], 1}, {}};
    return tame(b_.scale(b_.reduce_to(x, targets[below(3)]), 0.2));
  }

  NodeId product(NodeId a, NodeId b) {
    if (shape(a).size() != 2 || shape(b).size() != 2) return b_.gelu(a);
    NodeId product = graph::kNoNode;
    if (shape(a)[1] == shape(b)[0])
      product = b_.matmul(a, b);
    else if (shape(a)[1] == shape(b)[1])
      product = b_.matmul(a, b, false, true);
    else if (shape(a)[0] == shape(b)[0])
      product = b_.matmul(a, b, true, false);
    return product == graph::kNoNode ? b_.scale(a, -0.3) : tame(b_.scale(product, 0.2));
  }

  void grow(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      const NodeId a = any(), b = any();
      NodeId made = graph::kNoNode;
      switch (below(10)) {
        case 0:
          made = b_.scale(a, 0.9);
          break;
        case 1:
          made = b_.gelu(b_.shift(a, 0.1));
          break;
        case 2:
          made = tame(a);
          break;
        case 3:
          made = product(a, b);
          break;
        case 4:
          made = reduced(a);
          break;
        case 5:
          made = reshaped(a);
          break;
        default:
          made = binary(a, b);
          break;
      }
      check(b_.status());
      nodes_.push_back(made);
    }
  }

  void add_sums() {
    for (int i = 0; i < 4; ++i) {
      const NodeId term = any(i < 2 ? Phase::forward : Phase::backward);
      b_.set_phase(graph_.node(term).phase);
      sums_.push_back(b_.micro_sum(term));
      if (below(2) == 0) sums_.push_back(b_.micro_sum(term));
    }
    check(b_.status());
  }

  void add_adamw(const std::vector<graph::ParameterGradient>& gradients, NodeId lr) {
    for (const auto& [param, gradient] : gradients) {
      if (below(3) == 0) continue;
      const std::string name = graph_.node(param).name;
      const graph::TensorType type = graph_.node(param).type;
      const NodeId m = b_.state(name + ".m", type, "zeros"),
                   v = b_.state(name + ".v", type, "ones");
      const NodeId scale = b_.fill({}, 0.5);
      const NodeId m_next = b_.apply("adamw_m", {m, gradient, scale}, {{"beta1", 0.9}});
      const NodeId v_next = b_.apply("adamw_v", {v, gradient, scale}, {{"beta2", 0.9}});
      const NodeId w_next =
          b_.apply("adamw_w", {param, m_next, v_next, lr, b_.fill({}, 0.6), b_.fill({}, 0.7)},
                   {{"eps", 1e-3}, {"decay", 0.1}});
      check(b_.status());
      check(graph_.add_update(m, m_next));
      check(graph_.add_update(v, v_next));
      check(graph_.add_update(param, w_next));
      if (below(2) == 0) nodes_.push_back(w_next);
      if (below(2) == 0) nodes_.push_back(m_next);
    }
  }

  // Every parameter that has no new value yet may get one, if there is a node of its type.
  void add_updates() {
    for (NodeId param = 0; param < graph_.size(); ++param) {
      if (graph_.node(param).op->name != "param") continue;
      if (std::any_of(graph_.updates().begin(), graph_.updates().end(),
                      [&](const graph::Update& u) { return u.state == param; }))
        continue;
      for (int tries = 0; tries < 10; ++tries) {
        const NodeId value = any();
        const graph::Node& node = graph_.node(value);
        if (node.phase != Phase::update || is_source(node) || node.type != graph_.node(param).type)
          continue;
        check(graph_.add_update(param, value));
        break;
      }
    }
  }

  // Nodes of every phase. A source or a view of one shows what the source holds when it is read, so
  // it is left out.
  void add_outputs() {
    for (int i = 0; i < 8; ++i) {
      const NodeId id = static_cast<NodeId>(below(graph_.size()));
      if (is_source(graph_.node(root_of(id)))) continue;
      const std::string name = "out" + std::to_string(i);
      check(graph_.add_output(name, id));
    }
    for (NodeId id = graph_.size() - 1; id >= 0; --id)
      if (!is_source(graph_.node(root_of(id)))) {
        check(graph_.add_output("last", id));
        break;
      }
  }
  NodeId root_of(NodeId id) const {
    while (graph_.node(id).op->name == "reshape" || graph_.node(id).op->name == "micro_sum")
      id = graph_.node(id).inputs[0];
    return id;
  }

  const Philox random_;
  const Size size_;
  std::uint64_t draws_ = 0;
  Graph graph_;
  Builder b_;
  std::vector<NodeId> nodes_, sums_, readable_;
};

using Values = std::map<std::string, std::vector<double>>;
struct Results {
  Values outputs, state;
};

// What the engine ends with, to the bit.
using Bits = std::map<std::string, std::vector<std::uint32_t>>;
struct Trained {
  Bits outputs, state;
};

inline Values values_of(const Bits& bits) {
  Values values;
  for (const auto& [name, words] : bits)
    for (const std::uint32_t word : words) values[name].push_back(std::bit_cast<float>(word));
  return values;
}

// The names of the tensors that differ.
inline std::string differing(const Trained& actual, const Trained& expected) {
  std::string names;
  const auto compare = [&](const Bits& of_actual, const Bits& of_expected) {
    for (const auto& [name, words] : of_expected) {
      const auto found = of_actual.find(name);
      if (found == of_actual.end() || found->second != words) names += name + " ";
    }
  };
  compare(actual.outputs, expected.outputs);
  compare(actual.state, expected.state);
  return names;
}

struct MicroBatch {
  std::vector<float> x, row;
};

inline MicroBatch micro_batch(std::uint64_t seed, Size size) {
  return {random_floats(size.rows * size.columns, seed), random_floats(size.columns, seed + 77)};
}

inline constexpr float kRate = 0.05F;
inline constexpr int kSteps = 2;

inline std::vector<int> in_sequence(std::int64_t micro_batches) {
  std::vector<int> order(static_cast<std::size_t>(micro_batches));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// All micro-batches of a step, in this order; with several slots as many forwards as there are slots come before a backward.
inline Status run_micro_batches(Bench& bench, const Graph& graph, Size size, int step, const std::vector<int>& order) {
  const auto slots = static_cast<std::size_t>(bench.executor->program().target.slots);
  bench.executor->begin_step();
  for (std::size_t i = 0; i < order.size() + slots - 1; ++i) {
    if (i < order.size()) {
      const MicroBatch data = micro_batch(static_cast<std::uint64_t>(step * 10 + order[i]), size);
      std::vector<HostTensor> inputs;
      if (graph.live()[graph.find("x")]) inputs.push_back(host("x", data.x));
      if (graph.live()[graph.find("row")]) inputs.push_back(host("row", data.row));
      SUANLI_RETURN_IF_ERROR(bench.executor->forward(static_cast<int>(i % slots), inputs));
    }
    if (i + 1 >= slots) SUANLI_RETURN_IF_ERROR(bench.executor->backward(static_cast<int>((i + 1) % slots)));
  }
  return {};
}

inline Result<Trained> try_engine(const Graph& graph, const Target& target, int threads, Size size,
                                  const std::vector<int>& order) {
  SUANLI_ASSIGN_OR_RETURN(Bench bench, Bench::make(graph, target, threads, 5));
  for (int step = 0; step < kSteps; ++step) {
    for (bool again = true; again;) {
      SUANLI_RETURN_IF_ERROR(run_micro_batches(bench, graph, size, step, order));
      SUANLI_ASSIGN_OR_RETURN(again, bench.executor->must_repeat_step());
    }
    const std::vector<float> lr = {kRate};
    std::vector<HostTensor> step_inputs;
    if (graph.live()[graph.find("lr")]) step_inputs.push_back(host("lr", lr));
    SUANLI_RETURN_IF_ERROR(bench.executor->update(step_inputs));
  }
  Trained trained;
  const int last_slot = (static_cast<int>(order.size()) - 1) % target.slots;
  for (const graph::Output& output : graph.outputs()) {
    std::vector<std::uint32_t>& words = trained.outputs[output.name];
    words.resize(static_cast<std::size_t>(graph.node(output.node).type.elements()));
    SUANLI_RETURN_IF_ERROR(bench.executor->read(output.name, std::as_writable_bytes(std::span(words)), last_slot));
  }
  for (const State::Tensor& tensor : bench.state->tensors()) {
    std::vector<std::uint32_t>& words = trained.state[tensor.name];
    words.resize(static_cast<std::size_t>(tensor.type.elements()));
    SUANLI_RETURN_IF_ERROR(bench.state->read(tensor.name, std::as_writable_bytes(std::span(words))));
  }
  return trained;
}

// Trains for kSteps; the micro-batches of each step come in this order, or in sequence.
inline Trained run_engine(const Graph& graph, const Target& target, int threads = 2, Size size = {},
                          std::vector<int> order = {}) {
  if (order.empty()) order = in_sequence(graph.micro_batches());
  const Result<Trained> trained = try_engine(graph, target, threads, size, order);
  EXPECT_TRUE(trained) << trained.error().to_string();
  return trained.value_or(Trained());
}

inline Results run_reference(const Graph& graph, Size size = {}) {
  Results results;
  graph::Interpreter interpreter(graph);
  for (NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (node.op->name != "param" && node.op->name != "state") continue;
    graph::RefTensor value = *graph::initial_value(node, 5);
    for (double& element : value.data) element = static_cast<float>(element);
    interpreter.state(node.name) = value;
  }
  for (int step = 0; step < kSteps; ++step) {
    std::vector<graph::Values> micro_inputs;
    for (std::int64_t micro = 0; micro < graph.micro_batches(); ++micro) {
      const MicroBatch data = micro_batch(static_cast<std::uint64_t>(step * 10 + micro), size);
      micro_inputs.push_back({{"x", ref(f32({size.rows, size.columns}), data.x)},
                              {"row", ref(f32({size.columns}), data.row)}});
    }
    const auto outputs =
        interpreter.step(micro_inputs, {{"lr", ref(f32({}), std::vector<float>{kRate})}});
    SUANLI_CHECK(outputs.has_value());
    for (const auto& [name, value] : *outputs) results.outputs[name] = value.data;
  }
  for (NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (node.op->name == "param" || node.op->name == "state")
      results.state[node.name] = interpreter.state(node.name).data;
  }
  return results;
}

// The worst difference relative to the largest element; f32 rounds at 6e-8.
inline void expect_close(const Values& actual, const Values& expected) {
  for (const auto& [name, values] : expected) {
    const auto found = actual.find(name);
    ASSERT_NE(found, actual.end()) << name;
    ASSERT_EQ(found->second.size(), values.size()) << name;
    double largest = 1e-2, worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      largest = std::max(largest, std::abs(values[i]));
      const double difference = std::abs(found->second[i] - values[i]);
      worst = std::isfinite(difference) ? std::max(worst, difference) : 1e30;
    }
    EXPECT_LE(worst, 2e-3 * largest) << name;
  }
}

}  // namespace suanli::engine::test
