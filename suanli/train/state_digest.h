// What a state is, in 32 bytes (docs/formats/checkpoint.md): the same digests that a snapshot of it would have.
#pragma once

#include <vector>

#include "suanli/checkpoint/manifest.h"
#include "suanli/engine/executor.h"

namespace suanli::train {

// In the order of the state. Reads each tensor once, through a buffer of a megabyte.
std::vector<checkpoint::TensorEntry> digest_tensors(engine::State& state);
Digest state_root(engine::State& state);

}  // namespace suanli::train
