// Finding where a NaN or an infinity came from, for the message to the user.
#pragma once

#include <optional>
#include <string>

#include "suanli/engine/device.h"
#include "suanli/engine/program.h"

namespace suanli::engine {

// "nan at element 17 of f32[64x32]" for the first element that is not finite; nothing for finite or integer tensors.
std::optional<std::string> find_bad_element(Device& device, const std::byte* data,
                                            const graph::TensorType& type);

// "matmul in block 2, forward, reading h.1.mlp.c_fc.weight".
std::string describe_call(const Program& program, const KernelCall& call, graph::Phase phase);

}  // namespace suanli::engine
