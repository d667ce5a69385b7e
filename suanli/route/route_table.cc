#include "suanli/route/route_table.h"

#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/route/route_json.h"
#include "suanli/route/step_simulation.h"

namespace suanli::route {
namespace {

using graph::Phase;

constexpr std::string_view kNextStep = "let the coordinator make a new table";
constexpr std::size_t kNamedWorkers = 8;  // in the error of a step that stops

// "1 of its outputs is", "2 of its outputs are".
std::string counted(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " of its outputs is" : " of its outputs are");
}

std::string name_of(WorkerIndex worker) { return "worker " + std::to_string(worker); }

class Checker {
 public:
  Checker(const RouteTable& table, std::size_t workers) : table_(table), workers_(workers) {}

  Status run() {
    SUANLI_RETURN_IF_ERROR(counts());
    stage_.assign(workers_, kNoStage);
    for (std::size_t s = 0; s < table_.stage_count(); ++s)
      for (WorkerIndex worker : table_.placement.stages[s]) stage_[static_cast<std::size_t>(worker)] = s;
    SUANLI_RETURN_IF_ERROR(routes());
    done_.assign(table_.routes.size() * table_.stage_count(), 0);
    for (std::size_t w = 0; w < workers_; ++w) SUANLI_RETURN_IF_ERROR(order(w));
    SUANLI_RETURN_IF_ERROR(nothing_is_missing());
    return ends();
  }

 private:
  std::string place(const std::string& where) const {
    return "route table of epoch " + std::to_string(table_.epoch) + (where.empty() ? "" : ", " + where);
  }
  tl::unexpected<Error> wrong(std::string message, const std::string& where = {}) const {
    return fail(ErrorCode::graph, std::move(message), place(where), std::string(kNextStep));
  }

  Status counts() const {
    if (Status placed = check(table_.placement, workers_); !placed)
      return tl::unexpected(std::move(placed).error().within(place({})));
    const std::size_t stages = table_.stage_count();
    if (table_.epoch < 1) return wrong("epochs begin at 1");
    if (table_.credits < 1 || table_.credits > kMostCredits)
      return wrong("credits are " + std::to_string(table_.credits) + ", not 1 to " + std::to_string(kMostCredits));
    if (table_.orders.size() != workers_)
      return wrong("it has orders for " + std::to_string(table_.orders.size()) + " workers, the job has " +
                   std::to_string(workers_));
    if (table_.routes.empty() || table_.routes.size() > static_cast<std::size_t>(kMostMicroBatches) ||
        table_.routes.size() * stages > kMostWork)
      return wrong(std::to_string(table_.routes.size()) + " micro-batches of " + std::to_string(stages) +
                   " stages; at least one, and at most " + std::to_string(kMostWork) + " together, are possible");
    return {};
  }

  Status routes() const {
    for (std::size_t m = 0; m < table_.routes.size(); ++m) {
      const std::vector<WorkerIndex>& route = table_.routes[m];
      const std::string where = "micro-batch " + std::to_string(m);
      if (route.size() != table_.stage_count())
        return wrong("its route has " + std::to_string(route.size()) + " workers for " + std::to_string(table_.stage_count()) +
                     " stages", where);
      for (std::size_t s = 0; s < route.size(); ++s)
        if (route[s] < 0 || static_cast<std::size_t>(route[s]) >= workers_ || stage_[static_cast<std::size_t>(route[s])] != s)
          return wrong(name_of(route[s]) + " does not hold stage " + std::to_string(s) + " of its route", where);
    }
    return {};
  }

  // Every work it lists is its own and comes once, in turn.
  Status order(std::size_t w) {
    const WorkerOrder& order = table_.orders[w];
    const std::string where = name_of(static_cast<WorkerIndex>(w));
    const std::size_t stage = stage_[w];
    for (std::size_t i = 0; i < order.work.size(); ++i) {
      const Work& work = order.work[i];
      if (work.phase == Phase::update) return wrong("an update stands in its order", where);
      if (work.micro_batch < 0 || static_cast<std::size_t>(work.micro_batch) >= table_.routes.size())
        return wrong(to_string(work) + " stands in its order, but the step has " + std::to_string(table_.routes.size()) +
                     " micro-batches", where);
      const auto m = static_cast<std::size_t>(work.micro_batch);
      if (stage == kNoStage || table_.routes[m][stage] != static_cast<WorkerIndex>(w))
        return wrong(to_string(work) + " stands in its order, but the route leads past it", where);
      std::uint8_t& done = done_[m * table_.stage_count() + stage];
      const std::uint8_t before = work.phase == Phase::forward ? 0 : 1;
      if (done != before)
        return wrong(to_string(work) + (done > before ? " stands twice in its order" : " comes before its forward"), where);
      ++done;
    }
    if (const int peak = peak_slots(order.work); order.slots != peak)
      return wrong("its order needs " + std::to_string(peak) + " slots, not " + std::to_string(order.slots), where);
    return {};
  }

