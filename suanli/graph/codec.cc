#include "suanli/graph/codec.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "suanli/base/philox.h"
#include "suanli/graph/op.h"
#include "suanli/graph/tile_codec.h"

namespace suanli::graph {
namespace {

Attrs attrs_of(const Codec& codec) {
  Attrs attrs = {{"bits", std::int64_t{codec.bits}}, {"tile", codec.tile}};
  if (codec.transform == Codec::Transform::hadamard) attrs.set("transform", std::string("hadamard"));
  return attrs;
}

NodeId encode(Builder& b, const Codec& codec, NodeId x, const CodecInputs& inputs) {
  Attrs attrs = attrs_of(codec);
  if (codec.rounding == Codec::Rounding::nearest) return b.apply("quantize_tiles", {x}, attrs);
  attrs.set("stream", inputs.stream);
  return b.apply("quantize_tiles_stochastic", {x, inputs.key}, attrs);
}

NodeId decode(Builder& b, const Codec& codec, NodeId packed, const Shape& shape) {
  if (codec.kind == Codec::Kind::top_k) return b.apply("top_k_unpack", {packed}, {{"shape", shape}});
  Attrs attrs = attrs_of(codec);
  attrs.set("shape", shape);
  return b.apply("dequantize_tiles", {packed}, attrs);
}

Sent send_delta(Builder& b, const Codec& codec, NodeId a, const CodecInputs& inputs) {
  const NodeId packed = codec.rounding == Codec::Rounding::nearest
                            ? b.apply("quantize_delta", {a, inputs.buffer}, attrs_of(codec))
                            : encode(b, codec, b.sub(a, inputs.buffer), inputs);
  return {packed, b.apply("dequantize_add", {packed, inputs.buffer}, attrs_of(codec))};
}

Sent send_feedback(Builder& b, const Codec& codec, NodeId g, const CodecInputs& inputs) {
  const NodeId x = b.add(g, inputs.buffer);
  const Shape shape = b.type(g).shape;
  const NodeId packed = codec.kind == Codec::Kind::top_k
                            ? b.apply("top_k_pack", {x}, {{"k", kept_elements(codec, element_count(shape))}})
                            : encode(b, codec, x, inputs);
  return {packed, b.sub(x, decode(b, codec, packed, shape))};
}

}  // namespace

std::string_view name_of(Codec::Kind kind) {
  constexpr std::string_view kNames[] = {"lossless", "direct", "delta", "feedback", "top_k"};
  return kNames[static_cast<int>(kind)];
}

std::int64_t kept_elements(const Codec& codec, std::int64_t elements) {
  const auto kept = static_cast<std::int64_t>(std::ceil(codec.keep * static_cast<double>(elements)));
  return std::clamp<std::int64_t>(kept, std::min<std::int64_t>(1, elements), elements);
}

Status check(const Codec& codec, const TensorType& type) {
  const auto wrong = [&](std::string text) {
    return fail(ErrorCode::graph, std::move(text), "codec " + std::string(name_of(codec.kind)));
  };
  if (codec.kind == Codec::Kind::lossless) return {};
  if (type.dtype != DType::f32) return wrong("it is for f32, and the value is " + type.to_string());
  if (codec.kind == Codec::Kind::top_k) {
    if (codec.keep > 0 && codec.keep <= 1) return {};
    return wrong("keep is " + std::to_string(codec.keep) + ", expected more than 0 and at most 1");
  }
  // The op's own rules, asked without a graph.
  Result<TensorType> packed = op("quantize_tiles").infer(InputTypes(&type, 1), attrs_of(codec));
  if (!packed) return wrong(packed.error().message);
  return {};
}

TensorType wire_type(const Codec& codec, const TensorType& type) {
  SUANLI_CHECK(check(codec, type).has_value());
  if (codec.kind == Codec::Kind::lossless) return type;
  if (codec.kind == Codec::Kind::top_k) return {DType::u8, {8 * kept_elements(codec, type.elements())}};
  return {DType::u8, {tile_layout(type.shape, codec.bits, codec.tile).bytes()}};
}

std::array<std::int32_t, 4> codec_key(std::uint64_t seed, std::uint64_t step, std::uint32_t index) {
  const Philox random(seed, Stream::codec, step);
  const auto key = random.key();
  return {std::bit_cast<std::int32_t>(key[0]), std::bit_cast<std::int32_t>(key[1]), std::bit_cast<std::int32_t>(index),
          std::bit_cast<std::int32_t>(random.step_low())};
}

Sent send(Builder& b, const Codec& codec, NodeId value, const CodecInputs& inputs) {
  switch (codec.kind) {
    case Codec::Kind::lossless: return {value, kNoNode};
    case Codec::Kind::direct: return {encode(b, codec, value, inputs), kNoNode};
    case Codec::Kind::delta: return send_delta(b, codec, value, inputs);
    case Codec::Kind::feedback:
    case Codec::Kind::top_k: return send_feedback(b, codec, value, inputs);
  }
  SUANLI_CHECK(false);
}

Received receive(Builder& b, const Codec& codec, NodeId packed, const TensorType& type, NodeId buffer) {
  if (codec.kind == Codec::Kind::lossless) return {packed, kNoNode};
  if (codec.kind != Codec::Kind::delta) return {decode(b, codec, packed, type.shape), kNoNode};
  const NodeId next = b.apply("dequantize_add", {packed, buffer}, attrs_of(codec));
  return {next, next};
}

Result<Sent> send_output(Builder& b, const Codec& codec, NodeId value, const std::string& name, std::int64_t stream) {
  CodecInputs inputs;
  inputs.stream = stream;
  if (codec.has_buffer()) inputs.buffer = b.input(name + ".buffer", b.type(value));
  if (codec.needs_key()) inputs.key = b.input(name + ".key", i32({4}));
  const Sent sent = send(b, codec, value, inputs);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(b.graph().add_output(name, sent.packed));
  if (sent.next != kNoNode) SUANLI_RETURN_IF_ERROR(b.graph().add_output(name + ".next", sent.next));
  return sent;
}

Result<Received> receive_input(Builder& b, const Codec& codec, const TensorType& type, const std::string& name) {
  SUANLI_RETURN_IF_ERROR(check(codec, type));
  const NodeId packed = b.input(name, wire_type(codec, type));
  const NodeId buffer = codec.receiver_has_buffer() ? b.input(name + ".buffer", type) : kNoNode;
  const Received received = receive(b, codec, packed, type, buffer);
  SUANLI_RETURN_IF_ERROR(b.status());
  if (received.next != kNoNode) SUANLI_RETURN_IF_ERROR(b.graph().add_output(name + ".next", received.next));
  return received;
}

}  // namespace suanli::graph
