#include "suanli/meter/ledger.h"

#include <algorithm>
#include <utility>

#include "suanli/graph/op.h"

namespace suanli::meter {

std::string_view name_of(Cause cause) {
  switch (cause) {
    case Cause::data:
      return "data";
    case Cause::forward:
      return "forward";
    case Cause::backward:
      return "backward";
    case Cause::update:
      return "update";
    case Cause::communication:
      return "communication";
    case Cause::evaluate:
      return "evaluate";
    case Cause::checkpoint:
      return "checkpoint";
    case Cause::waiting:
      return "waiting";
    case Cause::metering:
      return "metering";
    case Cause::other:
      return "other";
  }
  return "";
}

std::string_view name_of(Part part) {
  switch (part) {
    case Part::forward:
      return "forward";
    case Part::backward:
      return "backward";
    case Part::update:
      return "update";
    case Part::evaluation:
      return "evaluation";
    case Part::sample:
      return "sample";
  }
  return "";
}

std::optional<Cause> cause_from_name(std::string_view name) {
  for (Cause cause : kCauses)
    if (name_of(cause) == name) return cause;
  return std::nullopt;
}

Work& Work::operator+=(const Work& other) {
  total += other.total;
  moved += other.moved;
  for (const auto& [op, flops] : other.by_op) by_op[op] += flops;
  return *this;
}

Work work_of(const graph::Graph& graph, graph::Phase phase) {
  Work work;
  const std::vector<bool> live = graph.live();
  for (graph::NodeId id = 0; id < graph.size(); ++id) {
    const graph::Node& node = graph.node(id);
    if (!live[static_cast<std::size_t>(id)] || node.phase != phase) continue;
    const Flops flops(graph::node_cost(graph, id).flops);
    if (flops.value() == 0) continue;
    work.total += flops;
    work.by_op[std::string(node.op->name)] += flops;
  }
  return work;
}

Work work_of(const graph::Graph& graph, graph::Phase phase, const engine::Program& program) {
  Work work = work_of(graph, phase);
  double bytes = 0;
  for (const engine::KernelCall& call : phase == graph::Phase::forward    ? program.forward
                                        : phase == graph::Phase::backward ? program.backward
                                                                          : program.update)
    bytes += call.bytes;
  work.moved = Bytes(static_cast<std::int64_t>(bytes));
  return work;
}

Seconds Totals::total_seconds() const {
  Seconds total;
  for (Seconds part : seconds) total += part;
  return total;
}

Ledger::Ledger(Clock& clock, Usage start)
    : clock_(clock), usage_(std::move(start)), since_(clock.now()) {}

void Ledger::book(Part part, const Work& work) {
  usage_.work += work;
  ++usage_.runs_of(part);
}

void Ledger::book_step(Tokens tokens) {
  usage_.tokens += tokens;
  ++usage_.steps;
}

void Ledger::move(Cause from, Cause to, Seconds amount) {
  turn_to(current_);
  amount = std::min(amount, usage_.of(from));
  usage_.of(from) -= amount;
  usage_.of(to) += amount;
}

const Usage& Ledger::usage() {
  turn_to(current_);
  return usage_;
}

Cause Ledger::turn_to(Cause cause) {
  const Seconds now = clock_.now();
  usage_.of(current_) += now - since_;
  since_ = now;
  return std::exchange(current_, cause);
}

}  // namespace suanli::meter
