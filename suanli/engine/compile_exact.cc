#include "suanli/engine/compile_exact.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;

constexpr std::array<std::string_view, 9> kOfProducts = {
    "matmul",          "attention",       "attention_stats",       "attention_grad",
    "log_sum_exp",     "vocabulary_loss", "softmax_cross_entropy", "softmax_cross_entropy_grad",
    "vocabulary_loss_grad"};

// Does a micro_sum read the value, itself or through views?
bool is_summed(const Graph& graph, NodeId id) {
  for (NodeId user = id + 1; user < graph.size(); ++user) {
    const Node& node = graph.node(user);
    if (std::ranges::find(node.inputs, id) == node.inputs.end()) continue;
    if (node.op->name == "micro_sum") return true;
    if (node.op->op_class == graph::OpClass::view && is_summed(graph, user)) return true;
  }
  return false;
}

// A product of forward may be made again in backward, where it has no canonical node: it stays one of three terms.
bool has_four_terms(const Graph& canonical, const Lowered& lowered, const Group& group) {
  return std::ranges::any_of(group.nodes, [&](NodeId id) {
    const NodeId origin = lowered.canonical[id];
    return lowered.graph.node(id).op->name == "matmul" && origin != kNoNode &&
           canonical.node(origin).phase == graph::Phase::backward && is_summed(lowered.graph, id);
  });
}

}  // namespace

void ask_for_exact(const Graph& canonical, const Lowered& lowered, const Group& group, KernelSpec& spec) {
  spec.attrs.set("exact", std::int64_t{1});
  if (std::ranges::find(kOfProducts, group.kernel) == kOfProducts.end()) return;
  spec.name = "exact_" + group.kernel;
  if (group.kernel == "matmul") spec.attrs.set("terms", std::int64_t{has_four_terms(canonical, lowered, group) ? 4 : 3});
}

}  // namespace suanli::engine
