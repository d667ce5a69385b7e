#include "suanli/route/balance.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>

#include "suanli/base/text.h"
#include "suanli/route/placement_cost.h"
#include "suanli/route/schedule.h"
#include "suanli/route/worker_rows.h"

namespace suanli::route {
namespace {

constexpr std::size_t kMostPlaced = 1'024;        // workers: every pair's line is looked at
constexpr std::int64_t kRowCells = 30'000'000;    // of PlacementCost::cut(), for rows and their splits
constexpr std::int64_t kMoveCells = 15'000'000;   // for moves
constexpr std::size_t kMoved = 3;                 // drafts that moves improve
constexpr std::size_t kBest = 6;                  // drafts whose steps are simulated, and
constexpr std::size_t kStageCounts = 8;           // the best of each number of stages, of so many numbers
constexpr std::int64_t kSimulatedWork = 200'000;  // works in all simulations, more or less
constexpr int kCredits[] = {2, 4, 8, 16};
constexpr double kWorthwhile = 0.98;  // more credits cost memory: only if they take as much off the step
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;  // of all blocks together, so that no sum overflows

Status check_demand(const Demand& demand) {
  const auto wrong = [](std::string message) { return fail(ErrorCode::config, std::move(message), "demand"); };
  if (demand.blocks.empty() || demand.blocks.size() > kMostStages)
    return wrong(std::to_string(demand.blocks.size()) + " blocks; 1 to " + std::to_string(kMostStages) + " are possible");
  if (demand.legal_cut.size() + 1 != demand.blocks.size())
    return wrong(std::to_string(demand.blocks.size()) + " blocks have " + std::to_string(demand.legal_cut.size()) +
                 " boundaries said to be legal or not");
  if (demand.micro_batches < 1 || demand.micro_batches > kMostMicroBatches / static_cast<std::int64_t>(demand.blocks.size()))
    return wrong(std::to_string(demand.micro_batches) + " micro-batches are none or too many");
  if (demand.workers.empty() || demand.workers.size() > kMostPlaced)
    return wrong(std::to_string(demand.workers.size()) + " workers; 1 to " + std::to_string(kMostPlaced) + " are possible");
  for (std::size_t w = 0; w < demand.workers.size(); ++w)
    if (!std::isfinite(demand.workers[w].rate.value()) || demand.workers[w].rate <= FlopsPerSecond(0) ||
        demand.workers[w].memory < Bytes(0))
      return wrong("worker " + std::to_string(w) + " has no possible rate or memory");
  std::int64_t bytes = 0;
  for (const BlockCost& block : demand.blocks) {
    if (!std::isfinite((block.forward + block.backward).value()) || block.forward < Flops(0) || block.backward < Flops(0))
      return wrong("a block has no possible number of operations");
    for (Bytes each : {block.state, block.stash, block.forward_out, block.backward_in}) {
      if (each < Bytes(0) || each.value() > kMostBytes - bytes) return wrong("the blocks have no possible number of bytes");
      bytes += each.value();
    }
  }
  const auto most = std::min(demand.workers.size(), 1 + static_cast<std::size_t>(std::ranges::count(demand.legal_cut, true)));
  if (demand.stages > most)
    return fail(ErrorCode::config,
                std::to_string(demand.stages) + " stages are asked for; " + std::to_string(demand.workers.size()) +
                    " workers are there, and the job can be cut into " +
                    std::to_string(1 + std::ranges::count(demand.legal_cut, true)),
                "placement", "set pool.stages to at most " + std::to_string(most) + ", or to 0");
  const std::size_t there = std::max<std::size_t>(demand.stages, 1), workers = demand.workers.size();
  if (demand.replicas > workers / there || static_cast<std::int64_t>(demand.replicas) > demand.micro_batches)
    return fail(ErrorCode::config,
                std::to_string(demand.replicas) + " replicas of " +
                    (there == 1 ? "a stage" : "each of " + std::to_string(there) + " stages") + " are asked for; " +
                    std::to_string(workers) + " workers and " + std::to_string(demand.micro_batches) +
                    " micro-batches are there",
                "placement",
                "set pool.replicas to at most " +
                    std::to_string(std::min(static_cast<std::int64_t>(workers / there), demand.micro_batches)) + ", or to 0");
  return {};
}

// To the three digits that format_bytes() shows, so that who gives what is printed gives enough.
Bytes rounded_up(Bytes bytes) {
  std::int64_t unit = 1;
  while (bytes.value() / unit >= 1024) unit *= 1024;
  const double units = static_cast<double>(bytes.value()) / static_cast<double>(unit);
  const double digits = units < 10 ? 100 : units < 100 ? 10 : 1;
  return Bytes(static_cast<std::int64_t>(std::ceil(std::ceil(units * digits) / digits * static_cast<double>(unit))));
}

class Search {
 public:
  explicit Search(const Demand& demand) : demand_(demand), cost_(demand), near_(near_row(cost_)) {}

