// The tile codec as ops (tile_codec.h, docs/formats/codecs.md): f32 to packed codes and back. References compute in f32, as the
// definition does, so that kernels have the same bytes. No gradient: codecs enter a graph after differentiation.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "suanli/graph/ops/common.h"
#include "suanli/graph/tile_codec.h"

namespace suanli::graph {
namespace {

constexpr std::int64_t kMostGroups = std::int64_t{1} << 29;  // a block of Philox has a 32-bit index

bool has_transform(const Attrs& attrs) {
  const std::string* word = attrs.find_word("transform");
  return word != nullptr && *word == "hadamard";
}

TileLayout layout_of(const Shape& shape, const Attrs& attrs) {
  return tile_layout(shape, static_cast<int>(attrs.integer("bits")), attrs.integer("tile"));
}

Status expect_codec(std::string_view op, const Attrs& attrs) {
  if (!is_code_width(attrs.integer("bits")))
    return op_error(op, "bits is " + std::to_string(attrs.integer("bits")) + ", expected 2, 3, 4, 6 or 8");
  SUANLI_RETURN_IF_ERROR(expect_integer(op, attrs, "tile", kLeastTile, kLargestTile));
  if (attrs.integer("tile") % kLeastTile != 0)
    return op_error(op, "tile is " + std::to_string(attrs.integer("tile")) + ", expected a multiple of 8");
  const std::string* word = attrs.find_word("transform");
  if (word != nullptr && *word != "none" && *word != "hadamard")
    return op_error(op, "transform is '" + *word + "', expected none or hadamard");
  return {};
}

TensorType packed_type(const Shape& shape, const Attrs& attrs) {
  return {DType::u8, {layout_of(shape, attrs).bytes()}};
}

Result<TensorType> infer_quantize(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("quantize_tiles", types, 0, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_codec("quantize_tiles", attrs));
  return packed_type(types[0].shape, attrs);
}

Result<TensorType> infer_stochastic(InputTypes types, const Attrs& attrs) {
  constexpr std::string_view kOp = "quantize_tiles_stochastic";
  SUANLI_RETURN_IF_ERROR(expect_dtype(kOp, types, 0, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_type(kOp, types, 1, i32({4})));
  SUANLI_RETURN_IF_ERROR(expect_codec(kOp, attrs));
  SUANLI_RETURN_IF_ERROR(expect_integer(kOp, attrs, "stream", 0, std::numeric_limits<std::int32_t>::max()));
  const TileLayout layout = layout_of(types[0].shape, attrs);
  if (layout.tiles() * layout.groups_per_tile() > kMostGroups)
    return op_error(kOp, "input 0 is " + types[0].to_string() + ", which is more than random numbers are numbered for");
  return packed_type(types[0].shape, attrs);
}

Result<TensorType> infer_delta(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_dtype("quantize_delta", types, 0, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_type("quantize_delta", types, 1, types[0]));
  SUANLI_RETURN_IF_ERROR(expect_codec("quantize_delta", attrs));
  return packed_type(types[0].shape, attrs);
}

Result<TensorType> infer_dequantize(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_codec("dequantize_tiles", attrs));
  SUANLI_RETURN_IF_ERROR(expect_shape("dequantize_tiles", attrs.list("shape")));
  SUANLI_RETURN_IF_ERROR(expect_type("dequantize_tiles", types, 0, packed_type(attrs.list("shape"), attrs)));
  return f32(attrs.list("shape"));
}

Result<TensorType> infer_add(InputTypes types, const Attrs& attrs) {
  SUANLI_RETURN_IF_ERROR(expect_codec("dequantize_add", attrs));
  SUANLI_RETURN_IF_ERROR(expect_dtype("dequantize_add", types, 1, DType::f32));
  SUANLI_RETURN_IF_ERROR(expect_type("dequantize_add", types, 0, packed_type(types[1].shape, attrs)));
  return types[1];
}

std::uint32_t largest_of(std::span<const float> x) {
  std::uint32_t largest = 0;
  for (const float each : x) largest = std::max(largest, std::bit_cast<std::uint32_t>(each) & 0x7FFFFFFF);
  return largest;
}

// Transforms the tile, if it is to be, and chooses its scale as it stands in the packed bytes.
std::uint16_t choose_scale(std::vector<float>& x, const Attrs& attrs, int bits, bool may_clip) {
  if (!has_transform(attrs)) return tile_scale(largest_of(x));
  const std::vector<float> plain = x;
  spread(x);
  if (!may_clip) return tile_scale(largest_of(x));
  std::uint16_t signs = 0;
  if (has_spikes(largest_of(x), sum_of_squares(x), x.size())) {
    std::vector<float> other = plain;
    spread(other, /*second_signs=*/true);
    if (largest_of(other) < largest_of(x)) {
      x = std::move(other);
      signs = kSecondSigns;
    }
  }
  return signs | clipped_scale(largest_of(x), sum_of_squares(x), x.size(), bits);
}

// Encodes the matrix whose element i is value(i); noise(row, t) gives what each element of a tile adds.
template <typename Value, typename Noise>
void encode(const Shape& shape, const Attrs& attrs, bool may_clip, const Value& value, const Noise& noise,
            std::vector<double>& out) {
  const TileLayout layout = layout_of(shape, attrs);
  const auto store = [&](std::int64_t at, std::uint8_t byte) { out[static_cast<std::size_t>(at)] = byte; };
  for (std::int64_t row = 0; row < layout.rows; ++row)
    for (std::int64_t t = 0; t < layout.tiles_per_row(); ++t) {
      const std::int64_t n = layout.length(t);
      std::vector<float> x;
      for (std::int64_t i = 0; i < n; ++i) x.push_back(value(row * layout.columns + layout.column(t) + i));
      const std::uint16_t marked = choose_scale(x, attrs, layout.bits, may_clip);
      const auto scale = static_cast<std::uint16_t>(has_transform(attrs) ? marked & ~kSecondSigns : marked);
      store(layout.scale_at(row, t), static_cast<std::uint8_t>(marked & 0xFF));
      store(layout.scale_at(row, t) + 1, static_cast<std::uint8_t>(marked >> 8));
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(n));
      if (scale != 0 && scale != kPoisonedScale) {
        const float factor = scale_factor(scale, layout.bits);
        for (std::int64_t i = 0; i < n; ++i) {
          const std::size_t at = static_cast<std::size_t>(i);
          codes[at] = static_cast<std::uint8_t>(code_of(x[at], factor, layout.bits, noise(row, t, i)));
        }
      }
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(layout.code_bytes(t)));
      pack_codes(codes, layout.bits, bytes);
      for (std::size_t i = 0; i < bytes.size(); ++i)
        store(layout.codes_at(row, t) + static_cast<std::int64_t>(i), bytes[i]);
    }
}

