#include "suanli/route/schedule.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>

#include "suanli/route/list_scheduling.h"

namespace suanli::route {
namespace {

using graph::Phase;

Seconds work_time(const Speeds& speeds, WorkerIndex worker) {
  return speeds.of(worker, Phase::forward) + speeds.of(worker, Phase::backward);
}

// A lane is as fast as its slowest worker.
std::vector<std::vector<WorkerIndex>> make_lanes(const Placement& placement, std::int64_t micro_batches, const Speeds& speeds) {
  std::vector<Seconds> each(placement.stages.front().size());
  for (const std::vector<WorkerIndex>& holders : placement.stages)
    for (std::size_t rank = 0; rank < each.size(); ++rank) each[rank] = std::max(each[rank], work_time(speeds, holders[rank]));
  std::vector<std::int64_t> share = shares(micro_batches, each);
  for (std::int64_t& own : share)
    if (own == 0) {
      --*std::ranges::max_element(share);
      own = 1;
    }
  std::vector<std::vector<WorkerIndex>> routes;
  for (const std::size_t rank : interleave(share)) {
    auto& route = routes.emplace_back();
    for (const std::vector<WorkerIndex>& holders : placement.stages) route.push_back(holders[rank]);
  }
  return routes;
}

std::vector<std::vector<WorkerIndex>> make_routes(const Placement& placement, std::int64_t micro_batches, const Speeds& speeds) {
  std::vector<std::vector<WorkerIndex>> routes(static_cast<std::size_t>(micro_batches));
  for (const std::vector<WorkerIndex>& holders : placement.stages) {
    std::vector<Seconds> each;
    for (WorkerIndex worker : holders) each.push_back(work_time(speeds, worker));
    const std::vector<std::size_t> replica = interleave(shares(micro_batches, each));
    for (std::size_t m = 0; m < routes.size(); ++m) routes[m].push_back(holders[replica[m]]);
  }
  return routes;
}

// [worker]: by Little's law a worker is busy all the time if it may have open as many micro-batches as come to it during the
// round trip of one, from its forward here to its backward here.
std::vector<int> busy_slots(const RouteTable& table, const Speeds& speeds) {
  const std::size_t stages = table.stage_count();
  std::vector<double> load(table.orders.size()), count(table.orders.size()), trip_sum(table.orders.size());
  for (const std::vector<WorkerIndex>& route : table.routes) {
    double trip = 0;
    for (std::size_t s = stages; s-- > 0;) {
      const auto w = static_cast<std::size_t>(route[s]);
      if (s + 1 < stages && speeds.hop)
        trip += (speeds.hop(route[s], route[s + 1], true) + speeds.hop(route[s + 1], route[s], false)).value();
      trip += work_time(speeds, route[s]).value();
      load[w] += work_time(speeds, route[s]).value();
      trip_sum[w] += trip;
      count[w] += 1;
    }
  }
  const double step = *std::max_element(load.begin(), load.end());
  std::vector<int> slots(table.orders.size(), 1);
  for (std::size_t w = 0; w < slots.size(); ++w) {
    if (count[w] == 0) continue;
    const double most = step > 0 ? trip_sum[w] / step : static_cast<double>(stages);
    slots[w] = static_cast<int>(std::clamp(std::ceil(most - 1e-6), 1.0, count[w]));
  }
  return slots;
}

std::vector<int> most_slots(const RouteTable& table, const Speeds& speeds, const ScheduleOptions& options) {
  std::vector<int> slots = options.most_slots > 0 ? std::vector<int>(table.orders.size(), options.most_slots)
                                                  : busy_slots(table, speeds);
  for (std::size_t w = 0; w < std::min(slots.size(), options.most_slots_of.size()); ++w)
    if (options.most_slots_of[w] > 0) slots[w] = std::min(slots[w], options.most_slots_of[w]);
  return slots;
}

Status check_counts(std::int64_t micro_batches, std::size_t stages, int credits) {
  if (micro_batches < 1 || micro_batches > kMostMicroBatches || static_cast<std::size_t>(micro_batches) * stages > kMostWork)
    return fail(ErrorCode::graph, std::to_string(micro_batches) + " micro-batches of " + std::to_string(stages) +
                                      " stages cannot be scheduled; at least one, and at most " + std::to_string(kMostWork) +
                                      " together, are possible");
  if (credits < 1 || credits > kMostCredits)
    return fail(ErrorCode::graph, "credits are " + std::to_string(credits) + ", not 1 to " + std::to_string(kMostCredits));
  return {};
}

}  // namespace

std::vector<std::int64_t> shares(std::int64_t micro_batches, const std::vector<Seconds>& each) {
  // The next micro-batch goes where it would end first, which makes the last end as early as can be. Nobody gets less that way
  // than its quota rounded down (as with D'Hondt's seats), so the turns begin there.
  double together = 0;  // micro-batches per second
  for (Seconds time : each) together += 1 / time.value();
  std::vector<std::int64_t> result(each.size());
  std::int64_t left = micro_batches;
  for (std::size_t k = 0; k < each.size() && std::isfinite(together); ++k) {
    const double quota = static_cast<double>(micro_batches) / (each[k].value() * together);
    result[k] = std::clamp<std::int64_t>(static_cast<std::int64_t>(quota - 1e-9), 0, left);
    left -= result[k];
  }
  struct Turn {
    double end;
    std::int64_t share;
    std::size_t replica;
    auto operator<=>(const Turn&) const = default;
  };
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  for (std::size_t k = 0; k < each.size(); ++k)
    turns.push({each[k].value() * static_cast<double>(result[k] + 1), result[k], k});
  for (; left > 0; --left) {
    const std::size_t k = turns.top().replica;
    turns.pop();
    ++result[k];
    turns.push({each[k].value() * static_cast<double>(result[k] + 1), result[k], k});
  }
  return result;
}

std::vector<std::size_t> interleave(const std::vector<std::int64_t>& shares) {
  // The j-th of n micro-batches of a replica belongs at (2 j + 1) / 2 n of the step.
  struct Turn {
    std::int64_t odd, share;
    std::size_t replica;
    bool operator>(const Turn& other) const {
      const std::int64_t left = odd * other.share, right = other.odd * share;
      return left != right ? left > right : replica > other.replica;
    }
  };
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  for (std::size_t k = 0; k < shares.size(); ++k)
    if (shares[k] > 0) turns.push({1, shares[k], k});
  std::vector<std::size_t> result;
  while (!turns.empty()) {
    const Turn turn = turns.top();
    turns.pop();
    result.push_back(turn.replica);
    if (turn.odd + 2 < 2 * turn.share) turns.push({turn.odd + 2, turn.share, turn.replica});
  }
  return result;
}

Result<RouteTable> make_route_table(Placement placement, std::int64_t micro_batches, const Speeds& speeds,
                                    const ScheduleOptions& options) {
  SUANLI_RETURN_IF_ERROR(check(speeds, placement));
  SUANLI_RETURN_IF_ERROR(check(placement, speeds.forward.size()));
  SUANLI_RETURN_IF_ERROR(check_counts(micro_batches, placement.stages.size(), options.credits));
  RouteTable table;
  table.credits = options.credits;
  if (options.lanes) {
    for (const std::vector<WorkerIndex>& holders : placement.stages)
      if (holders.size() != placement.stages.front().size() || static_cast<std::int64_t>(holders.size()) > micro_batches)
        return fail(ErrorCode::graph, "the stages do not have the same number of replicas, at most one for each micro-batch",
                    "placement");
  }
  table.routes = (options.lanes ? make_lanes : make_routes)(placement, micro_batches, speeds);
  table.placement = std::move(placement);
  table.orders.resize(speeds.forward.size());
  const std::vector<int> slots = most_slots(table, speeds, options);
  const auto with_at_most = [&](int most) -> Result<RouteTable> {
    std::vector<int> fewer;
    for (int each : slots) fewer.push_back(std::min(each, most));
    RouteTable tried = table;
    schedule_orders(tried, speeds, fewer);
    SUANLI_RETURN_IF_ERROR(check(tried, tried.orders.size()));
    return tried;
  };
  int stops = *std::ranges::max_element(slots), ends = 1;
  Result<RouteTable> best = with_at_most(stops);
  if (best || stops == 1) return best;
  // With one slot a worker that holds an output waits for its gradient anyway, so the step ends with any credits.
  best = with_at_most(ends);
  while (best && stops - ends > 1) {
    const int middle = ends + (stops - ends) / 2;
    Result<RouteTable> tried = with_at_most(middle);
    (tried ? ends : stops) = middle;
    if (tried) best = std::move(tried);
  }
  return best;
}

}  // namespace suanli::route
