#include "suanli/pool/job_demand.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "suanli/base/text.h"
#include "suanli/graph/op.h"
#include "suanli/pool/replica_sums.h"
#include "suanli/route/placement_cost.h"
#include "suanli/train/codecs.h"
#include "suanli/train/local_steps.h"

namespace suanli::pool {

using graph::Codec;
using graph::NodeId;
using route::BlockCost;

namespace {

// In values of the tensor's size: what a program that packs takes beside the packed tensor (sum, error, and two of its own), and
// the copy of the sum that goes in and comes out.
constexpr std::int64_t kPacking = 4, kSumCopies = 2;
// What a lane's program that applies takes; one that packs takes less.
constexpr std::int64_t kApplying = 3;
// In activations, for either end: what is kept, what is next, and the value in full.
constexpr std::int64_t kDeltaValues = 3;

Bytes scaled(Bytes bytes, double factor) { return Bytes(static_cast<std::int64_t>(static_cast<double>(bytes.value()) * factor)); }

// Of the bytes of a tensor in f32, the part that crosses.
double part_that_crosses(const Codec& codec) {
  const graph::TensorType type = graph::f32({1, 4096});
  return graph::wire_type(codec, type).bytes() / type.bytes();
}

void add_boundary(BlockCost& block, const train::JobCodecs& codecs) {
  const Bytes forward = block.forward_out, backward = block.backward_in;
  block.forward_out = scaled(forward, part_that_crosses(codecs.forward));
  block.backward_in = scaled(backward, part_that_crosses(codecs.backward));
  if (codecs.forward.receiver_has_buffer()) {
    block.first_out = forward;
    block.noted = forward;
    block.codec += forward * kDeltaValues;
  } else if (codecs.forward.kind != Codec::Kind::lossless) {
    block.codec += forward;
  }
  if (codecs.backward.kind != Codec::Kind::lossless) block.codec += backward;
}

// By type of tensor.
class Working {
 public:
  explicit Working(std::size_t blocks) : blocks_(blocks) {}
  // One program for all tensors of this type, wherever they are.
  void add(const graph::TensorType& type, std::size_t block, Bytes bytes, Bytes of_each_replica) {
    route::ReplicaWork& one = by_type_[type.to_string()];
    one.in_block.resize(blocks_);
    one.in_block[block] = true;
    one.bytes = bytes;
    one.packed = of_each_replica;
  }
  std::vector<route::ReplicaWork> take() {
    std::vector<route::ReplicaWork> all;
    for (auto& [type, one] : by_type_) all.push_back(std::move(one));
    return all;
  }

