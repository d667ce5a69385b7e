// The manifest of a snapshot: what its data file must hold, with digests. Written last: a snapshot
// exists only if its manifest does. docs/formats/checkpoint.md describes the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/sha256.h"
#include "suanli/base/units.h"
#include "suanli/checkpoint/snapshot.h"

namespace suanli::checkpoint {

inline constexpr int kManifestVersion = 1;
inline constexpr Bytes kMaxManifest{std::int64_t{256} << 20};

struct TensorEntry {
  std::string name;
  graph::TensorType type;
  Digest digest;  // of its bytes

  bool operator==(const TensorEntry&) const = default;
};

// The digests cover each byte of the data file once: what stands before the tensors, then each
// tensor.
struct Manifest {
  std::int64_t step = 0;
  Bytes data_bytes;    // of the whole data file
  Bytes header_bytes;  // of it, before the first tensor
  Digest header_digest;
  std::vector<TensorEntry> tensors;  // in the order of the data file
  std::string meta_json = "{}";      // compact, keys sorted

  bool operator==(const Manifest&) const = default;
};

// Commits to names, types and bytes of all tensors and to nothing else (not to their order in a
// file): two machines hold the same state if and only if they have the same root.
Digest state_root(const std::vector<TensorEntry>& tensors);

// Digests the snapshot's tensors; `header` is what the data file has before them.
Manifest describe(const Snapshot& snapshot, std::string_view header);

std::string to_text(const Manifest& manifest);

// Damage of any kind is an error that names `place` (the file) and the value: empty, foreign,
// version, corrupt.
[[nodiscard]] Result<Manifest> parse_manifest(std::string_view text, std::string_view place);

namespace internal {
// Appends the closing line with the digest of everything before it.
std::string seal(std::string body);
// What seal() was given, whether or not the digest is right; all of `text` if it has no such line.
std::string_view unsealed(std::string_view text);
}  // namespace internal

}  // namespace suanli::checkpoint
