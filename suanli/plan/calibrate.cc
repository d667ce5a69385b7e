#include "suanli/plan/calibrate.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/meter/energy.h"
#include "suanli/plan/calibrate_disk.h"
#include "suanli/plan/calibrate_kernels.h"
#include "suanli/plan/calibrate_limits.h"
#include "suanli/plan/calibrate_matmul.h"
#include "suanli/plan/core_wait.h"

namespace suanli::plan {
namespace {

constexpr Seconds kQuick(16), kFull(100);
constexpr int kLeastRounds = 2;
// A model whose step would take more than this share of the whole time is left out.
constexpr double kLargestShare = 0.06;
constexpr double kFloorLaunch = 0.30, kFloorOverhead = 0.01, kFloorWatts = 0.10;
constexpr Seconds kIdle(0.1);
constexpr Bytes kSmallCall(256);  // a call of so many bytes is all launch

class Calibration {
 public:
  explicit Calibration(const CalibrateOptions& options)
      : options_(options),
        duration_(options.duration > Seconds(0) ? options.duration
                  : options.quick               ? kQuick
                                                : kFull),
        begin_(real_clock().now()),
        limits_(options.arithmetics, options.threads),
        device_(engine::make_cpu_device(options.threads)),
        disk_(options.folder, Bytes(std::int64_t{options.quick ? 32 : 128} << 20)) {
    if (auto counter = meter::EnergyCounter::open()) energy_.emplace(std::move(*counter));
  }

  Result<Profile> run() {
    sample_idle_watts();
    SUANLI_RETURN_IF_ERROR(prepare());
    for (int round = 1; round <= kLeastRounds || has_time_for_another(); ++round) {
      const Seconds round_begin = real_clock().now();
      SUANLI_RETURN_IF_ERROR(sample("round " + std::to_string(round)));
      longest_round_ = std::max(longest_round_, real_clock().now() - round_begin);
    }
    others_.was_disturbed();
    return profile();
  }

 private:
  Seconds elapsed() const { return real_clock().now() - begin_; }
  bool has_time_for_another() const { return elapsed() + longest_round_ < duration_; }

  // Of all packages while this process waits; other programs are in it.
  void sample_idle_watts() {
    if (!energy_) return;
    for (int i = 0; i < 3; ++i) {
      const Joules before = energy_->read();
      const Seconds start = real_clock().now();
      real_clock().sleep_for(kIdle);
      idle_watts_.add(((energy_->read() - before) / (real_clock().now() - start)).value());
    }
  }

  Status look(const std::string& doing) const {
    if (options_.stop != nullptr && options_.stop->load())
      return fail(ErrorCode::interrupted, "stopped on request while calibrating (" + doing + ")", "",
                  "run it again: nothing was kept");
    if (!options_.progress) return {};
    const Seconds left = std::max(Seconds(0), duration_ - elapsed());
    options_.progress({.doing = doing, .done = std::min(1.0, elapsed() / duration_), .left = left});
    return {};
  }

  Status prepare() {
    SUANLI_RETURN_IF_ERROR(look("preparing"));
    limits_.sample(Seconds(0.02));
    for (const engine::Arithmetic arithmetic : options_.arithmetics) {
      SUANLI_ASSIGN_OR_RETURN(auto products, MatmulSampler::create(arithmetic, *device_));
      matmuls_.push_back(std::move(products));
    }
    for (const CalibrationModel& model : options_.models.empty() ? calibration_models(options_.quick) : options_.models) {
      SUANLI_ASSIGN_OR_RETURN(const Flops flops, calibration_flops(model));
      const bool is_first = models_.empty();
      if (!is_first && flops / limits_.multiply_adds() > duration_ * kLargestShare) continue;
      for (const engine::Arithmetic arithmetic : options_.arithmetics) {
        SUANLI_RETURN_IF_ERROR(look("preparing"));
        auto sampler = ModelSampler::create(model, arithmetic, *device_);
        // A machine of little memory: what the smaller ones say must do.
        if (!sampler && sampler.error().code == ErrorCode::no_memory && !is_first) continue;
        if (!sampler) return tl::unexpected(std::move(sampler).error());
        models_.push_back(std::move(*sampler));
      }
    }
    return {};
  }

  Status sample(const std::string& round) {
    const Seconds each(options_.quick ? 0.012 : 0.02);
    const Joules energy_before = energy_ ? energy_->read() : Joules(0);
    const Seconds start = real_clock().now();
    for (auto& model : models_) {
      SUANLI_RETURN_IF_ERROR(look(round));
      SUANLI_RETURN_IF_ERROR(model->sample(each * 2.0));
      limits_.sample(each / 3.0);
    }
    for (auto& products : matmuls_) {
      SUANLI_RETURN_IF_ERROR(look(round));
      SUANLI_RETURN_IF_ERROR(products->sample(each / 2.0));
    }
    if (energy_) busy_watts_.add(((energy_->read() - energy_before) / (real_clock().now() - start)).value());
    if (!options_.folder.empty()) SUANLI_RETURN_IF_ERROR(disk_.sample());
    return {};
  }

