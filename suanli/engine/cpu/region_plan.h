// How a region runs on the CPU: the tile length, and the slot of per-worker scratch in which each
// register's tile lies.
#pragma once

#include <cstdint>
#include <vector>

#include "suanli/engine/region.h"

namespace suanli::engine {

struct RegionPlan {
  enum class Source {
    repeated,  // one value, spread once per run
    expanded,  // the same tile every time (a bias over whole rows), filled once per run
    streamed,  // found or filled for each tile
  };

  std::int64_t elements = 0;
  std::int64_t columns = 1;  // last dimension of the region
  // Elements; only the last tile may be shorter. One row in a region with row ops, else a multiple of kTileStep.
  std::int64_t tile = 0;
  std::int64_t slot_floats = 0;  // the tile, rounded up to kTileStep
  std::vector<Source> sources;  // per input
  std::vector<std::int64_t>
      shared_offsets;  // per input that is not streamed: floats into the shared part of scratch
  std::int64_t shared_floats = 0;
  std::vector<int> slots;  // per register; -1: none
  // Per register, in a region with row ops: is it one value for the whole row? Then only kTileStep of them are kept.
  std::vector<bool> repeated;
  int slot_count = 0;      // registers share slots when their lives do not overlap
  std::vector<int>
      direct_output;            // per instruction: the f32 output it writes to memory itself, or -1
  std::vector<bool> is_direct;  // per output
};

RegionPlan plan_region(const Region& region);

}  // namespace suanli::engine
