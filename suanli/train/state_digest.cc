#include "suanli/train/state_digest.h"

#include <algorithm>

namespace suanli::train {

std::vector<checkpoint::TensorEntry> digest_tensors(engine::State& state) {
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  std::vector<std::byte> buffer(kPiece);
  std::vector<checkpoint::TensorEntry> entries;
  for (const engine::State::Tensor& tensor : state.tensors()) {
    Sha256 digest;
    const std::int64_t size = tensor.type.bytes().value();
    for (std::int64_t from = 0; from < size; from += kPiece) {
      const auto piece = std::span(buffer).first(static_cast<std::size_t>(std::min(kPiece, size - from)));
      state.read_part(tensor, Bytes(from), piece);
      digest.update(piece);
    }
    entries.push_back({tensor.name, tensor.type, digest.finish()});
  }
  return entries;
}

Digest state_root(engine::State& state) { return checkpoint::state_root(digest_tensors(state)); }

}  // namespace suanli::train
