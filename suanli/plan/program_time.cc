#include "suanli/plan/program_time.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/plan/rate_table.h"

namespace suanli::plan {
namespace {

double bytes_of(const engine::Value& value) { return static_cast<double>(value.type.bytes().value()); }

// What a step does beside its calls: it clears accumulators (written once) and copies state that no kernel updates in place.
double bytes_beside_calls(const engine::Program& program) {
  double bytes = static_cast<double>(program.memory.accumulators.value());
  for (const auto& copy : program.state_copies) bytes += 2 * bytes_of(program.values[static_cast<std::size_t>(copy.to)]);
  return bytes;
}

void add(Interval& sum, const Interval& interval) {
  sum.low += interval.low;
  sum.expected += interval.expected;
  sum.high += interval.high;
}

}  // namespace

Result<ProgramTime> program_time(const engine::Program& program, const Profile& profile) {
  const engine::Arithmetic arithmetic = program.target.arithmetic;
  const std::string dtype(engine::name_of(arithmetic));
  if (arithmetic == engine::Arithmetic::exact)
    return fail(ErrorCode::unsupported, "calibrations measure nothing of exact arithmetic", "train.dtype",
                "plan the job in bf16 (--set train.dtype=bf16), and count on about twice its time");
  const bool has_kernels =
      std::ranges::any_of(profile.kernels, [&](const KernelRate& rate) { return rate.arithmetic == arithmetic; });
  if (profile.peak(arithmetic) == nullptr || !has_kernels)
    return fail(ErrorCode::usage, "the profile holds nothing of " + dtype + " arithmetic", "profile",
                "calibrate with `suanli calibrate --dtype " + dtype + "`, or run the job in another arithmetic");
  const RateTable table(profile, arithmetic);
  ProgramTime result;
  for (const graph::Phase phase : {graph::Phase::forward, graph::Phase::backward, graph::Phase::update}) {
    const double runs = phase == graph::Phase::update ? 1 : static_cast<double>(program.micro_batches);
    const auto& calls = calls_of(program, phase);
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const CallClass call = classify(calls[i]);
      const RateTable::Estimate estimate = table.estimate(call);
      if (!estimate.is_measured && std::ranges::find(result.unmeasured, call.kind) == result.unmeasured.end())
        result.unmeasured.push_back(call.kind);
      result.calls.push_back({.phase = phase,
                              .index = i,
                              .kind = call.kind,
                              .flops = call.flops * runs,
                              .bytes = call.bytes * runs,
                              .seconds = scaled(estimate.seconds, runs),
                              .is_memory_bound = estimate.is_memory_bound});
      add(result.step_seconds, result.calls.back().seconds);
    }
  }
  // Waiting between calls, looking at results: measured as a share.
  for (const Profile::Overhead& overhead : profile.step_overheads) {
    if (overhead.arithmetic != arithmetic) continue;
    const Interval calls = result.step_seconds;
    result.step_seconds = {calls.low * overhead.factor.low, calls.expected * overhead.factor.expected,
                           calls.high * overhead.factor.high};
  }
  const double beside = bytes_beside_calls(program);
  add(result.step_seconds, {beside / profile.copy.high, beside / profile.copy.expected, beside / profile.copy.low});
  const Interval& step = result.step_seconds;
  if (!(step.low > 0 && std::isfinite(step.low) && std::isfinite(step.expected) && std::isfinite(step.high)))
    return fail(ErrorCode::corrupt,
                format("by this profile a step takes %g to %g s, which cannot be", step.low, step.high), "profile",
                "make a new one with `suanli calibrate`");
  return result;
}

}  // namespace suanli::plan
