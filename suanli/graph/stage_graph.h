// One stage of a pipeline as a graph of its own, which the engine compiles like any other.
//
// What comes from other stages is a source, "recv/ID", and what goes to them an output, "send/ID", where ID is the canonical
// node. Activations come as `input`s of the forward phase, gradients as `input`s of the backward phase, values of the update
// phase as `step_input`s. Everything else keeps its order, phase and block; so does arithmetic: a value is computed from the same
// values by the same ops as on one machine.
//
// Where a codec stands at a boundary (codec.h), the port's source and output are its packed bytes, and beside them stand
//   recv/ID.buffer, recv/ID.next   delta: what this end keeps of each sample, before and after
//   send/ID.buffer, send/ID.next   the same at the sender's end
//   send/ID.full                   delta: the value itself, for samples of which nothing is kept yet
//   send/ID.key                    i32[4], if it rounds at random
// A receiver that gets a value in full gives it as recv/ID.buffer, and zeros as recv/ID: packed zeros add nothing.
//
// An update that waits for other stages runs in rounds: a step input of round r can be computed by its stage from what it
// has received in rounds below r. A stage that runs its update round by round, waiting before each for the step inputs of that
// round alone, never waits in a circle.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/codec.h"
#include "suanli/graph/cut.h"
#include "suanli/graph/graph.h"

namespace suanli::graph {

// A value that leaves or enters a stage.
struct Port {
  NodeId canonical = kNoNode;
  std::string name;  // of the source or output in the stage's graph
  TensorType type;   // of the value
  std::vector<int> stages;  // where it comes from (one), or goes to (ascending)
  int round = 0;            // step values received: the round that waits for it
  Codec codec{};            // what it crosses with
  TensorType wire{};        // of what crosses
};

// For what crosses once for each micro-batch: tensors of f32 of at least two dimensions. Everything else crosses as it is.
struct BoundaryCodecs {
  Codec forward{}, backward{};  // lossless, direct or delta
};

struct StageGraph {
  Graph graph;                    // of at least two micro-batches: sums are accumulators, however many run here
  std::vector<NodeId> canonical;  // stage node -> canonical node
  StageNodes nodes;
  // Ascending by canonical node.
  std::vector<Port> receive_forward, send_forward;    // per micro-batch
  std::vector<Port> receive_backward, send_backward;  // per micro-batch
  std::vector<Port> receive_step, send_step;          // per step
};

// Errors (graph) are those of stages() and of check(codec, type); a stage that does not exist is one, too.
Result<StageGraph> stage_graph(const Graph& graph, const Cut& cut, int stage, const BoundaryCodecs& codecs = {});

}  // namespace suanli::graph
