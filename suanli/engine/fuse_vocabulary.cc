#include "suanli/engine/fuse_vocabulary.h"

#include <algorithm>

#include "suanli/graph/op.h"

namespace suanli::engine {

using graph::DType;
using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::Phase;

namespace {

// The nodes that compute with a value, and the views of it through which they read it.
struct Readers {
  std::vector<NodeId> nodes, views;
  bool leaves = false;  // an output or an update takes it
};

class Finder {
 public:
  Finder(const Graph& graph, Arithmetic arithmetic, std::vector<Group>& found)
      : graph_(graph),
        most_bytes_(arithmetic == Arithmetic::exact ? 0 : kMaxWholeLogitsBytes),
        found_(found), users_(graph.users()), leaves_(graph.size(), false), done_(graph.size(), false) {
    for (const graph::Output& output : graph.outputs()) leaves_[output.node] = true;
    for (const graph::Update& update : graph.updates()) leaves_[update.value] = true;
  }

  void run() {
    for (NodeId id : graph_.nodes_of("matmul")) find_head(id);
    for (NodeId id : graph_.nodes_of("softmax_cross_entropy")) find_sums(id);
    for (NodeId id : graph_.nodes_of("softmax_cross_entropy_grad")) find_rounded(id);
  }

 private:
  // The nodes around one matrix of logits.
  struct Head {
    NodeId logits = kNoNode, loss = kNoNode, sums = kNoNode, grad = kNoNode;
    NodeId x = kNoNode, w = kNoNode;
    std::vector<NodeId> views;  // of the logits; part of the group, which would else wait for them
    bool rounds = false;  // products are of bf16 operands
  };

  const Node& node(NodeId id) const { return graph_.node(id); }
  bool is(NodeId id, std::string_view op) const { return node(id).op->name == op; }
  bool flag(NodeId id, std::string_view name) const { return node(id).attrs.integer(name, 0) != 0; }

  void add_readers(NodeId id, Readers& readers) const {
    if (leaves_[id]) readers.leaves = true;
    for (NodeId user : users_[id])
      if (node(user).op->op_class == graph::OpClass::view) {
        readers.views.push_back(user);
        add_readers(user, readers);
      } else {
        readers.nodes.push_back(user);
      }
  }
  Readers readers_of(NodeId id) const {
    Readers readers;
    add_readers(id, readers);
    return readers;
  }

  // The value that an operand stands for: through views and, if operands are rounded anyway, through casts.
  NodeId source_of(NodeId id, bool through_casts) const {
    id = root_of(graph_, id);
    while (through_casts && is(id, "cast")) id = root_of(graph_, node(id).inputs[0]);
    return id;
  }
  bool same_operand(NodeId a, NodeId b, bool rounds) const {
    return node(a).type.shape == node(b).type.shape && source_of(a, rounds) == source_of(b, rounds);
  }

  void find_head(NodeId logits) {
    const graph::TensorType& type = node(logits).type;
    if (node(logits).phase != Phase::forward || type.shape.size() != 2 || flag(logits, "ta") || !flag(logits, "tb")) return;
    if (type.bytes().value() <= most_bytes_) return;
    Head head;
    head.logits = logits;
    head.x = node(logits).inputs[0];
    head.w = node(logits).inputs[1];
    if (node(head.x).type.shape[1] == 0) return;
    head.rounds = node(head.x).type.dtype == DType::bf16 || node(head.w).type.dtype == DType::bf16;
    if (!find_readers(head)) return;
    Group backward;
    if (head.grad != kNoNode && !find_gradients(head, backward)) return;
    const NodeId w = stored_weights(head);
    Group forward{"vocabulary_loss", {head.logits, head.loss}, {head.x, w, node(head.loss).inputs[1]}, {head.loss}, {},
                  std::nullopt, false};
    forward.nodes.insert(forward.nodes.end(), head.views.begin(), head.views.end());
    if (head.sums != kNoNode) {
      forward.nodes.push_back(head.sums);
      forward.outputs.push_back(head.sums);
    }
    add(std::move(forward));
    if (head.grad == kNoNode) return;
    backward.inputs = {head.x, w, node(head.grad).inputs[1], node(head.grad).inputs[2], node(head.grad).inputs[3]};
    add(std::move(backward));
  }

