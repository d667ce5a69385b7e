#include "suanli/engine/cpu/region_kernel.h"

#include <algorithm>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/exact/math.h"
#include "suanli/engine/cpu/exact/tile.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/region_plan.h"
#include "suanli/engine/cpu/sums.h"
#include "suanli/engine/cpu/tile_ops.h"

namespace suanli::engine {
namespace {

// Elements per task of the pool: some microseconds of work.
constexpr std::int64_t kTaskElements = 16384;

class RegionKernel final : public Kernel {
 public:
  explicit RegionKernel(const Region& region) : region_(region), plan_(plan_region(region)) {}

  void run(const KernelArgs& args) const override {
    float* shared = reinterpret_cast<float*>(args.scratch);
    fill_shared(args, shared);
    const std::int64_t grain = std::max(plan_.tile, kTaskElements / plan_.tile * plan_.tile);
    parallel_ranges(args.pool, plan_.elements, grain,
                    [&](std::int64_t begin, std::int64_t end, int worker) {
                      std::byte* own = args.scratch + shared_bytes() + worker * worker_bytes();
                      for (std::int64_t start = begin; start < end; start += plan_.tile)
                        run_tile(args, shared, own, start, std::min(plan_.tile, end - start));
                    });
  }

  Bytes scratch(int workers) const override {
    return Bytes(shared_bytes() + workers * worker_bytes());
  }

  std::string implementation() const override {
    return "hwy:" + simd_name() + " region of " + std::to_string(region_.code.size()) +
           " ops, tile " + std::to_string(plan_.tile) + (region_.exact ? ", exact" : "");
  }

  // An input that is itself an output is read last of all, so its buffer must not be overwritten.
  bool in_place(int in, int out) const override {
    return region_.in_place(static_cast<std::size_t>(in), static_cast<std::size_t>(out));
  }

 private:
  // Scratch: the shared tiles, then for each worker its operand table and its slots; all parts
  // 64-byte aligned.
  static std::int64_t aligned(std::int64_t bytes) { return divide_up(bytes, 64) * 64; }
  std::int64_t shared_bytes() const { return plan_.shared_floats * std::int64_t{sizeof(float)}; }
  std::int64_t table_bytes() const {
    return aligned(static_cast<std::int64_t>(plan_.slots.size() * sizeof(TileOperand)));
  }
  std::int64_t worker_bytes() const {
    return table_bytes() + plan_.slot_count * plan_.slot_floats * std::int64_t{sizeof(float)};
  }

  // to[i] = element (start + i) mod period of the input, for i in [0, n).
  static void fill_periodic(const RegionInput& input, const std::byte* data, std::int64_t start,
                            float* to, std::int64_t n) {
    for (std::int64_t done = 0; done < n;) {
      const std::int64_t from = (start + done) % input.elements;
      const std::int64_t length = std::min(n - done, input.elements - from);
      if (input.dtype == graph::DType::bf16)
        widen(reinterpret_cast<const Bf16*>(data) + from, to + done, length);
      else
        std::copy_n(reinterpret_cast<const float*>(data) + from, length, to + done);
      done += length;
    }
  }

  static float element(const RegionInput& input, const std::byte* data, std::int64_t index) {
    if (input.dtype == graph::DType::f32) return reinterpret_cast<const float*>(data)[index];
    float value;
    widen(reinterpret_cast<const Bf16*>(data) + index, &value, 1);
    return value;
  }

  void fill_shared(const KernelArgs& args, float* shared) const {
    for (std::size_t i = 0; i < region_.inputs.size(); ++i) {
      float* to = shared + plan_.shared_offsets[i];
      if (plan_.sources[i] == RegionPlan::Source::repeated)
        std::fill_n(to, kTileStep, element(region_.inputs[i], args.inputs[i], 0));
      if (plan_.sources[i] == RegionPlan::Source::expanded)
        fill_periodic(region_.inputs[i], args.inputs[i], 0, to, plan_.tile);
    }
  }

  // Row values of elements [start, start + n); one value if they lie in one row.
  TileOperand fill_rows(const RegionInput& input, const std::byte* data, std::int64_t start,
                        float* to, std::int64_t n) const {
    if (start / plan_.columns == (start + n - 1) / plan_.columns) {
      std::fill_n(to, kTileStep, element(input, data, start / plan_.columns));
      return {to, true};
    }
    for (std::int64_t i = start; i < start + n;) {
      const std::int64_t row = i / plan_.columns;
      const std::int64_t end = std::min(start + n, (row + 1) * plan_.columns);
      std::fill(to + (i - start), to + (end - start), element(input, data, row));
      i = end;
    }
    return {to, false};
  }

