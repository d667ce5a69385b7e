#include "suanli/plan/large_run.h"

#include <cmath>

#include "suanli/base/text.h"
#include "suanli/plan/fault_rates.h"
#include "suanli/plan/large_run_setup.h"
#include "suanli/plan/run_model.h"
#include "suanli/plan/run_traffic.h"

namespace suanli::plan {
namespace {

void push_time(const LargeRun& run, const RunOutcome& outcome, const RunSize& size, Figures& all) {
  all.push_back(
      {"time_s", outcome.time_s, run.counts_faults ? "time of all steps / goodput" : "time of all steps; nothing interrupts it"});
  all.push_back({"device_hours", outcome.time_s * size.devices / 3600, "devices x time"});
  all.push_back({"ideal_time_s", outcome.ideal_s, "model FLOPs / peak rate"});
  all.push_back({"compute_time_s", outcome.compute_s, "model FLOPs / sustained rate"});
}

void push_work(const LargeRun& run, const SettledRun& settled, const RunOutcome& outcome, double mfu, Figures& all) {
  const std::string form = run.counts_attention ? "tokens x (6 N + 12 L h s)" : "tokens x 6 N";
  all.push_back({"flops", outcome.flops, form});
  all.push_back({"hardware_flops", outcome.hardware_flops,
                 std::string("the same with ") + name_of(settled.setup.recomputation) + " recomputation"});
  all.push_back({"peak_flops_per_s", outcome.peak, "devices x dense peak of one"});
  all.push_back({"sustained_flops_per_s", outcome.sustained, "peak rate x MFU"});
  all.push_back({"mfu", mfu, "see the assumption"});
  all.push_back({"hfu", mfu * outcome.hardware_flops / outcome.flops, "MFU x executed FLOPs / model FLOPs"});
}

void push_steps(const SettledRun& settled, const RunOutcome& outcome, Figures& all) {
  all.push_back({"steps", outcome.steps, "tokens / tokens of a step"});
  all.push_back({"step_time_s", outcome.step_s, "time of all steps / steps"});
  all.push_back({"tokens_per_s", settled.setup.global_batch * static_cast<double>(settled.setup.model.context) / outcome.step_s,
                 "tokens of a step / its time"});
}

void push_faults(const RunOutcome& outcome, Figures& all) {
  all.push_back(
      {"goodput", outcome.goodput, "(1 - other stops) x useful share of the time at the best interval between snapshots"});
  all.push_back(
      {"mean_time_between_faults_s", outcome.mean_time_s, "a day / (nodes x faults of a node and day + faults of software)"});
  all.push_back({"faults", outcome.faults, "time / mean time between faults"});
  all.push_back({"checkpoint_stall_s", outcome.stall_s, "14 bytes for each parameter / devices / rate of copying"});
  all.push_back({"best_checkpoint_interval_s", outcome.interval_s < outcome.compute_s ? outcome.interval_s : 0,
                 "every step if the stall is at most step^2 / 2 M, else round(sqrt(2 stall M) / step) steps, never faster than "
                 "storage takes them; 0: longer than the run, so only after the last step"});
}

void push_memory(const SettledRun& settled, double overhead, double share, Figures& all) {
  const TrainingSetup& setup = settled.setup;
  const DeviceMemory memory = device_memory({setup, settled.trims});
  if (setup.device.memory) {
    all.push_back({"memory_bytes", memory.state.total() + overhead * memory.activations, "state and activations"});
    all.push_back({"weights_bytes", memory.state.weights, "2 bytes for each parameter that the device holds"});
    all.push_back({"gradients_bytes", memory.state.gradients, "4 bytes for each"});
    all.push_back({"optimizer_bytes", memory.state.optimizer, "12 bytes for each: f32 weights and two moments"});
    all.push_back(
        {"activations_bytes", overhead * memory.activations,
         std::string("Korthikanti et al., 2022, equations 1 to 6, with logits, the block that is made again, and buffers") +
             (settled.trims ? "; norms and activation functions made again" : "")});
    all.push_back({"memory_limit_bytes", usable_memory(setup.device), "memory less 6 % for driver and libraries"});
  }
  const Traffic traffic = traffic_of(setup);
  all.push_back({"bubble", pipeline_bubble(setup), "(p - 1) / (v m + p - 1) for p stages, v virtual ones, m micro-batches"});
  all.push_back(
      {"tensor_parallel_bytes", traffic.tensor, "all-reduces in a ring of 2 b s h bytes in each layer and micro-batch"});
  all.push_back({"pipeline_bytes", traffic.pipeline, "2 b s h bytes over each boundary both ways, for each micro-batch"});
  all.push_back({"data_parallel_bytes", traffic.data, "gradients, and weights where they are sharded, around a ring"});
  all.push_back(
      {"communication_s", traffic.seconds(setup.device, setup.layout, share), "bytes / (link x share of it that is reached)"});
}

void push_cost(const RunModel& model, const LargeRun& run, const Values& v, const RunOutcome& outcome, Figures& all) {
  if (model.knows_energy()) {
    all.push_back({"power_w", outcome.watts, "devices x design power x surroundings x overhead of the building"});
    all.push_back({"energy_j", outcome.joules, "power x time"});
    all.push_back({"electricity_usd", outcome.electricity, "energy x price"});
  }
  if (knows_price(run.cluster)) {
    all.push_back({"capital_usd", capital_usd(v, static_cast<double>(run.cluster.devices)), "devices x price x (1 + the rest)"});
    all.push_back({"depreciation_usd", outcome.depreciation, "capital x time / lifetime"});
  }
  if (model.knows_owning())
    all.push_back({"owning_usd", outcome.electricity + outcome.depreciation, "depreciation and electricity"});
  if (model.knows_renting()) all.push_back({"renting_usd", outcome.renting, "device-hours x rent"});
  if (model.knows_money()) all.push_back({"money_usd", model.money(outcome), model.is_rented() ? "rented" : "owned"});
}

void add_warnings(const LargeRun& run, const RunModel& model, Report& report) {
  constexpr double kHardlyUseful = 0.1;
  if (const Figure* goodput = report.find("goodput"); goodput && goodput->value.expected < kHardlyUseful)
    report.warnings.push_back({ErrorCode::usage,
                               format("faults come so often that %.2g %% of the time is useful", 100 * goodput->value.expected),
                               "--mtbf", "use fewer devices, a faster step, or machines that fail less"});
  for (Error& warning : peak_warnings(run.cluster)) report.warnings.push_back(std::move(warning));
  if (!model.knows_energy())
    report.warnings.push_back({ErrorCode::usage,
                               "no design power of " + run.cluster.device.name + " is known: energy is left out", "--power",
                               "state --power WATTS"});
  if (!model.knows_money())
    report.warnings.push_back({ErrorCode::usage, "no price of " + run.cluster.device.name + " is known: money is left out",
                               "--price-per-hour", "state --price-per-hour or --price-per-device"});
}

}  // namespace

Result<LargePlan> plan_large_run(const LargeRun& run) {
  if (!(run.tokens > 0))
    return fail(ErrorCode::usage, "there are no tokens", "--tokens", "state --tokens, such as 15.6e12 or 15.6T");
  SUANLI_ASSIGN_OR_RETURN(const SettledRun settled, settle_run(run));
  const RunModel model(run, settled);
  SUANLI_ASSIGN_OR_RETURN(std::vector<Assumption> assumptions, model.assumptions());
  const RunSize size{settled.setup.model.parameters, run.tokens, static_cast<double>(run.cluster.devices)};
  Report report = estimate(std::move(assumptions), [&](const Values& v) {
    const RunOutcome outcome = model.evaluate(v, size);
    Figures all;
    push_time(run, outcome, size, all);
    push_work(run, settled, outcome, v["mfu"], all);
    push_steps(settled, outcome, all);
    if (run.counts_faults) push_faults(outcome, all);
    push_memory(settled, v["activation_overhead"], v["link_share"], all);
    push_cost(model, run, v, outcome, all);
    return all;
  });
  report.warnings = settled.warnings;
  report.notes = settled.notes;
  report.notes.push_back(
      "MFU counts 6 N + 12 L h s FLOPs for a token, the whole attention square (PaLM, arXiv:2204.02311, appendix B), over the "
      "dense "
      "peak; a causal kernel executes half of the square. Communication and the pipeline's bubble are in the MFU already");
  add_warnings(run, model, report);
  return LargePlan{std::move(report), settled.setup};
}

}  // namespace suanli::plan
