// The safetensors format (github.com/huggingface/safetensors): how weights enter and leave.
//
//   u64 little-endian N | N bytes of JSON, padded with spaces | packed data, row-major,
//   little-endian JSON: {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3],
//   "data_offsets": [0, 24]}}
//
// Offsets count from the start of the data. Tensors neither overlap nor leave holes.
//
//   SUANLI_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
//   SUANLI_ASSIGN_OR_RETURN(Safetensors weights, parse_safetensors(file.bytes(), path));
//   const TensorView* table = weights.find("wte.weight");
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/file.h"
#include "suanli/graph/types.h"

namespace suanli::model {

// A tensor whose bytes belong to somebody else (a mapped file, a buffer).
struct TensorView {
  std::string name;
  graph::TensorType type;
  ByteSpan data;  // type.bytes() of them; a file of another writer may hold them unaligned
};

struct Safetensors {
  std::vector<TensorView> tensors;              // in the order of their data
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::size_t header_bytes = 0;                 // before the data: 8 + N

  const TensorView* find(std::string_view name) const;  // nullptr if absent
};

// Longer headers are refused, as the reference implementation does.
inline constexpr std::int64_t kMaxSafetensorsHeader = 100'000'000;

// Copies no data: the views point into `bytes`. Every way in which the bytes break the format is an
// error that names `place` (the file), the tensor and the value: empty, foreign (another kind of
// file), corrupt, or unsupported for a dtype that suanli has not (F16, F64, BOOL and so on).
[[nodiscard]] Result<Safetensors> parse_safetensors(ByteSpan bytes, std::string_view place);

// What stands before the data of these tensors: length, JSON and spaces up to a multiple of 64
// bytes. Names are unique valid UTF-8 and not "__metadata__"; data has type.bytes() bytes.
std::string safetensors_header(std::span<const TensorView> tensors,
                               const std::map<std::string, std::string>& metadata);

// Writes header and data, tensors in the given order; the caller commits.
[[nodiscard]] Status write_safetensors(AtomicFile& file, std::span<const TensorView> tensors,
                                       const std::map<std::string, std::string>& metadata);

// The whole file, atomically.
[[nodiscard]] Status save_safetensors(const std::string& path, std::span<const TensorView> tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace suanli::model
