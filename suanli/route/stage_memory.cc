#include "suanli/route/stage_memory.h"

#include <algorithm>

namespace suanli::route {

StageMemory::StageMemory(const Demand& demand) : kept_(demand.kept), lanes_(demand.lanes) {
  state_ = stash_ = own_ = packed_ = {0};
  for (const BlockCost& block : demand.blocks) {
    state_.push_back(state_.back() + block.state.value());
    stash_.push_back(stash_.back() + block.stash.value());
    own_.push_back(own_.back() + block.replica_own.value());
    packed_.push_back(packed_.back() + block.replica_packed.value());
    const Bytes crossing = std::max({block.forward_out, block.backward_in, block.first_out});
    ends_.push_back({crossing.value(), block.codec.value(), block.noted.value()});
  }
  if (!ends_.empty()) ends_.back() = {};  // nothing crosses after the last block
  for (const ReplicaWork& work : demand.replica_work) {
    Working& working = working_.emplace_back(Working{{0}, work.bytes.value(), work.packed.value()});
    for (const bool is_here : work.in_block) working.blocks.push_back(working.blocks.back() + (is_here ? 1 : 0));
  }
}

Bytes StageMemory::slot(const StageLoad& load) const {
  std::int64_t bytes = stash_[load.end] - stash_[load.first] + ends_[load.end - 1].codec;
  if (load.first > 0) bytes += ends_[load.first - 1].codec;
  return Bytes(bytes);
}

Bytes StageMemory::program(const StageLoad& load) const { return state(load.first, load.end) + slot(load) * load.slots; }

Bytes StageMemory::beside(const StageLoad& load) const {
  const End before = load.first > 0 ? ends_[load.first - 1] : End(), after = ends_[load.end - 1];
  std::int64_t bytes = 2 * load.credits * std::max(before.crossing, after.crossing);
  bytes += (load.micro_batches + 2) * (before.noted + after.noted);
  if (lanes_ || load.replicas > 1) {
    const auto replicas = static_cast<std::int64_t>(load.replicas);
    bytes += own_[load.end] - own_[load.first] + replicas * (packed_[load.end] - packed_[load.first]);
    for (const Working& working : working_)
      if (working.blocks[load.end] > working.blocks[load.first]) bytes += working.bytes + replicas * working.packed;
  }
  return Bytes(bytes);
}

}  // namespace suanli::route
