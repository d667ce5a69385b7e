// suanli bench: how fast this build trains on this machine, and how near to what the machine could do.
#include <utility>

#include "suanli/base/thread_pool.h"
#include "suanli/cli/bench_report.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/trace.h"
#include "suanli/cli/verb.h"
#include "suanli/meter/process_age.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  std::string bench_case, dtype = "auto", trace, memory;
  std::int64_t threads = 0, steps = 0;
};

Result<int> list(const Options& options) {
  const Options defaults;
  const std::pair<const char*, bool> given[] = {{"--dtype", options.dtype != defaults.dtype},
                                                {"--threads", options.threads != defaults.threads},
                                                {"--steps", options.steps != defaults.steps},
                                                {"--memory", !options.memory.empty()},
                                                {"--trace", !options.trace.empty()}};
  for (const auto& [flag, is_given] : given)
    if (is_given)
      return fail(ErrorCode::usage, std::string(flag) + " needs a case", "suanli bench",
                  "`suanli bench` lists the cases");
  if (options.json)
    emit("bench list", bench_list_json());
  else
    write_stdout(bench_list_text());
  return 0;
}

void warn_without_tiles(engine::Arithmetic arithmetic) {
  if (arithmetic != engine::Arithmetic::bf16) return;
  const train::JobConfig as_the_machine_likes;  // dtype "auto"
  const auto best = train::arithmetic_of(as_the_machine_likes);
  if (best && *best == engine::Arithmetic::f32)
    write_stderr("warning: this machine grants no AMX tiles: bf16 products are computed otherwise, and "
                 "efficiency and MFU are of f32 multiply-adds\n  next: use --dtype f32, or see `suanli doctor`\n");
}

Result<int> run_bench(const Options& options, const Context& context) {
  if (options.bench_case.empty()) return list(options);
  SUANLI_ASSIGN_OR_RETURN(const train::BenchCase bench_case, train::find_bench_case(options.bench_case));
  train::JobConfig job;
  job.train.dtype = options.dtype;
  std::vector<std::string> sets;
  SUANLI_RETURN_IF_ERROR(apply_flag(sets, "run.memory_limit", "--memory", options.memory));
  for (const std::string& set : sets) SUANLI_RETURN_IF_ERROR(train::apply_override(job, set));
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(job));
  warn_without_tiles(arithmetic);
  if (!options.trace.empty()) SUANLI_RETURN_IF_ERROR(check_trace_path(options.trace));
  const train::StopFlag stop = stop_on_signals();
  const int threads = options.threads > 0 ? static_cast<int>(options.threads) : available_cores();
  SUANLI_ASSIGN_OR_RETURN(const auto runner, train::StepRunner::create(bench_case.shape(),
                                                                      {.arithmetic = arithmetic,
                                                                       .threads = threads,
                                                                       .memory_limit = Bytes(static_cast<std::int64_t>(
                                                                           job.run.memory_limit)),
                                                                       .launch = meter::process_age()}));
  Progress progress(context.err, write_stderr);
  train::BenchOptions how{.steps = static_cast<int>(options.steps), .stop = stop};
  if (!options.json)
    how.progress = [&](const train::BenchProgress& at) { progress.show([&] { return bench_progress_text(at); }); };
  SUANLI_ASSIGN_OR_RETURN(const train::BenchReport report, train::bench(*runner, how));
  progress.finish();
  warn_about_threads(report.calibration);
  if (options.json)
    emit("bench", bench_json(bench_case, *runner, report));
  else
    write_stdout(bench_text(bench_case, *runner, report));
  if (!options.trace.empty()) SUANLI_RETURN_IF_ERROR(write_trace(*runner, options.trace));
  return 0;
}

}  // namespace

void add_bench(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "bench", "How fast training steps are here, and how near to the machine's limit",
      "Trains the model of a case on random tokens: 2 steps to warm up, then about ten seconds of steps, at least 5 "
      "and at most 30. After each of them the rate of the cores is measured with a loop that has nothing in its way, "
      "so that the figures mean the same on a machine that is shared. Ctrl-C stops it between two steps (exit code 5). "
      "Without a case: lists the cases.",
      {{"bench", "the cases"},
       {"bench train-step-a", "a small model, tokens per second and where the time goes"},
       {"bench train-step-b --dtype f32 --threads 1 --json", "GPT-2 small in f32 on one core, for programs"},
       {"bench train-step-a --trace step.json", "also the last step as a trace for ui.perfetto.dev"}});
  verb.optional_argument("CASE", options->bench_case, "What to measure; none: list the cases");
  verb.choice("--dtype,--arith", options->dtype, {"auto", "f32", "bf16", "exact"},
              "f32, bf16, exact (the same bits on every CPU), or auto: bf16 where the CPU has AMX tiles for it");
  verb.option("--threads", options->threads, "Threads that compute; 0: as many as there are cores", 0, 1024);
  verb.option("--steps", options->steps, "Timed steps; 0: about ten seconds of them", 0, 100'000);
  verb.option("--memory", options->memory,
              "The most that state, inputs and arena may take, such as 2Gi: activations are recomputed to keep it. "
              "Nothing is saved here, so that snapshots, which count in the same flag of train and explain, do not",
              "BYTES");
  verb.option("--trace", options->trace, "Also write a Chrome trace of the last step", "FILE");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_bench);
}

}  // namespace suanli::cli
