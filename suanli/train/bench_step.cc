#include "suanli/train/bench_step.h"

#include <algorithm>
#include <map>
#include <string>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/meter/quantile.h"

namespace suanli::train {
namespace {

constexpr int kWarmUp = 2;
constexpr Seconds kCalibration(0.02);

constexpr BenchCase kCases[] = {
    {"train-step-a", "10.8 million parameters, characters",
     {.layers = 6, .heads = 6, .width = 384, .context = 256, .vocab = 65}, 16},
    {"train-step-b", "GPT-2 small, 124 million parameters",
     {.layers = 12, .heads = 12, .width = 768, .context = 512, .vocab = 50257}, 4},
};

int steps_for(Seconds step) {
  constexpr Seconds kLong(10);
  constexpr double kLeast = 5, kMost = 30;
  return static_cast<int>(std::clamp(kLong / step, kLeast, kMost));
}

// Samples, one for each timed step.
struct Samples {
  std::vector<double> seconds, cpu_per_wall, gemm_seconds;
  std::map<std::pair<std::size_t, std::string>, std::vector<double>> kinds;  // by phase and kernel

  void take(const StepRunner& runner) {
    const StepTimes& last = runner.last();
    seconds.push_back(last.seconds.value());
    cpu_per_wall.push_back(last.cpu / last.seconds);
    gemm_seconds.push_back(0);
    for (std::size_t p = 0; p < kStepPhases.size(); ++p) {
      const auto& calls = calls_of(runner.program(), kStepPhases[p]);
      for (std::size_t i = 0; i < calls.size(); ++i) {
        std::vector<double>& kind = kinds[{p, calls[i].spec.name}];
        kind.resize(seconds.size());
        kind.back() += last.call_seconds[p][i];
        if (is_gemm(calls[i])) gemm_seconds.back() += last.call_seconds[p][i];
      }
    }
  }
};

double gemm_flops(const StepRunner& runner) {
  double flops = 0;
  for (const graph::Phase phase : kStepPhases)
    for (const engine::KernelCall& call : calls_of(runner.program(), phase))
      if (is_gemm(call))
        flops += call.flops * (phase == graph::Phase::update ? 1.0 : static_cast<double>(runner.shape().micro_batches));
  return flops;
}

std::vector<KindTime> kind_times(const StepRunner& runner, const Samples& samples) {
  std::vector<KindTime> kinds;
  for (const auto& [kind, seconds] : samples.kinds) {
    const auto& calls = calls_of(runner.program(), kStepPhases[kind.first]);
    const auto count = std::ranges::count_if(calls, [&](const auto& call) { return call.spec.name == kind.second; });
    kinds.push_back({kStepPhases[kind.first], kind.second, static_cast<std::size_t>(count),
                     Seconds(meter::median(seconds))});
  }
  std::ranges::stable_sort(kinds, [](const KindTime& a, const KindTime& b) { return a.seconds > b.seconds; });
  return kinds;
}

}  // namespace

std::span<const BenchCase> bench_cases() { return kCases; }

Result<BenchCase> find_bench_case(std::string_view name) {
  std::vector<std::string> names;
  std::string list;
  for (const BenchCase& each : kCases) {
    if (each.name == name) return each;
    list += (names.empty() ? "" : ", ") + std::string(each.name);
    names.emplace_back(each.name);
  }
  return fail(ErrorCode::usage, "there is no bench '" + printable(name) + "'" + did_you_mean(name, names), "CASE",
              "the benches are " + list);
}

Status check_stop(StopFlag stop, const BenchProgress& progress) {
  if (!is_stopped(stop)) return {};
  const std::string done = progress.steps == 0 ? "while warming up"
                                               : "after " + std::to_string(progress.done) + " of " +
                                                     std::to_string(progress.steps) + " timed steps";
  return fail(ErrorCode::interrupted, "stopped on request " + done, "", "run it again: nothing was kept");
}

Result<BenchReport> bench(StepRunner& runner, const BenchOptions& options) {
  SUANLI_CHECK(runner.steps() == 0 && options.steps >= 0);
  BenchProgress progress;
  const auto tell = [&] {
    if (options.progress) options.progress(progress);
  };
  for (int i = 0; i < kWarmUp; ++i) {
    SUANLI_RETURN_IF_ERROR(check_stop(options.stop, progress));
    tell();
    SUANLI_RETURN_IF_ERROR(runner.step());
  }
  meter::Calibrator calibrator(runner.options().arithmetic, runner.options().threads);
  calibrator.sample(kCalibration);
  Samples samples;
  progress.steps = options.steps > 0 ? options.steps : steps_for(runner.last().seconds);
  for (; progress.done < progress.steps; ++progress.done) {
    SUANLI_RETURN_IF_ERROR(check_stop(options.stop, progress));
    progress.left = (runner.last().seconds + kCalibration) * static_cast<double>(progress.steps - progress.done);
    tell();
    SUANLI_RETURN_IF_ERROR(runner.step());
    samples.take(runner);
    calibrator.sample(kCalibration);
  }

  BenchReport report;
  report.steps = progress.steps;
  report.step_median = Seconds(meter::median(samples.seconds));
  report.step_p10 = Seconds(meter::quantile(samples.seconds, 0.1));
  report.step_p90 = Seconds(meter::quantile(samples.seconds, 0.9));
  report.tokens_per_second = runner.shape().tokens() / report.step_median;
  report.calibration = calibrator.result();
  const FlopsPerSecond rate = Flops(runner.program().step_flops) / report.step_median;
  report.mfu = rate / report.calibration.nominal;
  report.efficiency = rate / report.calibration.products;
  const Seconds gemm(meter::median(samples.gemm_seconds));
  if (gemm > Seconds(0)) report.gemm_share = Flops(gemm_flops(runner)) / gemm / report.calibration.products;
  report.cpu_per_wall = meter::median(samples.cpu_per_wall);
  report.peak_resident = peak_resident();
  report.kinds = kind_times(runner, samples);
  return report;
}

}  // namespace suanli::train
