// AdamW with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay
// Regularization", ICLR 2019, algorithm 2) and clipping by global norm (Pascanu et al., 2013), as
// update nodes of the graph.
#pragma once

#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/autodiff.h"
#include "suanli/graph/builder.h"

namespace suanli::model {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;  // on params marked `decay`
  double clip_norm = 1.0;     // 0: no clipping
};

struct OptimizerNodes {
  graph::NodeId grad_norm;  // f32 []: norm of the mean gradient before clipping
};

// Adds update nodes for every gradient. `tokens` is the update-phase f32 scalar by which the
// gradient sums are divided, `lr` the learning rate's step input. State per parameter P:
// "P.adam_m", "P.adam_v"; shared: "adam.beta1_power", "adam.beta2_power" (beta^t, advanced by one
// f32 product per step, block kWholeJob).
Result<OptimizerNodes> add_adamw(graph::Builder& b,
                                 const std::vector<graph::ParameterGradient>& gradients,
                                 graph::NodeId tokens, graph::NodeId lr,
                                 const AdamWOptions& options);

}  // namespace suanli::model
