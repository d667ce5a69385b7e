#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/cli/explanation.h"
#include "suanli/cli/memory_text.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

std::string bytes_text(double bytes) {
  return format_bytes(Bytes(static_cast<std::int64_t>(bytes)));
}
std::string flops_text(double flops) { return flops > 0 ? format_flops(Flops(flops)) : "-"; }
std::string count_text(std::size_t count) { return format_count(static_cast<std::int64_t>(count)); }

std::string head_text(const Explanation& e) {
  const auto& model = e.job.model;
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"graph", e.digest.hex()});
  table.add_row({"model", std::to_string(model.layers) + " layers, " + std::to_string(model.heads) +
                              " heads, width " + std::to_string(model.width) + ", context " +
                              format_count(model.context) + ", vocabulary " +
                              format_count(model.vocab)});
  table.add_row({"parameters", format_count(e.parameters)});
  table.add_row({"arithmetic", std::string(name_of(e.program.target.arithmetic))});
  table.add_row(
      {"a step", format_count(e.step_tokens) + " tokens in " +
                     format_count(e.program.micro_batches) +
                     (e.program.micro_batches == 1 ? " micro-batch, " : " micro-batches, ") +
                     format_flops(Flops(e.program.step_flops))});
  table.add_row({"the run", format_count(e.job.train.steps) + " steps, " +
                                format_flops(Flops(e.program.step_flops *
                                                   static_cast<double>(e.job.train.steps)))});
  return table.to_string();
}

std::string phases_text(const Explanation& e) {
  Table table({{"phase", Align::left},
               {"runs a step", Align::right},
               {"ops", Align::right},
               {"kernel calls", Align::right},
               {"FLOPs a step", Align::right},
               {"bytes unfused", Align::right},
               {"bytes fused", Align::right}});
  PhaseUse sum;
  for (const PhaseUse& use : e.phases) {
    table.add_row({std::string(name_of(use.phase)), format_count(use.runs), count_text(use.nodes),
                   count_text(use.calls), flops_text(use.flops), bytes_text(use.bytes_before),
                   bytes_text(use.bytes_after)});
    sum.nodes += use.nodes;
    sum.calls += use.calls;
    sum.flops += use.flops;
    sum.bytes_before += use.bytes_before;
    sum.bytes_after += use.bytes_after;
  }
  table.add_row({"all", "", count_text(sum.nodes), count_text(sum.calls), flops_text(sum.flops),
                 bytes_text(sum.bytes_before), bytes_text(sum.bytes_after)});
  return table.to_string();
}

std::string kernels_text(const Explanation& e) {
  Table table({{"phase", Align::left},
               {"kernel", Align::left},
               {"calls", Align::right},
               {"FLOPs a step", Align::right},
               {"bytes a step", Align::right},
               {"implementation", Align::left}});
  for (const KernelUse& use : e.kernels)
    table.add_row({std::string(name_of(use.phase)), use.kernel, count_text(use.calls),
                   flops_text(use.flops), bytes_text(use.bytes), use.implementation});
  return table.to_string();
}

std::string memory_text(const Explanation& e) {
  const engine::MemoryPlan& memory = e.program.memory;
  Table table({{"memory", Align::left}, {"", Align::right}, {"", Align::left}});
  const auto add = [&](const char* name, Bytes bytes, const char* what) {
    table.add_row({name, format_bytes(bytes), what});
  };
  add("state", memory.state, "parameters and optimizer state");
  add("accumulators", memory.accumulators, "sums over micro-batches");
  add("stash", memory.stash_per_slot, "forward values that backward reads");
  add("work", memory.work, "everything else, in one arena");
  add("inputs", memory.inputs, "tokens and targets");
  add("total", memory.total(1), "of the training program");
  add("least", memory.least, "alive at once in stash and work: no plan can be smaller");
  add("snapshots", e.beside.snapshots, "beside it, while checkpoints are written");
  if (e.beside.evaluation > Bytes(0)) add("evaluation", e.beside.evaluation, "beside it; samples too");
  add("all", memory.total(1) + e.beside.total(), "that training holds, which a memory limit is about");
  const std::string again = recomputed_text(e.program.target.recompute);
  return table.to_string() + (again.empty() ? "" : "recomputed in backward: " + again + "\n");
}

