// Where a graph may be cut into the stages of a pipeline, and what each stage then holds, computes,
// sends and receives.
//
// Stages are runs of consecutive blocks. Per micro-batch, forward values travel to later stages and
// gradients to earlier ones, hop by hop: a value read two stages on passes through the stage
// between. Once per step, values of the update phase travel between any two stages. Sources never
// cross: each stage that reads an input or a state tensor has it at hand. Only live nodes count.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/graph/graph.h"

namespace suanli::graph {

struct CutPoint {
  int after_block = 0;  // between this block and the next
  std::vector<NodeId>
      forward;  // made in blocks <= after_block, read forward or backward in later ones; ascending
  std::vector<NodeId> backward;  // gradients made in later blocks, read backward in blocks <=
                                 // after_block; ascending
  Bytes forward_bytes;           // of one micro-batch
  Bytes backward_bytes;
  bool legal =
      true;  // every crossing value's op may cross (CutRule), and none flows against the pipeline
  std::string reason;  // why not; empty if legal
};

// One for each boundary b | b+1, ascending. A graph of fewer than two blocks has none.
std::vector<CutPoint> cut_points(const Graph& graph);

// Ascending, each the after_block of a cut point; empty: one stage.
struct Cut {
  std::vector<int> after_blocks;
};

struct StageNodes {
  int first_block = 0;
  int last_block = 0;
  std::vector<NodeId> nodes;    // computed here alone; ascending, as are all lists
  std::vector<NodeId> shared;   // kWholeJob: computed by every stage, the same list in each
  std::vector<NodeId> sources;  // inputs and state tensors read or updated here
  std::vector<NodeId> params;   // those of `sources` that are params
  std::vector<NodeId> receive_forward,
      send_forward;  // per micro-batch, from the stage before, to the next
  std::vector<NodeId> receive_backward,
      send_backward;  // per micro-batch, from the next, to the stage before
  // Per step: values that update nodes of other stages or shared ones read, and new values of
  // params other stages hold.
  std::vector<NodeId> receive_step, send_step;
};

// An illegal or unknown boundary is an error (code graph) that names it.
Result<std::vector<StageNodes>> stages(const Graph& graph, const Cut& cut);

// The stages that hold one param, such as a tied embedding in the first and the last. The owner,
// whose blocks contain the param's, sums the holders' gradients, updates, and sends the new value
// to the others.
struct ReduceGroup {
  NodeId param = kNoNode;
  int owner =
      0;  // index of the stage; for a param of the whole job 0, but each stage updates its own copy
  std::vector<int> stages;  // all holders, ascending; the owner is one of them
};

// One for each live param, in order of id.
std::vector<ReduceGroup> reduce_groups(const Graph& graph, const std::vector<StageNodes>& stages);

}  // namespace suanli::graph
