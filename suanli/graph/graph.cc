#include "suanli/graph/graph.h"

#include <algorithm>
#include <cctype>

#include "suanli/base/text.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

tl::unexpected<Error> broken(const Node& node, std::string message) {
  return fail(ErrorCode::graph, std::string(node.op->name) + ": " + std::move(message), node.name);
}

Status check_attrs(const Node& node) {
  for (const AttrSpec& spec : node.op->attrs) {
    const bool present = std::any_of(node.attrs.entries().begin(), node.attrs.entries().end(),
                                     [&](const auto& entry) { return entry.first == spec.name; });
    if (!present && spec.required)
      return broken(node, "attribute '" + std::string(spec.name) + "' is missing");
  }
  for (const auto& [name, value] : node.attrs.entries()) {
    const auto spec = std::find_if(node.op->attrs.begin(), node.op->attrs.end(),
                                   [&](const AttrSpec& s) { return s.name == name; });
    if (spec == node.op->attrs.end()) return broken(node, "unknown attribute '" + name + "'");
    if (static_cast<std::size_t>(spec->kind) != value.index())
      return broken(node, "attribute '" + name + "' is of the wrong kind");
  }
  return {};
}

// What a node of one phase may read from a node of another.
bool may_read(Phase reader, const Node& read) {
  const std::string_view op = read.op->name;
  if (op == "param" || op == "state") return true;
  if (op == "step_input") return reader == Phase::update;
  if (reader == Phase::update) return read.phase == Phase::update || op == "micro_sum";
  if (op == "micro_sum") return false;  // its value is there when all micro-batches are
  return read.phase == Phase::forward || (reader == Phase::backward && read.phase == Phase::backward);
}

bool is_good_name(const std::string& name) {
  return !name.empty() && name.size() <= 200 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '_' || c == '.' || c == '-' || c == '/';
         });
}

}  // namespace

std::string_view name_of(Phase phase) {
  constexpr std::string_view kNames[] = {"forward", "backward", "update"};
  return kNames[static_cast<int>(phase)];
}

Result<NodeId> Graph::add(Node node) {
  SUANLI_CHECK(node.op != nullptr);
  if (static_cast<int>(node.inputs.size()) != node.op->inputs)
    return broken(node, "takes " + std::to_string(node.op->inputs) + " inputs, got " +
                            std::to_string(node.inputs.size()));
  if (node.block < kWholeJob)
    return broken(node, "block " + std::to_string(node.block) + " is below -1");
  SUANLI_RETURN_IF_ERROR(check_attrs(node));

  std::vector<TensorType> types;
  for (NodeId input : node.inputs) {
    if (input < 0 || input >= size())
      return broken(node, "input %" + std::to_string(input) + " is not an earlier node");
    const Node& read = nodes_[input];
    if (!may_read(node.phase, read))
      return broken(node, "a node of the " + std::string(name_of(node.phase)) +
                              " phase may not read %" + std::to_string(input) + " (" +
                              std::string(read.op->name) + ", " +
                              std::string(name_of(read.phase)) + ")");
    types.push_back(read.type);
  }
  if (is_source(node)) {
    if (!is_good_name(node.name))
      return broken(node, "name '" + printable(node.name) + "' is empty or has odd characters");
    if (find(node.name) != kNoNode) return broken(node, "the name is used twice");
    if (!is_valid(node.type.shape)) return broken(node, "the shape is not valid");
  } else {
    if (!node.name.empty()) return broken(node, "only sources have names");
    SUANLI_ASSIGN_OR_RETURN(node.type, node.op->infer(types, node.attrs));
    if (!is_valid(node.type.shape))
      return broken(node, "the result " + node.type.to_string() + " is too large");
  }
  nodes_.push_back(std::move(node));
  return size() - 1;
}

Status Graph::add_output(std::string name, NodeId node) {
  if (node < 0 || node >= size())
    return fail(ErrorCode::graph, "%" + std::to_string(node) + " is not a node", "output " + name);
  if (!is_good_name(name))
    return fail(ErrorCode::graph, "'" + printable(name) + "' is not a name", "output");
  if (find_output(name) != kNoNode)
    return fail(ErrorCode::graph, "the name is used twice", "output " + name);
  outputs_.push_back({std::move(name), node});
  return {};
}

