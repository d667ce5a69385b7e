// What a placement of a demand takes: times, bytes, cuts. The arithmetic that BalancedPlacer's search stands on.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "suanli/route/balance.h"
#include "suanli/route/stage_memory.h"

namespace suanli::route {

using Group = std::vector<WorkerIndex>;  // replicas of one stage

// A placement with what the closed form says of it.
struct Draft {
  Placement placement;
  Seconds step{0};
};

// Thread rule: const members from any thread, except that cells() counts work: one thread.
class PlacementCost {
 public:
  // The demand must outlive it. Line measures are asked for once.
  explicit PlacementCost(const Demand& demand);

  std::size_t block_count() const { return demand_.blocks.size(); }
  std::size_t worker_count() const { return demand_.workers.size(); }
  const StageMemory& memory() const { return memory_; }
  // The most slots that a worker's usable memory allows, at least 1 (then it may not fit at all), at most the micro-batches.
  int slots_that_fit(StageLoad load, Bytes usable) const;
  // The most micro-batches that one of so many replicas runs, of which the one with most has `share` by speed.
  std::int64_t most_micro_batches(std::size_t replicas, std::int64_t share) const;
  // From one worker to the other and back, for the largest value that crosses anywhere: how far apart they are.
  Seconds distance(WorkerIndex a, WorkerIndex b) const;

  Speeds speeds(const Placement& placement) const;
  Seconds exchange(const Placement& placement) const;

  // The best legal cuts for these groups, one stage each, in this order; nothing if no cut fits or a replica would have no
  // micro-batch. `full_slots`: memory must hold as many slots as 1F1B asks for, else one.
  std::optional<Draft> cut(const std::vector<Group>& groups, bool full_slots);
  // Innermost steps taken by cut() so far: a measure of time that is the same on every machine.
  std::int64_t cells() const { return cells_; }

  // Each worker a stage of its own or left out, in this order, with one slot and this memory (index: worker); nothing if it does
  // not fit.
  std::optional<Placement> chain(const Group& order, const std::vector<Bytes>& memory) const;
  // The least usable memory that is enough for a cut into so many stages of so many replicas each, if every worker has it;
  // nothing if no such cut is legal.
  std::optional<Bytes> least_of_each(std::size_t stages, std::size_t replicas) const;

 private:
  struct Stage {  // a group's figures
    double rate = 0;  // at which it runs micro-batches together
    Bytes memory;     // the least of a member that is usable
    std::int64_t micro_batches = 0;  // the most of a member
    std::size_t replicas = 1;
    double forward = 0, backward = 0;  // seconds for one byte to and from the next group, over all lines between them
    double delay = 0;                  // to the next group and back
    std::int64_t slots = 1;            // that memory must hold
  };
  std::vector<Stage> figures(const std::vector<Group>& groups, bool full_slots) const;
  Seconds estimate(const std::vector<Group>& groups, const std::vector<Stage>& stages,
                   const std::vector<std::size_t>& ends) const;
  double crossing(const Stage& stage, std::size_t end) const;
  std::size_t cell(WorkerIndex a, WorkerIndex b) const {
    return static_cast<std::size_t>(a) * worker_count() + static_cast<std::size_t>(b);
  }
  bool may_end(std::size_t end) const {
    return end == block_count() ||
           (demand_.legal_cut[end - 1] && (demand_.wanted_cut.empty() || demand_.wanted_cut[end - 1]));
  }

  const Demand& demand_;
  std::vector<double> delay_, per_byte_;               // [from, to], seconds
  std::vector<double> forward_, backward_;             // sums of Flops before block i
  StageMemory memory_;
  std::int64_t largest_crossing_ = 0;
  std::int64_t cells_ = 0;
};

// The first block of each stage, and the number of blocks at the end.
std::vector<std::size_t> stage_bounds(const graph::Cut& cut, std::size_t blocks);

}  // namespace suanli::route
