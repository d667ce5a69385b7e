// A placement of a job over unequal workers: which run of blocks is a stage, who holds it, who stands by.
//
//   Demand demand{.blocks = block_costs(graph), .legal_cut = legal_cuts(graph), .micro_batches = graph.micro_batches(),
//                 .workers = ..., .line = ...};
//   Result<Placed> placed = BalancedPlacer().place(demand);
//
// Placer is the interface that the planner's joint search will fill, too; BalancedPlacer is the simple one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/graph/graph.h"
#include "suanli/route/route_table.h"
#include "suanli/route/speeds.h"

namespace suanli::route {

// What one block of the graph asks for.
struct BlockCost {
  Flops forward{0}, backward{0};             // of one micro-batch
  Bytes state{0};                            // params, optimizer, gradient sums
  Bytes stash{0};                            // of one micro-batch, from its forward to its backward
  Bytes forward_out{0}, backward_in{0};      // crossing after this block, of one micro-batch; 0 after the last
  // What codecs add, by the formula of stage_memory.h; 0 without. Of one micro-batch that crosses after this block:
  Bytes first_out{0};  // forward_out at a sample's first visit, if it is more
  Bytes codec{0};      // what the program of the stage at either end takes more
  Bytes noted{0};      // what either end notes of the samples
  // Of a replica that packs what it exchanges with others:
  Bytes replica_own{0};     // errors
  Bytes replica_packed{0};  // from each replica, itself too

  bool operator==(const BlockCost&) const = default;
};

// One for each block, by graph::node_cost and graph::cut_points; nodes of the whole job are left out. `state` and `stash` are
// upper bounds: a tensor that several blocks read counts in each of them, as if they lay in different stages, and every value
// that backward reads counts as kept, though the engine may make it again.
std::vector<BlockCost> block_costs(const graph::Graph& graph);

// [block]: whether the graph may be cut after it; one fewer than blocks.
std::vector<bool> legal_cuts(const graph::Graph& graph);

struct WorkerPower {
  FlopsPerSecond rate{0};
  Bytes memory{0};  // for the job
};

struct LineSpeed {
  Seconds delay{0};
  BytesPerSecond rate{0};  // 0: without limit
};

// What a replica that packs works with, once for all blocks that have tensors of one type.
struct ReplicaWork {
  std::vector<bool> in_block;  // which have some; as many as blocks
  Bytes bytes{0};
  Bytes packed{0};  // besides, for each replica
};

// The part of a worker's memory that AQ-SGD's buffers may take is 1 / kKeptShare.
inline constexpr std::int64_t kKeptShare = 4;
// Of a worker's memory what is left for its stage where buffers may take `kept`.
inline Bytes usable_memory(Bytes memory, Bytes kept) { return memory - std::min(kept, memory / kKeptShare); }

struct Demand {
  std::vector<BlockCost> blocks;
  std::vector<bool> legal_cut;  // [block], after it; one fewer than blocks
  std::vector<bool> wanted_cut = {};  // the same: no other cuts; empty: all are as good
  std::int64_t micro_batches = 1;
  std::vector<WorkerPower> workers;
  std::function<LineSpeed(WorkerIndex from, WorkerIndex to)> line = {};  // empty: no delay, no limit
  std::size_t stages = 0;  // so many and no others; 0: as many as make the step short
  std::size_t replicas = 0;  // of every stage; 0: as many as make the step short
  bool lanes = false;  // as in ScheduleOptions; lanes exchange no gradients
  std::vector<ReplicaWork> replica_work = {};
  Bytes kept{0};  // the most that AQ-SGD's buffers may take of each worker's memory
};

struct Placed {
  RouteTable table;              // passes check() for the demand's workers
  Speeds speeds;                 // that the table was made with; holds what it needs of the demand
  Seconds step_time{0};          // simulated, with the exchange of gradients
  Seconds exchange{0};           // of it, after the last backward
  std::vector<Bytes> memory_of;  // [worker]: by stage_memory.h, without what AQ-SGD keeps; 0 for those that stand by
};

// Thread rule: place() is const and keeps nothing; any thread.
class Placer {
 public:
  virtual ~Placer() = default;
  // Errors: no_memory says by how much the pool is too small and what would fit; config names what of the demand is wrong.
  [[nodiscard]] virtual Result<Placed> place(const Demand& demand) const = 0;
};

// Workers stand in a row in which near ones are neighbours, and a run of the row holds each stage. For all numbers of stages, the
// row is split so that groups are about equally fast, and the blocks are cut by dynamic programming so that the slowest stage
// (compute over the group's speed, or the crossing after it over its lines) is as fast as can be and every member's memory holds.
// Some rows leave workers out: the far, the slow, the small. The best by a closed form are improved by moves of single workers,
// and the best of these by simulation: simulated_step_time(), plus the exchange of gradients, 2 (R - 1) / R of the gradient bytes
// (a quarter of the state) over the group's slowest line. Up to five workers are tried in every order and grouping. The same
// demand gives the same answer. The number of steps of the search is bounded; at most 1,024 workers.
class BalancedPlacer final : public Placer {
 public:
  [[nodiscard]] Result<Placed> place(const Demand& demand) const override;
};

}  // namespace suanli::route