std::int32_t to_nearest(std::int64_t, std::int64_t, std::int64_t element) { return nearest_noise(element); }

// The value of element i of the decoded matrix goes to take(i, value).
template <typename Take>
void decode(const Shape& shape, const Attrs& attrs, const std::vector<double>& packed, const Take& take) {
  const TileLayout layout = layout_of(shape, attrs);
  const auto byte = [&](std::int64_t at) { return static_cast<std::uint8_t>(packed[static_cast<std::size_t>(at)]); };
  for (std::int64_t row = 0; row < layout.rows; ++row)
    for (std::int64_t t = 0; t < layout.tiles_per_row(); ++t) {
      const std::int64_t n = layout.length(t), at = layout.scale_at(row, t);
      const auto marked = static_cast<std::uint16_t>(byte(at) | byte(at + 1) << 8);
      const auto scale = static_cast<std::uint16_t>(has_transform(attrs) ? marked & ~kSecondSigns : marked);
      std::vector<std::uint8_t> bytes, codes(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < layout.code_bytes(t); ++i) bytes.push_back(byte(layout.codes_at(row, t) + i));
      unpack_codes(bytes, layout.bits, codes);
      std::vector<float> x;
      for (const std::uint8_t code : codes)
        x.push_back(scale == 0 ? 0.0F
                               : static_cast<float>(2 * code - last_code(layout.bits)) * scale_unit(scale, layout.bits));
      if (has_transform(attrs) && scale != 0) gather(x, (marked & kSecondSigns) != 0);
      for (std::int64_t i = 0; i < n; ++i)
        take(row * layout.columns + layout.column(t) + i,
             scale > kLargestScale ? std::numeric_limits<float>::quiet_NaN() : x[static_cast<std::size_t>(i)]);
    }
}

float value_at(const RefTensor& tensor, std::int64_t i) { return static_cast<float>(tensor.data[static_cast<std::size_t>(i)]); }

