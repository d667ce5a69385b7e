#include "suanli/route/balance.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include "suanli/route/placement_advice.h"
#include "suanli/route/placement_cost.h"
#include "suanli/route/schedule.h"
#include "suanli/route/worker_rows.h"

namespace suanli::route {
namespace {

constexpr std::int64_t kRowCells = 30'000'000;    // of PlacementCost::cut(), for rows and their splits
constexpr std::int64_t kMoveCells = 15'000'000;   // for moves
constexpr std::size_t kMoved = 3;                 // drafts that moves improve
constexpr std::size_t kBest = 6;                  // drafts whose steps are simulated, and
constexpr std::size_t kStageCounts = 8;           // the best of each number of stages, of so many numbers
constexpr std::int64_t kSimulatedWork = 200'000;  // works in all simulations, more or less
constexpr int kCredits[] = {2, 4, 8, 16};
constexpr double kWorthwhile = 0.98;  // more credits cost memory: only if they take as much off the step

class Search {
 public:
  explicit Search(const Demand& demand) : demand_(demand), cost_(demand), near_(near_row(cost_)) {}

  // Nothing if the workers' memory does not hold the job.
  Result<std::optional<Placed>> run() {
    look(/*for_one=*/false);
    if (drafts_.empty()) try_chains();
    if (drafts_.empty()) return std::optional<Placed>();
    rank();
    const std::vector<Draft> best = std::vector<Draft>(
        drafts_.begin(), drafts_.begin() + static_cast<std::ptrdiff_t>(std::min(kMoved, drafts_.size())));
    most_cells_ = cost_.cells();
    for (const Draft& draft : best) {
      most_cells_ += kMoveCells / static_cast<std::int64_t>(kMoved);
      improve(draft);
    }
    rank();
    return simulate();
  }
  // Whether run() finds any.
  bool finds() {
    try_chains();
    if (drafts_.empty()) look(/*for_one=*/true);
    return !drafts_.empty();
  }

 private:
  void look(bool for_one) {
    for (const Group& row : rows_to_try(cost_, demand_, near_)) {
      if (cost_.cells() > kRowCells || (for_one && !drafts_.empty())) return;
      for (const std::vector<Group>& groups : splits(row, demand_, cost_.block_count())) try_groups(groups);
      if (demand_.lanes || demand_.replicas != 0) try_equal_groups(row);
    }
  }

  // Of each number of stages: runs of the row, so near workers, are lanes.
  void try_equal_groups(const Group& row) {
    for (std::size_t stages = 1; stages <= std::min(row.size(), cost_.block_count()); ++stages) {
      std::vector<Group> groups;
      const std::size_t most = std::min(row.size() / stages, static_cast<std::size_t>(demand_.micro_batches));
      for (std::size_t lanes = demand_.replicas == 0 ? most : demand_.replicas; lanes > 0 && lanes <= most; lanes /= 2) {
        groups.assign(stages, {});
        for (std::size_t i = 0; i < lanes * stages; ++i) groups[i % stages].push_back(row[i]);
        // Of more lanes each worker holds more packed tensors.
        if (try_groups(groups) || demand_.replicas != 0) break;
      }
    }
  }

  bool are_lanes(const std::vector<Group>& groups) const {
    return std::ranges::all_of(groups, [&](const Group& group) {
      return group.size() == groups.front().size() && static_cast<std::int64_t>(group.size()) <= demand_.micro_batches;
    });
  }

  // Puts the better of two cuts of these groups among the drafts: one with all the slots that 1F1B asks for, one with fewer.
  std::optional<Draft> try_groups(const std::vector<Group>& groups) {
    if (demand_.stages != 0 && groups.size() != demand_.stages) return {};
    std::optional<Draft> best;
    if (demand_.lanes && !are_lanes(groups)) return best;
    const auto replicas_differ = [&](const Group& group) { return group.size() != demand_.replicas; };
    if (demand_.replicas != 0 && std::ranges::any_of(groups, replicas_differ)) return best;
    for (bool full_slots : {true, false}) {
      std::optional<Draft> draft = cost_.cut(groups, full_slots);
      if (!draft) continue;
      if (!best || draft->step < best->step) best = draft;
      drafts_.push_back(*std::move(draft));
    }
    return best;
  }

  void try_chains() {
    std::vector<Bytes> memory;
    for (const WorkerPower& power : demand_.workers) memory.push_back(power.memory);
    for (const Group& order : chain_orders(memory, near_))
      if (const auto placement = cost_.chain(order, memory)) try_groups(placement->stages);
  }

  // Keeps the fastest, and the fastest of each number of stages, because the closed form judges depth less well than it judges
  // cuts. The fastest first, each placement once.
  void rank() {
    std::ranges::stable_sort(drafts_, {}, &Draft::step);
    std::vector<Draft> kept;
    std::set<std::size_t> counts;
    for (Draft& draft : drafts_) {
      const std::size_t count = draft.placement.stages.size();
      const bool new_count = (count == 1 || counts.size() < kStageCounts) && counts.insert(count).second;
      if (!new_count && kept.size() >= kBest) continue;
      const bool known = std::ranges::any_of(kept, [&](const Draft& other) { return other.placement == draft.placement; });
      if (!known) kept.push_back(std::move(draft));
    }
    drafts_ = std::move(kept);
  }

  // Moves of one worker, or swaps of two, as long as one makes the step shorter.
  void improve(Draft draft) {
    while (cost_.cells() < most_cells_) {
      std::optional<Draft> best;
      for_each_move(draft.placement, [&](const std::vector<Group>& groups) {
        const auto moved = try_groups(groups);
        if (moved && moved->step < (best ? best->step : draft.step)) best = moved;
      });
      if (!best) return;
      draft = *std::move(best);
    }
  }

