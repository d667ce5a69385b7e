#include "suanli/cli/bench_report.h"

#include <cmath>

#include "suanli/base/text.h"
#include "suanli/cli/memory_text.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

double milliseconds(Seconds seconds) { return seconds.value() * 1e3; }
std::string percent(double fraction) { return format("%.1f %%", 100 * fraction); }
std::string rate_text(FlopsPerSecond rate) { return format_si(rate.value(), "FLOP/s"); }

Bytes arena_of(const engine::MemoryPlan& memory) { return memory.stash_per_slot + memory.work; }

std::string sizes_text(const model::GptConfig& model, std::int64_t batch) {
  return std::to_string(model.layers) + " x " + std::to_string(model.width) + ", " + std::to_string(model.heads) +
         " heads, T=" + std::to_string(model.context) + ", B=" + std::to_string(batch) +
         ", V=" + std::to_string(model.vocab);
}

std::string start_text(const train::StartTimes& start) {
  return format_duration(start.total()) + ": launch " + format_duration(start.launch) + ", graph " +
         format_duration(start.graph) + ", compile " + format_duration(start.compile) + ", state " +
         format_duration(start.state) + ", executor " + format_duration(start.executor) + ", step " +
         format_duration(start.first_step);
}

std::string kinds_text(const train::BenchReport& report) {
  Table table({{"phase", Align::left},
               {"kernel", Align::left},
               {"calls", Align::right},
               {"ms a step", Align::right},
               {"share", Align::right}});
  for (const train::KindTime& kind : report.kinds)
    table.add_row({std::string(name_of(kind.phase)), kind.kernel, std::to_string(kind.calls),
                   format("%.2f", milliseconds(kind.seconds)), percent(kind.seconds / report.step_median)});
  return table.to_string();
}

}  // namespace

std::string bench_list_text() {
  Table table({{"case", Align::left}, {"sizes", Align::left}, {"", Align::left}});
  for (const train::BenchCase& each : train::bench_cases())
    table.add_row({std::string(each.name), sizes_text(each.model, each.batch), std::string(each.what)});
  return table.to_string();
}

Json bench_list_json() {
  Json cases = Json::array();
  for (const train::BenchCase& each : train::bench_cases())
    cases.push_back({{"case", each.name},
                     {"what", each.what},
                     {"layers", each.model.layers},
                     {"heads", each.model.heads},
                     {"width", each.model.width},
                     {"context", each.model.context},
                     {"vocab", each.model.vocab},
                     {"batch", each.batch}});
  return {{"cases", cases}};
}

std::string bench_text(const train::BenchCase& bench_case, const train::StepRunner& runner,
                       const train::BenchReport& report) {
  const engine::Program& program = runner.program();
  const meter::Calibration& rates = report.calibration;
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"case", std::string(bench_case.name) + ": " + sizes_text(bench_case.model, bench_case.batch)});
  table.add_row({"parameters", format_count(runner.parameters())});
  table.add_row({"arithmetic", std::string(name_of(program.target.arithmetic)) + " on " +
                                   std::to_string(rates.threads) + " threads"});
  table.add_row({"tokens a second", format_count(std::llround(report.tokens_per_second.value()))});
  table.add_row({"a step", format_duration(report.step_median) + " (median of " + std::to_string(report.steps) +
                               "; p10 " + format_duration(report.step_p10) + ", p90 " +
                               format_duration(report.step_p90) + "), " + format_flops(Flops(program.step_flops))});
  table.add_row({"efficiency", percent(report.efficiency) + " of " + rate_text(rates.products) + ", " +
                                   name_of(rates.loop) + ", measured between the steps"});
  table.add_row({"GEMM calls alone", percent(report.gemm_share) + " of the same"});
  table.add_row({"MFU", percent(report.mfu) + " of " + rate_text(rates.nominal) + ", the nominal dense peak at " +
                            format("%.2f GHz", rates.clock_hz * 1e-9)});
  table.add_row({"cores busy", format("%.2f", report.cpu_per_wall)});
  table.add_row({"peak memory", format_bytes(report.peak_resident) + " resident; state " +
                                    format_bytes(program.memory.state) + ", arena " +
                                    format_bytes(arena_of(program.memory)) + " (least possible " +
                                    format_bytes(program.memory.least) + ")"});
  if (const std::string again = recomputed_text(program.target.recompute); !again.empty())
    table.add_row({"recomputed", again + (program.target.memory_limit > Bytes(0)
                                              ? ", within " + format_bytes(program.target.memory_limit)
                                              : "")});
  table.add_row({"to the first step", start_text(runner.start())});
  return table.to_string() + "\n" + kinds_text(report);
}

