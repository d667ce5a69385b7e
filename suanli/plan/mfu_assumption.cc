#include "suanli/plan/mfu_assumption.h"

#include <algorithm>

namespace suanli::plan {
namespace {

constexpr const char* kText = "model FLOPs utilisation, of the dense peak";
constexpr double kBestMatmul = 0.87;  // of the A100's peak: 271.2 of 312 TFLOP/s

// Of published runs by situation, in MFU of an A100; others scale with what their measured products reach of their peak.
struct Situation {
  Interval mfu;
  const char* source;
};

Situation situation_of(const TrainingSetup& setup) {
  const bool is_split = setup.layout.tensor > 1 || setup.layout.pipeline > 1;
  if (!is_split)
    return {{0.38, 0.48, 0.60}, "published runs with sharded data parallelism: 36 to 64 % on A100, 36 to 46 % on H100"};
  if (setup.recomputation == Recomputation::full)
    return {{0.27, 0.36, 0.43}, "published runs with tensor and pipeline parallelism and full recomputation on A100: 27 to 43 %"};
  return {{0.40, 0.47, 0.56},
          "published runs with tensor and pipeline parallelism: 42 to 56 % on A100, 41 to 43 % on 1,500 to 16,000 H100"};
}

// Nothing is known of the device's links and products.
Assumption published_mfu(const TrainingSetup& setup, double peak) {
  const Situation situation = situation_of(setup);
  double scale = 1;
  // Products were measured in bf16, so that their peak is the one to compare with, whatever the dtype of the run.
  const auto reference = reference_peak(setup.device);
  if (setup.device.measured_matmul && reference)
    scale = std::clamp(setup.device.measured_matmul->value / *reference / kBestMatmul, 0.1, 1.2);
  if (const auto* dense = dense_peak(setup.device, setup.dtype)) scale *= std::min(1.0, dense->value.value() / peak);
  return {"mfu",
          kText,
          {situation.mfu.low * scale, situation.mfu.expected * scale, std::min(0.9, situation.mfu.high * scale)},
          "fraction",
          std::string(situation.source) +
              (scale == 1 ? "" : "; scaled by what products were measured to reach of the device's peak")};
}

}  // namespace

Assumption mfu_assumption(const LargeRun& run, const SettledRun& settled, double peak) {
  const TrainingSetup& setup = settled.setup;
  const auto predicted = predict_step_time(setup);
  const auto reference = reference_peak(setup.device);
  if (!predicted || !reference) return published_mfu(setup, peak);
  const double mfu = std::min(1.0, predicted->mfu * reference->value() / peak);
  const bool is_known = run.stack != Stack::unknown && run.micro_batch > 0 && settled.has_given_shape && settled.has_given_layout;
  const Interval error = step_time_error(is_known);
  return {"mfu",
          kText,
          {mfu / error.high, mfu, std::min(1.0, mfu / error.low)},
          "fraction",
          std::string(
              "predicted from device, model, layout and batch; interval: how the same form did on published runs that it was not "
              "fitted on (`suanli plan validate`)") +
              (is_known ? "" : "; wider, for what is assumed here")};
}

}  // namespace suanli::plan
