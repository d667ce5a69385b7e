#include "suanli/engine/cpu/region_plan.h"

#include <algorithm>
#include <numeric>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/tile_ops.h"

namespace suanli::engine {
namespace {

// What the tiles of one worker may take of the L1 cache (32 to 48 KiB), leaving room for inputs and
// outputs.
constexpr std::int64_t kTileBytes = 24 * 1024;
constexpr std::int64_t kLeastTile = 512;
constexpr std::int64_t kLargestTile = 4096;

std::int64_t round_up(std::int64_t n) { return (n + kTileStep - 1) / kTileStep * kTileStep; }

// Per register the last instruction that reads it: -1 if none, code.size() if an output does.
std::vector<int> last_uses(const Region& region) {
  const int inputs = static_cast<int>(region.inputs.size());
  const int steps = static_cast<int>(region.code.size());
  std::vector<int> last(inputs + steps, -1);
  for (int k = 0; k < steps; ++k) {
    const RegionInstruction& step = region.code[k];
    for (int operand = 0; operand < register_count(step.op); ++operand) {
      const int reg = operand == 0 ? step.a : step.b;
      SUANLI_CHECK(reg >= 0 && reg < inputs + k);
      last[reg] = k;
    }
  }
  for (const RegionOutput& output : region.outputs) {
    SUANLI_CHECK(output.reg >= 0 && output.reg < inputs + steps);
    last[output.reg] = steps;
  }
  return last;
}

void assign_slots(const Region& region, const std::vector<int>& last, RegionPlan& plan) {
  const int inputs = static_cast<int>(region.inputs.size());
  std::vector<int> free;
  const auto take = [&] {
    if (free.empty()) return plan.slot_count++;
    const int slot = free.back();
    free.pop_back();
    return slot;
  };
  plan.slots.assign(inputs + region.code.size(), -1);
  for (int i = 0; i < inputs; ++i)
    if (plan.sources[i] == RegionPlan::Source::streamed) plan.slots[i] = take();
  for (int k = 0; k < static_cast<int>(region.code.size()); ++k) {
    const RegionInstruction& step = region.code[k];
    const bool two = register_count(step.op) == 2 && step.b != step.a;
    // The slot of a row input may hold one value that is read again and again: it is never written
    // over. Nor is that of another repeated value while it is read.
    const auto ends = [&](int reg) {
      const bool row = reg < inputs && region.inputs[reg].access == Access::row;
      return last[reg] == k && plan.slots[reg] >= 0 && !row;
    };
    const auto release = [&](bool repeated) {
      if (ends(step.a) && plan.repeated[step.a] == repeated) free.push_back(plan.slots[step.a]);
      if (two && ends(step.b) && plan.repeated[step.b] == repeated)
        free.push_back(plan.slots[step.b]);
    };
    release(false);
    const int slot = take();
    release(true);
    plan.slots[inputs + k] = slot;
    if (last[inputs + k] < 0) free.push_back(plan.slots[inputs + k]);
  }
}

// In a region with row ops a tile is one row.
void find_repeated(const Region& region, bool by_row, RegionPlan& plan) {
  for (const RegionInput& input : region.inputs)
    plan.repeated.push_back(by_row &&
                            (input.access == Access::row || input.access == Access::scalar));
  for (const RegionInstruction& step : region.code)
    plan.repeated.push_back(by_row && (is_row_op(step.op) ||
                                       (plan.repeated[step.a] &&
                                        (register_count(step.op) == 1 || plan.repeated[step.b]))));
  for (const RegionOutput& output : region.outputs)
    SUANLI_CHECK(output.access == Access::full || plan.repeated[output.reg]);
}

// Whole rows or even parts of rows where that gives multiples of kTileStep.
std::int64_t choose_tile(std::int64_t elements, std::int64_t columns, std::int64_t slots) {
  const auto float_bytes = static_cast<std::int64_t>(sizeof(float));
  const std::int64_t room =
      std::clamp(kTileBytes / (float_bytes * std::max<std::int64_t>(1, slots)), kLeastTile,
                 kLargestTile) /
      kTileStep * kTileStep;
  if (elements <= room) return std::max(kTileStep, round_up(elements));
  if (columns <= room) {
    const std::int64_t step = kTileStep / std::gcd(columns, kTileStep);  // rows
    const std::int64_t rows = room / columns / step * step;
    return rows > 0 ? rows * columns : room;
  }
  const std::int64_t parts = (columns + room - 1) / room;
  return std::min(room, round_up((columns + parts - 1) / parts));
}

// An instruction may write an output to memory itself if no input is read later: the output may lie
// in the buffer of an input of the same place.
void choose_direct_outputs(const Region& region, const std::vector<int>& last, RegionPlan& plan) {
  const int inputs = static_cast<int>(region.inputs.size());
  int inputs_read_until = -1;
  for (int i = 0; i < inputs; ++i) inputs_read_until = std::max(inputs_read_until, last[i]);
  plan.direct_output.assign(region.code.size(), -1);
  plan.is_direct.assign(region.outputs.size(), false);
  for (std::size_t o = 0; o < region.outputs.size(); ++o) {
    const int k = region.outputs[o].reg - inputs;
    if (k < 0 || k < inputs_read_until || region.outputs[o].dtype != graph::DType::f32) continue;
    if (region.outputs[o].access != Access::full || plan.repeated[inputs + k]) continue;
    if (plan.direct_output[k] >= 0) continue;
    plan.direct_output[k] = static_cast<int>(o);
    plan.is_direct[o] = true;
  }
}

}  // namespace

RegionPlan plan_region(const Region& region) {
  RegionPlan plan;
  plan.elements = graph::element_count(region.shape);
  if (!region.shape.empty()) plan.columns = std::max<std::int64_t>(1, region.shape.back());

  for (const RegionInput& input : region.inputs)
    plan.sources.push_back(input.access == Access::scalar ? RegionPlan::Source::repeated
                                                          : RegionPlan::Source::streamed);
  const std::vector<int> last = last_uses(region);
  const bool by_row = std::any_of(region.code.begin(), region.code.end(),
                                  [](const RegionInstruction& step) { return is_row_op(step.op); });
  SUANLI_CHECK(!by_row || plan.columns <= kLongestRow);
  find_repeated(region, by_row, plan);
  // Slots with every vector streamed bound those needed, and do not depend on the tile.
  assign_slots(region, last, plan);
  plan.tile = by_row ? plan.columns : choose_tile(plan.elements, plan.columns, plan.slot_count);
  plan.slot_floats = round_up(plan.tile);

  plan.shared_offsets.assign(region.inputs.size(), 0);
  for (std::size_t i = 0; i < region.inputs.size(); ++i) {
    const RegionInput& input = region.inputs[i];
    if (input.access == Access::periodic && input.elements > 0 && plan.tile < plan.elements &&
        plan.tile % input.elements == 0)
      plan.sources[i] = RegionPlan::Source::expanded;
    plan.shared_offsets[i] = plan.shared_floats;
    if (plan.sources[i] == RegionPlan::Source::repeated) plan.shared_floats += kTileStep;
    if (plan.sources[i] == RegionPlan::Source::expanded) plan.shared_floats += plan.slot_floats;
  }
  plan.slot_count = 0;
  assign_slots(region, last, plan);
  choose_direct_outputs(region, last, plan);
  return plan;
}

}  // namespace suanli::engine