  Result<Placed> run() {
    for (const Group& row : rows_to_try(cost_, demand_, near_)) {
      if (cost_.cells() > kRowCells) break;
      for (const std::vector<Group>& groups : splits(row, demand_, cost_.block_count())) try_groups(groups);
      if (demand_.lanes || demand_.replicas != 0) try_equal_groups(row);
    }
    if (drafts_.empty()) try_chains();
    if (drafts_.empty()) return too_small();
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

 private:
  // Of each number of stages: runs of the row, so near workers, are lanes.
  void try_equal_groups(const Group& row) {
    for (std::size_t stages = 1; stages <= std::min(row.size(), cost_.block_count()); ++stages) {
      std::vector<Group> groups(stages);
      const std::size_t most = std::min(row.size() / stages, static_cast<std::size_t>(demand_.micro_batches));
      const std::size_t lanes = demand_.replicas == 0 ? most : demand_.replicas;
      if (lanes > most) continue;
      for (std::size_t i = 0; i < lanes * stages; ++i) groups[i % stages].push_back(row[i]);
      try_groups(groups);
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

  std::vector<Bytes> memories(Bytes at_least = Bytes(0)) const {
    std::vector<Bytes> memory;
    for (const WorkerPower& power : demand_.workers) memory.push_back(std::max(power.memory, at_least));
    return memory;
  }

  // Orders in which a chain of workers may fit where no balanced groups do.
  std::vector<Group> chain_orders(const std::vector<Bytes>& memory) const {
    Group largest(memory.size());
    std::iota(largest.begin(), largest.end(), 0);
    std::ranges::stable_sort(largest, std::greater<>(), [&](WorkerIndex w) { return memory[static_cast<std::size_t>(w)]; });
    std::vector<Group> orders = {largest, Group(largest.rbegin(), largest.rend())};
    if (memory.size() == near_.size()) {
      orders.push_back(near_);
      orders.emplace_back(near_.rbegin(), near_.rend());
    }
    return orders;
  }

  std::optional<Placement> chain(const std::vector<Bytes>& memory) const {
    for (const Group& order : chain_orders(memory))
      if (auto placement = cost_.chain(order, memory)) return placement;
    return {};
  }

  void try_chains() {
    for (const Group& order : chain_orders(memories()))
      if (const auto placement = cost_.chain(order, memories())) try_groups(placement->stages);
  }

  tl::unexpected<Error> too_small() const {
    Bytes pool(0);
    for (const WorkerPower& power : demand_.workers) pool += power.memory;
    const Bytes largest = std::ranges::max(demand_.workers, {}, &WorkerPower::memory).memory;
    // The least that would do if every worker had it; a worker with all of the job always does.
    Bytes low = Bytes(0), whole = cost_.memory(0, cost_.block_count(), 1, 0), high = whole;
    while (high - low > Bytes(1)) {
      const Bytes middle = low + (high - low) / 2;
      (chain(memories(middle)) ? high : low) = middle;
    }
    std::string next = "give every worker " + format_bytes(rounded_up(high));
    for (std::size_t more = 1; more <= cost_.block_count(); ++more) {
      std::vector<Bytes> memory = memories();
      memory.resize(memory.size() + more, largest);
      if (!chain(memory)) continue;
      next += ", or add " + std::to_string(more) + (more == 1 ? " worker of " : " workers of ") + format_bytes(largest);
      break;
    }
    const std::string count = std::to_string(demand_.workers.size()) + (demand_.workers.size() == 1 ? " worker" : " workers");
    const std::string sum = "state and one micro-batch take " + format_bytes(whole) + ", " + count + " together " +
                            (demand_.workers.size() == 1 ? "has " : "have ") + format_bytes(pool);
    return fail(ErrorCode::no_memory,
                whole > pool ? sum + ": " + format_bytes(whole - pool) + " are missing"
                             : sum + ", but no cut between blocks fits: the largest worker has " + format_bytes(largest) + ", " +
                                   format_bytes(high - std::min(largest, high)) + " short of what every one would need",
                "placement", next);
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

  Result<Placed> simulate() {
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
    SUANLI_CHECK(best.has_value());
    return *std::move(best);
  }

  Result<std::optional<Placed>> make(const Placement& placement, int credits) const {
    Placed placed;
    placed.speeds = cost_.speeds(placement);
    placed.memory_of.resize(cost_.worker_count());
    ScheduleOptions options{.most_slots_of = std::vector<int>(cost_.worker_count()), .credits = credits, .lanes = demand_.lanes};
    const std::vector<std::size_t> bounds = stage_bounds(placement.cut, cost_.block_count());
    for (std::size_t s = 0; s < placement.stages.size(); ++s) {
      for (WorkerIndex worker : placement.stages[s]) {
        const Bytes memory = demand_.workers[static_cast<std::size_t>(worker)].memory;
        if (cost_.memory(bounds[s], bounds[s + 1], 1, credits) > memory) return std::optional<Placed>();
        options.most_slots_of[static_cast<std::size_t>(worker)] =
            cost_.slots_that_fit(bounds[s], bounds[s + 1], memory, credits);
      }
    }
    SUANLI_ASSIGN_OR_RETURN(placed.table, make_route_table(placement, demand_.micro_batches, placed.speeds, options));
    for (std::size_t s = 0; s < placement.stages.size(); ++s)
      for (WorkerIndex worker : placement.stages[s])
        placed.memory_of[static_cast<std::size_t>(worker)] =
            cost_.memory(bounds[s], bounds[s + 1], placed.table.orders[static_cast<std::size_t>(worker)].slots, credits);
    placed.exchange = cost_.exchange(placement);
    placed.step_time = simulated_step_time(placed.table, placed.speeds) + placed.exchange;
    return std::optional<Placed>(std::move(placed));
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
  Result<Placed> placed = Search(demand).run();
  if (placed || placed.error().code != ErrorCode::no_memory || (demand.stages == 0 && demand.replicas == 0)) return placed;
  Demand free = demand;
  free.stages = free.replicas = 0;
  if (!Search(free).run()) return placed;
  return fail(ErrorCode::no_memory,
              "the workers' memory holds the job, but not with pool.stages = " + std::to_string(demand.stages) +
                  " and pool.replicas = " + std::to_string(demand.replicas),
              "placement", "leave pool.stages, pool.replicas and pool.split to the placer, or ask for more stages");
}

}  // namespace suanli::route
