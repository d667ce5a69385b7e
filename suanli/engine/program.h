// A compiled stage: flat lists of kernel calls for forward, backward and update, and where every value lies.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/engine/kernel.h"
#include "suanli/engine/target.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

// Where a value lives.
enum class Place : std::uint8_t {
  state,        // a param or state tensor: shared by all programs bound to the same State
  accumulator,  // a micro_sum over several micro-batches, and all that exact arithmetic sums: kept through the step
  input,        // copied in before forward (inputs) or update (step inputs); one per slot for inputs
  stash,        // made in forward, read in backward: one per slot
  work,         // everything else: one arena for all slots
};
std::string_view name_of(Place place);

struct Value {
  graph::TensorType type;
  Place place = Place::work;
  std::int64_t offset = 0;  // bytes, within its place
  std::string name;         // of the source, for state and input
};

using ValueId = std::int32_t;

struct KernelCall {
  KernelSpec spec;                      // spec.region points into `region`
  std::shared_ptr<const Region> region;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  std::vector<graph::NodeId> origins;   // the canonical nodes it computes, ascending
  int block = 0;
  double flops = 0;                     // of the canonical nodes
  double bytes = 0;                     // read and written by the call
};

struct IndexBound {                     // ids in an integer input must be in [low, high)
  std::string input;
  std::int64_t low, high;
  graph::NodeId reader;
};

struct MemoryPlan {
  Bytes state;         // parameters and optimizer state
  Bytes accumulators;
  Bytes inputs;        // all slots
  Bytes stash_per_slot;
  Bytes work;
  Bytes least;         // largest sum of bytes alive at any one call (stash of one slot and work): a lower bound of the plan
  Bytes total(int slots) const {
    return state + accumulators + inputs + stash_per_slot * std::int64_t{slots} + work;
  }
};

// The state tensor that exact arithmetic keeps beside those of the graph.
inline constexpr std::string_view kExponents = "exact/exponents";

struct Program {
  Target target;
  std::int64_t micro_batches = 1;
  std::vector<Value> values;
  std::vector<KernelCall> forward, backward, update;
  // Calls of `update` before this index write no state: after them the step may still be refused.
  std::size_t commit_index = 0;
  // `update` in parts, in order: a part waits for the step inputs of its round; the parts before `commit_index` lie apart from
  // those behind it. A program that waits for nobody has rounds 0 only.
  struct UpdatePart {
    std::size_t first = 0, last = 0;  // calls [first, last)
    int round = 0;
    bool writes_state = false;        // behind commit_index
  };
  std::vector<UpdatePart> update_parts;
  struct StateCopy {
    ValueId to, from;
  };
  std::vector<StateCopy> state_copies;  // updates that no kernel does in place, at the end of the step
  struct NamedValue {
    std::string name;
    ValueId value;
    graph::Phase phase;
    // Of a step input the round that waits for it; of an output of the update phase the part after which it is there.
    int step = 0;
  };
  std::vector<NamedValue> outputs;
  // Of the outputs the f32 scalars of the step (sums over micro-batches, and what the update phase makes before
  // commit_index): they are looked at before state changes.
  std::vector<std::size_t> guards;
  std::vector<NamedValue> sources;      // inputs, step inputs, params, states
  // Of exact arithmetic, in the order of the canonical graph: sums over micro-batches in whole numbers, rounded to f32 values
  // when update begins (docs/formats/exact-arithmetic.md, section 7).
  struct TokenSum {
    ValueId sum;               // i64, of the value's shape
    ValueId value;             // f32
    graph::NodeId origin;      // the canonical micro_sum
  };
  std::vector<TokenSum> token_sums;
  // One number for each of them. exponents: i32, the state tensor kExponents; largest: i32, the bits of the largest |term|
  // so far; magnitudes: i64, the bitwise or of all |sums|. -1 if there are none.
  ValueId exponents = -1, largest = -1, magnitudes = -1;
  std::vector<ValueId> accumulators;    // zeroed when a step begins
  std::vector<IndexBound> index_bounds;
  std::vector<ValueId> value_of_node;   // canonical node -> its value, -1 where fused away
  MemoryPlan memory;
  std::size_t canonical_nodes = 0;      // live, non-source
  double step_flops = 0;                // as graph::step_cost
};

const std::vector<KernelCall>& calls_of(const Program& program, graph::Phase phase);

}  // namespace suanli::engine
