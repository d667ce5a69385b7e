#include "suanli/checkpoint/restore.h"

#include <map>

#include "suanli/base/text.h"
#include "suanli/model/safetensors.h"

namespace suanli::checkpoint {
namespace {

tl::unexpected<Error> damaged(ErrorCode code, std::string_view place, std::string message) {
  return fail(code, std::move(message), std::string(place),
              "restore the file from a copy, or go back to an older snapshot");
}

Status check_size(const Manifest& manifest, ByteSpan data, std::string_view place) {
  const auto promised = static_cast<std::size_t>(manifest.data_bytes.value());
  if (data.size() == promised) return {};
  return damaged(data.empty() ? ErrorCode::empty : ErrorCode::corrupt, place,
                 "the file has " + std::to_string(data.size()) + " bytes but its manifest says " +
                     std::to_string(promised));
}

// Calls use(entry, bytes of the tensor) for each selected tensor; the bytes are not yet verified.
template <typename Use>
Status visit(const Manifest& manifest, ByteSpan data, std::string_view place,
             const TensorFilter& filter, const Use& use) {
  SUANLI_RETURN_IF_ERROR(check_size(manifest, data, place));
  const auto header = data.first(static_cast<std::size_t>(manifest.header_bytes.value()));
  if (const Digest found = sha256(header); found != manifest.header_digest)
    return damaged(ErrorCode::corrupt, place,
                   "the header has SHA-256 " + found.hex() + " but its manifest says " +
                       manifest.header_digest.hex());
  SUANLI_ASSIGN_OR_RETURN(model::Safetensors file, model::parse_safetensors(data, place));
  std::map<std::string_view, const model::TensorView*> by_name;
  for (const model::TensorView& tensor : file.tensors) by_name[tensor.name] = &tensor;
  if (by_name.size() != manifest.tensors.size() ||
      file.header_bytes != static_cast<std::size_t>(manifest.header_bytes.value()))
    return damaged(ErrorCode::mismatch, place,
                   "the file holds " + std::to_string(by_name.size()) +
                       " tensors but its manifest lists " +
                       std::to_string(manifest.tensors.size()));
  for (const TensorEntry& entry : manifest.tensors) {
    const auto found = by_name.find(entry.name);
    if (found == by_name.end() || found->second->type != entry.type)
      return damaged(ErrorCode::mismatch, place,
                     "tensor '" + printable(entry.name) + "' should be " + entry.type.to_string() +
                         " but is " +
                         (found == by_name.end() ? "missing" : found->second->type.to_string()));
    if (selects(filter, entry.name)) SUANLI_RETURN_IF_ERROR(use(entry, found->second->data));
  }
  return {};
}

Status check_digest(const TensorEntry& entry, ByteSpan bytes, std::string_view place) {
  if (const Digest found = sha256(bytes); found != entry.digest)
    return damaged(ErrorCode::corrupt, place,
                   "tensor '" + printable(entry.name) + "' has SHA-256 " + found.hex() +
                       " but its manifest says " + entry.digest.hex());
  return {};
}

}  // namespace

Status verify(const Manifest& manifest, ByteSpan data, std::string_view place,
              const TensorFilter& filter) {
  return visit(manifest, data, place, filter, [&](const TensorEntry& entry, ByteSpan bytes) {
    return check_digest(entry, bytes, place);
  });
}

Result<Snapshot> restore(const Manifest& manifest, ByteSpan data, std::string_view place,
                         const TensorFilter& filter) {
  Snapshot snapshot{manifest.step, {}, manifest.meta_json};
  SUANLI_RETURN_IF_ERROR(
      visit(manifest, data, place, filter, [&](const TensorEntry& entry, ByteSpan bytes) {
        snapshot.tensors.push_back({entry.name, entry.type, {bytes.begin(), bytes.end()}});
        return check_digest(entry, snapshot.tensors.back().bytes(), place);  // of the copy
      }));
  return snapshot;
}

}  // namespace suanli::checkpoint
