#include <algorithm>
#include <map>

#include "suanli/base/text.h"
#include "suanli/cli/explanation_measured.h"
#include "suanli/cli/table.h"
#include "suanli/cli/trace.h"

namespace suanli::cli {
namespace {

constexpr std::size_t kMostOperands = 72;  // columns

const engine::KernelCall& call_of(const Explanation& explanation, const MeasuredCall& call) {
  const auto& calls = engine::calls_of(explanation.program, call.phase);
  SUANLI_CHECK(call.index < calls.size() && calls[call.index].spec.name == call.kernel);  // of the program explained
  return calls[call.index];
}

const std::string& implementation_of(const Explanation& explanation, const MeasuredCall& call) {
  return explanation.implementations[static_cast<std::size_t>(call.phase)][call.index];
}

// Several calls as one.
struct Group {
  MeasuredCall sum;  // of the calls; phase and index of the first
  std::size_t calls = 0;
};

void add(Group& group, const MeasuredCall& call) {
  if (group.calls++ == 0) {
    group.sum = call;
    return;
  }
  group.sum.bytes += call.bytes;
  group.sum.flops += call.flops;
  group.sum.at_rate += call.at_rate;
  group.sum.at_bandwidth += call.at_bandwidth;
  group.sum.measured += call.measured;
}

std::vector<Group> groups_of(const Explanation& explanation, const Measurement& measurement) {
  std::map<std::string, Group> groups;
  for (const MeasuredCall& call : measurement.calls) {
    const engine::KernelCall& what = call_of(explanation, call);
    const std::string code = what.region ? what.region->to_string() : "";
    add(groups[std::string(name_of(call.phase)) + " " + what.spec.name + " " + operands_of(what) + " " + code], call);
  }
  std::vector<Group> sorted;
  for (auto& [key, group] : groups) sorted.push_back(group);
  std::ranges::stable_sort(sorted,
                           [](const Group& a, const Group& b) { return a.sum.measured > b.sum.measured; });
  return sorted;
}

std::vector<Table::Column> columns(const char* count) {
  return {{"phase", Align::left},     {count, Align::right},      {"kernel", Align::left},
          {"FLOPs", Align::right},    {"bytes", Align::right},    {"limit", Align::left},
          {"predicted", Align::right}, {"measured", Align::right}, {"of limit", Align::right},
          {"operands", Align::left}};
}

std::vector<std::string> row(const Explanation& explanation, const MeasuredCall& call, std::size_t count) {
  const engine::KernelCall& what = call_of(explanation, call);
  return {std::string(name_of(call.phase)),
          std::to_string(count),
          what.spec.name,
          call.flops > 0 ? format_flops(Flops(call.flops)) : "-",
          format_bytes(Bytes(static_cast<std::int64_t>(call.bytes))),
          call.is_memory_bound() ? "memory" : "compute",
          format_duration(call.predicted()),
          format_duration(call.measured),
          format("%.0f %%", 100 * call.share_of_limit()),
          printable(operands_of(what), kMostOperands)};
}

std::string head_text(const Measurement& measurement) {
  const meter::Calibration& rates = measurement.rates;
  Seconds predicted, measured;
  for (const MeasuredCall& call : measurement.calls) {
    predicted += call.predicted();
    measured += call.measured;
  }
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"measured step", format_duration(measurement.step_median) + " (median of " +
                                      std::to_string(measurement.steps) + ") on " +
                                      std::to_string(measurement.rates.threads) + " threads"});
  table.add_row({"all calls", format_duration(measured) + "; " + format_duration(predicted) +
                                  " if each ran at its limit"});
  table.add_row({"limits beside it", format_si(rates.products.value(), "FLOP/s") + " (" + name_of(rates.loop) + "), " +
                                         format_si(rates.elementwise.value(), "FLOP/s") + " (f32 FMA), " +
                                         format_si(rates.memory.value(), "B/s")});
  return table.to_string();
}

}  // namespace

std::string measured_text(const Explanation& explanation, const Measurement& measurement) {
  Table table(columns("calls"));
  for (const Group& group : groups_of(explanation, measurement)) table.add_row(row(explanation, group.sum, group.calls));
  return head_text(measurement) + "\n" + table.to_string() +
         "(per step; bytes are each call's inputs once and outputs once, the least it can move)\n";
}

std::string measured_calls_text(const Explanation& explanation, const Measurement& measurement) {
  Table table(columns("call"));
  for (const MeasuredCall& call : measurement.calls) table.add_row(row(explanation, call, call.index));
  return head_text(measurement) + "\n" + table.to_string();
}

Json measured_json(const Explanation& explanation, const Measurement& measurement) {
  Json calls = Json::array();
  for (const MeasuredCall& call : measurement.calls) {
    const engine::KernelCall& what = call_of(explanation, call);
    calls.push_back({{"phase", name_of(call.phase)},
                     {"call", call.index},
                     {"kernel", what.spec.name},
                     {"block", what.block},
                     {"implementation", implementation_of(explanation, call)},
                     {"operands", operands_of(what)},
                     {"bytes", call.bytes},
                     {"flops", call.flops},
                     {"limit", call.is_memory_bound() ? "memory" : "compute"},
                     {"predicted_ms", call.predicted().value() * 1e3},
                     {"measured_ms", call.measured.value() * 1e3},
                     {"share_of_limit", call.share_of_limit()}});
  }
  return {{"steps", measurement.steps},
          {"threads", measurement.rates.threads},
          {"step_ms_median", measurement.step_median.value() * 1e3},
          {"product_flops_per_s", measurement.rates.products.value()},
          {"elementwise_flops_per_s", measurement.rates.elementwise.value()},
          {"bytes_per_s", measurement.rates.memory.value()},
          {"calls", calls}};
}

}  // namespace suanli::cli
