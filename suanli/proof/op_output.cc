#include "suanli/proof/op_output.h"

#include <algorithm>
#include <cstring>

#include "suanli/base/text.h"

namespace suanli::proof {
namespace {

std::size_t leaf_bytes(const graph::TensorType& type) {
  return static_cast<std::size_t>(kLeafElements) * static_cast<std::size_t>(graph::size_of(type.dtype).value());
}

// As a number: the most significant byte first.
std::string hex_of(std::span<const std::byte> little_endian) {
  std::string text = "0x";
  for (auto byte = little_endian.rbegin(); byte != little_endian.rend(); ++byte)
    text += format("%02x", std::to_integer<unsigned>(*byte));
  return text;
}

std::span<const std::byte> element_of(const graph::TensorType& type, std::span<const std::byte> bytes, std::int64_t element) {
  const auto size = static_cast<std::size_t>(graph::size_of(type.dtype).value());
  return bytes.subspan(static_cast<std::size_t>(element) * size, size);
}

// The bit that, flipped, gives `piece` this digest; the piece's number of bits if there is none.
std::size_t flipped_bit(std::vector<std::byte>& piece, const Digest& wanted) {
  for (std::size_t bit = 0; bit < piece.size() * 8; ++bit) {
    const std::byte mask = std::byte{1} << (bit % 8);
    piece[bit / 8] ^= mask;
    if (sha256(piece) == wanted) return bit;
    piece[bit / 8] ^= mask;
  }
  return piece.size() * 8;
}

}  // namespace

std::vector<Digest> leaves_of(const graph::TensorType& type, std::span<const std::byte> bytes) {
  std::vector<Digest> leaves;
  for (const std::size_t step = leaf_bytes(type); !bytes.empty(); bytes = bytes.subspan(std::min(step, bytes.size())))
    leaves.push_back(sha256(bytes.first(std::min(step, bytes.size()))));
  return leaves;
}

std::string OpOutput::to_string() const {
  std::string text = op;
  if (node != graph::kNoNode) text += " %" + std::to_string(node);
  if (!value.empty()) text += " '" + printable(value) + "'";
  if (block != graph::kWholeJob) text += " in block " + std::to_string(block);
  if (op == "state")
    text += ", as the step begins";
  else if (micro_batch == kNoMicroBatch)
    text += ", update";
  else
    text += ", " + std::string(name_of(phase)) + " of micro-batch " + std::to_string(micro_batch);
  return text + " (" + type.to_string() + ")";
}

OpOutput state_output(const graph::Graph& graph, const std::string& name, const graph::TensorType& type) {
  OpOutput output;
  output.op = "state";
  output.value = name;
  output.node = graph.find(name);
  output.block = output.node == graph::kNoNode ? graph::kWholeJob : graph.node(output.node).block;
  output.type = type;
  return output;
}

std::string position_of(const graph::TensorType& type, std::int64_t element) {
  std::string text;
  for (auto size = type.shape.rbegin(); size != type.shape.rend(); ++size) {
    text = std::to_string(element % *size) + (text.empty() ? "" : ", ") + text;
    element /= *size;
  }
  return "[" + text + "]";
}

std::optional<ElementDifference> first_difference(const graph::TensorType& type, std::span<const std::byte> mine,
                                                  std::span<const std::byte> theirs) {
  SUANLI_CHECK(mine.size() == theirs.size());
  const auto at = std::ranges::mismatch(mine, theirs).in1 - mine.begin();
  if (at == static_cast<std::ptrdiff_t>(mine.size())) return std::nullopt;
  const std::int64_t element = at / graph::size_of(type.dtype).value();
  return ElementDifference{element, 1, hex_of(element_of(type, mine, element)), hex_of(element_of(type, theirs, element))};
}

Result<std::optional<ElementDifference>> first_difference(const graph::TensorType& type, std::span<const std::byte> mine,
                                                          std::span<const Digest> theirs) {
  const std::vector<Digest> leaves = leaves_of(type, mine);
  if (leaves.size() != theirs.size())
    return fail(ErrorCode::mismatch,
                std::to_string(theirs.size()) + " leaves where " + std::to_string(leaves.size()) + " belong", type.to_string());
  const auto leaf = std::ranges::mismatch(leaves, theirs).in1 - leaves.begin();
  if (leaf == static_cast<std::ptrdiff_t>(leaves.size())) return std::nullopt;
  const std::size_t begin = static_cast<std::size_t>(leaf) * leaf_bytes(type);
  const auto mine_piece = mine.subspan(begin, std::min(leaf_bytes(type), mine.size() - begin));
  std::vector<std::byte> piece(mine_piece.begin(), mine_piece.end());
  const std::int64_t element_bytes = graph::size_of(type.dtype).value();
  const std::size_t bit = flipped_bit(piece, theirs[static_cast<std::size_t>(leaf)]);
  if (bit == piece.size() * 8)
    return ElementDifference{leaf * kLeafElements, static_cast<std::int64_t>(piece.size()) / element_bytes, {}, {}};
  const std::int64_t within = static_cast<std::int64_t>(bit / 8) / element_bytes;
  return ElementDifference{leaf * kLeafElements + within, 1, hex_of(element_of(type, mine_piece, within)),
                           hex_of(element_of(type, piece, within))};
}

}  // namespace suanli::proof
