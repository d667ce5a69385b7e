#include "suanli/graph/stage_graph.h"

#include <algorithm>
#include <iterator>

#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

bool has(const std::vector<NodeId>& ascending, NodeId id) { return std::binary_search(ascending.begin(), ascending.end(), id); }

// For every node of the update phase how often a value must travel before all stages that compute it can. A value read in
// another stage travels once; a node of the whole job is computed everywhere, so all it reads of one stage travels.
std::vector<int> travels(const Graph& graph, const std::vector<StageNodes>& stages) {
  const auto stage_of = [&](NodeId id) {
    const int block = graph.node(id).block;
    if (block == kWholeJob) return kWholeJob;
    const auto found = std::ranges::find_if(stages, [&](const StageNodes& stage) { return block <= stage.last_block; });
    return static_cast<int>(found - stages.begin());
  };
  std::vector<int> count(static_cast<std::size_t>(graph.size()), 0);
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (graph.node(id).phase != Phase::update || is_source(graph.node(id))) continue;
    for (const NodeId input : graph.node(id).inputs) {
      if (is_source(graph.node(input))) continue;
      const int from = stage_of(input);
      count[id] = std::max(count[id], count[input] + (from != kWholeJob && from != stage_of(id) ? 1 : 0));
    }
  }
  return count;
}

class StageMaker {
 public:
  StageMaker(const Graph& whole, const std::vector<StageNodes>& stages, int stage, const BoundaryCodecs& codecs)
      : whole_(whole), stages_(stages), stage_(stage), codecs_(codecs), travels_(travels(whole, stages)) {
    made_.nodes = stages[static_cast<std::size_t>(stage)];
    copy_of_.assign(static_cast<std::size_t>(whole.size()), kNoNode);
  }

  Result<StageGraph> run() && {
    SUANLI_RETURN_IF_ERROR(made_.graph.set_micro_batches(std::max<std::int64_t>(2, whole_.micro_batches())));
    SUANLI_RETURN_IF_ERROR(receive_all());
    for (NodeId id = 0; id < whole_.size(); ++id) {
      if (has(own().nodes, id) || has(own().shared, id) || has(own().sources, id)) SUANLI_RETURN_IF_ERROR(copy(id));
      if (has(own().send_forward, id)) SUANLI_RETURN_IF_ERROR(send(id, Phase::forward, {stage_ + 1}, made_.send_forward));
      if (has(own().send_backward, id)) SUANLI_RETURN_IF_ERROR(send(id, Phase::backward, {stage_ - 1}, made_.send_backward));
    }
    SUANLI_RETURN_IF_ERROR(add_updates());
    for (const Output& output : whole_.outputs())
      if (copy_of_[output.node] != kNoNode && !has(own().receive_step, output.node))
        SUANLI_RETURN_IF_ERROR(made_.graph.add_output(output.name, copy_of_[output.node]));
    SUANLI_RETURN_IF_ERROR(send_step_values());
    return std::move(made_);
  }

 private:
  const StageNodes& own() const { return made_.nodes; }

  Status append(Node node, NodeId canonical) {
    SUANLI_ASSIGN_OR_RETURN(copy_of_[canonical], made_.graph.add(std::move(node)));
    made_.canonical.push_back(canonical);
    return {};
  }

  Status copy(NodeId id) {
    Node node = whole_.node(id);
    for (NodeId& input : node.inputs) {
      input = copy_of_[input];
      SUANLI_CHECK(input != kNoNode);
    }
    return append(std::move(node), id);
  }

  // What a value of the whole job crosses with, where works of `phase` wait for it.
  Codec codec_for(const Node& node, Phase phase) const {
    if (phase == Phase::update || node.type.dtype != DType::f32 || node.type.shape.size() < 2) return {};
    return phase == Phase::forward ? codecs_.forward : codecs_.backward;
  }

  // In the phase and block of the node that crosses.
  Builder builder_at(const Node& node) {
    Builder b(made_.graph);
    b.set_phase(node.phase);
    b.set_block(node.block);
    return b;
  }

  // Nodes that a builder has added stand for this one.
  void own_nodes(NodeId canonical) { made_.canonical.resize(static_cast<std::size_t>(made_.graph.size()), canonical); }

  Status receive_packed(NodeId id, const Port& port) {
    Builder b = builder_at(whole_.node(id));
    SUANLI_ASSIGN_OR_RETURN(const Received received, receive_input(b, port.codec, port.type, port.name));
    copy_of_[id] = received.value;
    own_nodes(id);
    return {};
  }

