#include "suanli/graph/digest.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

constexpr std::string_view kNodeTag = "suanli-node/1";
constexpr std::string_view kGraphTag = "suanli-graph/1";

// Strings and lists carry their length, so that no two different values have the same bytes.
class Encoder {
 public:
  void number(std::uint64_t value) { hash_.update_u64(value); }
  void number(std::int64_t value) { hash_.update_u64(static_cast<std::uint64_t>(value)); }
  void size(std::size_t value) { hash_.update_u64(value); }
  // IEEE-754 bits; every NaN counts as one.
  void real(double value) {
    if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
    number(std::bit_cast<std::uint64_t>(value));
  }
  void text(std::string_view value) {
    size(value.size());
    hash_.update(value);
  }
  void list(const std::vector<std::int64_t>& values) {
    size(values.size());
    for (std::int64_t value : values) number(value);
  }
  void digest(const Digest& value) { hash_.update(value.bytes); }
  Digest finish() { return hash_.finish(); }

 private:
  Sha256 hash_;
};

void encode(Encoder& encoder, const AttrValue& value) {
  encoder.size(value.index());
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    encoder.number(*integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    encoder.real(*real);
  } else if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value)) {
    encoder.list(*list);
  } else {
    encoder.text(std::get<std::string>(value));
  }
}

Digest digest_of(const Node& node, const std::vector<Digest>& earlier) {
  Encoder encoder;
  encoder.text(kNodeTag);
  encoder.text(node.op->name);
  encoder.size(node.attrs.entries().size());
  for (const auto& [name, value] : node.attrs.entries()) {
    encoder.text(name);
    encode(encoder, value);
  }
  encoder.text(name_of(node.type.dtype));
  encoder.list(node.type.shape);
  encoder.text(name_of(node.phase));
  encoder.number(std::int64_t{node.block});
  encoder.text(node.name);
  encoder.size(node.inputs.size());
  for (NodeId input : node.inputs) encoder.digest(earlier[input]);
  return encoder.finish();
}

}  // namespace

std::vector<Digest> node_digests(const Graph& graph) {
  std::vector<Digest> digests;
  digests.reserve(graph.nodes().size());
  for (const Node& node : graph.nodes()) digests.push_back(digest_of(node, digests));
  return digests;
}

Digest digest(const Graph& graph) {
  const std::vector<Digest> nodes = node_digests(graph);
  Encoder encoder;
  encoder.text(kGraphTag);
  encoder.number(graph.micro_batches());

  std::vector<std::pair<std::string, Digest>> outputs;
  for (const Output& output : graph.outputs())
    outputs.emplace_back(output.name, nodes[output.node]);
  std::sort(outputs.begin(), outputs.end());
  encoder.size(outputs.size());
  for (const auto& [name, value] : outputs) {
    encoder.text(name);
    encoder.digest(value);
  }

  std::vector<std::pair<std::string, const Update*>> updates;
  for (const Update& update : graph.updates())
    updates.emplace_back(graph.node(update.state).name, &update);
  std::sort(updates.begin(), updates.end());  // names of sources are unique
  encoder.size(updates.size());
  for (const auto& [name, update] : updates) {
    encoder.text(name);
    encoder.digest(nodes[update->state]);
    encoder.digest(nodes[update->value]);
  }

  // With every live node, as often as it stands there: a graph that computes a value twice costs
  // more.
  const std::vector<bool> live = graph.live();
  std::vector<Digest> needed;
  for (std::size_t id = 0; id < nodes.size(); ++id)
    if (live[id]) needed.push_back(nodes[id]);
  std::sort(needed.begin(), needed.end());
  encoder.size(needed.size());
  for (const Digest& node : needed) encoder.digest(node);
  return encoder.finish();
}

}  // namespace suanli::graph