  // Everything that reads the logits: one loss, at most one log_sum_exp and one gradient, all of the same rows.
  bool find_readers(Head& head) const {
    const Readers readers = readers_of(head.logits);
    if (readers.leaves) return false;
    for (NodeId id : readers.nodes) {
      NodeId& place = is(id, "softmax_cross_entropy") ? head.loss : is(id, "log_sum_exp") ? head.sums : head.grad;
      const Phase phase = &place == &head.grad ? Phase::backward : Phase::forward;
      if (place != kNoNode || node(id).phase != phase) return false;
      if (node(node(id).inputs[0]).type.shape != node(head.logits).type.shape) return false;
      place = id;
    }
    if (head.loss == kNoNode) return false;
    for (NodeId view : readers.views)
      if (node(view).phase == Phase::forward) head.views.push_back(view);
    if (head.grad == kNoNode) return true;
    return is(head.grad, "softmax_cross_entropy_grad") && head.sums != kNoNode &&
           root_of(graph_, node(head.grad).inputs[2]) == head.sums &&
           root_of(graph_, node(head.grad).inputs[1]) == root_of(graph_, node(head.loss).inputs[1]);
  }

  // dw = grad^T x and perhaps dx = grad w, of the gradient itself or of its cast; nothing else may read it.
  bool find_gradients(const Head& head, Group& group) const {
    group.kernel = "vocabulary_loss_grad";
    group.nodes = {head.grad};
    NodeId grad = head.grad;
    Readers readers = readers_of(grad);
    if (readers.nodes.size() == 1 && is_rounding(readers.nodes[0])) {
      if (readers.leaves || !head.rounds) return false;
      grad = readers.nodes[0];
      group.nodes.push_back(grad);
      group.nodes.insert(group.nodes.end(), readers.views.begin(), readers.views.end());
      readers = readers_of(grad);
    }
    if (readers.leaves) return false;
    group.nodes.insert(group.nodes.end(), readers.views.begin(), readers.views.end());
    NodeId dx = kNoNode, dw = kNoNode;
    for (NodeId id : readers.nodes) {
      if (!is(id, "matmul") || node(id).phase != Phase::backward || flag(id, "tb")) return false;
      const bool transposed = flag(id, "ta");
      NodeId& place = transposed ? dw : dx;
      if (place != kNoNode || root_of(graph_, node(id).inputs[0]) != grad) return false;
      if (node(node(id).inputs[0]).type.shape != node(head.logits).type.shape) return false;
      if (!same_operand(node(id).inputs[1], transposed ? head.x : head.w, head.rounds)) return false;
      place = id;
      group.nodes.push_back(id);
    }
    if (dw == kNoNode) return false;
    if (dx != kNoNode) group.outputs.push_back(dx);
    group.outputs.push_back(dw);
    return true;
  }

  bool is_rounding(NodeId id) const { return is(id, "cast") && node(id).type.dtype == DType::bf16; }

  // If rounding is asked for by x, w may be the f32 parameter itself.
  NodeId stored_weights(const Head& head) const {
    const NodeId source = source_of(head.w, head.rounds);
    const bool fits = is(source, "param") && node(source).type == graph::f32(node(head.w).type.shape);
    return fits && node(head.x).type.dtype == DType::bf16 ? source : head.w;
  }

  // softmax_cross_entropy with the log_sum_exp of the same logits.
  void find_sums(NodeId loss) {
    if (done_[loss]) return;
    for (NodeId sums : graph_.nodes_of("log_sum_exp")) {
      if (done_[sums] || node(sums).inputs[0] != node(loss).inputs[0] || node(sums).phase != node(loss).phase) continue;
      add({"softmax_cross_entropy", {loss, sums}, node(loss).inputs, {loss, sums}, {}, std::nullopt, false});
      return;
    }
  }

  // A gradient of logits that is only read rounded.
  void find_rounded(NodeId grad) {
    if (done_[grad] || leaves_[grad] || users_[grad].size() != 1) return;
    const NodeId cast = users_[grad][0];
    if (!is_rounding(cast) || node(cast).phase != node(grad).phase) return;
    add({"softmax_cross_entropy_grad", {grad, cast}, node(grad).inputs, {cast}, {}, std::nullopt, false});
  }

  void add(Group group) {
    std::sort(group.nodes.begin(), group.nodes.end());
    for (NodeId id : group.nodes) done_[id] = true;
    found_.push_back(std::move(group));
  }

  const Graph& graph_;
  const std::int64_t most_bytes_;  // of logits that are stored
  std::vector<Group>& found_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> leaves_, done_;
};

}  // namespace

void find_vocabulary_loss(const Graph& graph, Arithmetic arithmetic, std::vector<Group>& found) {
  Finder(graph, arithmetic, found).run();
}

}  // namespace suanli::engine