  // A source that stands for a value of another stage.
  Status receive(NodeId id, std::string_view op, Phase phase, int from, std::vector<Port>& ports) {
    const Node& original = whole_.node(id);
    const Codec codec = codec_for(original, phase);
    SUANLI_RETURN_IF_ERROR(check(codec, original.type));
    Port port{id, "recv/" + std::to_string(id), original.type, {from}, 0, codec, wire_type(codec, original.type)};
    if (codec.kind != Codec::Kind::lossless) {
      SUANLI_RETURN_IF_ERROR(receive_packed(id, port));
      ports.push_back(std::move(port));
      return {};
    }
    Node node;
    node.op = &graph::op(op);
    node.type = original.type;
    node.phase = phase;
    node.block = original.block;
    node.name = port.name;
    if (phase == Phase::update) {
      port.round = travels_[id] + 1;
      node.attrs.set("round", std::int64_t{port.round});
    }
    ports.push_back(std::move(port));
    return append(std::move(node), id);
  }

  Status receive_all() {
    for (const NodeId id : own().receive_forward)
      SUANLI_RETURN_IF_ERROR(receive(id, "input", Phase::forward, stage_ - 1, made_.receive_forward));
    for (const NodeId id : own().receive_backward)
      SUANLI_RETURN_IF_ERROR(receive(id, "input", Phase::backward, stage_ + 1, made_.receive_backward));
    for (const NodeId id : own().receive_step)
      SUANLI_RETURN_IF_ERROR(receive(id, "step_input", Phase::update, owner_of(id), made_.receive_step));
    return {};
  }

  int owner_of(NodeId id) const {
    const auto found = std::ranges::find_if(stages_, [&](const StageNodes& stage) { return has(stage.nodes, id); });
    SUANLI_CHECK(found != stages_.end());
    return static_cast<int>(found - stages_.begin());
  }

  Status add_updates() {
    for (const Update& update : whole_.updates()) {
      if (!has(own().sources, update.state)) continue;
      NodeId value = copy_of_[update.value];
      if (has(own().receive_step, update.value)) {
        Node view;  // a new value must be computed here
        view.op = &graph::op("reshape");
        view.inputs = {value};
        view.attrs.set("shape", whole_.node(update.state).type.shape);
        view.phase = Phase::update;
        view.block = whole_.node(update.state).block;
        SUANLI_ASSIGN_OR_RETURN(value, made_.graph.add(std::move(view)));
        made_.canonical.push_back(update.value);
      }
      SUANLI_RETURN_IF_ERROR(made_.graph.add_update(copy_of_[update.state], value));
    }
    return {};
  }

  Status send(NodeId id, Phase phase, std::vector<int> to, std::vector<Port>& ports) {
    const Node& node = whole_.node(id);
    const Codec codec = codec_for(node, phase);
    SUANLI_RETURN_IF_ERROR(check(codec, node.type));
    Port port{id, "send/" + std::to_string(id), node.type, std::move(to), 0, codec, wire_type(codec, node.type)};
    if (codec.kind == Codec::Kind::lossless) {
      SUANLI_RETURN_IF_ERROR(made_.graph.add_output(port.name, copy_of_[id]));
    } else {
      Builder b = builder_at(node);
      // Of a job's graph no two sends have the same node: the stream of their random bits.
      SUANLI_RETURN_IF_ERROR(send_output(b, codec, copy_of_[id], port.name, id));
      if (codec.receiver_has_buffer()) SUANLI_RETURN_IF_ERROR(made_.graph.add_output(port.name + ".full", copy_of_[id]));
      own_nodes(id);
    }
    ports.push_back(std::move(port));
    return {};
  }

  Status send_step_values() {
    for (const NodeId id : own().send_step) {
      std::vector<int> to;
      for (std::size_t s = 0; s < stages_.size(); ++s)
        if (has(stages_[s].receive_step, id)) to.push_back(static_cast<int>(s));
      SUANLI_RETURN_IF_ERROR(send(id, Phase::update, std::move(to), made_.send_step));
    }
    return {};
  }

  const Graph& whole_;
  const std::vector<StageNodes>& stages_;
  const int stage_;
  const BoundaryCodecs& codecs_;
  const std::vector<int> travels_;
  std::vector<NodeId> copy_of_;  // canonical node -> stage node
  StageGraph made_;
};

}  // namespace

Result<StageGraph> stage_graph(const Graph& graph, const Cut& cut, int stage, const BoundaryCodecs& codecs) {
  SUANLI_ASSIGN_OR_RETURN(const std::vector<StageNodes> stages, graph::stages(graph, cut));
  if (stage < 0 || stage >= static_cast<int>(stages.size()))
    return fail(ErrorCode::graph,
                "there is no stage " + std::to_string(stage) + ": the cut makes " + std::to_string(stages.size()), "stage",
                "count stages from 0");
  return StageMaker(graph, stages, stage, codecs).run();
}

}  // namespace suanli::graph
