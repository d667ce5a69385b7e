#include "suanli/engine/fuse_heads.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "suanli/engine/fuse_patterns.h"
#include "suanli/graph/op.h"

namespace suanli::engine {

using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;

namespace {

// Kernels that take an epilogue (kernel.h).
constexpr std::array<std::string_view, 5> kHeads = {"matmul", "layer_norm", "layer_norm_backward", "attention",
                                                    "attention_grad"};

bool is_head(const Group& group) {
  return std::find(kHeads.begin(), kHeads.end(), group.kernel) != kHeads.end();
}

// The param or state whose rounding to bf16 `id` is and that only matrix products read so, or kNoNode.
NodeId weight_behind(const Graph& graph, const std::vector<std::vector<NodeId>>& users, NodeId id) {
  const Node& node = graph.node(id);
  if (node.op->name != "cast" || node.type.dtype != graph::DType::bf16) return kNoNode;
  const NodeId from = node.inputs[0];
  const std::string_view source = graph.node(from).op->name;
  if ((source != "param" && source != "state") || graph.node(from).type.dtype != graph::DType::f32) return kNoNode;
  const bool products = std::all_of(users[id].begin(), users[id].end(),
                                    [&](NodeId user) { return graph.node(user).op->name == "matmul"; });
  const auto is_output = [&](const graph::Output& output) { return output.node == id; };
  if (!products || users[id].empty() || std::any_of(graph.outputs().begin(), graph.outputs().end(), is_output))
    return kNoNode;
  return from;
}

// One rounded operand is needed for the product to be one of bf16 (kernel.h).
bool other_operand_is_rounded(const Graph& graph, const std::vector<std::vector<NodeId>>& users, NodeId matmul,
                              NodeId weight) {
  const Node& node = graph.node(matmul);
  const NodeId other = node.inputs[0] == weight ? node.inputs[1] : node.inputs[0];
  return weight_behind(graph, users, other) == kNoNode;
}

NodeId unrounded(const Graph& graph, const std::vector<std::vector<NodeId>>& users, NodeId id) {
  const NodeId weight = weight_behind(graph, users, id);
  if (weight == kNoNode) return kNoNode;
  for (NodeId user : users[id])
    if (!other_operand_is_rounded(graph, users, user, id)) return kNoNode;
  return weight;
}

// Does a node of the group read what is not there while the head's epilogue runs: another of its results than the first, or
// the first through a view?
bool reads_results_too_early(const Graph& graph, const std::vector<NodeId>& nodes, const Group& head) {
  return std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) {
    const std::vector<NodeId>& inputs = graph.node(id).inputs;
    return std::any_of(inputs.begin(), inputs.end(), [&](NodeId input) {
      return input != head.outputs.front() &&
             std::count(head.outputs.begin(), head.outputs.end(), root_of(graph, input)) > 0;
    });
  });
}

// The untaken region group that `head`'s first result could run through, or kNoNode.
NodeId region_behind(const Graph& graph, const std::vector<std::vector<NodeId>>& users, Partition& partition,
                     const std::vector<bool>& taken, const Group& head) {
  const NodeId result = head.outputs.front();
  const Node& node = graph.node(result);
  if (node.type.dtype != graph::DType::f32 || node.type.elements() == 0) return kNoNode;
  for (NodeId user : users[result]) {
    const Node& other = graph.node(user);
    if (taken[user] || !can_be_in_region(graph, user) || other.phase != node.phase ||
        other.type.shape != node.type.shape)
      continue;
    const NodeId region = partition.group(user);
    if (!reads_results_too_early(graph, partition.members(region), head) && partition.can_merge(partition.group(result), region))
      return region;
  }
  return kNoNode;
}

// Merges into `region`, which will be the epilogue of `head`, others that read one of the operands that it reads element for
// element, so that the operand is read once: with the gradient of gelu, gelu made again.
void join_siblings(const Graph& graph, const std::vector<std::vector<NodeId>>& users, Partition& partition,
                   const std::vector<bool>& taken, const Group& head, NodeId region) {
  const NodeId result = head.outputs.front();
  const Node& space = graph.node(result);
  for (NodeId id : std::vector<NodeId>(partition.members(region)))
    for (NodeId input : graph.node(id).inputs) {
      if (input == result || graph.node(input).type.shape != space.type.shape) continue;
      for (NodeId user : users[input]) {
        const Node& other = graph.node(user);
        const NodeId mine = partition.group(id), theirs = partition.group(user);
        if (mine == theirs || taken[user] || !can_be_in_region(graph, user) || other.phase != space.phase ||
            other.type.shape != space.type.shape ||
            partition.members(mine).size() + partition.members(theirs).size() > kMaxRegionNodes)
          continue;
        if (!reads_results_too_early(graph, partition.members(theirs), head) && partition.can_merge(mine, theirs) &&
            partition.can_merge(partition.group(result), theirs))
          partition.merge(mine, theirs);
      }
    }
}

// The head with the region behind it: its result is the region's input 0.
Group with_region(const Group& head, Group region) {
  Group group = head;
  group.nodes.insert(group.nodes.end(), region.nodes.begin(), region.nodes.end());
  std::sort(group.nodes.begin(), group.nodes.end());
  group.inputs.insert(group.inputs.end(), region.inputs.begin() + 1, region.inputs.end());
  group.outputs = std::move(region.outputs);
  group.outputs.insert(group.outputs.end(), head.outputs.begin() + 1, head.outputs.end());
  group.region = std::move(region.region);
  return group;
}

}  // namespace

Group single_group(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  return {std::string(node.op->name), {id}, node.inputs, {id}, node.attrs, std::nullopt, false};
}

void attach_regions(const Graph& graph, const std::vector<std::vector<NodeId>>& users, Partition& partition,
                    std::vector<bool>& taken, std::vector<Group>& groups) {
  for (Group& head : groups) {
    if (!is_head(head)) continue;
    const NodeId region = region_behind(graph, users, partition, taken, head);
    if (region == kNoNode) continue;
    const NodeId any = partition.members(region).front(), result = head.outputs.front();
    join_siblings(graph, users, partition, taken, head, region);
    const std::vector<NodeId> nodes = partition.members(partition.group(any));
    partition.merge(partition.group(result), partition.group(any));
    for (NodeId id : nodes) taken[id] = true;
    head = with_region(head, make_region(graph, users, nodes, result));
  }
}

std::vector<NodeId> unrounded_weights(const Graph& graph, const std::vector<std::vector<NodeId>>& users) {
  std::vector<NodeId> weights(graph.size());
  for (NodeId id = 0; id < graph.size(); ++id) weights[id] = unrounded(graph, users, id);
  return weights;
}

}  // namespace suanli::engine
