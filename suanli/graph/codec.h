// Codecs at a cut: the ops that stand at both ends of a link, so that what crosses is packed bytes.
//
//   Codec codec{.kind = Codec::Kind::delta, .bits = 4};
//   SUANLI_RETURN_IF_ERROR(send_output(b, codec, a, "h3"));                        // in the sender's graph
//   SUANLI_ASSIGN_OR_RETURN(Received h, receive_input(b, codec, type, "h3"));      // in the receiver's: it computes on h.value
//
// The bytes are those of docs/formats/codecs.md. A codec has no gradient: it is put into a graph after differentiation, and the
// gradient of what was received is sent back as that of what was sent.
//
// Buffers are values that come in and go out: per-sample ones as inputs and outputs of a stage (train/activation_store.h keeps
// them), others as state tensors. Where both ends hold a buffer it has the same bits at both, after any number of visits, on
// any machines: all of it is arithmetic that rounds alike everywhere.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/graph/builder.h"

namespace suanli::graph {

struct Codec {
  enum class Kind : std::uint8_t {
    lossless,  // f32 as it is
    direct,    // Q(x); stateless
    delta,     // AQ-SGD (Wang et al., arXiv 2206.01299): q = Q(a - m), m' = m + q at both ends, the receiver computes on m'
    feedback,  // Q(g + e), e' = g + e - Q(g + e): error feedback (Seide et al. 2014; Karimireddy et al., arXiv 1901.09847)
    top_k,     // error feedback in which Q keeps the k largest elements
  };
  enum class Rounding : std::uint8_t { nearest, stochastic };
  enum class Transform : std::uint8_t { none, hadamard };

  Kind kind = Kind::lossless;
  int bits = 4;                             // 2, 3, 4, 6 or 8 for each element
  std::int64_t tile = 128;                  // elements with one scale: 8 to 1,024, a multiple of 8; 16 / tile bits each
  Rounding rounding = Rounding::nearest;    // stochastic is unbiased, with 1.4 times the error: too much for delta of 2 bits
  // hadamard: outliers are spread over their tile, instead of taking its scale from the rest. Where there are none it does no
  // harm; it costs about half the speed.
  Transform transform = Transform::hadamard;
  double keep = 1.0 / 64;                   // of top_k: the part of the elements that is sent, at least one element

  bool operator==(const Codec&) const = default;
  bool has_buffer() const { return kind != Kind::lossless && kind != Kind::direct; }
  bool receiver_has_buffer() const { return kind == Kind::delta; }
  bool needs_key() const { return has_codes() && rounding == Rounding::stochastic; }
  bool has_codes() const { return kind == Kind::direct || kind == Kind::delta || kind == Kind::feedback; }
};
std::string_view name_of(Codec::Kind kind);

// What is wrong with the codec's numbers, or with `type` (f32 only): error graph.
Status check(const Codec& codec, const TensorType& type);
// Of what crosses in place of `type`: u8[n], or `type` itself if it is lossless. The codec must be right for it (check).
TensorType wire_type(const Codec& codec, const TensorType& type);
// Elements that top_k sends of so many.
std::int64_t kept_elements(const Codec& codec, std::int64_t elements);

// The key i32[4] of stochastic rounding: a function of the job's seed, the step and the index of the micro-batch (or of whatever
// else runs many times a step). Each send of a graph has its own `stream`, too.
std::array<std::int32_t, 4> codec_key(std::uint64_t seed, std::uint64_t step, std::uint32_t index);

struct CodecInputs {
  NodeId buffer = kNoNode;  // delta: m; feedback and top_k: e (the sender's alone); of the type of the value
  NodeId key = kNoNode;     // where needs_key()
  std::int64_t stream = 0;  // where needs_key(): different for each send of the job's graph
};

struct Sent {
  NodeId packed = kNoNode;  // of wire_type(); the value itself if lossless
  NodeId next = kNoNode;    // the buffer's next value, where there is one
};
// The builder's status tells what is wrong: a missing input, a wrong number.
Sent send(Builder& b, const Codec& codec, NodeId value, const CodecInputs& inputs = {});

struct Received {
  NodeId value = kNoNode;
  NodeId next = kNoNode;  // delta: the buffer's next value, which is the value
};
Received receive(Builder& b, const Codec& codec, NodeId packed, const TensorType& type, NodeId buffer = kNoNode);

// The same at the ends of a stage's graph, in the builder's phase and block. What crosses has the name `name` at both: an output
// of the sender, an input of the receiver. A buffer comes in as the input NAME.buffer and leaves as the output NAME.next, a key
// comes in as the input NAME.key, i32[4]. Of a lossless codec there is only NAME. Error graph.
Result<Sent> send_output(Builder& b, const Codec& codec, NodeId value, const std::string& name, std::int64_t stream = 0);
Result<Received> receive_input(Builder& b, const Codec& codec, const TensorType& type, const std::string& name);

}  // namespace suanli::graph
