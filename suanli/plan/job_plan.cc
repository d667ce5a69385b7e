#include "suanli/plan/job_plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/graph/op.h"
#include "suanli/plan/checkpoint_interval.h"
#include "suanli/plan/fault_rates.h"

namespace suanli::plan {
namespace {

constexpr double kJoulesPerKilowattHour = 3.6e6;
constexpr std::int64_t kBytesPerParameter = 4;  // f32
// Of a step: reading samples, the loop, the metrics. docs/benchmarks.md: 0.2 % of the quick start.
constexpr Interval kOther{0, 0.002, 0.01};

std::vector<Assumption> assumptions_of(const JobWork& work, const JobHost& host, const JobTerms& terms) {
  std::vector<Assumption> all = {
      {"compute_s", "kernels of one step", host.compute, "s", host.compute_source},
      {"other_fraction", "of a step: reading samples, the loop, metrics", kOther, "fraction", "docs/benchmarks.md, quick start"},
      {"start_s", "until the first step", host.start, "s", host.start_source}};
  if (host.communication > 0)
    all.push_back({"overlap", "what of the gradients' way is hidden beside backward", {0, 0.5, 1}, "fraction",
                   host.communication_source});
  if (work.evaluations > 0)
    all.push_back({"evaluation_batch_s", "one batch of an evaluation", host.evaluation_batch, "s", host.compute_source});
  if (work.samples > 0)
    all.push_back({"sample_token_s", "one token of a sample", host.sample_token, "s", host.compute_source});
  all.push_back({"snapshot_copy_s", "of a snapshot, until training may go on", host.snapshot.copy, "s", host.snapshot_source});
  all.push_back({"snapshot_stall_s", "computing that a snapshot takes away, its copy included", host.snapshot.stall, "s",
                 host.snapshot_source});
  all.push_back(
      {"snapshot_write_s", "until a snapshot is durable, beside computing", host.snapshot.write, "s", host.snapshot_source});
  all.insert(all.end(), terms.faults.begin(), terms.faults.end());
  for (Assumption& each : recovery_assumptions()) all.push_back(std::move(each));
  all.push_back({"watts", "power of the machines under load", host.watts, "W", host.watts_source});
  all.push_back(terms.overhead);
  if (terms.electricity_share > 0) all.push_back(terms.electricity);
  if (terms.rent) all.push_back(*terms.rent);
  return all;
}

// Steps between snapshots, the last one counted.
std::int64_t snapshots_of(const JobWork& work) {
  const std::int64_t every = work.checkpoint_every;
  return every > 0 ? (work.steps + every - 1) / every : 1;
}

double spent_by(const JobWork& work) {
  return static_cast<double>(work.steps) * work.flops.total() +
         static_cast<double>(work.evaluations) * static_cast<double>(work.evaluation_batches) * work.evaluation_batch_flops +
         static_cast<double>(work.samples) * static_cast<double>(work.sample_tokens) * work.sample_token_flops;
}

// Which of the two formulas useful_time_ratio() takes: the first order where Daly's complete model is not what comes out.
bool is_first_order(const Interruptions& given) { return useful_time_ratio(given) == expected_time_ratio(given); }

// The figures of one set of assumptions.
class Model {
 public:
  Model(const JobWork& work, const JobHost& host, const JobTerms& terms, const Values& values)
      : work_(work), host_(host), terms_(terms), v_(values) {}

  Figures figures() {
    compute();
    add_time();
    add_flops();
    add_memory();
    add_snapshots();
    add_energy_and_money();
    return std::move(figures_);
  }

