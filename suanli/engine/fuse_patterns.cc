#include "suanli/engine/fuse_patterns.h"

#include <algorithm>
#include <map>

#include "suanli/engine/fuse_vocabulary.h"
#include "suanli/graph/op.h"

namespace suanli::engine {

using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::Phase;

namespace {

// attention and attention_stats of the same operand.
void find_attention(const Graph& graph, std::vector<Group>& found) {
  for (NodeId out : graph.nodes_of("attention"))
    for (NodeId stats : graph.nodes_of("attention_stats")) {
      const Node &a = graph.node(out), &b = graph.node(stats);
      if (a.inputs != b.inputs || a.attrs != b.attrs || a.phase != b.phase) continue;
      found.push_back({"attention", {std::min(out, stats), std::max(out, stats)}, a.inputs,
                       {out, stats}, a.attrs, std::nullopt, false});
      break;
    }
}

// The sum of `dy` over all but its last dimension, in the same phase.
NodeId find_column_sum(const Graph& graph, NodeId dy, Phase phase) {
  for (NodeId id : graph.nodes_of("reduce_to")) {
    const Node& node = graph.node(id);
    if (node.inputs[0] == dy && node.phase == phase && node.type.shape.size() == 1 &&
        node.type.shape[0] == graph.node(dy).type.shape.back())
      return id;
  }
  return kNoNode;
}

void find_layer_norm_backward(const Graph& graph, std::vector<Group>& found) {
  std::map<NodeId, bool> used;  // a column sum belongs to one group
  for (NodeId dx : graph.nodes_of("layer_norm_dx"))
    for (NodeId dgamma : graph.nodes_of("layer_norm_dgamma")) {
      const Node &a = graph.node(dx), &b = graph.node(dgamma);
      if (a.inputs[0] != b.inputs[0] || a.inputs[2] != b.inputs[1] || a.attrs != b.attrs ||
          a.phase != b.phase)
        continue;
      const NodeId dbeta = find_column_sum(graph, a.inputs[2], a.phase);
      if (dbeta == kNoNode || used[dbeta]) continue;
      used[dbeta] = true;
      std::vector<NodeId> nodes = {dx, dgamma, dbeta};
      std::sort(nodes.begin(), nodes.end());
      found.push_back({"layer_norm_backward", nodes, a.inputs, {dx, dgamma, dbeta}, a.attrs,
                       std::nullopt, false});
      break;
    }
}

// A weight's gradient x^T dy and its bias's, the column sums of dy.
void find_weight_gradients(const Graph& graph, std::vector<Group>& found) {
  for (NodeId product : graph.nodes_of("matmul")) {
    const Node& node = graph.node(product);
    if (node.type.shape.size() != 2 || node.attrs.integer("ta", 0) == 0 || node.attrs.integer("tb", 0) != 0) continue;
    const NodeId sums = find_column_sum(graph, node.inputs[1], node.phase);
    if (sums == kNoNode) continue;
    Group group{"matmul", {std::min(product, sums), std::max(product, sums)}, node.inputs, {product, sums}, node.attrs,
                std::nullopt, false};
    group.attrs.set("column_sums", std::int64_t{1});
    found.push_back(std::move(group));
  }
}

// For each state tensor the nodes of the update phase that read its buffer, also through views.
std::vector<std::vector<NodeId>> find_update_readers(const Graph& graph) {
  std::vector<std::vector<NodeId>> readers(graph.size());
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (graph.node(id).phase != Phase::update) continue;
    for (NodeId input : graph.node(id).inputs) readers[root_of(graph, input)].push_back(id);
  }
  return readers;
}

// Does `state` take `value`, and does nothing in the update phase read it but `reader`?
bool only_updated_by(const Graph& graph, const std::vector<std::vector<NodeId>>& readers, NodeId state,
                     NodeId value, NodeId reader) {
  for (NodeId id : readers[state])
    if (id != reader) return false;
  return std::any_of(graph.updates().begin(), graph.updates().end(), [&](const graph::Update& u) {
    return u.state == state && u.value == value;
  });
}

void find_adamw(const Graph& graph, std::vector<Group>& found) {
  const std::vector<std::vector<NodeId>> readers = find_update_readers(graph);
  for (NodeId w_next : graph.nodes_of("adamw_w")) {
    const Node& w_node = graph.node(w_next);
    const NodeId w = w_node.inputs[0], m_next = w_node.inputs[1], v_next = w_node.inputs[2];
    const Node &m_node = graph.node(m_next), &v_node = graph.node(v_next);
    if (m_node.op->name != "adamw_m" || v_node.op->name != "adamw_v") continue;
    const NodeId m = m_node.inputs[0], v = v_node.inputs[0];
    if (m_node.inputs[1] != v_node.inputs[1] || m_node.inputs[2] != v_node.inputs[2]) continue;
    if (!only_updated_by(graph, readers, w, w_next, w_next) ||
        !only_updated_by(graph, readers, m, m_next, m_next) ||
        !only_updated_by(graph, readers, v, v_next, v_next))
      continue;
    Group group{"adamw", {m_next, v_next, w_next},
                {w, m, v, m_node.inputs[1], m_node.inputs[2], w_node.inputs[3], w_node.inputs[4],
                 w_node.inputs[5]},
                {w_next, m_next, v_next}, w_node.attrs, std::nullopt, true};
    group.attrs.set("beta1", m_node.attrs.real("beta1"));
    group.attrs.set("beta2", v_node.attrs.real("beta2"));
    std::sort(group.nodes.begin(), group.nodes.end());
    found.push_back(std::move(group));
  }
}

std::optional<RegionOp> region_op(const Node& node) {
  if (node.op->name == "cast")  // to f32 it changes nothing that a register holds
    return node.type.dtype == graph::DType::bf16 ? RegionOp::round_bf16 : RegionOp::scale;
  return region_op_from_name(node.op->name);
}

float immediate_of(const Node& node) {
  if (node.op->name == "scale") return static_cast<float>(node.attrs.real("factor"));
  if (node.op->name == "shift") return static_cast<float>(node.attrs.real("offset"));
  return 1.0F;  // a cast to f32 is a scale by one
}

}  // namespace