void reference_quantize(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  encode(x.type.shape, call.attrs, true, [&](std::int64_t i) { return value_at(x, i); }, to_nearest, call.out.data);
}

void reference_stochastic(const ReferenceCall& call) {
  const RefTensor& x = *call.inputs[0];
  std::array<std::uint32_t, 4> key;
  for (std::size_t i = 0; i < 4; ++i)
    key[i] = static_cast<std::uint32_t>(static_cast<std::int64_t>(call.inputs[1]->data[i]));
  const TileLayout layout = layout_of(x.type.shape, call.attrs);
  const auto stream = static_cast<std::uint32_t>(call.attrs.integer("stream"));
  std::array<std::int32_t, kNoiseGroup> noise{};
  const auto draw = [&](std::int64_t row, std::int64_t t, std::int64_t i) {
    const std::int64_t group = (row * layout.tiles_per_row() + t) * layout.groups_per_tile() + i / kNoiseGroup;
    if (i % kNoiseGroup == 0) noise = stochastic_noise(key, stream, static_cast<std::uint32_t>(group));
    return noise[static_cast<std::size_t>(i % kNoiseGroup)];
  };
  encode(x.type.shape, call.attrs, false, [&](std::int64_t i) { return value_at(x, i); }, draw, call.out.data);
}

void reference_delta(const ReferenceCall& call) {
  const RefTensor &a = *call.inputs[0], &m = *call.inputs[1];
  // Of f32 operands the difference in float64, rounded to f32, is their difference in f32.
  const auto difference = [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    return static_cast<float>(a.data[at] - m.data[at]);
  };
  encode(a.type.shape, call.attrs, true, difference, to_nearest, call.out.data);
}

void reference_dequantize(const ReferenceCall& call) {
  decode(call.out.type.shape, call.attrs, call.inputs[0]->data,
         [&](std::int64_t i, float value) { call.out.data[static_cast<std::size_t>(i)] = value; });
}

void reference_add(const ReferenceCall& call) {
  decode(call.out.type.shape, call.attrs, call.inputs[0]->data, [&](std::int64_t i, float value) {
    call.out.data[static_cast<std::size_t>(i)] = call.inputs[1]->data[static_cast<std::size_t>(i)] + value;
  });
}

NodeId decompose_delta(Builder& b, std::span<const NodeId> inputs, const Attrs& attrs) {
  return b.apply("quantize_tiles", {b.sub(inputs[0], inputs[1])}, attrs);
}

NodeId decompose_add(Builder& b, std::span<const NodeId> inputs, const Attrs& attrs) {
  Attrs all = attrs;
  all.set("shape", b.type(inputs[1]).shape);
  return b.add(inputs[1], b.apply("dequantize_tiles", {inputs[0]}, all));
}

// Per element of the unpacked side (`kInput`, or the output), and the transform's additions.
template <int kCount>
double codec_flops(const Attrs& attrs, const TensorType& unpacked) {
  double each = kCount;
  if (has_transform(attrs)) each += 1 + std::bit_width(static_cast<std::uint64_t>(attrs.integer("tile")) - 1);
  return each * static_cast<double>(unpacked.elements());
}
double encode_flops(InputTypes types, const Attrs& attrs, const TensorType&) { return codec_flops<4>(attrs, types[0]); }
double delta_flops(InputTypes types, const Attrs& attrs, const TensorType&) { return codec_flops<5>(attrs, types[0]); }
double stochastic_flops(InputTypes types, const Attrs& attrs, const TensorType&) { return codec_flops<6>(attrs, types[0]); }
double decode_flops(InputTypes, const Attrs& attrs, const TensorType& out) { return codec_flops<2>(attrs, out); }
double add_flops(InputTypes, const Attrs& attrs, const TensorType& out) { return codec_flops<3>(attrs, out); }

// What every case is of: each width, tiles that fit and that do not, all of a tile's transforms.
struct Shapes {
  Shape shape;
  std::int64_t bits, tile;
  bool transform = false;
};
std::vector<Shapes> shapes() {
  return {{{}, 4, 64},        {{1}, 2, 64},           {{7}, 3, 8},           {{3, 64}, 2, 64},       {{3, 65}, 3, 64},
          {{2, 3, 40}, 4, 16}, {{5, 100}, 6, 64, true}, {{2, 256}, 8, 128, true}, {{1, 1000}, 6, 256},    {{3, 97}, 8, 96, true},
          {{2, 200}, 3, 96, true}, {{4, 1}, 8, 8},     {{2, 256}, 2, 256, true}};
}

