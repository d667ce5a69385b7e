// suanli plan: what a run will cost, before it is run. The verbs below it stand in files of their own.
#include <algorithm>
#include <cmath>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/cli/memory_text.h"
#include "suanli/cli/plan_fit.h"
#include "suanli/cli/plan_options.h"
#include "suanli/cli/plan_job.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/plan_target.h"
#include "suanli/cli/plan_terms.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/prices.h"
#include "suanli/plan/quantity.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, why = false;
  std::string job, on, devices_file, memory, watts;
  TermFlags terms;
  std::vector<std::string> sets;
};

Json machines_json(const std::vector<plan::FleetMember>& members, const plan::FleetHost& host) {
  Json machines = Json::array();
  for (std::size_t i = 0; i < host.shares.size(); ++i) {
    const plan::MemberShare& share = host.shares[i];
    machines.push_back({{"name", share.name},
                        {"kind", members[i].device ? members[i].device->name : members[i].profile->machine},
                        {"count", share.count},
                        {"micro_batches_least", share.least},
                        {"micro_batches_most", share.most},
                        {"micro_batch_s", share.micro_batch.expected}});
  }
  return machines;
}

std::string machines_text(const std::vector<plan::FleetMember>& members, const plan::FleetHost& host,
                          std::int64_t micro_batches) {
  if (host.shares.empty()) return "";
  Table table({{"machine", Align::left}, {"", Align::left}, {"count", Align::right}, {"micro-batches each", Align::right},
               {"of the step", Align::right}, {"time of one", Align::right}});
  for (std::size_t i = 0; i < host.shares.size(); ++i) {
    const plan::MemberShare& share = host.shares[i];
    const std::string each =
        share.least == share.most ? format_count(share.most) : format_count(share.least) + " to " + format_count(share.most);
    table.add_row({printable(share.name), printable(members[i].device ? members[i].device->name : members[i].profile->machine),
                   format_count(share.count), each,
                   format("%.1f %%", 100.0 * static_cast<double>(share.most) / static_cast<double>(micro_batches)),
                   format_duration(Seconds(share.micro_batch.expected))});
  }
  std::string text = table.to_string();
  if (!host.slowest_link.empty())
    text += "gradients: " + format_duration(host.all_reduce) + " around the ring, slowest link " + host.slowest_link + "\n";
  return text + "\n";
}

Json ways_json(const std::vector<WayToFit>& ways) {
  Json list = Json::array();
  for (const WayToFit& way : ways)
    list.push_back({{"what", way.what}, {"sets", way.sets}, {"on", way.on}, {"memory_bytes", way.memory.value()},
                    {"time_ratio", way.time_ratio}, {"changes_model", way.changes_model}, {"parameters", way.parameters}});
  return list;
}

// What is no file may have been meant as a verb.
Result<train::JobConfig> job_of(const Options& options, const std::vector<std::string>& sets) {
  auto job = load_job_or_run(options.job, sets);
  if (job || job.error().code != ErrorCode::not_found) return job;
  static const std::vector<std::string> kVerbs = {"llm", "solve", "cluster", "sweep", "founding", "validate"};
  Error error = std::move(job).error();
  if (const auto verb = nearest(options.job, kVerbs)) error.next_step = "did you mean the verb, `suanli plan " + *verb + "`?";
  return tl::unexpected(std::move(error));
}

// An accelerator by its name alone is rented at its published price, if there is one.
void set_rent(plan::JobTerms& terms, plan::FleetHost& host) {
  if (terms.price_per_hour || !host.shares.empty() || !host.members.front().device) return;
  const std::string& device = host.members.front().device->name;
  const auto preset = plan::prices().renting(device);
  if (!preset) {
    host.host.notes.push_back("no price of renting " + device +
                              " is known, so that money is electricity alone; --price-per-hour states it");
    return;
  }
  terms.rent = preset->assumption("rent_usd_per_hour");
  terms.electricity_share = 0;
}

// With faults before anything is kept there is no time to tell.
Status check_it_ends(const plan::Report& report) {
  const plan::Figure *time = report.find("time_s"), *goodput = report.find("goodput");
  constexpr double kLongestRun = 1e13;  // seconds: 300,000 years
  if (std::isfinite(time->value.expected) && time->value.expected < kLongestRun && goodput->value.expected > 0) return {};
  const plan::Figure* mean = report.find("mean_time_between_faults_s");
  return fail(ErrorCode::config,
              "the run would never end: faults come " +
                  (mean ? "every " + format_duration(Seconds(mean->value.expected)) : std::string("too often")) +
                  ", before work is kept",
              "--mtbf", "state a longer mean time between faults, or fewer machines");
}

struct PlannedJob {
  PlacedJob placed;
  plan::FleetHost host;
  plan::Report report;
  std::vector<WayToFit> ways;  // if it does not fit
};

Result<PlannedJob> plan_of(const Options& options, const train::JobConfig& job, PlanTarget target) {
  SUANLI_ASSIGN_OR_RETURN(const auto watts, quantity_of(options.watts, plan::QuantityKind::watts, "--watts"));
  SUANLI_ASSIGN_OR_RETURN(const SettledJob settled, settle_for(job, usual_arithmetic(target)));
  PlannedJob planned;
  SUANLI_ASSIGN_OR_RETURN(planned.placed, place_job(settled, target));
  const PlacedJob& placed = planned.placed;
  SUANLI_ASSIGN_OR_RETURN(planned.host, host_of(target, placed.members, placed.compiled.programs()));
  plan::JobHost& host = planned.host.host;
  if (watts) {
    host.watts = plan::Interval::exactly(*watts);
    host.watts_source = "given";
  }
  host.warnings.insert(host.warnings.begin(), placed.warnings.begin(), placed.warnings.end());
  host.warnings.insert(host.warnings.begin(), target.warnings.begin(), target.warnings.end());
  SUANLI_ASSIGN_OR_RETURN(const plan::JobWork work, work_of(placed.compiled));
  SUANLI_ASSIGN_OR_RETURN(plan::JobTerms terms, terms_of(options.terms, planned.host, planned.host.members));
  set_rent(terms, planned.host);
  planned.report = plan::plan_job(work, host, terms);
  SUANLI_RETURN_IF_ERROR(check_it_ends(planned.report));
  if (!placed.fits) {
    SUANLI_ASSIGN_OR_RETURN(planned.ways, ways_to_fit({settled, target, placed.members.front(), placed.limit.bytes}));
  }
  return planned;
}

