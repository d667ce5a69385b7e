// Planned against actual, and why they differ.
#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/cli/meter_report.h"
#include "suanli/data/dataset.h"

namespace suanli::cli {
namespace {

using meter::Cause;

constexpr double kWorthAWord = 0.02;  // of the time

std::string percent(double share) { return format("%.1f %%", 100 * share); }

struct Facts {
  const MeterReport& meter;
  const train::RunPlan& plan;
  double total = 0;  // seconds

  double share(Cause cause) const { return total > 0 ? meter.usage.of(cause).value() / total : 0; }
  double busy_cores() const {
    const double computing = total - meter.usage.of(Cause::waiting).value();
    return computing > 0 ? meter.usage.cpu.value() / computing : 0;
  }
};

void tell_machine(const Facts& facts, std::vector<std::string>& reasons) {
  const auto& sessions = facts.meter.records.sessions;
  const auto differs = [&](auto member, const auto& planned) {
    return std::ranges::any_of(sessions, [&](const train::SessionRecord& session) { return session.*member != planned; });
  };
  if (facts.plan.threads > 0 && differs(&train::SessionRecord::threads, facts.plan.threads))
    reasons.push_back("it was planned for " + std::to_string(facts.plan.threads) + " threads and ran with " +
                      std::to_string(sessions.back().threads));
  if (!facts.plan.dtype.empty() && differs(&train::SessionRecord::dtype, facts.plan.dtype))
    reasons.push_back("it was planned in " + printable(facts.plan.dtype) + " and ran in " + printable(sessions.back().dtype));
  if (facts.meter.usage.cpu.value() > 0 && !sessions.empty()) {
    const int threads = sessions.back().threads;
    if (facts.busy_cores() < 0.9 * threads)
      reasons.push_back(format("%.2f of %d threads had a core on average: other programs were busy, or threads waited",
                               facts.busy_cores(), threads));
  }
  if (!facts.plan.unmeasured.empty()) {
    std::string kinds;
    for (const std::string& kind : facts.plan.unmeasured) kinds += (kinds.empty() ? "" : ", ") + printable(kind);
    reasons.push_back("the profile lacks kernels of the job, which were estimated from the machine's limits: " + kinds);
  }
}

void tell_cause(const Facts& facts, Cause cause, const char* what, std::vector<std::string>& reasons) {
  const double share = facts.share(cause);
  if (share > kWorthAWord) reasons.push_back(std::string(what) + " took " + percent(share) + " of the time");
}

void tell_discarded(const Facts& facts, std::vector<std::string>& reasons) {
  const std::int64_t again = facts.meter.usage.runs_of(meter::Part::update) - facts.meter.usage.steps;
  if (facts.meter.records.spent.has_totals && again > 0)
    reasons.push_back(std::to_string(again) + " steps were done twice, after a kill or from an older snapshot");
}

Deviation item(const char* name, const char* unit, const plan::Interval& planned, double actual) {
  return {name, unit, planned, actual, {}, {}};
}

void explain(const Facts& facts, Deviation& step, Deviation& time) {
  if (!step.is_inside()) {
    tell_cause(facts, Cause::waiting, "waiting for the rate cap", step.reasons);
    tell_cause(facts, Cause::data, "reading data", step.reasons);
    tell_machine(facts, step.reasons);
    if (step.reasons.empty())
      step.reasons.push_back("nothing that is metered explains it: the machine's rate has changed since the profile was "
                             "made, or it predicts this job badly; calibrate beside the run to tell");
  }
  if (!time.is_inside()) {
    if (!step.is_inside()) time.reasons.push_back("its steps were of another length, see there");
    tell_cause(facts, Cause::checkpoint, "waiting for snapshots", time.reasons);
    tell_cause(facts, Cause::other, "all that is neither training, evaluation nor snapshots (drawing progress, for one)",
               time.reasons);
    tell_discarded(facts, time.reasons);
    if (time.reasons.empty()) time.reasons.push_back("some steps were much longer than the median: see the 90th percentile");
  }
}

// Pages of the shards, which are mapped and digested before the first step; 0 if the dataset is no longer there.
Bytes dataset_bytes(const std::string& folder) {
  const auto dataset = data::Dataset::open(folder);
  if (!dataset) return Bytes(0);
  const data::DatasetInfo& info = dataset->info();
  const std::uint64_t tokens = info.tokens(data::Split::train) + info.tokens(data::Split::valid);
  return Bytes(static_cast<std::int64_t>(tokens) * (info.vocab <= data::kByteVocab ? 1 : 2));
}

// What training came to hold, without what the process held before: the program and its libraries.
std::optional<Deviation> memory_item(const MeterReport& meter, const train::RunPlan& plan) {
  Bytes before = meter.usage.peak_resident;
  for (const train::SessionRecord& session : meter.records.sessions) before = std::min(before, session.resident_before);
  if (plan.memory.value() == 0 || meter.usage.peak_resident.value() == 0 || before.value() == 0) return std::nullopt;
  // Stacks, parts of libraries that are read late, the product that MFU is measured against: 16 MiB for examples/tiny.toml with
  // two threads, less what its dataset takes. Half of it up or down for other machines.
  constexpr plan::Interval kBeside{8.0 * (1 << 20), 16.0 * (1 << 20), 24.0 * (1 << 20)};
  // AdamW: weights and two moments in f32. The plan has room for two copies, which a run may hold neither of.
  const double snapshots = 2 * 12.0 * static_cast<double>(meter.description.info.parameters);
  const auto bytes = static_cast<double>(plan.memory.value());
  const auto dataset = static_cast<double>(dataset_bytes(meter.description.job.data.path).value());
  Deviation memory = item("memory", "B",
                          {std::max(0.0, bytes - snapshots) + kBeside.low, bytes + kBeside.expected + dataset,
                           bytes + kBeside.high + dataset},
                          static_cast<double>((meter.usage.peak_resident - before).value()));
  memory.why = "beyond the " + format_bytes(before) + " held at the start; planned: the job's " + format_bytes(plan.memory) +
               ", its dataset's " + format_bytes(Bytes(static_cast<std::int64_t>(dataset))) +
               ", 8 to 24 MiB beside; low: no snapshot, no dataset";
  if (memory.actual > memory.planned.high)
    memory.reasons.push_back("more than plan, dataset, stacks and libraries together: something is held that no plan counts");
  if (memory.actual < memory.planned.low)
    memory.reasons.push_back("not all that the plan counts was touched: evaluation or samples that were not made, most likely");
  return memory;
}

}  // namespace

Planned planned_against_actual(const MeterReport& meter, const train::RunPlan& plan, std::string source) {
  const Facts facts{meter, plan, meter.usage.total_seconds().value()};
  const train::PlannedRun run = train::planned_until(plan, meter.description.job, meter.usage.steps);
  Planned planned{std::move(source), {}};
  Deviation step = item("step time", "s", plan.step, meter.step_seconds.expected);
  Deviation time = item("time", "s", run.seconds, facts.total);
  Deviation flops = item("FLOPs", "FLOP", plan::Interval::exactly(run.flops.value()), meter.usage.work.total.value());
  explain(facts, step, time);
  // Sums of many terms differ in their last digits.
  if (std::abs(flops.relative()) < 1e-9) flops.actual = flops.planned.expected;
  if (!flops.is_inside()) {
    tell_discarded(facts, flops.reasons);
    if (flops.reasons.empty())
      flops.reasons.push_back("a stop gave up the step in flight, or evaluations and samples were others than the job says");
  }
  if (plan.step.expected > 0 && step.actual > 0) planned.items.push_back(std::move(step));
  if (run.seconds.expected > 0) planned.items.push_back(std::move(time));
  if (run.flops.value() > 0) planned.items.push_back(std::move(flops));
  if (auto memory = memory_item(meter, plan)) planned.items.push_back(std::move(*memory));
  return planned;
}

}  // namespace suanli::cli
