#include "suanli/plan/fleet_step.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "suanli/base/error.h"

namespace suanli::plan {
namespace {

Interval busy(const MachinePace& pace, std::int64_t share) {
  const auto count = static_cast<double>(share);
  return {count * pace.micro_batch.low + pace.update.low, count * pace.micro_batch.expected + pace.update.expected,
          count * pace.micro_batch.high + pace.update.high};
}

}  // namespace

std::vector<std::int64_t> balanced_shares(std::span<const MachinePace> machines, std::int64_t micro_batches) {
  std::vector<std::int64_t> shares(machines.size(), 0);
  using Turn = std::pair<double, std::size_t>;  // when the machine would end its next micro-batch
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  for (std::size_t i = 0; i < machines.size(); ++i) turns.emplace(busy(machines[i], 1).expected, i);
  for (std::int64_t given = 0; given < micro_batches; ++given) {
    const std::size_t next = turns.top().second;
    turns.pop();
    ++shares[next];
    turns.emplace(busy(machines[next], shares[next] + 1).expected, next);
  }
  return shares;
}

Seconds ring_all_reduce(Bytes bytes, std::int64_t machines, BytesPerSecond rate, Seconds delay) {
  if (machines <= 1) return Seconds(0);
  const auto count = static_cast<double>(machines), messages = 2 * (count - 1);
  return Seconds(messages * (static_cast<double>(bytes.value()) / count / rate.value() + delay.value()));
}

FleetStep fleet_step(std::span<const MachinePace> machines, std::int64_t micro_batches, Bytes gradients, BytesPerSecond rate,
                     Seconds delay) {
  SUANLI_CHECK(!machines.empty() && micro_batches > 0);
  FleetStep step;
  step.shares = balanced_shares(machines, micro_batches);
  for (std::size_t i = 0; i < machines.size(); ++i) {
    if (step.shares[i] == 0) continue;
    ++step.working;
    const Interval time = busy(machines[i], step.shares[i]);
    if (time.expected > step.compute.expected) step.hideable = machines[i].micro_batch.expected * machines[i].backward_share;
    step.compute = {std::max(step.compute.low, time.low), std::max(step.compute.expected, time.expected),
                    std::max(step.compute.high, time.high)};
  }
  step.all_reduce = ring_all_reduce(gradients, step.working, rate, delay).value();
  step.hideable = std::min(step.hideable, step.all_reduce);
  return step;
}

}  // namespace suanli::plan
