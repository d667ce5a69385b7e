// What codecs read has come over a network: whatever its bytes, the kernels give numbers or NaN, the same as the plain
// definitions, and touch nothing else.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "suanli/engine/kernel.h"
#include "suanli/graph/op.h"

namespace suanli::engine {
namespace {

// Decodes by kernel and by definition.
void decode(const std::string& name, const graph::Attrs& attrs, const graph::TensorType& packed, const std::uint8_t* data) {
  KernelSpec spec{.name = name, .inputs = {packed}, .outputs = {}, .attrs = attrs};
  const auto type = graph::op(name).infer(spec.inputs, attrs);
  SUANLI_CHECK(type.has_value());
  spec.outputs = {*type};
  const auto kernel = cpu_kernels().find(name)(spec);
  SUANLI_CHECK(kernel.has_value());
  const auto elements = static_cast<std::size_t>(type->elements()), size = static_cast<std::size_t>(packed.elements());
  std::vector<std::uint32_t> bytes((size + 3) / 4 + 1);
  std::memcpy(bytes.data(), data, size);
  std::vector<float> out(elements + 1, 7);
  ThreadPool pool(1);
  const std::byte* inputs[] = {reinterpret_cast<const std::byte*>(bytes.data())};
  std::byte* outputs[] = {reinterpret_cast<std::byte*>(out.data())};
  (*kernel)->run({inputs, outputs, nullptr, pool});
  SUANLI_CHECK(out[elements] == 7);

  const graph::RefTensor given{packed, {data, data + size}};
  graph::RefTensor defined{*type, std::vector<double>(elements)};
  const graph::RefTensor* const tensors[] = {&given};
  graph::op(name).reference({tensors, attrs, defined});
  for (std::size_t i = 0; i < elements; ++i) {
    const bool both_nan = std::isnan(out[i]) && std::isnan(defined.data[i]);
    const auto want = static_cast<float>(defined.data[i]);
    SUANLI_CHECK(both_nan || std::bit_cast<std::uint32_t>(out[i]) == std::bit_cast<std::uint32_t>(want));
  }
}

}  // namespace
}  // namespace suanli::engine

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  // Bits, tile, columns and what to decode; from them follows the size of the packed tensor.
  constexpr std::size_t kHeader = 4;
  if (size < kHeader) return 0;
  constexpr std::int64_t kWidths[] = {2, 3, 4, 6, 8};
  const std::int64_t columns = 1 + data[2];
  const auto* payload = data + kHeader;
  const auto length = static_cast<std::int64_t>(size - kHeader);
  if (data[3] % 4 == 3) {
    const std::int64_t k = std::min(length / 8, columns);
    engine::decode("top_k_unpack", {{"shape", graph::Shape{columns}}}, {graph::DType::u8, {8 * k}}, payload);
    return 0;
  }
  graph::Attrs attrs = {{"bits", kWidths[data[0] % 5]}, {"tile", 8 * (1 + std::int64_t{data[1]} % 128)}};
  attrs.set("transform", std::string(data[3] % 2 == 0 ? "none" : "hadamard"));
  const graph::TensorType row = graph::f32({1, columns});
  const auto of_row = graph::op("quantize_tiles").infer({&row, 1}, attrs);
  const std::int64_t rows = length / of_row->elements();  // as many as the bytes make
  attrs.set("shape", graph::Shape{rows, columns});
  engine::decode("dequantize_tiles", attrs, {graph::DType::u8, {rows * of_row->elements()}}, payload);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  std::vector<std::string> seeds;
  for (char bits = 0; bits < 5; ++bits)
    for (const char how : {0, 1}) {
      std::string seed = {bits, 7, 100, how};
      for (int i = 0; i < 300; ++i) seed += static_cast<char>(i % 2 == 0 ? i * 7 : 0x3C + i % 3);
      seeds.push_back(seed);
    }
  seeds.push_back({0, 0, 9, 3, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, -128, 63, 0, 0, 0, 64});
  return seeds;
}
