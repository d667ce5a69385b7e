#include "suanli/plan/job_host.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/plan/power.h"
#include "suanli/plan/program_time.h"
#include "suanli/plan/snapshot_time.h"

namespace suanli::plan {
namespace {

// Initial values drawn per second, all threads (docs/benchmarks.md: 124 million in 0.61 to 0.79 s), and the rest of a start:
// process, graph, program, the product that MFU is measured against.
constexpr Interval kValuesPerSecond{1.2e8, 1.8e8, 2.5e8};
constexpr Interval kFixedStart{0.4, 0.8, 1.6};
constexpr Interval kDigestRate{0.5e9, 1.0e9, 2.0e9};

// Assumed: what a step takes over its roofline, for software that launches kernel after kernel.
constexpr Interval kOverRoofline{1.1, 1.5, 3.0};
constexpr double kUsualMatmulShare = 0.7;  // assumed: of the dense peak, where no product was measured
constexpr double kLaunch = 5e-6;           // assumed: seconds of a kernel that does next to nothing
constexpr Interval kDeviceCopy{5e9, 2e10, 5e10};  // assumed: bytes per second from an accelerator to its host

void set_start(JobHost& host, const JobPrograms& programs) {
  host.start = sum(kFixedStart, seconds_over(static_cast<double>(programs.parameters), kValuesPerSecond));
  host.start = sum(host.start, seconds_over(static_cast<double>(programs.dataset.value()), kDigestRate));
  host.start_source = "0.8 s, initial values at 180 M/s, the dataset's digests at 1 GB/s (docs/benchmarks.md)";
}

// What the programs of a job take.
struct Times {
  Interval step, evaluation, sample;
  double update_share = 0, backward_share = 0;  // of the step; of forward and backward
  std::vector<std::string> unmeasured;
};

double seconds_of(const ProgramTime& time, graph::Phase phase) {
  double seconds = 0;
  for (const CallEstimate& call : time.calls)
    if (call.phase == phase) seconds += call.seconds.expected;
  return seconds;
}

template <typename TimeOf>
Result<Times> times_of(const JobPrograms& programs, TimeOf time_of) {
  Times times;
  SUANLI_ASSIGN_OR_RETURN(const ProgramTime step, time_of(*programs.step));
  times.step = step.step_seconds;
  const double backward = seconds_of(step, graph::Phase::backward), update = seconds_of(step, graph::Phase::update);
  const double both = seconds_of(step, graph::Phase::forward) + backward;
  times.update_share = update / (both + update);
  times.backward_share = backward / both;
  times.unmeasured = step.unmeasured;
  if (programs.evaluation) {
    SUANLI_ASSIGN_OR_RETURN(const ProgramTime time, time_of(*programs.evaluation));
    times.evaluation = time.step_seconds;
  }
  if (programs.sample) {
    SUANLI_ASSIGN_OR_RETURN(const ProgramTime time, time_of(*programs.sample));
    times.sample = time.step_seconds;
  }
  return times;
}

void set_times(JobHost& host, const Times& times, const std::string& source) {
  host.compute = times.step;
  host.update_share = times.update_share;
  host.backward_share = times.backward_share;
  host.evaluation_batch = times.evaluation;
  host.sample_token = times.sample;
  host.compute_source = source;
  if (times.unmeasured.empty()) return;
  std::string list;
  for (const std::string& each : times.unmeasured) list += (list.empty() ? "" : ", ") + each;
  host.notes.push_back("the profile has no call like these, which are told from its limits: " + list);
}

void set_power_of(JobHost& host, const Profile& profile, std::optional<Watts> power) {
  MachinePower machine = machine_power(power, &profile, profile.threads);
  host.watts = machine.watts;
  host.watts_source = std::move(machine.source);
}

// The roofline (Williams, Waterman, Patterson, CACM 2009) of each call on an accelerator.
ProgramTime roofline(const engine::Program& program, FlopsPerSecond rate, BytesPerSecond bandwidth) {
  ProgramTime time;
  double seconds = 0;
  const auto add = [&](graph::Phase phase, const std::vector<engine::KernelCall>& calls, double runs) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const double computing = calls[i].flops / rate.value(), moving = calls[i].bytes / bandwidth.value();
      const double call = runs * (std::max(computing, moving) + kLaunch);
      time.calls.push_back({.phase = phase,
                            .index = i,
                            .kind = calls[i].spec.name,
                            .flops = runs * calls[i].flops,
                            .bytes = runs * calls[i].bytes,
                            .seconds = scaled(kOverRoofline, call),
                            .is_memory_bound = moving > computing});
      seconds += call;
    }
  };
  const auto runs = static_cast<double>(program.micro_batches);
  add(graph::Phase::forward, program.forward, runs);
  add(graph::Phase::backward, program.backward, runs);
  add(graph::Phase::update, program.update, 1);
  time.step_seconds = scaled(kOverRoofline, seconds);
  return time;
}

}  // namespace

