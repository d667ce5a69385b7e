// For tests: a small snapshot whose content is a pure function of its step.
#pragma once

#include <algorithm>
#include <utility>

#include "suanli/checkpoint/snapshot.h"

namespace suanli::checkpoint {

inline std::vector<std::byte> test_bytes(std::int64_t step, std::size_t tensor, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>(
        (static_cast<std::size_t>(step) * 131 + tensor * 31 + i * 7) >> (i % 3));
  return bytes;
}

// `rows` scales the size: 512 bytes a row and some.
inline Snapshot test_snapshot(std::int64_t step, std::int64_t rows = 4) {
  Snapshot snapshot;
  snapshot.step = step;
  snapshot.meta_json = "{\"sampler\":{\"position\":" + std::to_string(step * 64) + "}}";
  const std::pair<const char*, graph::TensorType> tensors[] = {
      {"wte.weight", graph::f32({rows, 128})},
      {"h.0.ln.bias", graph::bf16({5})},
      {"adam.t", {graph::DType::i64, {}}},
      {"empty", graph::f32({0, 3})},
      {"ids", graph::i32({3})},
      {"mask", {graph::DType::u8, {7}}}};
  for (const auto& [name, type] : tensors)
    snapshot.tensors.push_back({name, type,
                                test_bytes(step, snapshot.tensors.size(),
                                           static_cast<std::size_t>(type.bytes().value()))});
  return snapshot;
}

inline bool same(const Snapshot& a, const Snapshot& b) {
  return a.step == b.step && a.meta_json == b.meta_json &&
         std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(),
                    [](const NamedTensor& x, const NamedTensor& y) {
                      return x.name == y.name && x.type == y.type && x.data == y.data;
                    });
}

}  // namespace suanli::checkpoint
