#include "suanli/cli/meter_report.h"

#include <algorithm>
#include <filesystem>

#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/cli/metered_energy.h"
#include "suanli/meter/quantile.h"
#include "suanli/train/snapshots.h"

namespace suanli::cli {
namespace {

using meter::Cause;

// What the newest snapshot says of the run; nothing if there is none that can be read.
std::optional<meter::Usage> usage_of_snapshot(const std::string& run) {
  const auto tier = checkpoint::LocalTier::open(run, checkpoint::LocalTier::Access::reader);
  if (!tier) return std::nullopt;
  const auto loaded = checkpoint::load_latest(**tier, [](std::string_view) { return false; });
  if (!loaded) return std::nullopt;
  const auto meta = train::parse_meta(loaded->snapshot.meta_json, run);
  if (!meta) return std::nullopt;
  return meta->usage;
}

// By op: from the lines alone where they name all operations. Else from the newest snapshot, and lines for what came after.
void name_operations(MeterReport& meter, const std::optional<meter::Usage>& snapshot) {
  const train::RunRecords& records = meter.records;
  const train::WorkByOp named = train::work_by_op(records);
  meter.usage.work.by_op = named.by_op;
  meter.unnamed = named.unnamed;
  if (named.unnamed.value() == 0 || !snapshot) return;
  auto by_op = snapshot->work.by_op;
  by_op.erase("lost");
  Flops sum;
  for (const auto& [op, flops] : by_op) sum += flops;
  if (const train::WorkByPart* work = records.work(); work && records.spent.has_totals)
    for (std::size_t part = 0; part < work->size(); ++part) {
      const auto runs = static_cast<double>(std::max<std::int64_t>(0, records.spent.totals.runs[part] - snapshot->runs[part]));
      for (const auto& [op, flops] : (*work)[part].by_op) {
        by_op[op] += flops * runs;
        sum += flops * runs;
      }
    }
  if (sum > records.spent.flops_total * (1 + 1e-9)) return;  // not of this run
  meter.usage.work.by_op = std::move(by_op);
  const Flops rest = records.spent.flops_total - sum;
  meter.unnamed = rest > records.spent.flops_total * 1e-9 ? rest : Flops(0);
}

void take_usage(MeterReport& meter) {
  const train::RunRecords& records = meter.records;
  const bool is_complete = records.spent.has_totals && train::work_by_op(records).unnamed.value() == 0;
  const auto snapshot = is_complete ? std::nullopt : usage_of_snapshot(meter.run);
  meter::Usage& usage = meter.usage;
  if (records.spent.has_totals) {
    static_cast<meter::Totals&>(usage) = records.spent.totals;
  } else if (snapshot) {
    static_cast<meter::Totals&>(usage) = *snapshot;
  } else {
    meter.causes_are_known = false;
    for (const train::StepTimeRecord& step : records.steps) usage.of(Cause::other) += step.seconds;
  }
  usage.work.total = records.spent.flops_total;
  usage.work.moved = records.spent.bytes_total;
  usage.steps = records.last_step();
  std::int64_t tokens = 0;
  for (const train::StepTimeRecord& step : records.steps) tokens += step.tokens.value();
  // Lines may be lost; steps are all of one size.
  if (!records.steps.empty() && static_cast<std::int64_t>(records.steps.size()) < usage.steps)
    tokens = records.steps.back().tokens.value() * usage.steps;
  usage.tokens = Tokens(tokens);
  name_operations(meter, snapshot);
  if (!records.spent.has_totals)
    meter.report.warnings.push_back(
        {ErrorCode::version,
         snapshot ? "an older version wrote this run: bytes are not known, and causes of seconds only up to its last checkpoint"
                  : "an older version wrote this run: bytes and causes of seconds are not known",
         train::RunPaths{meter.run}.metrics(), ""});
}

void take_step_times(MeterReport& meter) {
  std::vector<double> seconds;
  for (const train::StepTimeRecord& step : meter.records.steps)
    if (step.seconds.value() > 0) seconds.push_back(step.seconds.value());
  if (seconds.empty()) return;
  meter.step_seconds = {meter::quantile(seconds, 0.1), meter::median(seconds), meter::quantile(seconds, 0.9)};
}

void add(plan::Report& report, const char* key, double value, std::string why) {
  report.figures.push_back({key, plan::Interval::exactly(value), std::move(why), {}});
}

// FLOPs of steps that count over their time and the peak; nothing without a peak.
std::optional<double> mfu_of(const MeterReport& meter) {
  double share = 0, weight = 0;
  const auto& sessions = meter.records.sessions;
  std::size_t session = 0;
  for (const train::StepTimeRecord& step : meter.records.steps) {
    while (session + 1 < sessions.size() && sessions[session + 1].first_step < step.step) ++session;
    if (session >= sessions.size() || step.seconds.value() <= 0) continue;
    const train::SessionRecord& of = sessions[session];
    if (of.peak.value() <= 0 || of.step_flops.value() <= 0) continue;
    share += of.step_flops / of.peak / Seconds(1);
    weight += step.seconds.value();
  }
  if (weight <= 0) return std::nullopt;
  return share / weight;
}

// Steps that a kill or a stop made worthless.
std::optional<Flops> discarded(const MeterReport& meter) {
  const train::WorkByPart* work = meter.records.work();
  if (!work || !meter.records.spent.has_totals || meter.unnamed.value() > 0) return std::nullopt;
  Flops spent;
  for (const meter::Part part : {meter::Part::forward, meter::Part::backward, meter::Part::update}) {
    const auto i = static_cast<std::size_t>(part);
    spent += (*work)[i].total * static_cast<double>(meter.usage.runs[i]);
  }
  const Flops step = meter.records.sessions.back().step_flops;
  const Flops lost = spent - step * static_cast<double>(meter.usage.steps);
  return lost > spent * 1e-9 ? lost : Flops(0);
}

void add_figures(MeterReport& meter) {
  plan::Report& report = meter.report;
  const meter::Usage& usage = meter.usage;
  const Seconds total = usage.total_seconds();
  Seconds setup;
  for (const train::SessionRecord& session : meter.records.sessions) setup += session.setup;
  const bool has_totals = meter.records.spent.has_totals;
  add(report, "time_s", total.value(), has_totals ? "all seconds of all sessions, by cause" : "as far as the run tells");
  if (setup.value() > 0)
    add(report, "start_time_s", setup.value(), "before the first step of each session; not in the time above");
  if (meter.step_seconds.expected > 0)
    report.figures.push_back({"step_time_s", meter.step_seconds, "median of the steps, and their 10th and 90th percentile", {}});
  if (meter.step_seconds.expected > 0) {
    const double tokens = static_cast<double>(usage.tokens.value()) / static_cast<double>(std::max<std::int64_t>(1, usage.steps));
    add(report, "tokens_per_s", tokens / meter.step_seconds.expected, "tokens of a step / median step time");
  }
  add(report, "tokens", static_cast<double>(usage.tokens.value()),
      "of the steps that count: those done twice after a kill count once");
  add(report, "spent_flops", usage.work.total.value(), "runs of each part of the graph x its operations");
  if (const auto lost = discarded(meter); lost && lost->value() > 0)
    add(report, "discarded_flops", lost->value(), "runs of forward, backward and update - steps that count");
  if (usage.work.moved.value() > 0)
    add(report, "moved_bytes", static_cast<double>(usage.work.moved.value()),
        "runs of each part x what its kernel calls read and write once, from wherever it lies: caches too");
  if (const auto mfu = mfu_of(meter))
    add(report, "mfu_of_measured", *mfu,
        "operations of the steps / their seconds / " + printable(meter.records.sessions.back().mfu_base) + ", " +
            format_si(meter.records.sessions.back().peak.value(), "FLOP/s"));
  if (usage.cpu.value() > 0 && total.value() > 0)
    add(report, "busy_cores", usage.cpu / total, "processor time / time: waiting and the disk use none");
  if (usage.peak_resident.value() > 0)
    add(report, "peak_memory_bytes", static_cast<double>(usage.peak_resident.value()),
        "resident memory of the process, the most of all sessions");
}

void add_plan(MeterReport& meter, const MeterTerms& terms) {
  const train::RunPaths paths{meter.run};
  std::error_code ignored;
  if (!terms.profile_is_given && std::filesystem::exists(paths.plan(), ignored)) {
    const auto kept = train::load_run_plan(paths.plan());
    if (kept) {
      meter.planned = planned_against_actual(meter, *kept, "made before the run (plan.json), from the profile of " +
                                                               printable(kept->profile_time));
      return;
    }
    meter.report.warnings.push_back(kept.error());
  }
  if (!terms.profile) {
    meter.report.notes.push_back(
        "Nothing to compare with: no plan was kept and no profile is known. `suanli calibrate` makes one; --on names one.");
    return;
  }
  const std::size_t evaluations = meter.records.evals.size();
  const std::int64_t batches =
      evaluations == 0 ? 0
      : meter.usage.runs_of(meter::Part::evaluation) > 0
          ? meter.usage.runs_of(meter::Part::evaluation) / static_cast<std::int64_t>(evaluations)
          : meter.description.job.eval.batches;
  const auto made = train::plan_run(meter.description.job, batches, *terms.profile);
  if (!made) {
    meter.report.warnings.push_back(made.error());
    return;
  }
  meter.planned = planned_against_actual(
      meter, *made,
      "made now, from the profile of " + printable(terms.profile->time) + " (" + printable(terms.profile->machine) + ")");
}

}  // namespace

Result<MeterReport> meter_run(const std::string& run, const MeterTerms& terms) {
  MeterReport meter;
  meter.run = run;
  SUANLI_ASSIGN_OR_RETURN(meter.description, train::describe_run(run));
  SUANLI_ASSIGN_OR_RETURN(meter.records, train::read_run_records(run));
  if (meter.records.last_step() == 0)
    return fail(ErrorCode::empty, "the run has done no step yet", train::RunPaths{run}.metrics(), "train at least one step");
  if (meter.records.damaged > 0)
    meter.report.warnings.push_back({ErrorCode::corrupt,
                                     std::to_string(meter.records.damaged) + " damaged lines of the metrics are left out",
                                     train::RunPaths{run}.metrics(), ""});
  take_usage(meter);
  take_step_times(meter);
  add_figures(meter);
  if (terms.profile) {
    const int threads = meter.records.sessions.empty() ? 0 : meter.records.sessions.back().threads;
    for (const Error& warning : plan::profile_warnings(*terms.profile, threads)) meter.report.warnings.push_back(warning);
  }
  const MeteredEnergy energy = metered_energy(meter.usage, terms, meter.records);
  meter.energy_is_measured = energy.is_measured;
  for (const plan::Figure& figure : energy.report.figures) meter.report.figures.push_back(figure);
  for (const plan::Assumption& each : energy.report.assumptions) meter.report.assumptions.push_back(each);
  for (const std::string& note : energy.report.notes) meter.report.notes.push_back(note);
  add_plan(meter, terms);
  return meter;
}

}  // namespace suanli::cli