 private:
  void compute() {
    const double hidden = host_.communication > 0 ? v_["overlap"] * std::min(host_.communication, host_.hideable) : 0;
    computing_ = (v_["compute_s"] + host_.communication - hidden) * (1 + v_["other_fraction"]);
    step_ = capped(computing_, work_.flops.total(), work_.cap);
    steps_ = static_cast<double>(work_.steps);
    if (work_.evaluations > 0)
      evaluation_ =
          static_cast<double>(work_.evaluations) * static_cast<double>(work_.evaluation_batches) *
          capped(v_["evaluation_batch_s"], work_.evaluation_batch_flops, work_.cap);
    if (work_.samples > 0)
      samples_ = static_cast<double>(work_.samples) * static_cast<double>(work_.sample_tokens) *
                 capped(v_["sample_token_s"], work_.sample_token_flops, work_.cap);
    const double every = work_.checkpoint_every > 0 ? static_cast<double>(work_.checkpoint_every) : steps_;
    interval_ = std::min(every, steps_) * step_;
    // A snapshot waits for the one before it to be written.
    stall_ = v_["snapshot_stall_s"] + (snapshots_of(work_) > 1 ? std::max(0.0, v_["snapshot_write_s"] - interval_) : 0);
    stalls_ = static_cast<double>(snapshots_of(work_) - 1) * stall_ + v_["snapshot_copy_s"] + v_["snapshot_write_s"];
    mean_time_ = mean_time_between_faults(v_, host_.nodes);
    useful_ = v_["start_s"] + steps_ * step_ + evaluation_ + samples_;
    recovery_ = v_["detection_s"] + v_["restart_s"];
    // The stalls are counted apart, by their number.
    kept_ = useful_time_ratio({Seconds(interval_), Seconds(0), Seconds(recovery_), Seconds(mean_time_)});
    goodput_ = useful_time_ratio({Seconds(interval_), Seconds(stall_), Seconds(recovery_), Seconds(mean_time_)});
    time_ = (useful_ + stalls_) / kept_;
  }

  void add(const char* key, double value, std::string why) { figures_.push_back({key, value, std::move(why)}); }

  void add_time() {
    add("time_s", time_, "(start + steps x step + evaluation + samples + snapshots) / what faults leave");
    add("step_time_s", step_,
        work_.cap > 0 ? "kernels and what is between them, or the FLOPs of a step over the rate cap if that is longer"
        : host_.communication > 0
            ? "kernels of the slowest machine, what is between them, and the gradients' way as far as it is not hidden"
            : "kernels and what is between them");
    add("tokens_per_s", static_cast<double>(work_.step_tokens) / step_, "tokens of a step / step time");
    add("start_time_s", v_["start_s"], host_.start_source);
    add("evaluation_time_s", evaluation_,
        format_count(work_.evaluations) + " evaluations of " + format_count(work_.evaluation_batches) + " batches");
    add("sample_time_s", samples_, format_count(work_.samples) + " samples of " + format_count(work_.sample_tokens) + " tokens");
    add("checkpoint_time_s", stalls_,
        format_count(snapshots_of(work_)) + " snapshots: a stall for each but the last, which is copied and written");
    add("fault_time_s", time_ - useful_ - stalls_, "detection, restart and half an interval of lost work for each fault");
  }

  void add_flops() {
    const StepFlops& flops = work_.flops;
    const double tokens = steps_ * static_cast<double>(work_.step_tokens);
    const double model = flops.forward + flops.backward;
    const double convention = flops_per_token(work_.shape, AttentionCount::full);
    const double attention = convention - 6 * work_.shape.active();
    const double peak = host_.dense_peak;
    add("tokens", tokens, "steps x tokens of a step");
    add("parameters", work_.shape.parameters, "of the graph");
    add("flops", steps_ * model, "every operation of the graph's forward and backward nodes");
    add("forward_flops", steps_ * flops.forward, "counted in the graph");
    add("backward_flops", steps_ * flops.backward, "counted in the graph");
    add("update_flops", steps_ * flops.update, "counted in the graph: loss, norm, clipping, optimizer");
    add("recomputed_flops", steps_ * flops.recomputed, "what backward makes again rather than keep it");
    add("spent_flops", spent_by(work_),
        "forward, backward and update of all steps, evaluations and samples: what a budget counts");
    add("convention_flops", tokens * convention,
        "tokens x (6 N + 12 L h s): the whole square of attention, as published MFU counts");
    add("attention_flops", steps_ * flops.attention,
        "counted in the graph: attention as executed, the causal half of the square");
    add("attention_convention_flops", tokens * attention, "tokens x 12 L h s");
    if (peak <= 0) return;
    add("mfu", model / (step_ * peak), "FLOPs of forward and backward / (step time x dense peak: " + host_.peak_source + ")");
    add("convention_mfu", static_cast<double>(work_.step_tokens) * convention / (step_ * peak),
        "tokens x (6 N + 12 L h s) / (step time x dense peak)");
    add("hfu", (model + flops.recomputed) / (step_ * peak), "as MFU, with recomputed operations");
  }