  Result<Profile> profile() const {
    const Here here = plan::here();
    const CpuInfo cpu = cpu_info();
    Profile found;
    found.machine = here.machine;
    found.host = here.host;
    found.build = here.build;
    found.time = utc_text(here.now);
    found.quick = options_.quick;
    found.cores = std::max(1, here.cores);
    found.waited_share = others_.share();
    found.memory = memory_info().total;
    found.l2 = cpu.l2;
    found.l3 = cpu.l3;
    limits_.describe(found);
    for (const auto& products : matmuls_) std::ranges::copy(products->rates(), std::back_inserter(found.matmuls));
    Samples launches;
    for (const auto& model : models_)
      for (const KernelRate& rate : model->rates()) {
        found.kernels.push_back(rate);
        if (rate.bytes <= static_cast<double>(kSmallCall.value())) launches.add(rate.seconds.expected);
      }
    found.launch_seconds = launches.interval(kFloorLaunch);
    for (const engine::Arithmetic arithmetic : options_.arithmetics) found.step_overheads.push_back(overhead(arithmetic));
    if (!options_.folder.empty()) found.disk = disk_.rate();
    // A counter that stands still counts nothing.
    if (energy_ && idle_watts_.median() > 0) found.idle_watts = idle_watts_.interval(kFloorWatts);
    if (energy_ && busy_watts_.median() > 0) found.busy_watts = busy_watts_.interval(kFloorWatts);
    widen_for_waiting(found);
    return found;
  }

  // Long steps say most about what steps take beside their calls.
  Profile::Overhead overhead(engine::Arithmetic arithmetic) const {
    double steps = 0, calls = 0;
    Samples visits;
    for (const auto& model : models_) {
      if (model->arithmetic() != arithmetic) continue;
      steps += model->step_seconds();
      calls += model->call_seconds();
      for (const double each : model->overheads()) visits.add(std::max(1.0, each));
    }
    const double factor = std::max(1.0, steps / calls);
    const Interval spread = visits.interval(kFloorOverhead);
    return {arithmetic, {std::min(factor, std::max(1.0, spread.low)), factor, std::max(factor, spread.high)}};
  }

  const CalibrateOptions& options_;
  const Seconds duration_, begin_;
  Seconds longest_round_;
  LimitSampler limits_;
  std::unique_ptr<engine::Device> device_;
  std::vector<std::unique_ptr<MatmulSampler>> matmuls_;
  std::vector<std::unique_ptr<ModelSampler>> models_;
  DiskSampler disk_;
  Disturbance others_;
  std::optional<meter::EnergyCounter> energy_;  // none where the machine does not count
  Samples idle_watts_, busy_watts_;
};

CalibrationModel gpt(std::int64_t layers, std::int64_t width, std::int64_t depth, std::int64_t context, std::int64_t vocab,
                     std::int64_t batch, std::int64_t micro_batches = 1) {
  return {.model = {.layers = layers, .heads = width / depth, .width = width, .context = context, .vocab = vocab},
          .batch = batch,
          .micro_batches = micro_batches};
}

}  // namespace

std::vector<CalibrationModel> calibration_models(bool quick) {
  // Smallest first: what there is no time or memory for is left out. A vocabulary of 17,000 on 512 rows has logits of 33 MiB,
  // which the engine never stores whole.
  std::vector<CalibrationModel> models = {
      gpt(2, 64, 32, 64, 256, 12),   gpt(2, 128, 64, 128, 256, 8, 2), gpt(1, 128, 64, 1024, 256, 2),
      gpt(1, 256, 64, 256, 100, 8),  gpt(1, 512, 64, 512, 17'000, 1), gpt(1, 512, 64, 128, 256, 32),
      gpt(1, 1024, 64, 512, 100, 2),
  };
  if (quick) return models;
  for (const CalibrationModel& model :
       {gpt(2, 64, 32, 128, 65, 64), gpt(2, 192, 64, 128, 1000, 16), gpt(2, 320, 64, 512, 200, 8),
        gpt(1, 1024, 64, 512, 10'240, 4), gpt(1, 768, 64, 256, 30'000, 4, 2), gpt(1, 1024, 128, 1024, 100, 4),
        gpt(1, 256, 64, 2048, 256, 2)})
    models.push_back(model);
  return models;
}

Result<Profile> calibrate(const CalibrateOptions& options) {
  SUANLI_CHECK(options.threads >= 1 && !options.arithmetics.empty());
  return Calibration(options).run();
}

}  // namespace suanli::plan
