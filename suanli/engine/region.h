// A region: a chain (in general a small DAG) of elementwise ops run as one kernel. Its values are f32 registers, each one
// L1-sized tile of the region's shape; only its inputs and outputs touch memory. On the CPU the bytecode runs over tiles
// with Highway; on a GPU it will be printed as one kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/graph/types.h"

namespace suanli::engine {

enum class RegionOp : std::uint8_t {
  add, sub, mul, div, minimum, maximum, greater, equal,          // two registers
  scale, shift, exp, log, sqrt, rsqrt, tanh, gelu, round_bf16,   // one register (scale, shift: with immediate)
  gelu_grad,                                                     // (x, dy)
  row_sum, row_max,                                              // one register; the row's value, for all of the row
};
// The same names as the ops of the graph; those of round_bf16 and of the row ops are ours.
std::string_view name_of(RegionOp op);
std::optional<RegionOp> region_op_from_name(std::string_view name);
int register_count(RegionOp op);  // 1 or 2
// Row ops need whole rows in a tile: only a kernel of its own runs them, an epilogue cannot.
bool is_row_op(RegionOp op);
inline constexpr std::int64_t kLongestRow = 8192;  // of a region with row ops

// How an operand's elements belong to the region's, flat index i, last dimension C.
enum class Access : std::uint8_t {
  full,      // element i
  scalar,    // element 0
  periodic,  // element i mod (its element count): its shape is a suffix of the region's
  row,       // element i / C: its shape is the region's with last dimension 1
};

struct RegionInput {
  graph::DType dtype;  // f32 or bf16; widened to f32 on load
  Access access;
  std::int64_t elements;
};

struct RegionInstruction {
  RegionOp op;
  int a = 0;  // registers: inputs are 0..inputs-1, instruction k writes register inputs+k
  int b = 0;
  float immediate = 0;
};

struct RegionOutput {
  int reg;
  graph::DType dtype;  // f32, or bf16: rounded to nearest even on store
  // full; or row: one element for each row of the region, whose shape is the region's with last dimension 1. In a region
  // with row ops only, of a register that is made of row ops and of row and scalar inputs alone.
  Access access = Access::full;
};

struct Region {
  graph::Shape shape;
  std::vector<RegionInput> inputs;
  std::vector<RegionInstruction> code;
  std::vector<RegionOutput> outputs;
  // Are the values those of exact arithmetic (docs/formats/exact-arithmetic.md, section 2)? Then every op gives the same bits on
  // every CPU, whether it stands alone or in a chain.
  bool exact = false;

  // May output `output` lie in the buffer of input `input`? If both hold one element of the same type for each of the
  // region's, and the input is not itself an output: that is read last.
  bool in_place(std::size_t input, std::size_t output) const;

  std::string to_string() const;  // one line, for explain: "r2=add(r0,r1) r3=gelu(r2) -> bf16 r3"; ends with "exact" if it is
};

}  // namespace suanli::engine
