// Any bytes are either refused or read as tensors that can be written and read again.
#include <cstdint>

#include "suanli/model/safetensors.h"

using suanli::ByteSpan;
namespace model = suanli::model;
namespace graph = suanli::graph;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes = std::as_bytes(std::span(data, size));
  const auto file = model::parse_safetensors(bytes, "input");
  if (!file) {
    SUANLI_CHECK(!file.error().message.empty() && file.error().place == "input");
    return 0;
  }
  std::string copy = model::safetensors_header(file->tensors, file->metadata);
  for (const model::TensorView& tensor : file->tensors)
    copy.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  const auto again = model::parse_safetensors(suanli::as_bytes(copy), "copy");
  SUANLI_CHECK(again && again->metadata == file->metadata);
  SUANLI_CHECK(again->tensors.size() == file->tensors.size());
  for (const model::TensorView& tensor : file->tensors) {
    const model::TensorView* twin = again->find(tensor.name);
    SUANLI_CHECK(twin != nullptr && twin->type == tensor.type);
    SUANLI_CHECK(
        std::equal(twin->data.begin(), twin->data.end(), tensor.data.begin(), tensor.data.end()));
  }
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  const std::string bytes(64, 'x');
  const ByteSpan data = suanli::as_bytes(bytes);
  const std::vector<model::TensorView> tensors = {
      {"wte.weight", graph::f32({2, 3}), data.first(24)},
      {"ids", graph::i32({4}), data.first(16)},
      {"half", graph::bf16({1, 2, 2}), data.first(8)},
      {"none", graph::f32({0}), {}},
      {"scalar", {graph::DType::i64, {}}, data.first(8)},
      {"raw", {graph::DType::u8, {3}}, data.first(3)}};
  std::string full = model::safetensors_header(tensors, {{"format", "pt"}});
  for (const model::TensorView& tensor : tensors)
    full.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  return {full, model::safetensors_header({}, {})};
}
