#include "suanli/plan/calibrate_matmul.h"

#include <algorithm>

#include "suanli/base/clock.h"
#include "suanli/engine/compile.h"
#include "suanli/graph/builder.h"
#include "suanli/plan/core_wait.h"

namespace suanli::plan {
namespace {

constexpr double kFloorF32 = 0.20, kFloorTiles = 0.35;

// Both operands are f32 params, as weights are; in bf16 arithmetic the engine rounds them in calls of their own.
Result<graph::Graph> product_graph(const MatmulShapeClass& shape) {
  graph::Graph graph;
  graph::Builder b(graph);
  const auto operand = [&](const char* name, std::int64_t rows, std::int64_t columns, bool transposed) {
    return b.param(name, graph::f32(transposed ? graph::Shape{columns, rows} : graph::Shape{rows, columns}), "normal", 0.1);
  };
  const graph::NodeId a = operand("a", shape.m, shape.k, shape.ta), w = operand("b", shape.k, shape.n, shape.tb);
  const graph::NodeId product = b.matmul(a, w, shape.ta, shape.tb);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("product", product));
  return graph;
}

}  // namespace

const std::vector<MatmulShapeClass>& matmul_shape_classes() {
  static const std::vector<MatmulShapeClass> classes = {
      {"square", "the shape that peaks are quoted for", 1024, 1024, 1024, false, false},
      {"forward", "tokens through a layer", 2048, 2048, 512, false, false},
      {"input gradient", "back through a layer", 2048, 512, 2048, false, true},
      {"weight gradient", "sums over tokens", 512, 2048, 2048, true, false},
      {"vocabulary", "tokens to logits", 512, 8192, 512, false, true},
      {"small", "a layer of width 128", 256, 128, 128, false, false},
      {"thin", "a few tokens, as when generating", 8, 1024, 1024, false, false},
  };
  return classes;
}

Result<std::unique_ptr<MatmulSampler>> MatmulSampler::create(engine::Arithmetic arithmetic, engine::Device& device) {
  std::unique_ptr<MatmulSampler> sampler(new MatmulSampler(arithmetic));
  for (const MatmulShapeClass& shape : matmul_shape_classes()) {
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, product_graph(shape));
    SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(graph, {.arithmetic = arithmetic}));
    Product product{.shape = shape, .state = std::make_unique<engine::State>(device), .executor = nullptr, .call = 0,
                    .flops_per_second = {}};
    const auto call = std::ranges::find(program.forward, "matmul", [](const auto& each) { return each.spec.name; });
    SUANLI_CHECK(call != program.forward.end());
    product.call = static_cast<std::size_t>(call - program.forward.begin());
    SUANLI_RETURN_IF_ERROR(product.state->initialize(graph, 1));
    const auto shared = std::make_shared<const engine::Program>(std::move(program));
    SUANLI_ASSIGN_OR_RETURN(product.executor, engine::Executor::create(shared, device, *product.state));
    product.executor->set_timing(true);
    sampler->products_.push_back(std::move(product));
  }
  return sampler;
}

Status MatmulSampler::sample(Seconds each) {
  for (Product& product : products_) {
    const double flops = 2.0 * static_cast<double>(product.shape.m) * static_cast<double>(product.shape.n) *
                         static_cast<double>(product.shape.k);
    std::vector<double> seconds;
    Disturbance others;
    const Seconds begin = real_clock().now();
    for (int run = 0; run < 2 || real_clock().now() - begin < each; ++run) {
      product.executor->begin_step();
      SUANLI_RETURN_IF_ERROR(product.executor->forward(0, {}));
      if (run > 0) seconds.push_back(product.executor->call_times(graph::Phase::forward)[product.call].last_seconds);
    }
    product.flops_per_second.add(flops / meter::median(seconds), others.was_disturbed());
  }
  return {};
}

std::vector<MatmulRate> MatmulSampler::rates() const {
  std::vector<MatmulRate> found;
  for (const Product& product : products_)
    found.push_back({.arithmetic = arithmetic_,
                     .shape_class = product.shape.name,
                     .m = product.shape.m,
                     .n = product.shape.n,
                     .k = product.shape.k,
                     .flops_per_second = product.flops_per_second.interval(
                         arithmetic_ == engine::Arithmetic::bf16 ? kFloorTiles : kFloorF32)});
  return found;
}

}  // namespace suanli::plan
