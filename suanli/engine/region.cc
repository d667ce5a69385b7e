#include "suanli/engine/region.h"

#include <algorithm>

#include <array>
#include <cstdio>

namespace suanli::engine {
namespace {

struct OpInfo {
  RegionOp op;
  std::string_view name;
  int registers;
  bool immediate = false;
};

constexpr std::array kOps = {
    OpInfo{RegionOp::add, "add", 2},
    OpInfo{RegionOp::sub, "sub", 2},
    OpInfo{RegionOp::mul, "mul", 2},
    OpInfo{RegionOp::div, "div", 2},
    OpInfo{RegionOp::minimum, "minimum", 2},
    OpInfo{RegionOp::maximum, "maximum", 2},
    OpInfo{RegionOp::greater, "greater", 2},
    OpInfo{RegionOp::equal, "equal", 2},
    OpInfo{RegionOp::scale, "scale", 1, true},
    OpInfo{RegionOp::shift, "shift", 1, true},
    OpInfo{RegionOp::exp, "exp", 1},
    OpInfo{RegionOp::log, "log", 1},
    OpInfo{RegionOp::sqrt, "sqrt", 1},
    OpInfo{RegionOp::rsqrt, "rsqrt", 1},
    OpInfo{RegionOp::tanh, "tanh", 1},
    OpInfo{RegionOp::gelu, "gelu", 1},
    OpInfo{RegionOp::round_bf16, "round_bf16", 1},
    OpInfo{RegionOp::gelu_grad, "gelu_grad", 2},
    OpInfo{RegionOp::row_sum, "row_sum", 1},
    OpInfo{RegionOp::row_max, "row_max", 1},
};

const OpInfo& info_of(RegionOp op) { return kOps[static_cast<std::size_t>(op)]; }

constexpr bool in_order() {
  for (std::size_t i = 0; i < kOps.size(); ++i)
    if (static_cast<std::size_t>(kOps[i].op) != i) return false;
  return kOps.size() == static_cast<std::size_t>(RegionOp::row_max) + 1;
}
static_assert(in_order());

}  // namespace

std::string_view name_of(RegionOp op) { return info_of(op).name; }
int register_count(RegionOp op) { return info_of(op).registers; }
bool is_row_op(RegionOp op) { return op == RegionOp::row_sum || op == RegionOp::row_max; }

std::optional<RegionOp> region_op_from_name(std::string_view name) {
  for (const OpInfo& info : kOps)
    if (info.name == name) return info.op;
  return std::nullopt;
}

bool Region::in_place(std::size_t input, std::size_t output) const {
  if (input >= inputs.size() || output >= outputs.size()) return false;
  const bool is_output = std::any_of(outputs.begin(), outputs.end(),
                                     [&](const RegionOutput& o) { return o.reg == static_cast<int>(input); });
  return !is_output && inputs[input].access == Access::full && outputs[output].access == Access::full &&
         inputs[input].dtype == outputs[output].dtype;
}

std::string Region::to_string() const {
  std::string text;
  const auto reg = [](int number) { return "r" + std::to_string(number); };
  int result = static_cast<int>(inputs.size());
  for (const RegionInstruction& step : code) {
    text += reg(result++) + "=" + std::string(name_of(step.op)) + "(" + reg(step.a);
    if (register_count(step.op) == 2) text += "," + reg(step.b);
    if (info_of(step.op).immediate) {
      char number[32];
      std::snprintf(number, sizeof number, ",%.9g", static_cast<double>(step.immediate));
      text += number;
    }
    text += ") ";
  }
  text += "->";
  for (const RegionOutput& output : outputs)
    text += " " + std::string(graph::name_of(output.dtype)) +
            (output.access == Access::row ? " row " : " ") + reg(output.reg);
  if (exact) text += " exact";
  return text;
}

}  // namespace suanli::engine