Status Graph::add_update(NodeId state, NodeId value) {
  if (state < 0 || state >= size() || value < 0 || value >= size())
    return fail(ErrorCode::graph,
                "%" + std::to_string(state) + " <- %" + std::to_string(value) + ": no such node",
                "update");
  const Node& target = nodes_[state];
  if (target.op->name != "param" && target.op->name != "state")
    return fail(ErrorCode::graph, "%" + std::to_string(state) + " is not a param or state", "update");
  if (nodes_[value].phase != Phase::update || is_source(nodes_[value]))
    return fail(ErrorCode::graph, "the new value must be a node of the update phase",
                "update of " + target.name);
  if (nodes_[value].type != target.type)
    return fail(ErrorCode::graph,
                "type " + nodes_[value].type.to_string() + " is not " + target.type.to_string(),
                "update of " + target.name);
  for (const Update& update : updates_)
    if (update.state == state)
      return fail(ErrorCode::graph, "updated twice", "update of " + target.name);
  updates_.push_back({state, value});
  return {};
}

Status Graph::set_micro_batches(std::int64_t count) {
  if (count < 1 || count > (std::int64_t{1} << 20))
    return fail(ErrorCode::graph,
                "micro_batches = " + std::to_string(count) + " is not between 1 and 1048576");
  micro_batches_ = count;
  return {};
}

const Node& Graph::node(NodeId id) const {
  SUANLI_CHECK(id >= 0 && id < size());
  return nodes_[id];
}

NodeId Graph::find(std::string_view name) const {
  for (NodeId id = 0; id < size(); ++id)
    if (is_source(nodes_[id]) && nodes_[id].name == name) return id;
  return kNoNode;
}

NodeId Graph::find_output(std::string_view name) const {
  for (const Output& output : outputs_)
    if (output.name == name) return output.node;
  return kNoNode;
}

std::vector<NodeId> Graph::nodes_of(std::string_view op_name) const {
  std::vector<NodeId> found;
  for (NodeId id = 0; id < size(); ++id)
    if (nodes_[id].op->name == op_name) found.push_back(id);
  return found;
}

std::vector<std::vector<NodeId>> Graph::users() const {
  std::vector<std::vector<NodeId>> users(nodes_.size());
  for (NodeId id = 0; id < size(); ++id)
    for (NodeId input : nodes_[id].inputs)
      if (users[input].empty() || users[input].back() != id) users[input].push_back(id);
  return users;
}

std::vector<bool> Graph::live() const {
  std::vector<bool> live(nodes_.size(), false);
  for (const Output& output : outputs_) live[output.node] = true;
  for (const Update& update : updates_) live[update.state] = live[update.value] = true;
  for (NodeId id = size() - 1; id >= 0; --id)
    if (live[id])
      for (NodeId input : nodes_[id].inputs) live[input] = true;
  return live;
}

Cost node_cost(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  std::vector<TensorType> types;
  double bytes = is_source(node) ? 0 : static_cast<double>(node.type.bytes().value());
  for (NodeId input : node.inputs) {
    types.push_back(graph.node(input).type);
    bytes += static_cast<double>(types.back().bytes().value());
  }
  if (node.op->bytes) bytes = node.op->bytes(types, node.attrs, node.type);
  return {node.op->flops(types, node.attrs, node.type), bytes};
}

Cost step_cost(const Graph& graph) {
  const std::vector<bool> live = graph.live();
  Cost total;
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (!live[id]) continue;
    const Cost cost = node_cost(graph, id);
    const double times = graph.node(id).phase == Phase::update
                             ? 1.0
                             : static_cast<double>(graph.micro_batches());
    total.flops += times * cost.flops;
    total.bytes += times * cost.bytes;
  }
  return total;
}

std::int64_t parameter_count(const Graph& graph) {
  std::int64_t count = 0;
  for (NodeId id : graph.nodes_of("param")) count += graph.node(id).type.elements();
  return count;
}

}  // namespace suanli::graph
