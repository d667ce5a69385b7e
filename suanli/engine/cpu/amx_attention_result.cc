#include "suanli/engine/cpu/amx_attention_result.h"

#include "suanli/engine/cpu/amx_attention_rows.h"

namespace suanli::engine {
namespace {

bool only_rounds(const KernelSpec& spec) {
  if (spec.region == nullptr) return spec.outputs[0].dtype == graph::DType::bf16;
  const Region& region = *spec.region;
  if (region.inputs.size() != 1 || region.outputs.size() != 1 || region.outputs[0].dtype != graph::DType::bf16) return false;
  const bool rounds = region.code.size() == 1 && region.code[0].op == RegionOp::round_bf16;
  return region.outputs[0].reg == 0 || rounds;
}

}  // namespace

AmxAttentionResult::AmxAttentionResult(const KernelSpec& spec, std::int64_t own_inputs, std::int64_t columns)
    : epilogue_(make_epilogue(spec, columns)),
      own_inputs_(own_inputs),
      width_((spec.region != nullptr ? spec.region->shape : spec.outputs[0].shape).back()),
      only_rounds_(only_rounds(spec)) {
  const std::size_t count = spec.region == nullptr ? 1 : spec.region->outputs.size();
  for (std::size_t o = 0; o < count; ++o) types_.push_back(spec.outputs[o].dtype);
}

void AmxAttentionResult::prefetch(const KernelArgs& args, const EpiloguePiece& piece) const {
  for (std::size_t o = 0; o < types_.size(); ++o) {
    const std::int64_t first = (piece.row * width_ + piece.column) * graph::size_of(types_[o]).value();
    amx::prefetch_rows_to_write({args.outputs[o] + first, types_[o], width_}, piece.rows, piece.columns);
  }
}

void AmxAttentionResult::store(const KernelArgs& args, const EpiloguePiece& piece, std::byte* scratch) const {
  if (only_rounds_)
    amx::round_rows(piece.data, piece.stride, piece.rows, piece.columns,
                    reinterpret_cast<Bf16*>(args.outputs[0]) + piece.row * width_ + piece.column, width_);
  else
    epilogue_.run({args.inputs + own_inputs_, args.outputs}, piece, scratch);
}

}  // namespace suanli::engine
