#include "suanli/model/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "suanli/graph/interpreter.h"

namespace suanli::model {
namespace {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::NodeId;
using graph::RefTensor;
using ::testing::HasSubstr;

constexpr double kTokens = 2;

// The loss x w + b^2 / 2, summed, of three elements each; only w decays. Gradients are x and b,
// over kTokens.
Result<Graph> two_parameters(const AdamWOptions& options) {
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({3}));
  const NodeId weight = b.param("w", f32({3}), "ones", 0, true);
  const NodeId bias = b.param("b", f32({3}), "zeros");
  const NodeId loss = b.reduce_to(b.add(b.mul(x, weight), b.scale(b.mul(bias, bias), 0.5)), {});
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_ASSIGN_OR_RETURN(const auto gradients, graph::differentiate(graph, loss));
  b.set_phase(graph::Phase::update);
  const NodeId tokens = b.fill({}, kTokens);
  const NodeId lr = b.step_input("lr", f32({}));
  SUANLI_ASSIGN_OR_RETURN(const OptimizerNodes nodes, add_adamw(b, gradients, tokens, lr, options));
  SUANLI_RETURN_IF_ERROR(graph.add_output("grad_norm", nodes.grad_norm));
  return graph;
}

using Vector = std::vector<double>;

// Steps of the reference from w = (1, -2, 0.5), b = (0.3, 0, -1).
class Steps {
 public:
  explicit Steps(const AdamWOptions& options) : graph_(*two_parameters(options)), run_(graph_) {
    run_.state("w").data = {1, -2, 0.5};
    run_.state("b").data = {0.3, 0, -1};
    run_.state("adam.beta1_power").data = {1};
    run_.state("adam.beta2_power").data = {1};
  }
  // Returns the norm before clipping.
  double step(const Vector& x, double lr) {
    const auto outputs = run_.step({{{"x", {f32({3}), x}}}}, {{"lr", {f32({}), {lr}}}});
    SUANLI_CHECK(outputs.has_value());
    return outputs->at("grad_norm").data[0];
  }
  const Vector& state(const std::string& name) { return run_.state(name).data; }

 private:
  Graph graph_;
  graph::Interpreter run_;
};

// AdamW for one number, written from the paper (algorithm 2, with the schedule multiplier in lr).
struct Number {
  double value, m = 0, v = 0;
  void step(double gradient, int t, double lr, double decay, const AdamWOptions& o) {
    m = o.beta1 * m + (1 - o.beta1) * gradient;
    v = o.beta2 * v + (1 - o.beta2) * gradient * gradient;
    const double m_hat = m / (1 - std::pow(o.beta1, t)), v_hat = v / (1 - std::pow(o.beta2, t));
    value -= lr * (m_hat / (std::sqrt(v_hat) + o.eps) + decay * value);
  }
};

TEST(Optimizer, FiveStepsAreThoseOfThePaper) {
  const AdamWOptions options{
      .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-3, .weight_decay = 0.3, .clip_norm = 0.9};
  Steps steps(options);
  Number w[] = {{1}, {-2}, {0.5}}, b[] = {{0.3}, {0}, {-1}};
  bool clipped = false, unclipped = false;
  for (int t = 1; t <= 5; ++t) {
    const Vector x = {0.4 * t, -0.3, 0.2 * (t - 3)};
    const double lr = 0.1 / t;
    double squares = 0;
    for (int i = 0; i < 3; ++i)
      squares += std::pow(x[i] / kTokens, 2) + std::pow(b[i].value / kTokens, 2);
    const double norm = std::sqrt(squares);
    const double factor = std::min(1.0, options.clip_norm / (norm + 1e-6)) / kTokens;
    (norm > options.clip_norm ? clipped : unclipped) = true;
    for (int i = 0; i < 3; ++i) {
      w[i].step(factor * x[i], t, lr, options.weight_decay, options);
      b[i].step(factor * b[i].value, t, lr, 0, options);
    }
    EXPECT_NEAR(steps.step(x, lr), norm, 1e-12) << "step " << t;
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(steps.state("w")[i], w[i].value, 1e-12) << "step " << t;
      EXPECT_NEAR(steps.state("b")[i], b[i].value, 1e-12) << "step " << t;
      EXPECT_NEAR(steps.state("w.adam_m")[i], w[i].m, 1e-12);
      EXPECT_NEAR(steps.state("w.adam_v")[i], w[i].v, 1e-12);
    }
    EXPECT_NEAR(steps.state("adam.beta1_power")[0], std::pow(0.8, t), 1e-12);
    EXPECT_NEAR(steps.state("adam.beta2_power")[0], std::pow(0.99, t), 1e-12);
  }
  EXPECT_TRUE(clipped && unclipped);
}