void print_json(const Options& options, const PlannedJob& planned) {
  const engine::Target& compiled_for = planned.placed.compiled.plan.program.target;
  print_plan("plan", planned.report, true, options.why,
             {{"job", options.job},
              {"on", planned.host.host.name},
              {"dtype", std::string(engine::name_of(compiled_for.arithmetic))},
              {"recomputed", compiled_for.recompute.cheap},
              {"recomputed_blocks",
               std::min<std::int64_t>(compiled_for.recompute.blocks, planned.placed.compiled.settled.job.model.layers)},
              {"memory_limit_bytes", planned.placed.limit.bytes.value()},
              {"fits", planned.placed.fits},
              {"ways_to_fit", ways_json(planned.ways)},
              {"machines", machines_json(planned.host.members, planned.host)}});
}

void print_text(const Options& options, const PlannedJob& planned) {
  const engine::Program& program = planned.placed.compiled.plan.program;
  const engine::Target& compiled_for = program.target;
  std::string head = options.job + " on " + planned.host.host.name + ", " + std::string(engine::name_of(compiled_for.arithmetic));
  if (const std::string again = recomputed_text(compiled_for.recompute); compiled_for.recompute.blocks > 0)
    head += ", recomputed to fit: " + again;
  write_stdout(head + "\n\n" + machines_text(planned.host.members, planned.host, program.micro_batches));
  print_plan("plan", planned.report, false, options.why);
}

Result<int> run_plan(const Options& options, const Context& context) {
  if (options.job.empty())
    return fail(ErrorCode::usage, "there is neither a job nor a verb", "suanli plan",
                "name a job file, or ask one of its verbs: `suanli plan --help`");
  std::vector<std::string> sets = options.sets;
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.memory_limit", "--memory", options.memory));
  SUANLI_ASSIGN_OR_RETURN(const train::JobConfig job, job_of(options, sets));
  const TargetQuestion question{options.on, options.devices_file, static_cast<int>(job.run.threads), options.json};
  SUANLI_ASSIGN_OR_RETURN(PlanTarget target, find_target(question, context));
  SUANLI_ASSIGN_OR_RETURN(const PlannedJob planned, plan_of(options, job, std::move(target)));
  if (options.json) print_json(options, planned);
  if (!planned.placed.fits) return tl::unexpected(does_not_fit(planned.placed.compiled, planned.placed.limit, planned.ways));
  if (!options.json) print_text(options, planned);
  return 0;
}

}  // namespace

void add_plan(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "plan", "What a run will take, before it is run: time, memory, energy, money, faults",
      "Plans a job, or the job of a run, on this machine, on a machine whose profile is given, on an accelerator of the table, "
      "or on a fleet of these (docs/formats/fleet.md). The job's own program is compiled and its graph is counted, so operations "
      "and memory are exact; times follow from what `suanli calibrate` measured. Every figure has an interval that holds four of "
      "five, and --why explains it. The verbs below ask about models that are too large for a job file.",
      {{"plan job.toml", "this job on this machine"},
       {"plan job.toml --on other.json --price-per-hour 1.20", "on the machine of a profile, rented"},
       {"plan job.toml --on fleet.toml --why", "on several machines, with reasons"},
       {"plan job.toml --on H100 --mtbf 30d", "on an accelerator, by its table entry alone"}});
  verb.optional_argument("JOB", options->job, "Job file, or the folder of a run");
  verb.option("--on", options->on, "Where it runs: a profile (*.json), a fleet (*.toml), or an accelerator; else this machine",
              "PLACE");
  verb.option("--devices-file", options->devices_file, "More accelerators, in the form of the library's own table", "FILE.toml");
  verb.set_option(options->sets);
  verb.option("--memory", options->memory, kMemoryFlagHelp, "BYTES");
  verb.option("--price-per-hour", options->terms.price_per_hour, "What all machines cost in an hour, electricity in it", "USD");
  verb.option("--electricity", options->terms.electricity, "Price of electricity, or the name of one", "USD/kWh");
  verb.option("--watts", options->watts, "Power of all machines under load", "W");
  verb.option("--mtbf", options->terms.mtbf, "Mean time between faults of the whole job, such as 30d", "TIME");
  verb.option("--fault-preset", options->terms.fault_preset, kFaultPresetHelp, "NAME");
  verb.flag("--why", options->why, kWhyFlagHelp);
  verb.json_flag(options->json);
  // Called after the verb below that was chosen, whose action stays.
  verb.when_chosen([&request, options] {
    if (request.action) return;
    request.json = options->json;
    request.action = [options](const Context& context) { return run_plan(*options, context); };
  });
  add_plan_llm(verb, request);
  add_plan_solve(verb, request);
  add_plan_cluster(verb, request);
  add_plan_sweep(verb, request);
  add_plan_founding(verb, request);
  add_plan_validate(verb, request);
}

}  // namespace suanli::cli
