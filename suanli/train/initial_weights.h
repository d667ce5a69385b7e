// The weights with which a run begins: drawn from its seed, or taken from another run (`train.init`), which is how a trained
// model is fine-tuned on another text.
#pragma once

#include <string_view>

#include "suanli/base/error.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/graph.h"
#include "suanli/train/job.h"

namespace suanli::train {

// `state` is that of `graph` as drawn from the job's seed. If the job names a run in train.init, all parameters take the values
// of that run's newest snapshot that can be loaded; what belongs to the optimizer stays as it begins. `tokenizer`: the dataset's.
// Errors: not_found (no run there, or none of its snapshots), mismatch (another tokenizer, or a parameter that it lacks or has in
// another shape), already corrupt, version, io. One thread.
[[nodiscard]] Status load_initial_weights(const JobConfig& job, const graph::Graph& graph, std::string_view tokenizer,
                                          engine::State& state);

}  // namespace suanli::train
