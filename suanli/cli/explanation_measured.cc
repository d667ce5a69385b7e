#include "suanli/cli/explanation_measured.h"

#include "suanli/base/thread_pool.h"
#include "suanli/meter/quantile.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

constexpr int kWarmUp = 2, kSteps = 5;
constexpr Seconds kCalibration(0.02);

using CallSamples = std::array<std::vector<std::vector<double>>, 3>;  // [phase][call][step], seconds

std::vector<MeasuredCall> measured_calls(const train::StepRunner& runner, const meter::Calibration& rates,
                                         const CallSamples& samples) {
  std::vector<MeasuredCall> calls;
  for (std::size_t p = 0; p < train::kStepPhases.size(); ++p) {
    const graph::Phase phase = train::kStepPhases[p];
    const double runs = phase == graph::Phase::update ? 1 : static_cast<double>(runner.shape().micro_batches);
    const auto& program_calls = engine::calls_of(runner.program(), phase);
    for (std::size_t i = 0; i < program_calls.size(); ++i) {
      MeasuredCall call{.phase = phase, .index = i, .kernel = program_calls[i].spec.name};
      call.bytes = program_calls[i].bytes * runs;
      call.flops = program_calls[i].flops * runs;
      call.at_rate = Flops(call.flops) / (train::is_product(program_calls[i]) ? rates.products : rates.elementwise);
      call.at_bandwidth = Seconds(call.bytes / rates.memory.value());
      call.measured = Seconds(meter::median(samples[p][i]));
      calls.push_back(call);
    }
  }
  return calls;
}

}  // namespace

Result<std::unique_ptr<train::StepRunner>> runner_of(const Explanation& explanation) {
  const train::JobConfig& job = explanation.job;
  const train::StepShape shape{
      .model = train::model_of(job), .batch = job.train.batch, .micro_batches = job.train.micro_batches};
  const int threads = job.run.threads > 0 ? static_cast<int>(job.run.threads) : available_cores();
  return train::StepRunner::create(shape, explanation.graph, explanation.program,
                                   {.arithmetic = explanation.program.target.arithmetic, .threads = threads});
}

Result<Measurement> measure(train::StepRunner& runner, const std::function<void(const train::BenchProgress&)>& progress,
                            train::StopFlag stop) {
  SUANLI_CHECK(runner.steps() == 0);
  meter::Calibrator calibrator(runner.options().arithmetic, runner.options().threads);
  CallSamples samples;
  for (std::size_t p = 0; p < samples.size(); ++p)
    samples[p].resize(engine::calls_of(runner.program(), train::kStepPhases[p]).size());
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUp + kSteps; ++i) {
    const bool counts = i >= kWarmUp;
    const train::BenchProgress at{.done = counts ? i - kWarmUp : 0,
                                  .steps = counts ? kSteps : 0,
                                  .left = runner.last().seconds * static_cast<double>(kWarmUp + kSteps - i)};
    SUANLI_RETURN_IF_ERROR(train::check_stop(stop, at));
    if (progress) progress(at);
    SUANLI_RETURN_IF_ERROR(runner.step());
    if (!counts) continue;
    seconds.push_back(runner.last().seconds.value());
    for (std::size_t p = 0; p < samples.size(); ++p)
      for (std::size_t c = 0; c < samples[p].size(); ++c)
        samples[p][c].push_back(runner.last().call_seconds[p][c]);
    calibrator.sample(kCalibration);
    calibrator.sample_elementwise_and_memory(kCalibration);
  }
  Measurement found;
  found.steps = kSteps;
  found.step_median = Seconds(meter::median(seconds));
  found.rates = calibrator.result();
  found.calls = measured_calls(runner, found.rates, samples);
  return found;
}

}  // namespace suanli::cli
