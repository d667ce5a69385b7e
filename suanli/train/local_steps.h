// Local steps: each replica makes H inner steps by itself, then all take one outer step on what they have moved (DiLoCo:
// Douillard et al., arXiv 2311.08105), by fragments of the parameters and with a delay if asked for (Streaming DiLoCo, arXiv
// 2501.18512).
//
//   pseudo-gradient of replica r     D_r = w - w_r                  w: the parameters that all had after the last outer step
//   outer step (Nesterov)            D = mean of D_r;  m' = mu m + D;  w' = w - lr (D + mu m')
//   every replica goes on from       w_r' = alpha w_r + (1 - alpha) w'
//
// After the last step of a run all fragments take an outer step at once, without a delay, so that the weights that a run leaves
// hold all that its lanes have learned. A round that it cuts short ends with the mean of the lanes (lr = 1, m is neither looked
// at nor changed: its push would be that of a whole round), and a run that goes on from there begins its rounds anew.
//
// D_r crosses packed, with error feedback: Q(D_r + e), e' = D_r + e - Q(D_r + e). Every replica, the sender too, takes the outer
// step on what was packed, in the order of replicas, so that w and m have the same bits at all of them.
//
// Both halves are graphs of update nodes over the State of the training run: parameters are read and written where they lie,
// and outer.global/NAME, outer.momentum/NAME and outer.error/NAME are state like the optimizer's, in snapshots and digests.
// What lies between them, the exchange of packed tensors, is the caller's.
//
//   inner steps ..                                   executors of send and apply are made with the run's State
//   send->begin_step(); send->update({});            outputs "delta/NAME": packed
//   apply->begin_step(); apply->update({{"delta.0/NAME", ..}, {"delta.1/NAME", ..}, ..});
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/codec.h"
#include "suanli/graph/graph.h"
#include "suanli/train/job.h"

namespace suanli::train {

struct LocalSteps {
  std::int64_t inner_steps = 100;  // H, between two outer steps of a fragment
  double outer_lr = 0.7;
  double outer_momentum = 0.9;
  int fragments = 1;               // outer steps are spread over H: less to send at once, by this factor
  std::int64_t delay = 0;          // inner steps from sending to applying, during which the exchange goes on; less than H
  double keep_local = 0;           // alpha, in [0, 1): 0 without a delay, 0.5 is usual with one
  std::int64_t last_step = 0;      // of the run; 0: it has none
  graph::Codec codec{.kind = graph::Codec::Kind::feedback, .bits = 4};  // lossless, direct, feedback or top_k
};
// Error config: what is wrong, by name.
Status check(const LocalSteps& settings);
// Of a job with local.inner_steps, packed as its codec.weights says.
LocalSteps local_steps_of(const JobConfig& job);

struct OuterParam {
  std::string name;
  graph::TensorType type;  // f32
};
// The parameters of a job's graph, in its order.
std::vector<OuterParam> outer_params(const graph::Graph& job);
// Runs of neighbouring parameters, of about the same number of elements; fewer than asked for if there are fewer parameters.
std::vector<std::vector<OuterParam>> outer_fragments(std::span<const OuterParam> params, int count);

// Outputs "delta/NAME", of graph::wire_type(codec, type). Step input "outer.key" i32[4] if the codec needs a key
// (graph::codec_key; each replica its own index). Errors: config, graph.
Result<graph::Graph> outer_send_graph(std::span<const OuterParam> fragment, const LocalSteps& settings);
// What of an outer step a graph does. Each begins with w, m and all D_r: they may run one after the other, `shared` last.
enum class OuterPart {
  check,   // changes nothing: outputs "next/NAME", sums of the squares of w', which an executor refuses if they are not finite
  local,   // w_r'
  shared,  // m' and w'
};
// Step inputs "delta.R/NAME" for each replica R.
Result<graph::Graph> outer_apply_graph(std::span<const OuterParam> fragment, const LocalSteps& settings, int replicas,
                                       OuterPart part);

// Sets outer.global/NAME to the parameters as they are, where the state has none yet. Once, before the first inner step.
Status begin_local_steps(engine::State& state, std::span<const OuterParam> params);

// State of a run, i32[1]: after which step its rounds began: 0, or the last step of the run that this one goes on from.
inline constexpr std::string_view kOuterBegun = "outer.begun";

// What there is to do after inner step `step` (1, 2, ..) is done. Fragment f is sent after the steps f H / fragments + H, + 2 H,
// .. from the beginning of rounds on, and applied `delay` steps later.
struct OuterDue {
  std::vector<int> apply;      // sent before; first. After the last step all that is on its way
  std::vector<int> send;
  std::vector<int> cut_short;  // sent, too, though their round is not over: after the last step alone
  bool at_once = false;        // what is sent is applied with this step: without a delay, and after the last step
};
OuterDue outer_due(const LocalSteps& settings, std::int64_t begun, std::int64_t step);

}  // namespace suanli::train
