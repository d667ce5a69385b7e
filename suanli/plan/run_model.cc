#include "suanli/plan/run_model.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/plan/checkpoint_interval.h"
#include "suanli/plan/fault_rates.h"
#include "suanli/plan/mfu_assumption.h"
#include "suanli/plan/prices.h"
#include "suanli/plan/whole_run.h"

namespace suanli::plan {
namespace {

constexpr double kDevicesPerNode = 8;      // of the nodes that fault rates count
constexpr double kSnapshotBytes = 2 + 12;  // per parameter: weights, master weights and moments
constexpr double kLeastGoodput = 1e-9;     // where faults come faster than work can be kept: never, in effect

// L h of a usual shape (usual_shape() before rounding), so that it is smooth in the number of parameters.
double usual_depth_times_width(double parameters) {
  const double layers = std::min(128.0, std::cbrt(parameters / (12 * 128 * 128)));
  return std::sqrt(parameters * layers / 12);
}

Assumption context_assumption(const SettledRun& settled) {
  const auto context = static_cast<double>(settled.setup.model.context);
  if (settled.has_given_context) return {"context", "sequence length", Interval::exactly(context), "token", "given"};
  return {"context",
          "sequence length",
          {context / 4, context, context},
          "token",
          "Llama 3, arXiv:2407.21783: 8,192 for most of its tokens; earlier models 2,048"};
}

std::vector<Assumption> snapshot_assumptions() {
  return {{"host_copy_bytes_per_s",
           "rate at which a device's state is copied away while training waits",
           {5e9, 20e9, 40e9},
           "B/s",
           "PCIe 4.0 and 5.0 x16; DLRover flash checkpoint: 0.5 s for 18 GB"},
          {"storage_bytes_per_s",
           "rate at which each eight devices write snapshots, beside training",
           {0.5e9, 2e9, 5e9},
           "B/s",
           "our judgement: Llama 3's store of 2 TB/s serves 2,000 nodes with 1 GB/s each, bursts of 7 TB/s"}};
}

// What a whole run takes beyond steps, faults and snapshots. A stated MFU is taken as what the run keeps up. A predicted one is
// of steady steps at their best: published runs took longer by whole_run_factor(), of which faults are about a twentieth and the
// error of the prediction, which the MFU's interval has already, a part of the spread.
Assumption other_stops(bool is_mfu_given) {
  const std::string text = "share of time for evaluation, planned stops, slow nodes and what else is not a step";
  if (is_mfu_given)
    return {"other_stops",
            text,
            {0.01, 0.03, 0.08},
            "fraction",
            "our judgement, from above 90 % effective time with 47 planned stops in 54 days, arXiv:2407.21783 section 3.3.4"};
  constexpr double kFaults = 1.05;
  const Interval whole = whole_run_factor(true), step = step_time_error(true);
  const auto beyond = [](double total, double part) { return std::sqrt(std::max(0.0, total * total - part * part)); };
  const double middle = std::log(whole.expected / kFaults);
  const double up = beyond(std::log(whole.high / whole.expected), std::log(step.high));
  const double down = beyond(std::log(whole.expected / whole.low), std::log(1 / step.low));
  const auto share = [](double logarithm) { return std::max(0.01, 1 - std::exp(-logarithm)); };
  return {"other_stops",
          text,
          {share(middle - down), share(middle), share(middle + up)},
          "fraction",
          format("published whole runs: %.2f (%.2f to %.2f) times the steps that are predicted for them (`suanli plan "
                 "validate`), less faults "
                 "and the error of the prediction",
                 whole.expected, whole.low, whole.high)};
}

// Executed over model FLOPs.
double hardware_share(const SettledRun& settled) {
  const TrainingSetup& setup = settled.setup;
  return hardware_flops_per_token(setup.model, setup.recomputation) / flops_per_token(setup.model);
}

}  // namespace

RunModel::RunModel(const LargeRun& run, const SettledRun& settled)
    : run_(run), settled_(settled), knows_renting_(run.price_per_hour || prices().renting(run.cluster.device.name).has_value()) {}

bool RunModel::is_rented() const {
  if (run_.price_per_hour) return true;
  if (run_.cluster.price && knows_owning()) return false;
  return knows_renting_;
}

Result<std::vector<Assumption>> RunModel::assumptions() const {
  SUANLI_ASSIGN_OR_RETURN(Assumption peak, peak_assumption(run_.cluster));
  std::vector<Assumption> all;
  const auto add = [&](std::vector<Assumption> more) { std::ranges::move(more, std::back_inserter(all)); };
  if (run_.mfu)
    all.push_back({"mfu", "model FLOPs utilisation, of the dense peak", Interval::exactly(*run_.mfu), "fraction", "given"});
  else
    all.push_back(mfu_assumption(run_, settled_, peak.value.expected));
  all.push_back(std::move(peak));
  if (run_.counts_attention) all.push_back(context_assumption(settled_));
  if (run_.counts_faults) {
    const double nodes = static_cast<double>(run_.cluster.devices) / kDevicesPerNode;
    if (run_.mean_time_between_faults) {
      add(given_fault_assumptions(*run_.mean_time_between_faults, nodes));
    } else {
      SUANLI_ASSIGN_OR_RETURN(const FaultPreset preset, fault_preset(run_.fault_preset));
      add(fault_assumptions(preset, nodes));
    }
    add(recovery_assumptions());
    add(snapshot_assumptions());
    all.push_back(other_stops(run_.mfu.has_value()));
  }
  if (knows_renting_) {
    if (run_.price_per_hour)
      all.push_back({"price_per_hour", "rent of one " + run_.cluster.device.name, Interval::exactly(*run_.price_per_hour),
                     "USD/h", "given"});
    else
      all.push_back(prices().renting(run_.cluster.device.name).value().assumption("price_per_hour"));
  }
  add(cluster_assumptions(run_.cluster));
  all.push_back({"activation_overhead",
                 "memory for activations with buffers and fragmentation, over the closed form",
                 {1.0, DeviceMemory::kOverhead, 1.3},
                 "1",
                 "our judgement"});
  all.push_back({"link_share",
                 "what collectives reach of a link's rate",
                 {0.6, 0.75, 0.9},
                 "fraction",
                 "our judgement, of large messages"});
  return all;
}

RunOutcome RunModel::evaluate(const Values& v, const RunSize& size) const {
  const Transformer& model = settled_.setup.model;
  RunOutcome run;
  const double active = size.parameters * model.active() / model.parameters;
  double flops_per_token = 6 * active;
  if (run_.counts_attention) {
    const double shape = settled_.has_given_shape ? static_cast<double>(model.layers) * static_cast<double>(model.width)
                                                  : usual_depth_times_width(size.parameters);
    flops_per_token += 12 * shape * v["context"];
  }
  run.flops = flops_per_token * size.tokens;
  run.hardware_flops = run.flops * hardware_share(settled_);
  run.peak = size.devices * v["peak_flops_per_s"];
  run.sustained = run.peak * v["mfu"];
  run.ideal_s = run.flops / run.peak;
  run.compute_s = run.flops / run.sustained;
  const double batch_tokens = std::min(size.tokens, settled_.setup.global_batch * static_cast<double>(model.context));
  run.steps = size.tokens / batch_tokens;
  run.step_s = run.compute_s / run.steps;
  run.goodput = 1;
  if (run_.counts_faults) {
    const double nodes = size.devices / kDevicesPerNode;
    run.mean_time_s = mean_time_between_faults(v, nodes);
    const double state = kSnapshotBytes * size.parameters;
    run.stall_s = state / size.devices / v["host_copy_bytes_per_s"];
    const double write_s = state / (std::max(1.0, nodes) * v["storage_bytes_per_s"]);
    const auto every = best_steps_between(Seconds(run.stall_s), Seconds(run.mean_time_s), Seconds(run.step_s), Seconds(write_s));
    // One that is longer than the run means the last step alone.
    run.interval_s = every > 0 ? std::min(run.compute_s, static_cast<double>(every) * run.step_s) : run.compute_s;
    const double useful = useful_time_ratio({.interval = Seconds(run.interval_s),
                                             .stall = Seconds(run.stall_s),
                                             .recovery = Seconds(v["detection_s"] + v["restart_s"]),
                                             .mean_time = Seconds(run.mean_time_s)});
    run.goodput = std::max(kLeastGoodput, (1 - v["other_stops"]) * useful);
  }
  run.time_s = run.compute_s / run.goodput;
  if (run_.counts_faults) run.faults = run.time_s / run.mean_time_s;
  if (knows_renting_) run.renting = size.devices * run.time_s / 3600 * v["price_per_hour"];
  if (knows_energy()) {
    run.watts = cluster_watts(v, size.devices);
    run.joules = run.watts * run.time_s;
    run.electricity = electricity_usd(v, run.joules);
  }
  if (knows_price(run_.cluster)) run.depreciation = depreciation_usd(v, size.devices, run.time_s);
  return run;
}

}  // namespace suanli::plan