 private:
  std::size_t blocks_;
  std::map<std::string, route::ReplicaWork> by_type_;
};

void add_packed_sums(route::Demand& demand, const graph::Graph& graph, const Codec& codec) {
  Working working(demand.blocks.size());
  for (const PackedSum& sum : packed_sums(graph, {codec})) {
    const auto at = static_cast<std::size_t>(graph.node(sum.sum).block);
    const Bytes packed = graph::wire_type(codec, sum.type).bytes(), whole = sum.type.bytes();
    BlockCost& block = demand.blocks.at(at);
    if (codec.has_buffer()) block.replica_own += whole * std::int64_t{2};
    block.replica_packed += packed;
    // The program that adds up decodes the packed tensors of all replicas before it adds them.
    working.add(sum.type, at, whole * (kPacking + kSumCopies) + packed, packed + whole);
  }
  demand.replica_work = working.take();
}

// Parameters by the blocks that read them: as block_costs counts them.
std::vector<std::set<NodeId>> params_by_block(const graph::Graph& graph, std::size_t blocks) {
  std::vector<std::set<NodeId>> params(blocks);
  const std::vector<bool> live = graph.live();
  for (NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (!live[static_cast<std::size_t>(id)] || node.block == graph::kWholeJob) continue;
    std::set<NodeId>& here = params[static_cast<std::size_t>(node.block)];
    if (node.op->name == "param") here.insert(id);
    for (NodeId input : node.inputs) {
      while (graph.node(input).op->op_class == graph::OpClass::view) input = graph.node(input).inputs.front();
      if (graph.node(input).op->name == "param") here.insert(input);
    }
  }
  return params;
}

void add_lanes(route::Demand& demand, const graph::Graph& graph, const train::LocalSteps& settings) {
  demand.lanes = true;
  const std::vector<std::set<NodeId>> params = params_by_block(graph, demand.blocks.size());
  Working working(demand.blocks.size());
  for (std::size_t b = 0; b < params.size(); ++b)
    for (const NodeId id : params[b]) {
      const graph::TensorType& type = graph.node(id).type;
      const Bytes packed = graph::wire_type(settings.codec, type).bytes(), whole = type.bytes();
      BlockCost& block = demand.blocks[b];
      block.state += whole * std::int64_t{settings.codec.has_buffer() ? 3 : 2};
      block.state += packed;
      // What came from every lane, and the same as the program that applies reads it. Programs are made when they are due, one at
      // a time; of one parameter after the other the changes of all lanes are decoded.
      block.replica_own += whole * kApplying + packed;
      block.replica_packed += packed * std::int64_t{2};
      working.add(type, b, Bytes(0), whole);
    }
  demand.replica_work = working.take();
}

// Block 0 makes the embeddings; the last one stands behind the transformer blocks.
void only_cuts_of(const std::vector<std::int64_t>& split, route::Demand& demand) {
  demand.wanted_cut.assign(demand.legal_cut.size(), false);
  std::size_t last = 0;
  for (std::size_t s = 0; s + 1 < split.size(); ++s) {
    last += static_cast<std::size_t>(split[s]);
    demand.wanted_cut[last] = true;
  }
  demand.stages = split.size();
}

}  // namespace

route::Demand demand_of(const train::JobConfig& job, const graph::Graph& graph) {
  route::Demand demand;
  demand.blocks = route::block_costs(graph);
  demand.legal_cut = route::legal_cuts(graph);
  demand.micro_batches = graph.micro_batches();
  demand.stages = static_cast<std::size_t>(job.pool.stages);
  demand.replicas = static_cast<std::size_t>(job.pool.replicas);
  if (const std::vector<std::int64_t> split = train::split_of(job); !split.empty()) only_cuts_of(split, demand);
  const train::JobCodecs codecs = train::codecs_of(job);
  for (BlockCost& block : demand.blocks) add_boundary(block, codecs);
  if (codecs.forward.receiver_has_buffer()) demand.kept = Bytes(static_cast<std::int64_t>(job.codec.memory));
  if (job.local.inner_steps > 0) {
    add_lanes(demand, graph, train::local_steps_of(job));
  } else if (codecs.weights.kind != Codec::Kind::lossless) {
    add_packed_sums(demand, graph, codecs.weights);
  }
  return demand;
}

Result<Bytes> memory_for_program(const route::Demand& demand, const route::RouteTable& table, route::WorkerIndex self,
                                 Bytes memory) {
  const std::size_t stage = table.stage_of(self);
  SUANLI_CHECK(stage != route::kNoStage);
  const std::vector<std::size_t> bounds = route::stage_bounds(table.placement.cut, demand.blocks.size());
  const route::WorkerOrder& order = table.orders[static_cast<std::size_t>(self)];
  const route::StageMemory formula(demand);
  const route::StageLoad load{bounds[stage], bounds[stage + 1], order.slots, table.credits,
                              static_cast<std::int64_t>(order.work.size() / 2), table.placement.stages[stage].size()};
  const Bytes beside = formula.beside(load), usable = formula.usable(memory);
  if (beside < usable) return usable - beside;
  return fail(ErrorCode::no_memory,
              "what crosses and what codecs keep take " + format_bytes(beside + (memory - usable)) +
                  " beside the stage's program, of " + format_bytes(memory) + " in all",
              "memory", "lend more memory (--memory), lower 'train.batch' or 'codec.memory', or leave codecs out");
}

}  // namespace suanli::pool