  void add_memory() {
    const JobMemory& memory = work_.memory;
    const auto bytes = [&](const char* key, Bytes value, const char* why) { add(key, static_cast<double>(value.value()), why); };
    bytes("memory_bytes", memory.total(), "all parts; the engine's plan, which training keeps");
    bytes("weights_bytes", memory.weights, "f32");
    bytes("optimizer_bytes", memory.optimizer, "AdamW's two moments, f32");
    bytes("gradients_bytes", memory.gradients, "sums over micro-batches; with one micro-batch gradients live in the arena");
    bytes("activations_bytes", memory.activations,
          "values of forward that backward reads, and what lives within a phase: the arena");
    bytes("inputs_bytes", memory.inputs, "tokens and targets");
    bytes("snapshots_bytes", memory.snapshots, "state being copied and state being written");
    bytes("evaluation_bytes", memory.evaluation, "programs of evaluation and samples");
    bytes("activations_kept_bytes", memory.kept, "of the program that recomputes nothing");
    bytes("activations_cheap_bytes", memory.cheap, "the same with elementwise ops and norms made again, the default");
    bytes("activations_recomputed_bytes", memory.recomputed, "the same with all blocks made again");
  }

  void add_snapshots() {
    const Seconds stall(v_["snapshot_stall_s"]), mean(mean_time_), step(step_), write(v_["snapshot_write_s"]);
    add("checkpoint_stall_s", stall_,
        "copying, digesting and writing beside computing; and waiting, if the one before is not written yet");
    add("checkpoint_every", static_cast<double>(work_.checkpoint_every),
        "the job's own 'checkpoint.every'; 0: only after the last step");
    add("best_checkpoint_every", static_cast<double>(best_steps_between(stall, mean, step, write)),
        "1 if stall <= step^2 / (2 M), else round(sqrt(2 stall M) / step); never more often than snapshots can be written");
    add("best_checkpoint_interval_s", static_cast<double>(best_steps_between(stall, mean, step, write)) * step_,
        "so many steps; 0: only after the last step");
    if (std::isfinite(mean_time_))
      add("mean_time_between_faults_s", mean_time_, "1 / (faults of nodes x nodes + faults of software)");
    add("faults", time_ / mean_time_, "time / mean time between faults");
    add("goodput", goodput_,
        is_first_order({Seconds(interval_), Seconds(stall_), Seconds(recovery_), Seconds(mean_time_)})
            ? "(1 - (recovery + interval / 2) / M) / (1 + stall / interval), the expected ETTR of Meta, HPCA 2025"
            : "interval / (M exp(recovery / M) (exp((interval + stall) / M) - 1)), Daly 2006: "
              "more than a tenth is lost to faults");
  }

  void add_energy_and_money() {
    const double energy = v_["watts"] * v_[terms_.overhead.key] * time_;
    const double share = terms_.electricity_share;
    const double electricity = share > 0 ? share * energy / kJoulesPerKilowattHour * v_[terms_.electricity.key] : 0;
    const double hours = time_ / 3600, renting = hourly() * hours;
    add("power_w", v_["watts"] * v_[terms_.overhead.key], "machines x overhead of the building");
    add("energy_j", energy, "power x time");
    add("money_usd", electricity + renting,
        !is_rented() ? "energy x electricity; the machine itself is not counted"
        : share > 0            ? "hours x price + energy x electricity"
                               : "hours x price, which has the electricity in it");
    add("electricity_usd", electricity,
        share == 1  ? "energy x electricity"
        : share > 0 ? format("energy x electricity, of the %.0f %% of the power that no price of an hour has in it", 100 * share)
                    : "in the price of an hour");
  }

  bool is_rented() const { return terms_.price_per_hour || terms_.rent; }
  double hourly() const { return terms_.price_per_hour.value_or(0) + (terms_.rent ? v_[terms_.rent->key] : 0); }

