// Digests of what the ops of a training step gave, so that two computations of a step can be compared, op by op and piece by
// piece, without sending the values (docs/formats/digests.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/sha256.h"
#include "suanli/graph/graph.h"

namespace suanli::proof {

// Elements of an output that one leaf of its Merkle tree covers.
inline constexpr std::int64_t kLeafElements = 1024;

// SHA-256 of each kLeafElements elements, row-major, the last leaf shorter.
std::vector<Digest> leaves_of(const graph::TensorType& type, std::span<const std::byte> bytes);

// Which value of a step it is. A step's values have one order: the state as the step begins, then for each micro-batch its
// inputs, forward and backward, then the step's inputs and update.
struct OpOutput {
  static constexpr std::int64_t kNoMicroBatch = -1;  // the state as the step begins, and update
  std::int64_t micro_batch = kNoMicroBatch;
  graph::NodeId node = graph::kNoNode;  // canonical; kNoNode for what exact arithmetic keeps beside the graph
  std::string op;                       // "matmul"; "input" and "step_input"; "state" for the state as the step begins
  std::string value;  // name of a tensor of the state; "sum", "largest" or "magnitudes" of token sums; else ""
  graph::Phase phase = graph::Phase::forward;
  int block = 0;
  graph::TensorType type;
  bool operator==(const OpOutput&) const = default;

  // "matmul %41 in block 2, forward of micro-batch 3 (f32[64x32])".
  std::string to_string() const;
};

// A tensor of the state, by its name in the graph.
OpOutput state_output(const graph::Graph& graph, const std::string& name, const graph::TensorType& type);

struct OpDigest {
  OpOutput output;
  std::vector<Digest> leaves;
  Digest root() const { return merkle_root(leaves); }
  bool operator==(const OpDigest&) const = default;
};

// The indices of a flat element: "[17, 3]".
std::string position_of(const graph::TensorType& type, std::int64_t element);

// An element whose bits differ.
struct ElementDifference {
  std::int64_t first = 0, count = 1;        // elements, flat: one, or the piece that it lies in
  std::optional<std::string> mine, theirs;  // the bits, in hexadecimal, where known
};
// The first element that differs in two values of one type; nothing if they are equal.
std::optional<ElementDifference> first_difference(const graph::TensorType& type, std::span<const std::byte> mine,
                                                  std::span<const std::byte> theirs);
// The same of a value and another's leaves: in the first leaf that differs, the one bit that makes it equal if flipped, or else
// the whole leaf. Error mismatch: another number of leaves.
Result<std::optional<ElementDifference>> first_difference(const graph::TensorType& type, std::span<const std::byte> mine,
                                                          std::span<const Digest> theirs);

}  // namespace suanli::proof
