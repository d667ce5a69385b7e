#include "suanli/cli/compare_profiles.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/plan_job.h"
#include "suanli/cli/plan_report.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/table.h"
#include "suanli/plan/exchange.h"
#include "suanli/plan/profile.h"

namespace suanli::cli {
namespace {

using engine::Arithmetic;
using plan::Interval;

struct NamedSide {
  std::string file;
  plan::Profile profile;
  std::optional<Arithmetic> arithmetic;

  plan::Side side() const { return {&profile, arithmetic}; }
  std::string name() const { return file + (arithmetic ? "@" + std::string(engine::name_of(*arithmetic)) : ""); }
};

Result<NamedSide> load_side(const std::string& argument, const char* which) {
  NamedSide side{.file = argument, .profile = {}, .arithmetic = std::nullopt};
  std::error_code ignored;
  const std::size_t at = argument.rfind('@');
  if (at != std::string::npos && !std::filesystem::exists(argument, ignored)) {
    const std::string dtype = argument.substr(at + 1);
    side.file = argument.substr(0, at);
    side.arithmetic = engine::arithmetic_from_name(dtype);
    if (!side.arithmetic)
      return fail(ErrorCode::usage,
                  "'" + printable(dtype) + "' is no arithmetic" + did_you_mean(dtype, std::vector<std::string>{"f32", "bf16"}),
                  which, "use FILE@f32 or FILE@bf16");
  }
  SUANLI_ASSIGN_OR_RETURN(side.profile, plan::load_profile(side.file));
  if (side.arithmetic && side.profile.peak(*side.arithmetic) == nullptr)
    return fail(ErrorCode::usage,
                "the profile holds nothing of " + std::string(engine::name_of(*side.arithmetic)) + " arithmetic", side.file,
                "calibrate again, without --dtype");
  if (side.profile.peaks.empty())
    return fail(ErrorCode::empty, "the profile holds no limits", side.file, "make a new one with `suanli calibrate`");
  return side;
}

// What the job's "auto" would be there, as `suanli plan --on` decides it; what was not calibrated cannot be compared.
Arithmetic usual_arithmetic(const NamedSide& side) {
  if (side.arithmetic) return *side.arithmetic;
  if (side.profile.peak(Arithmetic::f32) == nullptr) return Arithmetic::bf16;
  return side.profile.has_matrix_units() ? Arithmetic::bf16 : Arithmetic::f32;
}

// The job's program as it would run on this side.
Result<engine::Program> program_on(const std::string& job_path, const NamedSide& side) {
  SUANLI_ASSIGN_OR_RETURN(train::JobConfig job, load_job_or_run(job_path, {}));
  if (side.arithmetic) job.train.dtype = engine::name_of(*side.arithmetic);
  SUANLI_ASSIGN_OR_RETURN(SettledJob settled, settle_for(std::move(job), usual_arithmetic(side)));
  const Bytes limit(static_cast<std::int64_t>(settled.job.run.memory_limit));
  SUANLI_ASSIGN_OR_RETURN(CompiledJob compiled, compile_job(std::move(settled), limit));
  return std::move(compiled.plan.program);
}

Result<std::vector<plan::JobExchange>> exchange_of_jobs(const std::vector<std::string>& jobs, const NamedSide& a,
                                                        const NamedSide& b) {
  std::vector<plan::JobExchange> found;
  for (const std::string& job : jobs) {
    SUANLI_ASSIGN_OR_RETURN(const engine::Program on_a, program_on(job, a));
    SUANLI_ASSIGN_OR_RETURN(const engine::Program on_b, program_on(job, b));
    SUANLI_ASSIGN_OR_RETURN(found.emplace_back(), plan::exchange_of_job(job, on_a, a.profile, on_b, b.profile));
  }
  return found;
}

// What the two profiles may differ in beside their machines.
std::vector<Error> warnings_of(const NamedSide& a, const NamedSide& b) {
  std::vector<Error> warnings;
  const plan::Here now = plan::here();
  for (const NamedSide* each : {&a, &b}) {
    if (each == &b && a.file == b.file) break;
    // Neither need be of this machine: only age and build count.
    const plan::Here there{.machine = each->profile.machine,
                           .host = each->profile.host,
                           .build = now.build,
                           .cores = each->profile.cores,
                           .now = now.now};
    for (Error& warning : plan::profile_warnings(each->profile, 0, there)) {
      warning.place = each->file;
      warnings.push_back(std::move(warning));
    }
  }
  if (a.profile.quick != b.profile.quick)
    warnings.push_back({ErrorCode::mismatch, "one profile was made with --quick, the other was not",
                        (a.profile.quick ? a : b).file, "calibrate both alike"});
  return warnings;
}

std::string rate_text(double value, const std::string& unit) {
  return unit == "1/s" ? format_si(value, "/s") : format_si(value, unit);
}
std::string one_to(double ratio) { return "1 : " + format("%.3g", ratio); }
std::string ratio_text(const Interval& ratio) {
  return one_to(ratio.expected) + (ratio.is_exact() ? "" : format(" (%.3g to %.3g)", ratio.low, ratio.high));
}
std::string step_text(const Interval& seconds) { return format_duration(Seconds(seconds.expected)) + " a step"; }

std::string side_text(const char* letter, const NamedSide& side) {
  const plan::Profile& p = side.profile;
  return format("%s  %s: %s, %d thread%s, %s%s\n", letter, printable(side.name()).c_str(), printable(p.machine).c_str(),
                p.threads, p.threads == 1 ? "" : "s", p.time.c_str(), p.quick ? ", quick" : "");
}

std::string rates_text(const std::vector<plan::Exchange>& rates, const std::vector<plan::JobExchange>& jobs, bool why) {
  std::vector<Table::Column> columns = {{"rate of exchange A : B"}, {"of"}, {"A", Align::right}, {"B", Align::right}};
  if (why) columns.push_back({"why"});
  Table table(columns);
  const auto add = [&](std::vector<std::string> cells, const std::string& reason) {
    if (why) cells.push_back(reason);
    table.add_row(std::move(cells));
  };
  for (const plan::Exchange& each : rates)
    add({ratio_text(each.ratio), printable(each.subject), rate_text(each.a.expected, each.unit),
         rate_text(each.b.expected, each.unit)},
        printable(each.why));
  for (const plan::JobExchange& each : jobs) {
    const std::string a(engine::name_of(each.a_arithmetic)), b(engine::name_of(each.b_arithmetic));
    add({ratio_text(each.ratio), each.job + " in " + (a == b ? a : a + " : " + b), step_text(each.a_seconds),
         step_text(each.b_seconds)},
        "predicted, call by call");
  }
  return table.to_string();
}

std::string parts_text(const plan::JobExchange& job) {
  std::string text =
      "\nWhy " + one_to(job.ratio.expected) + " on " + job.job + ", whose step is " + format_flops(Flops(job.flops)) + "\n";
  Table table({{"part"},
               {"A", Align::right},
               {"", Align::right},
               {"bound by memory", Align::right},
               {"B", Align::right},
               {"", Align::right},
               {"bound by memory", Align::right},
               {"A : B", Align::right}});
  for (const plan::ExchangePart& part : job.parts) {
    const auto share = [](double of, double all) { return format("%.0f %%", 100 * of / all); };
    table.add_row({part.name, format_duration(Seconds(part.a_seconds)), share(part.a_seconds, job.a_seconds.expected),
                   share(part.a_memory_share, 1), format_duration(Seconds(part.b_seconds)),
                   share(part.b_seconds, job.b_seconds.expected), share(part.b_memory_share, 1),
                   part.b_seconds > 0 ? one_to(part.a_seconds / part.b_seconds) : ""});
  }
  return text + table.to_string(2);
}

struct Extremes {
  double lowest = 0, highest = 0;
  Interval lowest_ratio, highest_ratio;
  std::string lowest_subject, highest_subject;
};

// Of what computes: products as they are computed, memory, jobs; not limits, launches or disks.
Extremes extremes_of(const std::vector<plan::Exchange>& rates, const std::vector<plan::JobExchange>& jobs) {
  Extremes found;
  const auto see = [&](const Interval& interval, const std::string& subject) {
    const double ratio = interval.expected;
    if (found.lowest_subject.empty() || ratio < found.lowest)
      found.lowest = ratio, found.lowest_ratio = interval, found.lowest_subject = subject;
    if (found.highest_subject.empty() || ratio > found.highest)
      found.highest = ratio, found.highest_ratio = interval, found.highest_subject = subject;
  };
  for (const plan::Exchange& each : rates)
    if (each.group == "matrix product" || each.group == "memory") see(each.ratio, each.subject);
  for (const plan::JobExchange& each : jobs) see(each.ratio, each.job);
  return found;
}

// Rates differ where even their intervals do.
const char* conclusion(const Extremes& extremes) {
  if (extremes.lowest_ratio.high < extremes.highest_ratio.low) return ": there is no one rate of exchange.";
  return extremes.lowest == extremes.highest ? ": the two are alike." : ", which their intervals do not tell apart.";
}

Json side_json(const NamedSide& side) {
  return {{"file", side.file},
          {"dtype", side.arithmetic ? Json(engine::name_of(*side.arithmetic)) : Json(nullptr)},
          {"machine", side.profile.machine},
          {"threads", side.profile.threads},
          {"time", side.profile.time},
          {"quick", side.profile.quick}};
}

Json job_json(const plan::JobExchange& job) {
  Json parts = Json::array();
  for (const plan::ExchangePart& part : job.parts)
    parts.push_back({{"part", part.name},
                     {"a_s", part.a_seconds},
                     {"b_s", part.b_seconds},
                     {"a_memory_bound", part.a_memory_share},
                     {"b_memory_bound", part.b_memory_share}});
  return {{"job", job.job},
          {"a_dtype", engine::name_of(job.a_arithmetic)},
          {"b_dtype", engine::name_of(job.b_arithmetic)},
          {"step_flops", job.flops},
          {"a_step_s", json_of(job.a_seconds)},
          {"b_step_s", json_of(job.b_seconds)},
          {"ratio", json_of(job.ratio)},
          {"parts", std::move(parts)}};
}

}  // namespace

Result<int> compare_profiles(const CompareProfilesOptions& options) {
  if (options.first == options.second)
    return fail(ErrorCode::usage, "'" + printable(options.first) + "' is compared with itself", "suanli compare",
                "give two profiles, or one in two arithmetics: FILE@f32 FILE@bf16");
  SUANLI_ASSIGN_OR_RETURN(const NamedSide a, load_side(options.first, "FIRST"));
  SUANLI_ASSIGN_OR_RETURN(const NamedSide b, load_side(options.second, "SECOND"));
  const std::vector<plan::Exchange> rates = plan::exchange_of_devices(a.side(), b.side());
  SUANLI_ASSIGN_OR_RETURN(const std::vector<plan::JobExchange> jobs, exchange_of_jobs(options.jobs, a, b));
  const std::vector<Error> warnings = warnings_of(a, b);
  const Extremes extremes = extremes_of(rates, jobs);
  if (options.json) {
    Json rates_json = Json::array(), jobs_json = Json::array(), warnings_json = Json::array();
    for (const plan::Exchange& each : rates)
      rates_json.push_back({{"group", each.group},
                            {"subject", each.subject},
                            {"unit", each.unit},
                            {"a", json_of(each.a)},
                            {"b", json_of(each.b)},
                            {"ratio", json_of(each.ratio)},
                            {"why", each.why}});
    for (const plan::JobExchange& each : jobs) jobs_json.push_back(job_json(each));
    for (const Error& each : warnings) warnings_json.push_back(json_of(each));
    emit("compare profiles", {{"a", side_json(a)},
                              {"b", side_json(b)},
                              {"rates", std::move(rates_json)},
                              {"jobs", std::move(jobs_json)},
                              {"lowest", {{"ratio", extremes.lowest}, {"subject", extremes.lowest_subject}}},
                              {"highest", {{"ratio", extremes.highest}, {"subject", extremes.highest_subject}}},
                              {"warnings", std::move(warnings_json)}});
    return 0;
  }
  for (const Error& each : warnings) write_stderr(warning_text(each) + "\n");
  std::string text = side_text("A", a) + side_text("B", b) + "\n" + rates_text(rates, jobs, options.why);
  if (!extremes.lowest_subject.empty())
    text += "\nFrom " + one_to(extremes.lowest) + " on " + printable(extremes.lowest_subject) + " to " +
            one_to(extremes.highest) + " on " + printable(extremes.highest_subject) + conclusion(extremes) + "\n";
  if (options.why)
    for (const plan::JobExchange& each : jobs) text += parts_text(each);
  write_stdout(text);
  return 0;
}

}  // namespace suanli::cli