  void for_each_move(const Placement& placement, const std::function<void(const std::vector<Group>&)>& visit) const {
    const std::size_t count = placement.stages.size();
    std::vector<std::size_t> stage_of(cost_.worker_count(), count);  // count: stands by
    for (std::size_t s = 0; s < count; ++s)
      for (WorkerIndex worker : placement.stages[s]) stage_of[static_cast<std::size_t>(worker)] = s;
    const auto show = [&] {
      std::vector<Group> groups(count);
      for (std::size_t w = 0; w < stage_of.size(); ++w)
        if (stage_of[w] < count) groups[stage_of[w]].push_back(static_cast<WorkerIndex>(w));
      std::erase_if(groups, [](const Group& group) { return group.empty(); });
      if (!groups.empty() && cost_.cells() < most_cells_) visit(groups);
    };
    for (std::size_t a = 0; a < stage_of.size(); ++a) {
      const std::size_t home = stage_of[a];
      for (std::size_t to = 0; to <= count && cost_.cells() < most_cells_; ++to) {
        stage_of[a] = to;
        if (to != home) show();
      }
      stage_of[a] = home;
      for (std::size_t b = 0; b < a && cost_.cells() < most_cells_; ++b) {
        if (stage_of[a] == stage_of[b]) continue;
        std::swap(stage_of[a], stage_of[b]);
        show();
        std::swap(stage_of[a], stage_of[b]);
      }
    }
  }

  Result<std::optional<Placed>> simulate() {
    std::optional<Placed> best;
    std::int64_t work = 0;
    for (const Draft& draft : drafts_) {
      // The closed form seldom says too much, and drafts are in its order.
      if (best && (work > kSimulatedWork || draft.step >= best->step_time)) break;
      const Placement& placement = draft.placement;
      Seconds with_fewer{0};
      for (int credits : kCredits) {
        work += 2 * demand_.micro_batches * static_cast<std::int64_t>(placement.stages.size());
        SUANLI_ASSIGN_OR_RETURN(std::optional<Placed> placed, make(placement, credits));
        if (!placed) break;  // no memory for so many
        if (credits > kCredits[0] && placed->step_time > with_fewer * kWorthwhile) break;
        with_fewer = placed->step_time;
        if (!best || placed->step_time < best->step_time) best = std::move(placed);
      }
    }
    return best;
  }

  Result<std::optional<Placed>> make(const Placement& placement, int credits) const {
    Placed placed;
    placed.speeds = cost_.speeds(placement);
    placed.memory_of.resize(cost_.worker_count());
    ScheduleOptions options{.most_slots_of = std::vector<int>(cost_.worker_count()), .credits = credits, .lanes = demand_.lanes};
    const std::vector<std::size_t> bounds = stage_bounds(placement.cut, cost_.block_count());
    const auto usable = [&](WorkerIndex worker) {
      return cost_.memory().usable(demand_.workers[static_cast<std::size_t>(worker)].memory);
    };
    for (std::size_t s = 0; s < placement.stages.size(); ++s) {
      const std::size_t replicas = placement.stages[s].size();
      StageLoad load{bounds[s], bounds[s + 1], 1, credits, 0, replicas};
      load.micro_batches = cost_.most_micro_batches(replicas, most_of(placement.stages[s]));
      for (WorkerIndex worker : placement.stages[s]) {
        if (cost_.memory().total(load) > usable(worker)) return std::optional<Placed>();
        options.most_slots_of[static_cast<std::size_t>(worker)] = cost_.slots_that_fit(load, usable(worker));
      }
    }
    SUANLI_ASSIGN_OR_RETURN(placed.table, make_route_table(placement, demand_.micro_batches, placed.speeds, options));
    for (std::size_t s = 0; s < placement.stages.size(); ++s)
      for (WorkerIndex worker : placement.stages[s]) {
        const WorkerOrder& order = placed.table.orders[static_cast<std::size_t>(worker)];
        const StageLoad load{bounds[s],  bounds[s + 1], order.slots, credits, static_cast<std::int64_t>(order.work.size() / 2),
                             placement.stages[s].size()};
        Bytes& taken = placed.memory_of[static_cast<std::size_t>(worker)];
        taken = cost_.memory().total(load);
        if (taken > usable(worker)) return std::optional<Placed>();
      }
    placed.exchange = cost_.exchange(placement);
    placed.step_time = simulated_step_time(placed.table, placed.speeds) + placed.exchange;
    return std::optional<Placed>(std::move(placed));
  }

  // Of the replicas of a stage, the micro-batches of the one with most.
  std::int64_t most_of(const Group& group) const {
    std::vector<Seconds> each;
    for (WorkerIndex worker : group) each.push_back(Seconds(1 / demand_.workers[static_cast<std::size_t>(worker)].rate.value()));
    return std::ranges::max(shares(demand_.micro_batches, each));
  }

  const Demand& demand_;
  PlacementCost cost_;
  const Group near_;
  std::vector<Draft> drafts_;
  std::int64_t most_cells_ = 0;
};

}  // namespace

Result<Placed> BalancedPlacer::place(const Demand& demand) const {
  SUANLI_RETURN_IF_ERROR(check_demand(demand));
  SUANLI_RETURN_IF_ERROR(check_wishes(demand));
  SUANLI_ASSIGN_OR_RETURN(std::optional<Placed> placed, Search(demand).run());
  if (placed) return *std::move(placed);
  return too_small(demand, [](const Demand& other) { return Search(other).finds(); });
}

}  // namespace suanli::route