std::string cuts_text(const Explanation& e) {
  Table table({{"cut after block", Align::right},
               {"forward", Align::right},
               {"backward", Align::right},
               {"", Align::left}});
  for (const graph::CutPoint& cut : e.cuts)
    table.add_row({std::to_string(cut.after_block), format_bytes(cut.forward_bytes),
                   format_bytes(cut.backward_bytes), cut.legal ? "legal" : cut.reason});
  return table.to_string() + "(bytes that cross per micro-batch, before any codec)\n";
}

// The first few, and how many more.
std::string nodes_text(const std::vector<graph::NodeId>& nodes) {
  constexpr std::size_t kShown = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(nodes.size(), kShown); ++i)
    text += (i > 0 ? " %" : "%") + std::to_string(nodes[i]);
  if (nodes.size() > kShown) text += " +" + std::to_string(nodes.size() - kShown);
  return text;
}

Json memory_json(const Explanation& e) {
  const engine::MemoryPlan& memory = e.program.memory;
  const engine::Recomputation& again = e.program.target.recompute;
  return {{"state", memory.state.value()},
          {"accumulators", memory.accumulators.value()},
          {"work", memory.work.value()},
          {"stash", memory.stash_per_slot.value()},
          {"inputs", memory.inputs.value()},
          {"total", memory.total(1).value()},
          {"least", memory.least.value()},
          {"snapshots", e.beside.snapshots.value()},
          {"evaluation", e.beside.evaluation.value()},
          {"all", (memory.total(1) + e.beside.total()).value()},
          {"recomputed", again.cheap},
          {"recomputed_blocks", again.blocks}};
}

}  // namespace

std::string explanation_text(const Explanation& e) {
  return head_text(e) + "\n" + phases_text(e) + "\n" + kernels_text(e) + "\n" + memory_text(e) +
         "\n" + cuts_text(e);
}

std::string calls_text(const Explanation& e) {
  constexpr std::size_t kMostCode = 160;  // columns of a region's code
  Table table({{"phase", Align::left},
               {"call", Align::right},
               {"kernel", Align::left},
               {"block", Align::right},
               {"nodes", Align::left},
               {"outputs", Align::left},
               {"FLOPs", Align::right},
               {"implementation", Align::left},
               {"code", Align::left}});
  const std::vector<engine::KernelCall>* lists[] = {&e.program.forward, &e.program.backward,
                                                    &e.program.update};
  for (std::size_t phase = 0; phase < e.phases.size(); ++phase) {
    for (std::size_t i = 0; i < lists[phase]->size(); ++i) {
      const engine::KernelCall& call = (*lists[phase])[i];
      std::string outputs;
      for (const graph::TensorType& type : call.spec.outputs)
        outputs += (outputs.empty() ? "" : " ") + type.to_string();
      table.add_row({std::string(name_of(e.phases[phase].phase)), std::to_string(i), call.spec.name,
                     std::to_string(call.block), nodes_text(call.origins), outputs,
                     flops_text(call.flops), e.implementations[phase][i],
                     call.region ? printable(call.region->to_string(), kMostCode) : ""});
    }
  }
  return table.to_string();
}

Json explanation_json(const Explanation& e, const Json& measured) {
  Json phases = Json::array(), kernels = Json::array(), cuts = Json::array();
  for (const PhaseUse& use : e.phases)
    phases.push_back({{"phase", name_of(use.phase)},
                      {"runs", use.runs},
                      {"nodes", use.nodes},
                      {"calls", use.calls},
                      {"flops", use.flops},
                      {"bytes_before", use.bytes_before},
                      {"bytes_after", use.bytes_after}});
  for (const KernelUse& use : e.kernels)
    kernels.push_back({{"phase", name_of(use.phase)},
                       {"kernel", use.kernel},
                       {"implementation", use.implementation},
                       {"calls", use.calls},
                       {"flops", use.flops},
                       {"bytes", use.bytes}});
  for (const graph::CutPoint& cut : e.cuts)
    cuts.push_back({{"after_block", cut.after_block},
                    {"legal", cut.legal},
                    {"reason", cut.reason},
                    {"forward_bytes", cut.forward_bytes.value()},
                    {"backward_bytes", cut.backward_bytes.value()}});
  return {{"graph_digest", e.digest.hex()},
          {"dtype", name_of(e.program.target.arithmetic)},
          {"parameters", e.parameters},
          {"step_tokens", e.step_tokens},
          {"step_flops", e.program.step_flops},
          {"micro_batches", e.program.micro_batches},
          {"phases", phases},
          {"kernels", kernels},
          {"memory", memory_json(e)},
          {"cuts", cuts},
          {"measured", measured}};
}

}  // namespace suanli::cli