Attrs attrs_of(const Shapes& s) {
  Attrs attrs = {{"bits", s.bits}, {"tile", s.tile}};
  if (s.transform) attrs.set("transform", std::string("hadamard"));
  return attrs;
}

std::vector<OpCase> cases_quantize() {
  std::vector<OpCase> list;
  for (const Shapes& s : shapes()) list.push_back({.inputs = {{f32(s.shape)}}, .attrs = attrs_of(s), .tolerance = 1e-12});
  return without_gradient(std::move(list));
}

std::vector<OpCase> cases_stochastic() {
  std::vector<OpCase> list = cases_quantize();
  std::int64_t stream = 0;
  for (OpCase& c : list) {
    c.inputs.push_back({i32({4}), -2147483648.0, 2147483648.0});
    c.attrs.set("stream", stream++);
  }
  return list;
}

std::vector<OpCase> cases_delta() {
  std::vector<OpCase> list = cases_quantize();
  for (OpCase& c : list) c.inputs.push_back(c.inputs[0]);
  return list;
}

// Bytes below 64 are scales of ordinary size wherever they stand.
std::vector<OpCase> cases_dequantize() {
  std::vector<OpCase> list;
  for (const Shapes& s : shapes()) {
    Attrs attrs = attrs_of(s);
    const TensorType packed = packed_type(s.shape, attrs);
    attrs.set("shape", s.shape);
    list.push_back({.inputs = {{packed, 0, 64}}, .attrs = attrs, .tolerance = 1e-12});
  }
  return without_gradient(std::move(list));
}

std::vector<OpCase> cases_add() {
  std::vector<OpCase> list;
  for (const Shapes& s : shapes()) {
    const Attrs attrs = attrs_of(s);
    list.push_back({.inputs = {{packed_type(s.shape, attrs), 0, 64}, {f32(s.shape)}}, .attrs = attrs, .tolerance = 1e-6});
  }
  return without_gradient(std::move(list));
}

std::vector<AttrSpec> codec_attrs() {
  return {{"bits", AttrKind::integer}, {"tile", AttrKind::integer}, {"transform", AttrKind::word, false}};
}

std::vector<AttrSpec> codec_and(AttrSpec spec) {
  std::vector<AttrSpec> specs = codec_attrs();
  specs.push_back(spec);
  return specs;
}

}  // namespace

void register_quantize(Registry& registry) {
  registry.add({.name = "quantize_tiles",
                .summary = "x as packed codes with a scale for each tile (tile_codec.h), rounded to nearest",
                .inputs = 1,
                .attrs = codec_attrs(),
                .infer = infer_quantize,
                .flops = encode_flops,
                .reference = reference_quantize,
                .cases = cases_quantize});
  registry.add({.name = "quantize_tiles_stochastic",
                .summary = "as quantize_tiles, rounded up or down at random: unbiased; of x and a key i32[4] (codec.h)",
                .inputs = 2,
                .attrs = codec_and({"stream", AttrKind::integer}),
                .infer = infer_stochastic,
                .flops = stochastic_flops,
                .reference = reference_stochastic,
                .cases = cases_stochastic});
  registry.add({.name = "quantize_delta",
                .summary = "of a and m: quantize_tiles of a - m",
                .inputs = 2,
                .attrs = codec_attrs(),
                .infer = infer_delta,
                .flops = delta_flops,
                .reference = reference_delta,
                .decompose = decompose_delta,
                .cases = cases_delta});
  registry.add({.name = "dequantize_tiles",
                .summary = "the f32 tensor of `shape` that packed codes stand for",
                .inputs = 1,
                .attrs = codec_and({"shape", AttrKind::list}),
                .infer = infer_dequantize,
                .flops = decode_flops,
                .reference = reference_dequantize,
                .cases = cases_dequantize});
  registry.add({.name = "dequantize_add",
                .summary = "of packed codes and m: m + dequantize_tiles of the codes",
                .inputs = 2,
                .attrs = codec_attrs(),
                .infer = infer_add,
                .flops = add_flops,
                .reference = reference_add,
                .decompose = decompose_add,
                .cases = cases_add});
}

}  // namespace suanli::graph
