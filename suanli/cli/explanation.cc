#include "suanli/cli/explanation.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "suanli/engine/device.h"
#include "suanli/graph/digest.h"
#include "suanli/graph/op.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

constexpr std::array kPhases = {graph::Phase::forward, graph::Phase::backward,
                                graph::Phase::update};

// A kernel is made for each call as the executor would, and asked what it is; no buffers are
// needed for that.
Result<std::vector<std::string>> implementations_of(const std::vector<engine::KernelCall>& calls,
                                                    engine::Device& device) {
  std::vector<std::string> names;
  for (const engine::KernelCall& call : calls) {
    SUANLI_ASSIGN_OR_RETURN(const auto kernel, device.make_kernel(call.spec));
    names.push_back(kernel->implementation());
  }
  return names;
}

PhaseUse phase_use(const graph::Graph& graph, const engine::Program& program, graph::Phase phase) {
  PhaseUse use{.phase = phase};
  use.runs = phase == graph::Phase::update ? 1 : graph.micro_batches();
  const std::vector<bool> live = graph.live();
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (!live[static_cast<std::size_t>(id)] || node.phase != phase || graph::is_source(node))
      continue;
    ++use.nodes;
    const graph::Cost cost = graph::node_cost(graph, id);
    use.flops += cost.flops * static_cast<double>(use.runs);
    use.bytes_before += cost.bytes * static_cast<double>(use.runs);
  }
  for (const engine::KernelCall& call : calls_of(program, phase)) {
    ++use.calls;
    use.bytes_after += call.bytes * static_cast<double>(use.runs);
  }
  return use;
}

// Those that take most operations, or else move most bytes, come first.
std::vector<KernelUse> kernel_uses(const std::vector<engine::KernelCall>& calls,
                                   const std::vector<std::string>& implementations,
                                   const PhaseUse& phase) {
  std::map<std::pair<std::string, std::string>, KernelUse> uses;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    KernelUse& use = uses[{calls[i].spec.name, implementations[i]}];
    use.phase = phase.phase;
    use.kernel = calls[i].spec.name;
    use.implementation = implementations[i];
    ++use.calls;
    use.flops += calls[i].flops * static_cast<double>(phase.runs);
    use.bytes += calls[i].bytes * static_cast<double>(phase.runs);
  }
  std::vector<KernelUse> sorted;
  for (auto& [key, use] : uses) sorted.push_back(std::move(use));
  std::ranges::stable_sort(sorted, [](const KernelUse& a, const KernelUse& b) {
    return std::tie(a.flops, a.bytes) > std::tie(b.flops, b.bytes);
  });
  return sorted;
}

}  // namespace

Result<Explanation> explain(const train::JobConfig& job, bool evaluates) {
  Explanation result;
  result.job = job;
  SUANLI_ASSIGN_OR_RETURN(result.graph, train::training_graph(job));
  const train::MemoryLimit limit = train::MemoryLimit::of_job(job);
  SUANLI_ASSIGN_OR_RETURN(const Bytes evaluation, train::evaluation_bytes(job, evaluates));
  SUANLI_ASSIGN_OR_RETURN(train::TrainingPlan plan, train::training_plan(job, result.graph, evaluation, limit.bytes));
  SUANLI_RETURN_IF_ERROR(train::check_memory(plan, limit));
  result.program = std::move(plan.program);
  result.beside = plan.beside;
  result.digest = graph::digest(result.graph);
  result.parameters = graph::parameter_count(result.graph);
  result.step_tokens = job.train.batch * job.train.micro_batches * job.model.context;
  result.cuts = graph::cut_points(result.graph);
  const auto device = engine::make_cpu_device(1);
  for (std::size_t i = 0; i < kPhases.size(); ++i) {
    const auto& calls = calls_of(result.program, kPhases[i]);
    result.phases[i] = phase_use(result.graph, result.program, kPhases[i]);
    SUANLI_ASSIGN_OR_RETURN(result.implementations[i], implementations_of(calls, *device));
    std::ranges::move(kernel_uses(calls, result.implementations[i], result.phases[i]),
                      std::back_inserter(result.kernels));
  }
  return result;
}

}  // namespace suanli::cli
