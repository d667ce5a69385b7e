// The k elements of largest size, with their places (docs/formats/codecs.md): what is left of a gradient is kept by error
// feedback (codec.h). Packed: k numbers u32, ascending, then the k elements as f32, all little-endian.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "suanli/graph/ops/common.h"

namespace suanli::graph {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 32;

Result<TensorType> infer_pack(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("top_k_pack", types, 0, DType::f32));
  if (types[0].elements() > kMostElements)
    return op_error("top_k_pack", "input 0 is " + types[0].to_string() + ", expected at most 2^32 elements");
  SUANLI_RETURN_IF_ERROR(expect_integer("top_k_pack", attrs, "k", 0, types[0].elements()));
  return TensorType{DType::u8, {8 * attrs.integer("k")}};
}

Result<TensorType> infer_unpack(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("top_k_unpack", types, 0, DType::u8));
  SUANLI_RETURN_IF_ERROR(expect_rank("top_k_unpack", types, 0, 1));
  SUANLI_RETURN_IF_ERROR(expect_shape("top_k_unpack", attrs.list("shape")));
  const std::int64_t elements = element_count(attrs.list("shape")), bytes = types[0].shape[0];
  if (elements > kMostElements || bytes % 8 != 0 || bytes / 8 > elements)
    return op_error("top_k_unpack", "input 0 is " + types[0].to_string() +
                                        ", expected 8 bytes for each element sent of " + to_string(attrs.list("shape")));
  return f32(attrs.list("shape"));
}

void put_word(std::vector<double>& bytes, std::size_t at, std::uint32_t word) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = word >> (8 * i) & 0xFF;
}

std::uint32_t word_at(const std::vector<double>& bytes, std::size_t at) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i) word |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * i);
  return word;
}

// Sizes are compared as bits without sign, so that what is not a number comes first; of equal ones the lower place.
void reference_pack(const ReferenceCall& call) {
  std::vector<std::uint32_t> bits;
  for (const double x : call.inputs[0]->data) bits.push_back(std::bit_cast<std::uint32_t>(static_cast<float>(x)));
  std::vector<std::uint32_t> places(bits.size());
  std::iota(places.begin(), places.end(), 0U);
  const auto size = [&](std::uint32_t place) { return bits[place] & 0x7FFFFFFF; };
  std::ranges::stable_sort(places, [&](std::uint32_t a, std::uint32_t b) { return size(a) > size(b); });
  const auto k = static_cast<std::size_t>(call.attrs.integer("k"));
  std::sort(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(k));
  for (std::size_t i = 0; i < k; ++i) {
    put_word(call.out.data, 4 * i, places[i]);
    put_word(call.out.data, 4 * (k + i), bits[places[i]]);
  }
}

void reference_unpack(const ReferenceCall& call) {
  const std::vector<double>& packed = call.inputs[0]->data;
  const std::size_t k = packed.size() / 8;
  std::ranges::fill(call.out.data, 0);
  std::int64_t last = -1;
  for (std::size_t i = 0; i < k; ++i) {
    const std::int64_t place = word_at(packed, 4 * i);
    if (place <= last || place >= call.out.type.elements()) {
      std::ranges::fill(call.out.data, std::numeric_limits<double>::quiet_NaN());
      return;
    }
    call.out.data[static_cast<std::size_t>(place)] = std::bit_cast<float>(word_at(packed, 4 * (k + i)));
    last = place;
  }
}

std::vector<OpCase> cases_pack() {
  const auto take = [](Shape shape, std::int64_t k, double low = -2, double high = 2) {
    return OpCase{.inputs = {{f32(std::move(shape)), low, high}}, .attrs = {{"k", k}}, .tolerance = 1e-12};
  };
  return without_gradient({take({}, 1), take({1}, 1), take({5, 17}, 3), take({5, 17}, 85), take({2, 3, 19}, 20),
                           take({100}, 50, 1, 1)});
}

// All places are zero, so that a case of one element alone is in order.
std::vector<OpCase> cases_unpack() {
  const auto put = [](Shape shape, std::int64_t k, double high) {
    return OpCase{.inputs = {{{DType::u8, {8 * k}}, 0, high}}, .attrs = {{"shape", std::move(shape)}}, .tolerance = 1e-12};
  };
  return without_gradient({put({}, 1, 1), put({3, 5}, 1, 1), put({7}, 0, 1)});
}

}  // namespace

void register_top_k(Registry& registry) {
  registry.add({.name = "top_k_pack",
                .summary = "the k elements of largest |x| with their places, of equal ones the first, as bytes",
                .inputs = 1,
                .attrs = {{"k", AttrKind::integer}},
                .infer = infer_pack,
                .flops = per_input_element<4>,
                .reference = reference_pack,
                .cases = cases_pack});
  registry.add({.name = "top_k_unpack",
                .summary = "the tensor of `shape` with the packed elements at their places, else 0",
                .inputs = 1,
                .attrs = {{"shape", AttrKind::list}},
                .infer = infer_unpack,
                .flops = per_element<1>,
                .reference = reference_unpack,
                .cases = cases_unpack});
}

}  // namespace suanli::graph