std::vector<Group> find_patterns(const Lowered& lowered) {
  const Graph& graph = lowered.graph;
  std::vector<Group> found;
  find_vocabulary_loss(graph, lowered.arithmetic, found);
  find_attention(graph, found);
  find_layer_norm_backward(graph, found);
  find_weight_gradients(graph, found);
  find_adamw(graph, found);
  return found;
}

bool can_be_in_region(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.op->op_class != graph::OpClass::elementwise || !region_op(node)) return false;
  if (!graph::is_float(node.type.dtype) || node.type.elements() == 0) return false;
  return std::all_of(node.inputs.begin(), node.inputs.end(), [&](NodeId input) {
    const graph::TensorType& type = graph.node(input).type;
    return graph::is_float(type.dtype) && access_of(type.shape, node.type.shape).has_value();
  });
}

Group make_region(const Graph& graph, const std::vector<std::vector<NodeId>>& users,
                  const std::vector<NodeId>& nodes, NodeId first) {
  Group group;
  group.kernel = "region";
  group.nodes = nodes;
  Region region;
  region.shape = graph.node(nodes.front()).type.shape;
  const auto inside = [&](NodeId id) { return std::binary_search(nodes.begin(), nodes.end(), id); };
  std::map<NodeId, int> registers;
  const auto read = [&](NodeId input) {
    if (inside(input) || registers.contains(input)) return;
    const graph::TensorType& type = graph.node(input).type;
    registers[input] = static_cast<int>(region.inputs.size());
    region.inputs.push_back({type.dtype, *access_of(type.shape, region.shape), type.elements()});
    group.inputs.push_back(input);
  };
  if (first != kNoNode) read(first);
  for (NodeId id : nodes)
    for (NodeId input : graph.node(id).inputs) read(input);
  std::vector<bool> is_output(graph.size(), false);
  for (const graph::Output& output : graph.outputs()) is_output[output.node] = true;
  for (const graph::Update& update : graph.updates()) is_output[update.value] = true;
  const auto leaves = [&](NodeId id) {
    return is_output[id] || !std::all_of(users[id].begin(), users[id].end(), inside);
  };
  const auto store = [&](NodeId id) {
    region.outputs.push_back({registers.at(id), graph.node(id).type.dtype});
    group.outputs.push_back(id);
  };
  if (first != kNoNode && leaves(first)) store(first);
  for (NodeId id : nodes) {
    const Node& node = graph.node(id);
    RegionInstruction instruction{*region_op(node), registers.at(node.inputs[0])};
    if (node.inputs.size() > 1) instruction.b = registers.at(node.inputs[1]);
    instruction.immediate = immediate_of(node);
    registers[id] = static_cast<int>(region.inputs.size() + region.code.size());
    region.code.push_back(instruction);
    if (leaves(id)) store(id);
  }
  group.region = std::move(region);
  return group;
}

}  // namespace suanli::engine
