// suanli against PyTorch 1.13: one file of values (tools/golden/README.md says what it holds and
// how it was made). A difference is norm-wise: the largest |difference| of a tensor over the
// largest |reference|.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>

#include "suanli/model/golden_test_file.h"
#include "suanli/model/gpt_test_support.h"

namespace suanli::model {
namespace {

using engine::Arithmetic;
using graph::Graph;
using graph::NodeId;
using test::Bench;
using test::Golden;
using test::Numbers;
using test::TokenBatch;

constexpr double kTolerance = 1e-4;
// The reference in float64 differs from the file by the file's own rounding to float32, 6e-8.
constexpr double kReferenceTolerance = 1e-6;

using NamedNumbers = std::map<std::string, Numbers>;

double difference(const Numbers& actual, const Numbers& expected) {
  SUANLI_CHECK(actual.size() == expected.size());
  double worst = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst =
        std::isfinite(actual[i]) ? std::max(worst, std::abs(actual[i] - expected[i])) : INFINITY;
    size = std::max(size, std::abs(expected[i]));
  }
  return size > 0 ? worst / size : worst;
}

double cosine(const Numbers& a, const Numbers& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

// The worst difference per kind of tensor: the name without its layer.
class Worst {
 public:
  void see(std::string name, double value) {
    if (const auto layer = name.find("h."); layer != std::string::npos && name[layer + 2] <= '9')
      name.replace(layer + 2, name.find('.', layer + 2) - layer - 2, "*");
    double& worst = worst_[name];
    worst = std::max(worst, value);
  }
  // A line per kind, or the worst of them alone.
  void print(const std::string& title, bool every_kind) const {
    const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
    const auto worst = std::max_element(worst_.begin(), worst_.end(), less);
    std::printf("%s: worst %.1e (%s)\n", title.c_str(), worst->second, worst->first.c_str());
    if (!every_kind) return;
    for (const auto& [name, value] : worst_) std::printf("  %-32s %.1e\n", name.c_str(), value);
  }

 private:
  std::map<std::string, double> worst_;
};

// Compares all of `expected` with what is there under the same name.
void compare(const NamedNumbers& actual, const NamedNumbers& expected, double tolerance,
             const std::string& title) {
  Worst worst;
  for (const auto& [name, values] : expected) {
    ASSERT_TRUE(actual.contains(name)) << name;
    const double value = difference(actual.at(name), values);
    EXPECT_LE(value, tolerance) << title << ": " << name;
    worst.see(name, value);
  }
  worst.print(title, title.find("f32 against PyTorch") != std::string::npos);
}

// Outputs logits, loss and for each parameter "gradient.NAME", of the mean loss.
Result<Graph> gradient_graph(const GptConfig& config, std::int64_t batch,
                             std::int64_t micro_batches) {
  Graph graph;
  SUANLI_RETURN_IF_ERROR(graph.set_micro_batches(micro_batches));
  graph::Builder b(graph);
  const NodeId logits = gpt_logits(b, config, batch);
  const NodeId targets = b.input("targets", graph::i32({batch * config.context}));
  const NodeId sum = b.reduce_to(b.apply("softmax_cross_entropy", {logits, targets}), {});
  const NodeId loss_sum = b.micro_sum(sum);
  const NodeId tokens = b.micro_sum(b.apply("count_tokens", {targets}));
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_ASSIGN_OR_RETURN(const auto gradients, graph::differentiate(graph, sum));
  SUANLI_RETURN_IF_ERROR(graph.add_output("logits", logits));
  b.set_phase(graph::Phase::update);
  const NodeId loss = b.div(loss_sum, tokens);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("loss", loss));
  for (const auto& [param, gradient] : gradients) {
    const NodeId mean = b.div(gradient, tokens);
    SUANLI_RETURN_IF_ERROR(b.status());
    SUANLI_RETURN_IF_ERROR(graph.add_output("gradient." + graph.node(param).name, mean));
  }
  return graph;
}

// A graph's outputs for the first batch, computed by the engine or, without arithmetic, by the
// reference.
NamedNumbers outputs_of(const Graph& graph, std::optional<Arithmetic> arithmetic) {
  const Golden& golden = Golden::get();
  const auto micro_batches = golden.micro_batches(0, graph.micro_batches());
  NamedNumbers result;
  if (!arithmetic) {
    graph::Interpreter interpreter(graph);
    for (const std::string& name : golden.parameters())
      interpreter.state(name).data = golden.numbers("initial." + name);
    const auto outputs = interpreter.step(test::reference_inputs(micro_batches));
    SUANLI_CHECK(outputs.has_value());
    for (const auto& [name, tensor] : *outputs) result[name] = tensor.data;
    return result;
  }
  auto bench = Bench::make(graph, {.arithmetic = *arithmetic}, 2);
  SUANLI_CHECK(bench.has_value());
  for (const std::string& name : golden.parameters()) {
    const auto values = golden.values("initial." + name);
    SUANLI_CHECK(bench->state->write(name, std::as_bytes(std::span(values))).has_value());
  }
  SUANLI_CHECK(test::run_step(*bench->executor, micro_batches, {}).has_value());
  for (const graph::Output& output : graph.outputs()) {
    std::vector<float> values(graph.node(output.node).type.elements());
    SUANLI_CHECK(
        bench->executor->read(output.name, std::as_writable_bytes(std::span(values))).has_value());
    result[output.name] = {values.begin(), values.end()};
  }
  return result;
}

// What outputs_of() should be. The logits are those of the last micro-batch.
NamedNumbers golden_outputs(std::int64_t micro_batches) {
  const Golden& golden = Golden::get();
  NamedNumbers result;
  const Numbers logits = golden.numbers("logits");
  result["logits"].assign(logits.end() - static_cast<std::ptrdiff_t>(logits.size()) / micro_batches,
                          logits.end());
  result["loss"] = {golden.numbers("losses")[0]};
  for (const std::string& name : golden.parameters())
    result["gradient." + name] = golden.numbers("gradient." + name);
  return result;
}

// Loss and gradient norm of each step, and the parameters after the last.
struct Training {
  Numbers losses, grad_norms;
  NamedNumbers weights;
};

Training train_on_engine(const Graph& graph, Arithmetic arithmetic) {
  const Golden& golden = Golden::get();
  auto bench = Bench::make(graph, {.arithmetic = arithmetic}, 2);
  SUANLI_CHECK(bench.has_value());
  Training result;
  for (const std::string& name : golden.parameters()) {
    const auto values = golden.values("initial." + name);
    SUANLI_CHECK(bench->state->write(name, std::as_bytes(std::span(values))).has_value());
  }
  for (std::int64_t step = 0; step < golden.steps; ++step) {
    const auto loss =
        test::train_step(*bench->executor, golden.micro_batches(step, graph.micro_batches()),
                         golden.values("lr")[step]);
    SUANLI_CHECK(loss.has_value());
    result.losses.push_back(*loss);
    result.grad_norms.push_back(*bench->executor->read_scalar("grad_norm"));
  }
  for (const std::string& name : golden.parameters()) {
    const std::vector<float> values = bench->read_state(name);
    result.weights[name] = {values.begin(), values.end()};
  }
  return result;
}

Training train_on_reference(const Graph& graph) {
  const Golden& golden = Golden::get();
  graph::Interpreter interpreter(graph);
  for (const std::string& name : golden.parameters())
    interpreter.state(name).data = golden.numbers("initial." + name);
  for (const char* power : {"adam.beta1_power", "adam.beta2_power"})
    interpreter.state(power).data = {1};
  Training result;
  for (std::int64_t step = 0; step < golden.steps; ++step) {
    const auto micro_batches = golden.micro_batches(step, graph.micro_batches());
    const auto outputs = interpreter.step(test::reference_inputs(micro_batches),
                                          {{"lr", {graph::f32({}), {golden.numbers("lr")[step]}}}});
    SUANLI_CHECK(outputs.has_value());
    result.losses.push_back(outputs->at("loss").data[0]);
    result.grad_norms.push_back(outputs->at("grad_norm").data[0]);
  }
  for (const std::string& name : golden.parameters())
    result.weights[name] = interpreter.state(name).data;
  return result;
}

Training golden_training() {
  const Golden& golden = Golden::get();
  Training result{golden.numbers("losses"), golden.numbers("grad_norms"), {}};
  for (const std::string& name : golden.parameters())
    result.weights[name] = golden.numbers("trained." + name);
  return result;
}

// Takes the key part out of each c_attn.bias and returns how far it has moved. Its true gradient is
// zero, so AdamW divides rounding noise by its own size (tools/golden/README.md).
double take_key_biases(Training& training) {
  const Golden& golden = Golden::get();
  const std::int64_t width = golden.config.width;
  double moved = 0;
  for (auto& [name, values] : training.weights) {
    if (!name.ends_with("attn.c_attn.bias")) continue;
    const Numbers initial = golden.numbers("initial." + name);
    for (std::int64_t i = width; i < 2 * width; ++i)
      moved = std::max(moved, std::abs(values[i] - initial[i]));
    values.erase(values.begin() + width, values.begin() + 2 * width);
  }
  return moved;
}

void compare(Training actual, Training expected, double tolerance, const std::string& title) {
  // A step of AdamW is at most its rate (1.002 of it by Cauchy's inequality at these betas).
  double reach = 0;
  for (const float lr : Golden::get().values("lr")) reach += 1.01 * lr;
  EXPECT_LE(take_key_biases(actual), reach);
  EXPECT_LE(take_key_biases(expected), reach);
  actual.weights["losses"] = actual.losses;
  actual.weights["grad_norms"] = actual.grad_norms;
  expected.weights["losses"] = expected.losses;
  expected.weights["grad_norms"] = expected.grad_norms;
  compare(actual.weights, expected.weights, tolerance, title);
}

Graph gradient_graph_of(std::int64_t micro_batches) {
  const Golden& golden = Golden::get();
  auto graph = gradient_graph(golden.config, golden.batch / micro_batches, micro_batches);
  SUANLI_CHECK(graph.has_value());
  return std::move(*graph);
}

Graph training_graph_of(std::int64_t micro_batches) {
  const Golden& golden = Golden::get();
  auto graph = gpt_training_graph(golden.config, golden.batch / micro_batches, micro_batches,
                                  golden.optimizer);
  SUANLI_CHECK(graph.has_value());
  return std::move(*graph);
}

std::string in_parts(std::int64_t micro_batches) {
  return " in " + std::to_string(micro_batches) + " micro-batches";
}

TEST(GptGolden, TheFileComesFromPyTorch113AndCoversEveryParameter) {
  const Golden& golden = Golden::get();
  EXPECT_TRUE(golden.metadata("torch").starts_with("1.13.")) << golden.metadata("torch");
  const Graph graph = training_graph_of(1);
  std::vector<std::string> names;
  for (NodeId id : graph.nodes_of("param")) names.push_back(graph.node(id).name);
  std::vector<std::string> known = golden.parameters();
  std::sort(names.begin(), names.end());
  std::sort(known.begin(), known.end());
  EXPECT_EQ(names, known);
  // Clipping acts in some steps and not in others, and each micro-batch has targets that do not
  // count.
  const Numbers norms = golden.numbers("grad_norms");
  EXPECT_LT(*std::min_element(norms.begin(), norms.end()), golden.optimizer.clip_norm);
  EXPECT_GT(*std::max_element(norms.begin(), norms.end()), golden.optimizer.clip_norm);
  for (const TokenBatch& micro : golden.micro_batches(0, golden.batch))
    EXPECT_GT(std::count(micro.targets.begin(), micro.targets.end(), -1), 0);
}

TEST(GptGolden, LogitsLossAndEveryGradient) {
  for (const std::int64_t micro_batches : {1, 3}) {
    const Graph graph = gradient_graph_of(micro_batches);
    const NamedNumbers expected = golden_outputs(micro_batches);
    const NamedNumbers reference = outputs_of(graph, std::nullopt);
    const NamedNumbers engine = outputs_of(graph, Arithmetic::f32);
    compare(reference, expected, kReferenceTolerance,
            "reference against PyTorch" + in_parts(micro_batches));
    compare(engine, expected, kTolerance, "f32 against PyTorch" + in_parts(micro_batches));
    compare(engine, reference, kTolerance, "f32 against reference" + in_parts(micro_batches));
  }
}

TEST(GptGolden, ThreeStepsOfAdamW) {
  for (const std::int64_t micro_batches : {1, 3}) {
    const Graph graph = training_graph_of(micro_batches);
    const Training expected = golden_training();
    const Training reference = train_on_reference(graph);
    const Training engine = train_on_engine(graph, Arithmetic::f32);
    compare(reference, expected, kReferenceTolerance,
            "trained, reference against PyTorch" + in_parts(micro_batches));
    compare(engine, expected, kTolerance, "trained, f32 against PyTorch" + in_parts(micro_batches));
    compare(engine, reference, kTolerance,
            "trained, f32 against reference" + in_parts(micro_batches));
  }
}

TEST(GptGolden, InBf16TheLossIsWithinOnePercentAndGradientsPointTheSameWay) {
  const Numbers losses = Golden::get().numbers("losses");
  for (const std::int64_t micro_batches : {1, 3}) {
    const Training training = train_on_engine(training_graph_of(micro_batches), Arithmetic::bf16);
    double worst_loss = 0;
    for (std::size_t step = 0; step < losses.size(); ++step) {
      worst_loss = std::max(worst_loss, std::abs(training.losses[step] / losses[step] - 1));
      EXPECT_NEAR(training.losses[step], losses[step], 0.01 * losses[step]) << "step " << step;
    }
    const NamedNumbers expected = golden_outputs(micro_batches);
    const NamedNumbers outputs = outputs_of(gradient_graph_of(micro_batches), Arithmetic::bf16);
    Worst worst;
    for (const auto& [name, values] : expected) {
      if (!name.starts_with("gradient.")) continue;
      EXPECT_GT(cosine(outputs.at(name), values), 0.99) << name;
      worst.see(name, 1 - cosine(outputs.at(name), values));
    }
    worst.print("bf16 against PyTorch" + in_parts(micro_batches) + ", 1 - cosine", true);
    std::printf("  %-32s %.1e\n", "loss of three steps, relative", worst_loss);
  }
}

}  // namespace
}  // namespace suanli::model