Result<DeviceRate> device_rate(const Accelerator& device, engine::Arithmetic arithmetic) {
  if (arithmetic == engine::Arithmetic::exact)
    return fail(ErrorCode::unsupported, "exact arithmetic runs on no accelerator yet", "train.dtype",
                "plan the job in bf16: --set train.dtype=bf16");
  const bool is_bf16 = arithmetic == engine::Arithmetic::bf16;
  const auto peak_of = [&](std::string_view dtype) -> const Sourced<FlopsPerSecond>* {
    const auto found = device.dense_peak.find(dtype);
    return found == device.dense_peak.end() ? nullptr : &found->second;
  };
  const auto* half = peak_of("bf16") ? peak_of("bf16") : peak_of("fp16");
  const auto* peak = is_bf16 ? half : peak_of("tf32");
  if (!peak)
    return fail(ErrorCode::unsupported,
                "nothing is known of " + device.name + " in " + std::string(engine::name_of(arithmetic)) + " arithmetic", "--on",
                is_bf16 ? "choose another device" : "plan the job in bf16: --set train.dtype=bf16");
  if (device.measured_matmul && half) {
    const double share = device.measured_matmul->value / half->value;
    return DeviceRate{peak->value * share, peak->value, device.measured_matmul->source};
  }
  return DeviceRate{peak->value * kUsualMatmulShare, peak->value, "70 % (assumed) of the dense peak (" + peak->source + ")"};
}

Result<JobHost> profile_host(const Profile& profile, const std::string& source, const JobPrograms& programs,
                             std::optional<Watts> power) {
  JobHost host;
  host.name = printable(profile.host) + ": " + printable(profile.machine) + ", " + std::to_string(profile.threads) +
              (profile.threads == 1 ? " thread" : " threads");
  SUANLI_ASSIGN_OR_RETURN(const Times times,
                          times_of(programs, [&](const auto& program) { return program_time(program, profile); }));
  set_times(host, times, "each kernel call of the program, as " + source + " measured its class");
  set_start(host, programs);
  host.snapshot = snapshot_time(profile, programs.step->memory.state);
  host.snapshot_source = "the state's " + format_bytes(programs.step->memory.state) + ": memory and disk as " + source +
                         " measured them" + (profile.disk ? "" : " (no disk: 0.1 to 2 GB/s assumed)") +
                         ", one core at 0.35 to 1.4 GB/s (assumed) for digests";
  if (const Profile::Peak* peak = profile.peak(programs.step->target.arithmetic)) {
    host.dense_peak = peak->nominal;
    host.peak_source = format_si(peak->nominal, "FLOP/s") + ", " + printable(peak->loop) + " at the measured clock";
  }
  set_power_of(host, profile, power);
  return host;
}

Result<JobHost> device_host(const Accelerator& device, const JobPrograms& programs, std::optional<Watts> power) {
  JobHost host;
  host.name = device.name;
  SUANLI_ASSIGN_OR_RETURN(const DeviceRate rate, device_rate(device, programs.step->target.arithmetic));
  if (!device.bandwidth)
    return fail(ErrorCode::unsupported, "nothing is known of the memory bandwidth of " + device.name, "--on",
                "choose another device, or add it to a table of devices");
  const auto roofline_of = [&](const engine::Program& program) -> Result<ProgramTime> {
    return roofline(program, rate.matmul, device.bandwidth->value);
  };
  SUANLI_ASSIGN_OR_RETURN(const Times times, times_of(programs, roofline_of));
  set_times(host, times,
            "roofline, not measured: each call of our CPU program at " + format_si(rate.matmul.value(), "FLOP/s") + " (" +
                rate.source + ") or " + format_si(device.bandwidth->value.value(), "B/s") +
                ", x 1.1 to 3 (1.5 expected; assumed)");
  host.notes.push_back("suanli has not run on " + device.name + ": its step is a roofline over the calls of the CPU program");
  set_start(host, programs);
  const auto state = static_cast<double>(programs.step->memory.state.value());
  host.snapshot.copy = host.snapshot.stall = seconds_over(state, kDeviceCopy);
  host.snapshot.write = sum(seconds_over(state, kSnapshotRate), seconds_over(state, kUnknownDisk));
  host.snapshot_source = "assumed: 5 to 50 GB/s to the host, then 0.1 to 2 GB/s to disk";
  host.dense_peak = rate.dense_peak.value();
  host.peak_source = format_si(host.dense_peak, "FLOP/s") + ", dense, of " + device.name;
  if (power || device.power) {
    const double watts = power ? power->value() : device.power->value.value();
    host.watts = power ? Interval::exactly(watts) : Interval{0.7 * watts, watts, 1.8 * watts};
    host.watts_source = power ? "given" : "thermal design power, x 0.7 to 1.8 (assumed) for its share of the machine around it";
  } else {
    host.watts = {200, 500, 1200};
    host.watts_source = "assumed, an estimate, not measured: no power is known of " + device.name + "; --watts states it";
  }
  return host;
}

}  // namespace suanli::plan
