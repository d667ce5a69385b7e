// Where the first result of an AMX attention kernel goes: through its epilogue; if that only rounds to bf16, without the
// detour. A piece's lines are asked for before they are written, as each row of a head is only a line or two.
#pragma once

#include <string>
#include <vector>

#include "suanli/engine/cpu/epilogue.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

// Thread rule: any number of threads may store pieces at once, each with its own scratch.
class AmxAttentionResult {
 public:
  // The spec is checked. `own_inputs` of its inputs are the kernel's; a piece has `columns`.
  AmxAttentionResult(const KernelSpec& spec, std::int64_t own_inputs, std::int64_t columns);

  Bytes scratch() const { return epilogue_.scratch(); }
  // The piece's data is not read.
  void prefetch(const KernelArgs& args, const EpiloguePiece& piece) const;
  // The piece's rows are a multiple of 16 floats apart and 64-byte aligned.
  void store(const KernelArgs& args, const EpiloguePiece& piece, std::byte* scratch) const;
  std::string to_string() const { return epilogue_.to_string(); }

 private:
  Epilogue epilogue_;
  std::int64_t own_inputs_;
  std::int64_t width_;               // of the whole result
  std::vector<graph::DType> types_;  // of the epilogue's outputs
  bool only_rounds_;                 // to output 0
};

}  // namespace suanli::engine