  Status nothing_is_missing() const {
    for (std::size_t m = 0; m < table_.routes.size(); ++m)
      for (std::size_t s = 0; s < table_.stage_count(); ++s)
        if (const std::uint8_t done = done_[m * table_.stage_count() + s]; done != 2)
          return wrong((done == 0 ? "F" : "B") + std::to_string(m) + " is missing in its order", name_of(table_.routes[m][s]));
    return {};
  }

  Status ends() const {
    const PlayedStep step = play_step(table_);
    if (step.ended) return {};
    std::string who;
    std::size_t stuck = 0;
    for (std::size_t w = 0; w < workers_; ++w) {
      if (step.spans[w].size() == table_.orders[w].work.size()) continue;
      if (++stuck > kNamedWorkers) continue;
      who += (who.empty() ? "" : "; ") + waits(w, step);
    }
    if (stuck > kNamedWorkers) who += "; and " + std::to_string(stuck - kNamedWorkers) + " more";
    return wrong("with credits " + std::to_string(table_.credits) + " the step never ends: " + who);
  }

  std::string waits(std::size_t w, const PlayedStep& step) const {
    const Work& work = table_.orders[w].work[step.spans[w].size()];
    const std::string start = name_of(static_cast<WorkerIndex>(w)) + " stands at " + to_string(work) + ", waiting for ";
    const std::vector<WorkerIndex>& held = step.undelivered[w];
    if (held.size() >= static_cast<std::size_t>(table_.credits))
      return start + name_of(held.front()) + " to take an output (" + counted(held.size()) + " not delivered)";
    const std::size_t from = work.phase == Phase::forward ? stage_[w] - 1 : stage_[w] + 1;
    return start + "its input from " + name_of(table_.routes[static_cast<std::size_t>(work.micro_batch)][from]);
  }

  const RouteTable& table_;
  const std::size_t workers_;
  std::vector<std::size_t> stage_;  // [worker]
  std::vector<std::uint8_t> done_;  // [micro-batch, stage]: 1 after its forward, 2 after its backward
};

}  // namespace

std::string to_string(const Work& work) {
  const char* letter = work.phase == Phase::forward ? "F" : work.phase == Phase::backward ? "B" : "U";
  return letter + std::to_string(work.micro_batch);
}

std::size_t RouteTable::stage_of(WorkerIndex worker) const {
  for (std::size_t s = 0; s < placement.stages.size(); ++s)
    if (std::ranges::find(placement.stages[s], worker) != placement.stages[s].end()) return s;
  return kNoStage;
}

Digest RouteTable::digest() const { return sha256(print_route_table(*this)); }

int peak_slots(const std::vector<Work>& order) {
  int open = 0, peak = 1;
  for (const Work& work : order) peak = std::max(peak, open += work.phase == Phase::forward ? 1 : -1);
  return peak;
}

Status check(const Placement& placement, std::size_t workers) {
  const std::size_t stages = placement.stages.size();
  const auto wrong = [](std::string message, std::string where = "placement") {
    return fail(ErrorCode::graph, std::move(message), std::move(where), std::string(kNextStep));
  };
  if (stages == 0 || stages > kMostStages)
    return wrong("it has " + std::to_string(stages) + " stages, not 1 to " + std::to_string(kMostStages));
  if (placement.cut.after_blocks.size() + 1 != stages)
    return wrong(std::to_string(placement.cut.after_blocks.size()) + " cuts do not make " + std::to_string(stages) + " stages");
  int previous = -1;
  for (int block : placement.cut.after_blocks) {
    if (block <= previous)
      return wrong("cuts are not ascending: block " + std::to_string(block) + " follows " + std::to_string(previous));
    previous = block;
  }
  if (workers > kMostWorkers)
    return wrong(std::to_string(workers) + " workers are more than " + std::to_string(kMostWorkers));
  std::vector<std::size_t> stage_of(workers, kNoStage);
  for (std::size_t s = 0; s < stages; ++s) {
    const std::string where = "stage " + std::to_string(s);
    if (placement.stages[s].empty()) return wrong("nobody holds it", where);
    for (WorkerIndex worker : placement.stages[s]) {
      if (worker < 0 || static_cast<std::size_t>(worker) >= workers)
        return wrong(name_of(worker) + " is none of the job's " + std::to_string(workers), where);
      std::size_t& stage = stage_of[static_cast<std::size_t>(worker)];
      if (stage != kNoStage) return wrong(name_of(worker) + " already holds stage " + std::to_string(stage), where);
      stage = s;
    }
  }
  return {};
}

Status check(const RouteTable& table, std::size_t workers) { return Checker(table, workers).run(); }

}  // namespace suanli::route