  // Where elements [start, start + n) of the input are: in the input itself if they lie there as
  // f32 in a row and may be read in whole vectors, else copied to `slot`.
  TileOperand locate(const RegionInput& input, const std::byte* data, std::int64_t start,
                     float* slot, std::int64_t n) const {
    if (input.access == Access::row) return fill_rows(input, data, start, slot, n);
    const std::int64_t from = start % input.elements;
    if (input.dtype == graph::DType::f32 && n % kTileStep == 0 && from + n <= input.elements)
      return {reinterpret_cast<const float*>(data) + from, false};
    fill_periodic(input, data, start, slot, n);
    return {slot, false};
  }

  void run_tile(const KernelArgs& args, const float* shared, std::byte* own, std::int64_t start,
                std::int64_t n) const {
    auto* operands = reinterpret_cast<TileOperand*>(own);
    float* slots = reinterpret_cast<float*>(own + table_bytes());
    const std::int64_t padded = divide_up(n, kTileStep) * kTileStep;
    const bool whole = n == padded;
    const std::size_t inputs = region_.inputs.size();
    const auto apply = region_.exact ? exact::apply_tile : apply_tile;
    const auto slot_of = [&](std::size_t reg) {
      return slots + plan_.slots[reg] * plan_.slot_floats;
    };

    for (std::size_t i = 0; i < inputs; ++i) {
      if (plan_.sources[i] == RegionPlan::Source::streamed)
        operands[i] = locate(region_.inputs[i], args.inputs[i], start, slot_of(i), n);
      else
        operands[i] = {shared + plan_.shared_offsets[i],
                       plan_.sources[i] == RegionPlan::Source::repeated};
    }
    for (std::size_t k = 0; k < region_.code.size(); ++k) {
      const RegionInstruction& step = region_.code[k];
      const int direct = plan_.direct_output[k];
      float* to = whole && direct >= 0 ? output<float>(args, direct) + start : slot_of(inputs + k);
      if (is_row_op(step.op)) {
        std::fill_n(to, kTileStep, row_value(step.op, operands[step.a], to, n));
        operands[inputs + k] = {to, true};
        continue;
      }
      const bool repeated = plan_.repeated[inputs + k];
      apply(step.op, operands[step.a], operands[step.b], step.immediate, to,
            repeated ? kTileStep : padded);
      operands[inputs + k] = {to, repeated};
    }
    for (std::size_t o = 0; o < region_.outputs.size(); ++o)
      if (!whole || !plan_.is_direct[o])
        store(args, static_cast<int>(o), operands[region_.outputs[o].reg], start, n);
  }

  // Of a tile that is one row; `spare` has room for it and may be where it lies. A sum of all elements has the order that
  // reduce_to gives it.
  float row_value(RegionOp op, TileOperand row, float* spare, std::int64_t n) const {
    if (row.repeated) {
      std::fill_n(spare, n, float{*row.data});
      row.data = spare;
    }
    if (op == RegionOp::row_max) return row_max(row.data, n);
    return n == plan_.elements ? exact::canonical(static_cast<float>(sum(row.data, n))) : row_sum(row.data, n);
  }

  void store(const KernelArgs& args, int index, TileOperand from, std::int64_t start,
             std::int64_t n) const {
    if (region_.outputs[index].access == Access::row) {
      start /= plan_.columns;
      n = 1;
    }
    const std::int64_t step = from.repeated ? kTileStep : n;
    for (std::int64_t done = 0; done < n; done += step) {
      const std::int64_t length = std::min(step, n - done);
      if (region_.outputs[index].dtype == graph::DType::bf16)
        (region_.exact ? exact::narrow : narrow)(from.data, output<Bf16>(args, index) + start + done, length);
      else
        std::copy_n(from.data, length, output<float>(args, index) + start + done);
    }
  }

  static_assert(kLongestRow <= kSumBlock);

  Region region_;
  RegionPlan plan_;
};

}  // namespace

std::unique_ptr<Kernel> make_region_kernel(const Region& region) {
  return std::make_unique<RegionKernel>(region);
}

}  // namespace suanli::engine
