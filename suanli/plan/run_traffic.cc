#include "suanli/plan/run_traffic.h"

#include <algorithm>

namespace suanli::plan {
namespace {

constexpr double kBytes = 2;          // bf16 activations, weights
constexpr double kGradientBytes = 4;  // gradients are summed in f32

}  // namespace

double micro_batches(const TrainingSetup& setup) {
  const double per_replica = setup.global_batch / setup.layout.data;
  return std::max(1.0, per_replica / static_cast<double>(std::max<std::int64_t>(1, setup.micro_batch)));
}

double pipeline_bubble(const TrainingSetup& setup) {
  const double waiting = setup.layout.pipeline - 1;
  return waiting / (setup.layout.interleave * micro_batches(setup) + waiting);
}

Traffic traffic_of(const TrainingSetup& setup) {
  const Transformer& model = setup.model;
  const double t = setup.layout.tensor, p = setup.layout.pipeline, d = setup.layout.data, m = micro_batches(setup);
  const double boundary =
      kBytes * static_cast<double>(setup.micro_batch) * static_cast<double>(model.context) * static_cast<double>(model.width);
  const double layers = static_cast<double>(model.layers) / p;
  const double reductions = setup.recomputation == Recomputation::full ? 6 : 4;
  Traffic traffic;
  traffic.tensor = m * layers * reductions * 2 * (t - 1) / t * boundary;
  if (p > 1) traffic.pipeline = 2 * m * setup.layout.interleave * boundary / t;
  const double replicas = d * setup.context_parallel;
  // Behind a pipeline weights stay gathered for the whole step, as in step_model.cc.
  const bool gathers = setup.layout.shard >= 3 && p <= 1;
  const double group = !gathers ? 1 : setup.gather_group > 0 ? std::min<double>(setup.gather_group, replicas) : replicas;
  traffic.data = exchanged_bytes(model.parameters / (t * p) / group, replicas / group);
  if (gathers) traffic.data += m * gathered_bytes(std::min(model.active(), model.parameters), t, group);
  if (setup.layout.shard == 0)  // gradients are summed and sent back, both ways in f32
    traffic.data = 2 * kGradientBytes * model.parameters / (t * p) * (replicas - 1) / replicas;
  return traffic;
}

double Traffic::seconds(const Accelerator& device, const Layout& layout, double efficiency) const {
  const auto rate = [&](const std::optional<Sourced<BytesPerSecond>>& link) {
    return link ? efficiency * link->value.value() : 0;
  };
  const double inside = rate(device.node_link), between = rate(device.cluster_link);
  const double tensor_link = layout.tensor <= device.per_node ? inside : between;
  const double other_link = layout.devices() <= device.per_node ? inside : between;
  const double data_link =
      inside > 0 && between > 0 ? ring_link(inside, between, device.per_node, layout.tensor, layout.data) : other_link;
  const auto time = [](double bytes, double link) { return link > 0 ? bytes / link : 0; };
  return time(tensor, tensor_link) + time(pipeline, other_link) + time(data, data_link);
}

}  // namespace suanli::plan
