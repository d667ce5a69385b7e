#include "suanli/engine/cpu/epilogue.h"

#include <algorithm>
#include <cstring>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/bf16_convert.h"
#include "suanli/engine/cpu/exact/tile.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/region_plan.h"
#include "suanli/engine/cpu/tile_ops.h"

namespace suanli::engine {
namespace {

// Rounding that the store to bf16 does anyway is left out, and then what nobody reads.
Region simplified(const Region& region) {
  const int inputs = static_cast<int>(region.inputs.size());
  Region result = region;
  for (RegionOutput& output : result.outputs)
    if (output.dtype == graph::DType::bf16 && output.reg >= inputs &&
        region.code[output.reg - inputs].op == RegionOp::round_bf16)
      output.reg = region.code[output.reg - inputs].a;
  std::vector<bool> read(inputs + region.code.size(), false);
  for (const RegionOutput& output : result.outputs) read[output.reg] = true;
  for (int k = static_cast<int>(region.code.size()) - 1; k >= 0; --k) {
    if (!read[inputs + k]) continue;
    read[region.code[k].a] = true;
    if (register_count(region.code[k].op) == 2) read[region.code[k].b] = true;
  }
  std::vector<int> renamed(inputs + region.code.size(), -1);
  result.code.clear();
  for (int i = 0; i < inputs; ++i) renamed[i] = i;
  for (int k = 0; k < static_cast<int>(region.code.size()); ++k) {
    if (!read[inputs + k]) continue;
    RegionInstruction step = region.code[k];
    step.a = renamed[step.a];
    step.b = register_count(step.op) == 2 ? renamed[step.b] : 0;
    renamed[inputs + k] = inputs + static_cast<int>(result.code.size());
    result.code.push_back(step);
  }
  for (RegionOutput& output : result.outputs) output.reg = renamed[output.reg];
  return result;
}

// Slots for every operand: a plan that knows of no operand that could be spread beforehand.
RegionPlan plan_pieces(Region region) {
  for (RegionInput& input : region.inputs)
    input.access = input.access == Access::full || input.access == Access::periodic ? Access::full : Access::row;
  return plan_region(region);
}

}  // namespace

struct Epilogue::Impl {
  Region region;
  RegionPlan plan;
  std::int64_t columns;  // of the whole result
  std::int64_t tile;     // floats per slot
  bool streams = false;  // does any output pass the caches?

  Impl(const Region& r, std::int64_t longest)
      : region(simplified(r)),
        plan(plan_pieces(region)),
        columns(plan.columns),
        tile(std::min(plan.tile, divide_up(longest, kTileStep) * kTileStep)) {
    for (std::size_t o = 0; o < region.outputs.size(); ++o) streams = streams || passes_caches(o);
  }

  // Is output o so large that its first lines have left the caches when its last are written? Then they need not enter.
  bool passes_caches(std::size_t o) const {
    constexpr std::int64_t kLarge = 4 << 20;
    return !region.exact && has_bf16_instructions() && region.outputs[o].dtype == graph::DType::bf16 &&
           2 * graph::element_count(region.shape) > kLarge;
  }
  std::int64_t table_bytes() const {
    return divide_up(static_cast<std::int64_t>(plan.slots.size() * sizeof(TileOperand)), 64) * 64;
  }
  std::int64_t scratch_bytes() const {
    return table_bytes() + plan.slot_count * tile * static_cast<std::int64_t>(sizeof(float));
  }

