#include "suanli/plan/exchange.h"

#include <algorithm>
#include <cmath>

namespace suanli::plan {
namespace {

using engine::Arithmetic;

// In a second, of a figure in seconds.
Interval per_second(const Interval& seconds) { return {1 / seconds.high, 1 / seconds.expected, 1 / seconds.low}; }

// The pairs of arithmetics to compare in: as the sides say, else all that both have.
std::vector<std::pair<Arithmetic, Arithmetic>> arithmetics_of(const Side& a, const Side& b) {
  std::vector<std::pair<Arithmetic, Arithmetic>> pairs;
  for (const Profile::Peak& of_a : a.profile->peaks)
    for (const Profile::Peak& of_b : b.profile->peaks) {
      const bool wanted_a = !a.arithmetic || *a.arithmetic == of_a.arithmetic;
      const bool wanted_b = !b.arithmetic || *b.arithmetic == of_b.arithmetic;
      const bool chosen = a.arithmetic && b.arithmetic;
      if (wanted_a && wanted_b && (chosen || of_a.arithmetic == of_b.arithmetic))
        pairs.emplace_back(of_a.arithmetic, of_b.arithmetic);
    }
  // Only one side chose, and the other has not that arithmetic alone: each of the other's is shown against it.
  if (pairs.empty())
    for (const Profile::Peak& of_a : a.profile->peaks)
      for (const Profile::Peak& of_b : b.profile->peaks)
        if ((!a.arithmetic || *a.arithmetic == of_a.arithmetic) && (!b.arithmetic || *b.arithmetic == of_b.arithmetic))
          pairs.emplace_back(of_a.arithmetic, of_b.arithmetic);
  return pairs;
}

std::string dtypes_text(Arithmetic a, Arithmetic b) {
  const std::string first(engine::name_of(a)), second(engine::name_of(b));
  return a == b ? first : first + " : " + second;
}

void add(std::vector<Exchange>& list, std::string group, std::string subject, std::string unit, const Interval& a,
         const Interval& b, std::string why) {
  list.push_back({std::move(group), std::move(subject), std::move(unit), a, b, ratio_of(a, b), std::move(why)});
}

std::string part_of(const CallEstimate& call) {
  if (call.phase == graph::Phase::update) return "update";
  if (call.kind.starts_with("matmul")) return "products";
  if (call.kind.starts_with("attention")) return "attention";
  if (call.kind.starts_with("vocabulary") || call.kind.starts_with("softmax_cross_entropy") ||
      call.kind.starts_with("embedding"))
    return "vocabulary";
  return "norms and elementwise";
}

ExchangePart& part_named(std::vector<ExchangePart>& parts, const std::string& name) {
  const auto found = std::ranges::find(parts, name, &ExchangePart::name);
  if (found != parts.end()) return *found;
  parts.push_back({.name = name});
  return parts.back();
}

// Adds one side's calls to the parts; what a step takes beside them is a part of its own.
void add_side(std::vector<ExchangePart>& parts, const ProgramTime& time, double ExchangePart::*seconds,
              double ExchangePart::*memory) {
  double calls = 0;
  for (const CallEstimate& call : time.calls) {
    ExchangePart& part = part_named(parts, part_of(call));
    part.*seconds += call.seconds.expected;
    if (call.is_memory_bound) part.*memory += call.seconds.expected;
    calls += call.seconds.expected;
  }
  part_named(parts, "between calls").*seconds += std::max(0.0, time.step_seconds.expected - calls);
}

bool is_same_calibration(const Profile& a, const Profile& b) {
  return a.host == b.host && a.machine == b.machine && a.time == b.time && a.threads == b.threads;
}

}  // namespace

Interval ratio_of(const Interval& a, const Interval& b) {
  const double expected = b.expected / a.expected;
  const double up = std::hypot(std::log(b.high / b.expected), std::log(a.expected / a.low));
  const double down = std::hypot(std::log(b.expected / b.low), std::log(a.high / a.expected));
  return {expected * std::exp(-down), expected, expected * std::exp(up)};
}

std::vector<Exchange> exchange_of_devices(const Side& a, const Side& b) {
  std::vector<Exchange> list;
  for (const auto& [of_a, of_b] : arithmetics_of(a, b)) {
    const std::string dtypes = dtypes_text(of_a, of_b);
    const Profile::Peak &peak_a = *a.profile->peak(of_a), &peak_b = *b.profile->peak(of_b);
    add(list, "limit", dtypes + " products at the limit", "FLOP/s", peak_a.flops_per_second, peak_b.flops_per_second,
        "loops with nothing in their way: " + (peak_a.loop == peak_b.loop ? peak_a.loop : peak_a.loop + " : " + peak_b.loop));
    for (const MatmulRate& rate_a : a.profile->matmuls)
      for (const MatmulRate& rate_b : b.profile->matmuls)
        if (rate_a.arithmetic == of_a && rate_b.arithmetic == of_b && rate_a.shape_class == rate_b.shape_class &&
            rate_a.m == rate_b.m && rate_a.n == rate_b.n && rate_a.k == rate_b.k)
          add(list, "matrix product", dtypes + " matrix product (" + rate_a.shape_class + ")", "FLOP/s",
              rate_a.flops_per_second, rate_b.flops_per_second,
              std::to_string(rate_a.m) + " x " + std::to_string(rate_a.n) + " x " + std::to_string(rate_a.k) +
                  ", as the engine computes it");
  }
  const Profile &pa = *a.profile, &pb = *b.profile;
  add(list, "other", "elementwise", "FLOP/s", pa.elementwise, pb.elementwise, "f32 multiply-adds in registers");
  add(list, "memory", "reading memory", "B/s", pa.read, pb.read, "what norms, elementwise regions and the update wait for");
  add(list, "memory", "copying memory", "B/s", pa.copy, pb.copy, "bytes read and bytes written");
  add(list, "other", "launches of calls", "1/s", per_second(pa.launch_seconds), per_second(pb.launch_seconds),
      "what very small models wait for");
  if (pa.disk && pb.disk) {
    add(list, "disk", "writing to disk", "B/s", pa.disk->write, pb.disk->write, "checkpoints, until they are durable");
    add(list, "disk", "small durable writes", "1/s", per_second(pa.disk->sync_seconds), per_second(pb.disk->sync_seconds),
        "what every checkpoint ends with");
  }
  // One calibration against itself: what is the same figure is the same, not merely as likely to be.
  if (is_same_calibration(pa, pb))
    for (Exchange& each : list)
      if (each.a == each.b) each.ratio = Interval::exactly(1);
  return list;
}

Result<JobExchange> exchange_of_job(const std::string& job, const engine::Program& a_program, const Profile& a,
                                    const engine::Program& b_program, const Profile& b) {
  SUANLI_ASSIGN_OR_RETURN(const ProgramTime a_time, program_time(a_program, a));
  SUANLI_ASSIGN_OR_RETURN(const ProgramTime b_time, program_time(b_program, b));
  JobExchange found;
  found.job = job;
  found.a_arithmetic = a_program.target.arithmetic;
  found.b_arithmetic = b_program.target.arithmetic;
  found.flops = a_program.step_flops;
  found.a_seconds = a_time.step_seconds;
  found.b_seconds = b_time.step_seconds;
  const bool is_same =
      is_same_calibration(a, b) && found.a_arithmetic == found.b_arithmetic && found.a_seconds == found.b_seconds;
  found.ratio = is_same ? Interval::exactly(1) : ratio_of(b_time.step_seconds, a_time.step_seconds);
  add_side(found.parts, a_time, &ExchangePart::a_seconds, &ExchangePart::a_memory_share);
  add_side(found.parts, b_time, &ExchangePart::b_seconds, &ExchangePart::b_memory_share);
  for (ExchangePart& part : found.parts) {
    if (part.a_seconds > 0) part.a_memory_share /= part.a_seconds;
    if (part.b_seconds > 0) part.b_memory_share /= part.b_seconds;
  }
  std::ranges::stable_sort(found.parts, std::ranges::greater(), &ExchangePart::a_seconds);
  return found;
}

}  // namespace suanli::plan
