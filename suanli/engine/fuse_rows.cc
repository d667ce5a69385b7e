#include "suanli/engine/fuse_rows.h"

#include <algorithm>
#include <map>

#include "suanli/engine/fuse_patterns.h"
#include "suanli/graph/op.h"

namespace suanli::engine {

using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::Shape;

namespace {

constexpr std::size_t kMostNodes = 24;  // keeps the live rows within L1 and L2

Shape one_per_row(Shape shape) {
  shape.back() = 1;
  return shape;
}

// The row op for a node that reduces the last dimension, and only that, to 1.
std::optional<RegionOp> row_op(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.op->name != "reduce_to" && node.op->name != "reduce_max") return std::nullopt;
  const graph::TensorType& from = graph.node(node.inputs[0]).type;
  if (from.shape.empty() || from.shape.back() < 2 || from.shape.back() > kLongestRow) return std::nullopt;
  if (from.elements() == 0 || node.type.shape != one_per_row(from.shape)) return std::nullopt;
  return node.op->name == "reduce_to" ? RegionOp::row_sum : RegionOp::row_max;
}

// Can a region with row ops over rows of `shape` compute the node?
bool fits(const Graph& graph, NodeId id, const Shape& shape) {
  const Node& node = graph.node(id);
  const auto readable = [&](NodeId input) {
    const graph::TensorType& type = graph.node(input).type;
    return graph::is_float(type.dtype) && access_of(type.shape, shape).has_value();
  };
  if (!std::all_of(node.inputs.begin(), node.inputs.end(), readable)) return false;
  if (row_op(graph, id)) return graph.node(node.inputs[0]).type.shape == shape;
  if (node.op->name == "broadcast_to") return node.type.shape == shape;
  return can_be_in_region(graph, id) && (node.type.shape == shape || node.type.shape == one_per_row(shape));
}

// Grows the group of `seed` by neighbours, one at a time, as long as one fits.
void grow(const Graph& graph, const std::vector<std::vector<NodeId>>& users, Partition& partition,
          const std::vector<bool>& taken, NodeId seed) {
  const Shape shape = graph.node(graph.node(seed).inputs[0]).type.shape;
  const auto joins = [&](NodeId id) {
    const NodeId group = partition.group(id);
    return !taken[id] && group != partition.group(seed) && partition.members(group).size() == 1 &&
           graph.node(id).phase == graph.node(seed).phase && fits(graph, id, shape) &&
           partition.can_merge(partition.group(seed), group);
  };
  std::vector<NodeId> open = {seed};
  for (std::size_t next = 0; next < open.size(); ++next) {
    std::vector<NodeId> neighbours = graph.node(open[next]).inputs;
    neighbours.insert(neighbours.end(), users[open[next]].begin(), users[open[next]].end());
    for (const NodeId id : neighbours) {
      if (partition.members(partition.group(seed)).size() == kMostNodes) return;
      if (!joins(id)) continue;
      partition.merge(partition.group(seed), id);
      // What a third node kept apart may join from here on.
      open.insert(open.end(), {id, open[next]});
    }
  }
}

// Writes the region of a group's nodes.
class RowRegion {
 public:
  RowRegion(const Graph& graph, const std::vector<std::vector<NodeId>>& users, const std::vector<NodeId>& nodes,
            const Shape& shape)
      : graph_(graph), users_(users) {
    group_.kernel = "region";
    group_.nodes = nodes;
    region_.shape = shape;
  }

  Group write() && {
    for (const NodeId id : group_.nodes)
      for (const NodeId input : graph_.node(id).inputs) read(input);
    for (const NodeId id : group_.nodes) compute(id);
    for (const NodeId id : group_.nodes)
      if (leaves(id)) store(id);
    group_.region = std::move(region_);
    return std::move(group_);
  }

 private:
  bool inside(NodeId id) const { return std::binary_search(group_.nodes.begin(), group_.nodes.end(), id); }

  void read(NodeId input) {
    if (inside(input) || registers_.contains(input)) return;
    const graph::TensorType& type = graph_.node(input).type;
    registers_[input] = static_cast<int>(region_.inputs.size());
    region_.inputs.push_back({type.dtype, *access_of(type.shape, region_.shape), type.elements()});
    group_.inputs.push_back(input);
  }

  void compute(NodeId id) {
    const Node& node = graph_.node(id);
    const int a = registers_.at(node.inputs[0]);
    if (node.op->name == "broadcast_to") {
      registers_[id] = a;  // as every operand is spread over the row when it is read
      return;
    }
    RegionInstruction step{};
    if (const std::optional<RegionOp> op = row_op(graph_, id))
      step.op = *op;
    else
      step = make_region(graph_, users_, {id}).region->code.front();
    step.a = a;
    step.b = node.inputs.size() > 1 ? registers_.at(node.inputs[1]) : 0;
    registers_[id] = static_cast<int>(region_.inputs.size() + region_.code.size());
    region_.code.push_back(step);
  }

  bool leaves(NodeId id) const {
    const auto is = [&](const graph::Output& output) { return output.node == id; };
    const auto takes = [&](const graph::Update& update) { return update.value == id; };
    return std::any_of(graph_.outputs().begin(), graph_.outputs().end(), is) ||
           std::any_of(graph_.updates().begin(), graph_.updates().end(), takes) ||
           !std::all_of(users_[id].begin(), users_[id].end(), [&](NodeId user) { return inside(user); });
  }

  void store(NodeId id) {
    const graph::TensorType& type = graph_.node(id).type;
    const Access access = type.shape == region_.shape ? Access::full : Access::row;
    region_.outputs.push_back({registers_.at(id), type.dtype, access});
    group_.outputs.push_back(id);
  }

  const Graph& graph_;
  const std::vector<std::vector<NodeId>>& users_;
  Group group_;
  Region region_;
  std::map<NodeId, int> registers_;
};

}  // namespace

std::vector<Group> find_row_regions(const Graph& graph, const std::vector<std::vector<NodeId>>& users,
                                    Partition& partition, const std::vector<bool>& taken) {
  std::vector<Group> found;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (taken[id] || !row_op(graph, id) || partition.members(partition.group(id)).size() > 1) continue;
    const Shape shape = graph.node(graph.node(id).inputs[0]).type.shape;
    if (!fits(graph, id, shape)) continue;
    grow(graph, users, partition, taken, id);
    const std::vector<NodeId>& nodes = partition.members(partition.group(id));
    if (nodes.size() > 1) found.push_back(RowRegion(graph, users, nodes, shape).write());
  }
  return found;
}

}  // namespace suanli::engine
