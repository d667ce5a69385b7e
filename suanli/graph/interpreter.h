// Runs a graph with the reference kernels in float64: the oracle for the engine, for fusions and
// for gradients. Plain and slow on purpose. Values of bf16 nodes are rounded to bf16 (nearest
// even); f32 values keep float64.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/graph.h"
#include "suanli/graph/op.h"

namespace suanli::graph {

using Values = std::map<std::string, RefTensor>;

class Interpreter {
 public:
  // Keeps a reference to the graph. State starts as zeros until set.
  explicit Interpreter(const Graph& graph);

  // The state tensor of this name; its type is fixed by the graph.
  RefTensor& state(const std::string& name);

  // One step: micro_inputs has graph.micro_batches() entries, each naming every input; step_inputs
  // names every step input. Returns the outputs: forward and backward outputs of the last
  // micro-batch (of a micro_sum: the sum of the step), update outputs of the step. Missing, unknown
  // or mistyped values are errors and leave the state as it was.
  Result<Values> step(const std::vector<Values>& micro_inputs, const Values& step_inputs = {});

  // Forward and backward of one micro-batch only, no update: the value of every node, for
  // comparisons. Nodes of the update phase and step inputs have no data.
  Result<std::vector<RefTensor>> evaluate(const Values& inputs);

 private:
  // Slots, one per node, with the state in place.
  std::vector<RefTensor> new_slots() const;
  // Puts `values` into the slots of the sources of the op `kind`: each must be given, and no
  // others.
  Status load(const std::string& kind, const Values& values, std::vector<RefTensor>& slots) const;
  // Runs the nodes of the update phase, or all others.
  void run(bool update, std::vector<RefTensor>& slots) const;
  const Graph& graph_;
  std::map<std::string, RefTensor> state_;
};

// Nearest-even rounding of a real number to bf16 (through f32).
double round_to_bf16(double value);

}  // namespace suanli::graph
