// The state of a training run after a step, as plain data: what every tier of storage keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/file.h"
#include "suanli/graph/types.h"

namespace suanli::checkpoint {

// Named by the canonical parameter name ("h.0.attn.weight", "adam.m/h.0.attn.weight"), never by
// where it lies: a snapshot is restored into any layout.
struct NamedTensor {
  std::string name;
  graph::TensorType type;
  std::vector<std::byte> data;  // type.bytes() of them, row-major, aligned for every dtype

  ByteSpan bytes() const { return data; }
};

struct Snapshot {
  std::int64_t step = 0;             // steps done; at least 0
  std::vector<NamedTensor> tensors;  // unique names
  std::string meta_json =
      "{}";  // a JSON object of the trainer (job, sampler position, meter); opaque here
};

// Which tensors to load; an empty function means all.
using TensorFilter = std::function<bool(std::string_view name)>;

inline bool selects(const TensorFilter& filter, std::string_view name) {
  return !filter || filter(name);
}

}  // namespace suanli::checkpoint
