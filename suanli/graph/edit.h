// Changes the structure of a job while it trains: a new graph, and for each of its
// state tensors the rule that makes it from the old ones, optimizer state included. An edit is
// data: it can be stored, priced and replayed.
//
// Doubling a hidden layer of width 8 without changing the function (Chen, Goodfellow, Shlens,
// "Net2Net", ICLR 2016): each column of w1 stands twice, each row of w2 twice with half its weight.
//
//   {.to = "w1", .kind = StateRule::Kind::blend,
//    .pieces = {{.from = "w1", .from_offset = {0, 0}, .to_offset = {0, 0}, .extent = {4, 8}},
//               {.from = "w1", .from_offset = {0, 0}, .to_offset = {0, 8}, .extent = {4, 8}}}}
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/graph.h"
#include "suanli/graph/op.h"

namespace suanli::graph {

// Copies the box of `extent` at `from_offset` of the old tensor `from`, times `scale`, into the box
// at `to_offset` of the new one. Both tensors have the same dtype and rank; integers are not
// scaled.
struct Piece {
  std::string from;
  Shape from_offset = {};
  Shape to_offset = {};
  Shape extent = {};
  double scale = 1;
  bool add = false;  // add to what is there instead of replacing it
};

struct StateRule {
  enum class Kind {
    keep,   // the old tensor `from`, of the same type, as it is
    fill,   // every element is `fill`
    init,   // as in a fresh job: initial_value() with the edit's seed
    blend,  // every element `fill`, then the pieces in order
  };
  std::string to;  // a param or state of the new graph
  Kind kind = Kind::keep;
  std::string from = {};  // keep only; empty: the old tensor named `to`
  std::vector<Piece> pieces = {};
  double fill = 0;
};

using StateMap = std::map<std::string, RefTensor>;

struct GraphEdit {
  std::string reason;  // one line, for the run's history
  Graph after;
  std::vector<StateRule> rules;  // one for each param and state of `after`, in any order
  std::uint64_t seed = 0;        // for init rules
};

// Every state tensor of `after` has exactly one rule, everything a rule names exists, types agree,
// boxes lie inside both tensors. Errors have code graph; their place is the rule.
Status validate(const GraphEdit& edit, const Graph& before);

// The state of `after` from the state of `before`, which holds each tensor that a rule reads with
// the graph's type (else code mismatch). Validates first.
Result<StateMap> apply(const GraphEdit& edit, const Graph& before, const StateMap& state);

// How a param or state begins: element i is constant + deviation * normal(i), where normal is that of
// Philox(seed, Stream::init, stream_step). The step is made of the tensor's name, so that the value depends on
// seed and name alone. Rounded to the tensor's dtype.
struct InitialRule {
  double constant = 0;
  double deviation = 0;
  std::uint64_t stream_step = 0;
};

// By the node's attributes: init "zeros", "ones", or "normal" with deviation "std". Another word is an error
// (code graph).
Result<InitialRule> initial_rule(const Node& node);

// The value that the rule gives.
Result<RefTensor> initial_value(const Node& node, std::uint64_t seed);

}  // namespace suanli::graph
