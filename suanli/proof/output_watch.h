// Names what the calls of a step write, as outputs of canonical ops, and shows it. See replica.h.
#pragma once

#include <string>
#include <vector>

#include "suanli/engine/executor.h"
#include "suanli/proof/op_output.h"

namespace suanli::proof {

// Sees an output of a step before anything reads it. True: its bytes were changed, and the changed ones count (for trials of
// how faults are found).
using OutputVisitor = std::function<bool(const OpOutput& output, std::span<std::byte> bytes)>;

// Watches `executor` from begin_pass() on and as long as it lives; both visitors may be empty, and the second one sees what the
// first one left.
class OutputWatch {
 public:
  OutputWatch(engine::Executor& executor, const graph::Graph& graph, const OutputVisitor& tamper, const OutputVisitor& visit);
  ~OutputWatch();
  OutputWatch(const OutputWatch&) = delete;
  OutputWatch& operator=(const OutputWatch&) = delete;

  // Shows the state.
  void begin_pass(engine::State& state);
  // Shows the inputs, to the second visitor alone. kNoMicroBatch: update begins, with the inputs of the step.
  void begin_micro_batch(std::int64_t micro_batch, std::span<const engine::HostTensor> inputs);

 private:
  void after_call(graph::Phase phase, std::size_t index);
  OpOutput name(const engine::KernelCall& call, engine::ValueId value, graph::Phase phase) const;
  bool show(const OpOutput& output);  // buffer_; true: it was changed

  engine::Executor& executor_;
  const graph::Graph& graph_;
  const OutputVisitor &tamper_, &visit_;
  std::int64_t micro_batch_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace suanli::proof