  TileOperand locate(std::size_t i, const EpilogueArgs& args, std::int64_t row, std::int64_t column, float* slot,
                     std::int64_t n) const;
  void run_tile(const EpilogueArgs& args, const float* product, std::int64_t row, std::int64_t column, std::int64_t n,
                std::byte* scratch) const;
  void store(const EpilogueArgs& args, std::size_t o, const float* from, std::int64_t first, std::int64_t n) const;
};

// Operand i (not the product) of elements [column, column + n) of a row.
TileOperand Epilogue::Impl::locate(std::size_t i, const EpilogueArgs& args, std::int64_t row, std::int64_t column,
                                   float* slot, std::int64_t n) const {
  const RegionInput& input = region.inputs[i];
  const std::byte* data = args.inputs[i - 1];
  const bool f32 = input.dtype == graph::DType::f32;
  const bool repeated = input.access == Access::row || input.access == Access::scalar;
  const std::int64_t from = input.access == Access::scalar ? 0
                            : input.access == Access::row  ? row
                                                           : (row * columns + column) % input.elements;
  const float* floats = reinterpret_cast<const float*>(data) + from;
  const Bf16* halves = reinterpret_cast<const Bf16*>(data) + from;
  if (repeated) {
    float value = 0;
    if (f32)
      value = *floats;
    else
      widen(halves, &value, 1);
    std::fill_n(slot, kTileStep, value);
    return {slot, true};
  }
  if (f32 && n % kTileStep == 0) return {floats, false};
  if (f32)
    std::copy_n(floats, n, slot);
  else
    widen(halves, slot, n);
  return {slot, false};
}

void Epilogue::Impl::store(const EpilogueArgs& args, std::size_t o, const float* from, std::int64_t first,
                           std::int64_t n) const {
  if (region.outputs[o].dtype == graph::DType::f32) {
    std::memcpy(reinterpret_cast<float*>(args.outputs[o]) + first, from, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  Bf16* to = reinterpret_cast<Bf16*>(args.outputs[o]) + first;
  if (passes_caches(o) && n % 32 == 0 && reinterpret_cast<std::uintptr_t>(to) % 64 == 0)
    narrow_past_caches(from, to, n);
  else
    (region.exact ? exact::narrow : narrow)(from, to, n);
}

void Epilogue::Impl::run_tile(const EpilogueArgs& args, const float* product, std::int64_t row, std::int64_t column,
                              std::int64_t n, std::byte* scratch) const {
  auto* operands = reinterpret_cast<TileOperand*>(scratch);
  float* slots = reinterpret_cast<float*>(scratch + table_bytes());
  const auto slot_of = [&](std::size_t reg) { return slots + plan.slots[reg] * tile; };
  const std::int64_t padded = divide_up(n, kTileStep) * kTileStep;
  const bool whole = n == padded;
  const std::size_t inputs = region.inputs.size();
  const std::int64_t first = row * columns + column;
  const auto apply = region.exact ? exact::apply_tile : apply_tile;

  operands[0] = {product, false};
  if (!whole) {
    std::copy_n(product, n, slot_of(0));
    operands[0] = {slot_of(0), false};
  }
  for (std::size_t i = 1; i < inputs; ++i)
    if (plan.slots[i] >= 0) operands[i] = locate(i, args, row, column, slot_of(i), n);
  for (std::size_t k = 0; k < region.code.size(); ++k) {
    const RegionInstruction& step = region.code[k];
    const int direct = plan.direct_output[k];
    float* to = whole && direct >= 0 ? reinterpret_cast<float*>(args.outputs[direct]) + first : slot_of(inputs + k);
    apply(step.op, operands[step.a], operands[step.b], step.immediate, to, padded);
    operands[inputs + k] = {to, false};
  }
  for (std::size_t o = 0; o < region.outputs.size(); ++o) {
    if (whole && plan.is_direct[o]) continue;
    const TileOperand& from = operands[region.outputs[o].reg];
    if (!from.repeated) {
      store(args, o, from.data, first, n);
      continue;
    }
    for (std::int64_t done = 0; done < n; done += kTileStep)
      store(args, o, from.data, first + done, std::min(kTileStep, n - done));
  }
}

Region identity_region(const graph::Shape& shape, graph::DType dtype) {
  Region region;
  region.shape = shape;
  region.inputs.push_back({graph::DType::f32, Access::full, graph::element_count(shape)});
  region.outputs.push_back({0, dtype});
  return region;
}

Epilogue::Epilogue(const Region& region, std::int64_t longest_columns) {
  SUANLI_CHECK(!region.inputs.empty() && region.inputs[0].access == Access::full);
  impl_ = std::make_unique<const Impl>(region, std::max<std::int64_t>(1, longest_columns));
}
Epilogue::~Epilogue() = default;
Epilogue::Epilogue(Epilogue&&) noexcept = default;
Epilogue& Epilogue::operator=(Epilogue&&) noexcept = default;

Bytes Epilogue::scratch() const { return Bytes(impl_->scratch_bytes()); }

void Epilogue::run(const EpilogueArgs& args, const EpiloguePiece& piece, std::byte* scratch) const {
  const Impl& impl = *impl_;
  if (impl.region.code.empty() && impl.region.outputs.size() == 1 && impl.region.outputs[0].reg == 0) {
    for (std::int64_t r = 0; r < piece.rows; ++r)
      impl.store(args, 0, piece.data + r * piece.stride, (piece.row + r) * impl.columns + piece.column, piece.columns);
  } else {
    for (std::int64_t r = 0; r < piece.rows; ++r)
      for (std::int64_t c = 0; c < piece.columns; c += impl.tile)
        impl.run_tile(args, piece.data + r * piece.stride + c, piece.row + r, piece.column + c,
                      std::min(impl.tile, piece.columns - c), scratch);
  }
  if (impl.streams) finish_streams();
}

void Epilogue::prefetch(const EpilogueArgs& args, std::int64_t row, std::int64_t rows, std::int64_t column,
                        std::int64_t columns) const {
  const auto lines = [&](const std::byte* base, graph::DType dtype) {
    const std::int64_t size = graph::size_of(dtype).value();
    for (std::int64_t r = row; r < row + rows; ++r) {
      const std::byte* from = base + (r * impl_->columns + column) * size;
      for (std::int64_t at = 0; at < columns * size; at += 64) __builtin_prefetch(from + at, 0, 2);
    }
  };
  const Region& region = impl_->region;
  for (std::size_t o = 0; o < region.outputs.size(); ++o)
    if (!impl_->passes_caches(o)) lines(args.outputs[o], region.outputs[o].dtype);
  for (std::size_t i = 1; i < region.inputs.size(); ++i)
    if (region.inputs[i].access == Access::full) lines(args.inputs[i - 1], region.inputs[i].dtype);
}

bool Epilogue::in_place(int input, int own, int output) const {
  return input >= own && impl_->region.in_place(static_cast<std::size_t>(input - own + 1), static_cast<std::size_t>(output));
}

std::string Epilogue::to_string() const {
  const std::size_t ops = impl_->region.code.size();
  return ops == 0 ? "" : ", then " + std::to_string(ops) + (ops == 1 ? " op" : " ops") + (impl_->region.exact ? ", exact" : "");
}

Epilogue make_epilogue(const KernelSpec& spec, std::int64_t longest_columns) {
  if (spec.region != nullptr) return {*spec.region, longest_columns};
  Region identity = identity_region(spec.outputs[0].shape, spec.outputs[0].dtype);
  identity.exact = spec.attrs.integer("exact", 0) != 0;
  return {identity, longest_columns};
}

}  // namespace suanli::engine