Json bench_json(const train::BenchCase& bench_case, const train::StepRunner& runner, const train::BenchReport& report) {
  const engine::Program& program = runner.program();
  const train::StartTimes& start = runner.start();
  Json kinds = Json::array();
  for (const train::KindTime& kind : report.kinds)
    kinds.push_back({{"phase", name_of(kind.phase)},
                     {"kernel", kind.kernel},
                     {"calls", kind.calls},
                     {"ms", milliseconds(kind.seconds)}});
  return {{"case", bench_case.name},
          {"dtype", name_of(program.target.arithmetic)},
          {"threads", report.calibration.threads},
          {"steps", report.steps},
          {"tokens_per_s", report.tokens_per_second.value()},
          {"step_ms_median", milliseconds(report.step_median)},
          {"step_ms_p10", milliseconds(report.step_p10)},
          {"step_ms_p90", milliseconds(report.step_p90)},
          {"mfu", report.mfu},
          {"efficiency", report.efficiency},
          {"gemm_share_of_calibration", report.gemm_share},
          {"calibration_flops_per_s", report.calibration.products.value()},
          {"calibration_loop", engine::name_of(report.calibration.loop)},
          {"nominal_flops_per_s", report.calibration.nominal.value()},
          {"clock_hz", report.calibration.clock_hz},
          {"cpu_per_wall", report.cpu_per_wall},
          {"flops_per_step", program.step_flops},
          {"tokens_per_step", runner.shape().tokens().value()},
          {"params", runner.parameters()},
          {"peak_rss_bytes", report.peak_resident.value()},
          {"state_bytes", program.memory.state.value()},
          {"arena_bytes", arena_of(program.memory).value()},
          {"arena_least_bytes", program.memory.least.value()},
          {"memory_limit_bytes", program.target.memory_limit.value()},
          {"recomputed", program.target.recompute.cheap},
          {"recomputed_blocks", program.target.recompute.blocks},
          {"compile_ms", milliseconds(start.compile)},
          {"start_to_first_step_ms", milliseconds(start.total())},
          {"start_ms",
           {{"launch", milliseconds(start.launch)},
            {"graph", milliseconds(start.graph)},
            {"compile", milliseconds(start.compile)},
            {"state", milliseconds(start.state)},
            {"executor", milliseconds(start.executor)},
            {"step", milliseconds(start.first_step)}}},
          {"kinds", kinds}};
}

void warn_about_threads(const meter::Calibration& rates) {
  if (rates.threads <= rates.cores) return;
  write_stderr("warning: " + std::to_string(rates.threads) + " threads share " + std::to_string(rates.cores) +
               (rates.cores == 1 ? " core" : " cores") +
               " and take turns: this is slower than one thread for each\n  next: use --threads " +
               std::to_string(rates.cores) + ", or 'run.threads' of a job\n");
}

std::string bench_progress_text(const train::BenchProgress& progress) {
  if (progress.steps == 0) return "warming up";
  return "step " + std::to_string(progress.done) + "/" + std::to_string(progress.steps) + "  ETA " +
         format_duration(progress.left);
}

}  // namespace suanli::cli
