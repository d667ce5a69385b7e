#include "suanli/meter/peak.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "suanli/engine/compile.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/builder.h"
#include "suanli/meter/quantile.h"

namespace suanli::meter {
namespace {

// x_0 = a, x_k = x_{k-1} b; b keeps the size of the elements about the same.
Result<graph::Graph> chain_of_products(const PeakOptions& options) {
  graph::Graph graph;
  graph::Builder b(graph);
  const graph::TensorType type = graph::f32({options.size, options.size});
  const double deviation = 1 / std::sqrt(static_cast<double>(options.size));
  graph::NodeId x = b.param("a", type, "normal", deviation);
  const graph::NodeId factor = b.param("b", type, "normal", deviation);
  for (int i = 0; i < options.products; ++i) x = b.matmul(x, factor);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("product", x));
  return graph;
}

}  // namespace

Result<FlopsPerSecond> measure_peak(engine::Device& device, engine::Arithmetic arithmetic,
                                    Clock& clock, const PeakOptions& options) {
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, chain_of_products(options));
  SUANLI_ASSIGN_OR_RETURN(engine::Program program,
                          engine::compile(graph, {.arithmetic = arithmetic}));
  engine::State state(device);
  SUANLI_RETURN_IF_ERROR(state.initialize(graph, 0));
  SUANLI_ASSIGN_OR_RETURN(
      auto executor,
      engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)), device,
                               state));
  const Flops flops(graph::step_cost(graph).flops);
  const Seconds start = clock.now();
  FlopsPerSecond best;
  for (int run = 0; run < 3 || clock.now() - start < options.duration; ++run) {
    const Seconds begin = clock.now();
    executor->begin_step();
    SUANLI_RETURN_IF_ERROR(executor->forward(0, {}));
    device.synchronize(device.compute());
    const Seconds took = clock.now() - begin;
    if (run > 0 && took.value() > 0) best = std::max(best, flops / took);
  }
  return best;
}

engine::ProductLoop product_loop(engine::Arithmetic arithmetic, bool has_tiles) {
  return arithmetic != engine::Arithmetic::f32 && has_tiles ? engine::ProductLoop::bf16_amx
                                                            : engine::ProductLoop::f32_fma;
}

Calibrator::Calibrator(engine::Arithmetic arithmetic, int threads)
    : loops_(threads), loop_(product_loop(arithmetic, engine::is_available(engine::ProductLoop::bf16_amx))) {}

void Calibrator::sample(Seconds duration) {
  products_.push_back(loops_.products(loop_, duration).value());
  clocks_.push_back(loops_.clock_hz(duration / 4.0));
}

void Calibrator::sample_elementwise_and_memory(Seconds duration) {
  elementwise_.push_back(loops_.products(engine::ProductLoop::f32_fma, duration).value());
  reads_.push_back(loops_.read(duration).value());
  copies_.push_back(loops_.copy(duration).value());
}

Calibration Calibrator::result() const {
  Calibration found;
  found.loop = loop_;
  found.products = FlopsPerSecond(median(products_));
  found.clock_hz = median(clocks_);
  found.threads = loops_.threads();
  found.cores = loops_.cores();
  found.nominal = FlopsPerSecond(engine::flops_per_cycle(loop_) * found.clock_hz * found.cores);
  if (elementwise_.empty()) return found;
  found.elementwise = FlopsPerSecond(median(elementwise_));
  found.memory = BytesPerSecond(std::max(median(reads_), median(copies_)));
  return found;
}

}  // namespace suanli::meter
