// Which tensors of a job's state lie with which stage, under which names they travel, and how they make the state of one machine.
//
// A tensor travels under its own name, from the stage that updates it. The exponents of exact arithmetic are one tensor on one
// machine and one for each stage here: "exact/exponents/STAGE", with an element for each sum over micro-batches of the stage's.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/executor.h"
#include "suanli/graph/cut.h"

namespace suanli::pool {

// Sums over micro-batches that count, ascending: the elements of engine::kExponents on one machine, in order.
std::vector<graph::NodeId> live_sums(const graph::Graph& graph);

// The name under which a stage's exponents travel.
std::string exponents_name(std::size_t stage);

class StateLayout {
 public:
  // Errors are those of graph::stages.
  static Result<StateLayout> create(const graph::Graph& graph, const graph::Cut& cut, bool is_exact);

  // What a stage answers for, and what it holds; names as they travel.
  const std::vector<std::string>& owned(std::size_t stage) const { return owned_.at(stage); }
  const std::vector<std::string>& held(std::size_t stage) const { return held_.at(stage); }

  // Bytes that a tensor of this name has. Error mismatch: there is none.
  Result<Bytes> size_of(std::string_view name, engine::State& whole) const;
  // Into and out of the state of one machine. Errors: mismatch (a name or a size that is not of this job).
  Status write(std::string_view name, std::span<const std::byte> bytes, engine::State& whole) const;
  Result<std::vector<std::byte>> read(std::string_view name, engine::State& whole) const;

 private:
  // The places of a stage's exponents in the whole table; null if the name is no such tensor's.
  const std::vector<std::size_t>* exponents_of(std::string_view name) const;
  std::vector<std::vector<std::string>> owned_, held_;
  std::vector<std::vector<std::size_t>> sums_;  // of each stage: places in the whole table
};

}  // namespace suanli::pool