TEST(Optimizer, WithoutAGradientOnlyWhatDecaysChanges) {
  Steps steps({.weight_decay = 0.5});
  // b[1] is 0 and so is its gradient; a rate of 0.1 keeps 95 % of w.
  EXPECT_GT(steps.step({0, 0, 0}, 0.1), 0);
  EXPECT_NEAR(steps.state("w")[0], 0.95, 1e-12);
  EXPECT_NEAR(steps.state("w")[1], -1.9, 1e-12);
  EXPECT_EQ(steps.state("b")[1], 0);
  // The first step of Adam goes by the sign alone: lr, less the little that eps takes.
  EXPECT_NEAR(steps.state("b")[0], 0.2, 1e-6);
}

TEST(Optimizer, ClipNormZeroDoesNotClip) {
  const Vector large = {3000, 4000, 0};
  Steps off({.clip_norm = 0}), wide({.clip_norm = 1e9}), tight({.clip_norm = 1});
  const double norm = off.step(large, 0.1);
  EXPECT_NEAR(norm, 2500, 1e-3);
  EXPECT_EQ(wide.step(large, 0.1), norm);
  EXPECT_EQ(tight.step(large, 0.1), norm);
  EXPECT_EQ(off.state("w.adam_m"), wide.state("w.adam_m"));
  EXPECT_NEAR(off.state("w.adam_m")[0], 150, 1e-9);     // (1 - 0.9) 3000 / kTokens
  EXPECT_NEAR(tight.state("w.adam_m")[0], 0.06, 1e-6);  // of a gradient of norm 1
}

TEST(Optimizer, BetasOfZeroAreDescentBySign) {
  Steps steps({.beta1 = 0, .beta2 = 0, .weight_decay = 0, .clip_norm = 0});
  for (int t = 0; t < 3; ++t) steps.step({5, -0.1, 1}, 0.01);
  EXPECT_NEAR(steps.state("w")[0], 0.97, 1e-6);
  EXPECT_NEAR(steps.state("w")[1], -1.97, 1e-6);
  EXPECT_EQ(steps.state("adam.beta1_power")[0], 0);
}

TEST(Optimizer, BadOptionsNameKeyAndValue) {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto refuse = [](const AdamWOptions& options, const char* key, const char* value) {
    const auto graph = two_parameters(options);
    ASSERT_FALSE(graph.has_value()) << key;
    EXPECT_EQ(graph.error().code, ErrorCode::config);
    EXPECT_EQ(graph.error().place, key);
    EXPECT_THAT(graph.error().message, HasSubstr(value)) << key;
  };
  refuse({.beta1 = 1}, "train.beta1", "1 is not in [0, 1)");
  refuse({.beta1 = -0.5}, "train.beta1", "-0.5 is not in [0, 1)");
  refuse({.beta2 = 1.5}, "train.beta2", "1.5 is not in [0, 1)");
  refuse({.eps = 0}, "train.eps", "0 is not a number above 0");
  refuse({.weight_decay = -1}, "train.weight_decay", "-1 is not a number from 0");
  refuse({.weight_decay = infinity}, "train.weight_decay", "inf is not");
  refuse({.clip_norm = std::nan("")}, "train.clip_norm", "nan is not");
}

TEST(Optimizer, AGraphWithoutGradientsIsRefused) {
  Graph graph;
  Builder b(graph);
  b.set_phase(graph::Phase::update);
  const NodeId tokens = b.fill({}, 1);
  const auto refused = add_adamw(b, {}, tokens, b.step_input("lr", f32({})), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::graph);
}

}  // namespace
}  // namespace suanli::model
