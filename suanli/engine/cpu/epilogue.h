// What a kernel does with its result before it leaves the caches: a region run over pieces of rows. The region's input 0 is
// the kernel's own result (f32), its other inputs are operands in memory, its outputs are the kernel's outputs. A kernel
// without fused elementwise ops has the region that only stores (identity).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "suanli/base/units.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// result -> output of type `dtype`, nothing else.
Region identity_region(const graph::Shape& shape, graph::DType dtype);

// Where the operands of one run of a kernel lie.
struct EpilogueArgs {
  const std::byte* const* inputs;  // [i]: the region's input i + 1
  std::byte* const* outputs;       // [o]: the region's output o
};

// A piece of the result: `rows` x `columns`, whose first element has row `row` and column `column` of the whole. Element
// (r, c) of the piece lies at data[r * stride + c]; stride and columns need no alignment.
struct EpiloguePiece {
  const float* data;
  std::int64_t stride;
  std::int64_t row, rows;
  std::int64_t column, columns;
};

// Thread rule: any number of threads may run pieces at once, each with its own scratch; pieces do not overlap.
class Epilogue {
 public:
  // `region.inputs[0]` is the result, with access full; all its dimensions but the last are rows. `longest_columns` is the
  // longest piece that will be given.
  Epilogue(const Region& region, std::int64_t longest_columns);
  ~Epilogue();
  Epilogue(Epilogue&&) noexcept;
  Epilogue& operator=(Epilogue&&) noexcept;

  Bytes scratch() const;  // of one worker; 64-byte aligned
  void run(const EpilogueArgs& args, const EpiloguePiece& piece, std::byte* scratch) const;
  // Brings towards L2 what run() of such a piece will read and write besides `data`.
  void prefetch(const EpilogueArgs& args, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) const;
  // May output `output` share the buffer of the kernel's input `input`, of which the first `own` are no inputs of the region
  // (Kernel::in_place)?
  bool in_place(int input, int own, int output) const;
  // E.g. ", then 3 ops"; empty for the identity.
  std::string to_string() const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

// The epilogue of a kernel spec (kernel.h): spec.region, or the identity for spec.outputs[0], exact with attr exact = 1.
Epilogue make_epilogue(const KernelSpec& spec, std::int64_t longest_columns);

}  // namespace suanli::engine
