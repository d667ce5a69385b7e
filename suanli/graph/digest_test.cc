#include "suanli/graph/digest.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "suanli/graph/mlp_for_tests.h"
#include "suanli/graph/text_form.h"

namespace suanli::graph {
namespace {

// y = (x w) + fill; one output, one update. `change` may alter the parts before they are built.
struct Parts {
  std::string input_name = "x";
  Shape input_shape = {4, 3};
  std::string init = "normal";
  double deviation = 0.02;
  std::int64_t rows = 3;
  double shift = 0.5;
  std::string activation = "gelu";
  Phase shift_phase = Phase::forward;
  int block = 1;
  bool swap_inputs = false;
  std::string output = "y";
  bool second_output = false;
  bool update = true;
  double rate = 0.1;
  std::int64_t micro_batches = 2;
  bool dead_nodes = false;
  bool reordered = false;
  bool twice = false;
};

Graph build(const Parts& parts) {
  Graph graph;
  Builder b(graph);
  NodeId x = kNoNode;
  NodeId w = kNoNode;
  const auto add_x = [&] { x = b.input(parts.input_name, f32(parts.input_shape)); };
  const auto add_w = [&] { w = b.param("w", f32({parts.rows, 3}), parts.init, parts.deviation); };
  if (parts.reordered) add_w();
  if (parts.dead_nodes) b.gelu(b.input("unused", f32({2})));
  add_x();
  if (!parts.reordered) add_w();
  b.set_block(parts.block);
  const NodeId product = b.matmul(x, w);
  const NodeId active = b.apply(parts.activation, {product});
  if (parts.dead_nodes) b.exp(product);
  const NodeId left = parts.twice ? b.apply(parts.activation, {product}) : active;
  b.set_phase(parts.shift_phase);
  const NodeId shifted = b.shift(active, parts.shift);
  const NodeId y = parts.swap_inputs ? b.sub(left, shifted) : b.sub(shifted, left);
  b.set_phase(Phase::update);
  b.set_block(0);
  const NodeId next = b.scale(w, parts.rate);
  SUANLI_CHECK(b.status());
  SUANLI_CHECK(graph.add_output(parts.output, y));
  if (parts.second_output) SUANLI_CHECK(graph.add_output("z", product));
  if (parts.update) SUANLI_CHECK(graph.add_update(w, next));
  SUANLI_CHECK(graph.set_micro_batches(parts.micro_batches));
  return graph;
}

Digest digest_with(const std::function<void(Parts&)>& change) {
  Parts parts;
  change(parts);
  return digest(build(parts));
}

TEST(Digest, IsOfTheDocumentedEncoding) {
  // The example of docs/formats/graph-digest.md.
  Graph graph;
  const NodeId x = Builder(graph).input("x", f32({2}));
  ASSERT_TRUE(graph.add_output("x", x).has_value());
  const auto number = [](std::uint64_t value) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
    return bytes;
  };
  const auto text = [&](const std::string& value) { return number(value.size()) + value; };
  const auto raw = [](const Digest& value) {
    return std::string(reinterpret_cast<const char*>(value.bytes.data()), 32);
  };
  const Digest node =
      sha256(text("suanli-node/1") + text("input") + number(0) + text("f32") + number(1) +
             number(2) + text("forward") + number(0) + text("x") + number(0));
  EXPECT_EQ(node_digests(graph).at(0), node);
  const Digest whole = sha256(text("suanli-graph/1") + number(1) + number(1) + text("x") +
                              raw(node) + number(0) + number(1) + raw(node));
  EXPECT_EQ(digest(graph), whole);
  EXPECT_EQ(whole.hex(), "0b9e633236267451a72c16de8743bf436ff53842897e8f426d23138f735c262d");
}

TEST(Digest, DoesNotDependOnOrderOrDeadNodes) {
  const Digest base = digest(build({}));
  EXPECT_EQ(digest_with([](Parts& p) { p.reordered = true; }), base);
  EXPECT_EQ(digest_with([](Parts& p) { p.dead_nodes = true; }), base);
  EXPECT_EQ(digest_with([](Parts& p) { p.dead_nodes = p.reordered = true; }), base);
}

TEST(Digest, DoesNotDependOnTheOrderOfOutputsAndUpdates) {
  const std::string nodes =
      "suanli-graph/1\n"
      "%0 = state a {init=\"zeros\"} : f32[2] @update block 0\n"
      "%1 = state b {init=\"zeros\"} : f32[2] @update block 0\n"
      "%2 = gelu(%0) : f32[2] @update block 0\n"
      "%3 = gelu(%1) : f32[2] @update block 0\n";
  const auto of = [&](const std::string& rest) {
    const Result<Graph> graph = parse_text(nodes + rest, "order");
    EXPECT_TRUE(graph.has_value());
    return digest(*graph);
  };
  const Digest base = of("output p %2\noutput q %3\nupdate %0 <- %2\nupdate %1 <- %3\n");
  EXPECT_EQ(of("output q %3\nupdate %1 <- %3\nupdate %0 <- %2\noutput p %2\n"), base);
  EXPECT_NE(of("output p %3\noutput q %2\nupdate %0 <- %2\nupdate %1 <- %3\n"), base);
  EXPECT_NE(of("output p %2\noutput q %3\nupdate %0 <- %3\nupdate %1 <- %2\n"), base);
}

TEST(Digest, SeesEveryChange) {
  const std::vector<std::function<void(Parts&)>> changes = {
      [](Parts&) {},
      [](Parts& p) { p.input_name = "xx"; },
      [](Parts& p) {
        p.input_shape = {5, 3};
      },
      [](Parts& p) { p.init = "ones"; },
      [](Parts& p) { p.deviation = 0.020000000000000004; },
      [](Parts& p) { p.shift = -0.0; },
      [](Parts& p) { p.shift = 0.0; },
      [](Parts& p) { p.activation = "exp"; },
      [](Parts& p) { p.shift_phase = Phase::backward; },
      [](Parts& p) { p.block = 2; },
      [](Parts& p) { p.block = kWholeJob; },
      [](Parts& p) { p.swap_inputs = true; },
      [](Parts& p) { p.output = "z"; },
      [](Parts& p) { p.second_output = true; },
      [](Parts& p) { p.update = false; },
      [](Parts& p) { p.rate = 0.2; },
      [](Parts& p) { p.micro_batches = 3; },
      [](Parts& p) { p.twice = true; },
  };
  std::set<Digest> digests;
  for (const auto& change : changes) digests.insert(digest_with(change));
  EXPECT_EQ(digests.size(), changes.size());
}

TEST(Digest, SeesTheStateThatAnUpdateWrites) {
  // Nobody reads the state tensor: only the update names it.
  const auto of = [](const std::string& init) {
    Graph graph;
    Builder b(graph);
    b.set_phase(Phase::update);
    const NodeId state = b.state("s", f32({}), init);
    SUANLI_CHECK(graph.add_update(state, b.fill({}, 1)));
    return digest(graph);
  };
  EXPECT_NE(of("zeros"), of("ones"));
}

TEST(Digest, NodesHaveOneEach) {
  const Graph graph = mlp_for_tests(2, 6);
  const std::vector<Digest> digests = node_digests(graph);
  ASSERT_EQ(digests.size(), graph.nodes().size());
  // The two layers compute alike, but not the same.
  EXPECT_NE(digests[graph.find("layer.1.up")], digests[graph.find("layer.2.up")]);
  // A node's digest is that of its own history: what comes later does not matter.
  const std::vector<Digest> deeper = node_digests(mlp_for_tests(3, 6));
  EXPECT_EQ(deeper[graph.find("layer.2.up")], digests[graph.find("layer.2.up")]);
  EXPECT_NE(digest(mlp_for_tests(3, 6)), digest(graph));
}

}  // namespace
}  // namespace suanli::graph
