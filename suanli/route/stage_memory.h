// What a worker holds for its stage, as an upper bound. Placing (placement_cost.h) and the worker itself (pool/job_demand.h) ask
// this one formula, so that a job which does not fit is refused when it is placed.
//
//   program    state + slots (stash + codec)      params, optimizer, sums; of each open micro-batch what backward reads, and what
//                                                 the codecs at the stage's ends take
//   in flight  2 credits crossing                 announced or being sent: packed, or in full at a sample's first visit
//   noted      (micro_batches + 2) noted          AQ-SGD: what the step's samples will have kept, until it is committed, and what
//                                                 the micro-batch being run reads
//   replicas   own + replicas packed + working    errors of feedback, old and new; packed tensors of all replicas; the programs
//                                                 that pack and add up, one for each type of tensor
//
// Slots, credits and micro-batches are the worker's own, `replicas` those of its stage. `crossing` is the larger of the stage's
// two ends, `codec` and `noted` are both together. The last line counts where a stage has more than one replica, or where
// replicas are lanes. All that is to be no more than usable(memory): a part is for what AQ-SGD keeps from step to step.
#pragma once

#include <cstdint>
#include <vector>

#include "suanli/route/balance.h"

namespace suanli::route {

// A worker's part of a step: blocks [first, end).
struct StageLoad {
  std::size_t first = 0, end = 0;
  std::int64_t slots = 1;
  int credits = 2;
  std::int64_t micro_batches = 1;  // that it runs in a step
  std::size_t replicas = 1;
};

// Const members from any thread.
class StageMemory {
 public:
  explicit StageMemory(const Demand& demand);

  Bytes program(const StageLoad& load) const;
  Bytes beside(const StageLoad& load) const;  // all but the program
  Bytes total(const StageLoad& load) const { return program(load) + beside(load); }
  // What one slot takes.
  Bytes slot(const StageLoad& load) const;
  Bytes state(std::size_t first, std::size_t end) const { return Bytes(state_[end] - state_[first]); }
  // State and one stash, which no codec changes: it grows with the blocks.
  Bytes least(std::size_t first, std::size_t end) const { return state(first, end) + Bytes(stash_[end] - stash_[first]); }

  // Of a worker's memory what is not kept for AQ-SGD's buffers. Grows with it.
  Bytes usable(Bytes memory) const { return usable_memory(memory, kept_); }

 private:
  // Of the ends that the stage has.
  struct End {
    std::int64_t crossing = 0, codec = 0, noted = 0;
  };
  std::vector<std::int64_t> state_, stash_, own_, packed_;  // sums of bytes before block i
  std::vector<End> ends_;                                   // after block i
  struct Working {
    std::vector<std::int64_t> blocks;  // how many before block i have it
    std::int64_t bytes = 0, packed = 0;
  };
  std::vector<Working> working_;
  Bytes kept_;
  bool lanes_;
};

}  // namespace suanli::route