  const JobWork& work_;
  const JobHost& host_;
  const JobTerms& terms_;
  const Values& v_;
  Figures figures_;
  double computing_ = 0, step_ = 0, steps_ = 0, evaluation_ = 0, samples_ = 0, interval_ = 0, stall_ = 0, stalls_ = 0;
  double mean_time_ = 0, useful_ = 0, kept_ = 1, goodput_ = 1, time_ = 0, recovery_ = 0;
};

// The run that the budget pays for, if not all of it: as many steps, and of evaluations and samples their share.
JobWork within_budget(const JobWork& all) {
  const double spent = spent_by(all);
  if (all.budget <= 0 || spent <= all.budget) return all;
  const double share = all.budget / spent;
  JobWork work = all;
  const auto part = [&](std::int64_t count, std::int64_t least) {
    return std::max(least, static_cast<std::int64_t>(share * static_cast<double>(count)));
  };
  work.steps = part(all.steps, 1);
  work.evaluations = part(all.evaluations, 0);
  work.samples = part(all.samples, 0);
  return work;
}

void warn_about_budget(const JobWork& all, const JobWork& paid, Report& report) {
  if (paid.steps == all.steps) return;
  report.warnings.push_back({ErrorCode::budget,
                             "a budget of " + format_flops(Flops(all.budget)) + " ends the run near step " +
                                 format_count(paid.steps) + " of " + format_count(all.steps) + ", which take " +
                                 format_flops(Flops(spent_by(all))) + ": this plan is of the " + format_count(paid.steps) +
                                 (paid.steps == 1 ? " step" : " steps") + " that it pays for",
                             "run.budget", "raise the budget, or train fewer steps"});
}

void warn_about_faults(Report& report) {
  const Figure* goodput = report.find("goodput");
  if (goodput->value.expected >= 0.5) return;
  report.warnings.push_back(
      {ErrorCode::config,
       format("faults and snapshots leave %.0f %% of the time for work that is kept", 100 * goodput->value.expected),
       "checkpoint.every",
       "save after every " + format("%.0f", report.find("best_checkpoint_every")->value.expected) + " steps"});
}

}  // namespace

StepFlops step_flops(const graph::Graph& graph, const engine::Program& program) {
  StepFlops flops;
  const std::vector<bool> live = graph.live();
  const auto runs = static_cast<double>(graph.micro_batches());
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (!live[static_cast<std::size_t>(id)]) continue;
    const double once = graph::node_cost(graph, id).flops;
    const bool is_update = node.phase == graph::Phase::update;
    const double all = is_update ? once : runs * once;
    (is_update ? flops.update : node.phase == graph::Phase::forward ? flops.forward : flops.backward) += all;
    if (node.op->name.starts_with("attention")) flops.attention += all;
  }
  double executed = 0;
  for (const auto* calls : {&program.forward, &program.backward})
    for (const engine::KernelCall& call : *calls) executed += runs * call.flops;
  flops.recomputed = std::max(0.0, executed - flops.forward - flops.backward);
  return flops;
}

JobMemory job_memory(const engine::MemoryPlan& plan, std::int64_t parameters, Bytes snapshots, Bytes evaluation) {
  JobMemory memory;
  memory.weights = Bytes(parameters * kBytesPerParameter);
  memory.optimizer = plan.state - memory.weights;
  memory.gradients = plan.accumulators;
  memory.activations = plan.stash_per_slot + plan.work;
  memory.inputs = plan.inputs;
  memory.snapshots = snapshots;
  memory.evaluation = evaluation;
  return memory;
}

Bytes activation_bytes(const engine::Program& program) { return program.memory.stash_per_slot + program.memory.work; }

Report plan_job(const JobWork& all, const JobHost& host, const JobTerms& terms) {
  const JobWork work = within_budget(all);
  Report report = estimate(assumptions_of(work, host, terms),
                           [&](const Values& values) { return Model(work, host, terms, values).figures(); });
  report.warnings = host.warnings;
  report.notes = host.notes;
  warn_about_budget(all, work, report);
  warn_about_faults(report);
  return report;
}

}  // namespace suanli::plan
