// The content of a whole snapshot folder: u32 little-endian length of the manifest, manifest, data
// file. Whatever they hold, the pair is refused or restored, and what is restored is what the
// digests promise. Each input is also tried with the manifest's own digest and the header's digest
// made right, so that mutations get past them.
#include <algorithm>
#include <cstdint>

#include "suanli/checkpoint/restore.h"
#include "suanli/checkpoint/test_snapshot.h"
#include "suanli/model/safetensors.h"

namespace checkpoint = suanli::checkpoint;
namespace model = suanli::model;
using suanli::ByteSpan;

namespace {

constexpr std::size_t kLengthBytes = 4;

void check_restore(const checkpoint::Manifest& manifest, ByteSpan data) {
  const auto status = checkpoint::verify(manifest, data, "data", {});
  const auto snapshot = checkpoint::restore(manifest, data, "data", {});
  SUANLI_CHECK(status.has_value() == snapshot.has_value());
  if (!snapshot) {
    SUANLI_CHECK(snapshot.error().message == status.error().message);
    return;
  }
  SUANLI_CHECK(snapshot->tensors.size() == manifest.tensors.size());
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i)
    SUANLI_CHECK(suanli::sha256(snapshot->tensors[i].bytes()) == manifest.tensors[i].digest);
}

void check_folder(std::string_view text, ByteSpan data) {
  auto manifest = checkpoint::parse_manifest(text, "manifest");
  if (!manifest) return;
  check_restore(*manifest, data);
  const auto header = static_cast<std::size_t>(manifest->header_bytes.value());
  if (header > data.size()) return;
  manifest->header_digest = suanli::sha256(data.first(header));
  check_restore(*manifest, data);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
  const ByteSpan bytes = std::as_bytes(std::span(input, size));
  if (size < kLengthBytes) return 0;
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length |= std::size_t{input[i]} << (8 * i);
  length = std::min(length, size - kLengthBytes);
  const std::string_view text(reinterpret_cast<const char*>(input) + kLengthBytes, length);
  const ByteSpan data = bytes.subspan(kLengthBytes + length);
  check_folder(text, data);
  check_folder(checkpoint::internal::seal(std::string(checkpoint::internal::unsealed(text))), data);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  const checkpoint::Snapshot snapshot = checkpoint::test_snapshot(100, 1);
  std::vector<model::TensorView> views;
  for (const auto& tensor : snapshot.tensors)
    views.push_back({tensor.name, tensor.type, tensor.bytes()});
  std::string data = model::safetensors_header(views, {{"step", "100"}});
  const std::string text = checkpoint::to_text(checkpoint::describe(snapshot, data));
  for (const auto& view : views)
    data.append(reinterpret_cast<const char*>(view.data.data()), view.data.size());
  std::string length(kLengthBytes, '\0');
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length[i] = static_cast<char>(text.size() >> (8 * i));
  return {length + text + data};
}
