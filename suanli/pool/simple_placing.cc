#include "suanli/pool/simple_placing.h"

#include <algorithm>
#include <map>

#include "suanli/base/text.h"
#include "suanli/pool/job_demand.h"
#include "suanli/route/route_json.h"
#include "suanli/train/setup.h"

namespace suanli::pool {
namespace {

constexpr double kPartOfPeak = 0.4;  // of the rate of matrix products that a step reaches; the same for all, so it shifts no cut

FlopsPerSecond rate_of(const protocol::Hello& hello, engine::Arithmetic arithmetic) {
  const protocol::Rates& rates = hello.rates;
  FlopsPerSecond rate = arithmetic == engine::Arithmetic::bf16    ? rates.bf16
                        : arithmetic == engine::Arithmetic::exact ? rates.exact
                                                                  : rates.f32;
  rate = rate * kPartOfPeak;
  return hello.cap ? std::min(rate, *hello.cap) : rate;
}

std::string describe(const route::Placed& placed, const std::vector<protocol::WorkerFacts>& workers) {
  std::string text;
  const auto& stages = placed.table.placement.stages;
  std::size_t standing_by = workers.size();
  for (std::size_t s = 0; s < stages.size(); ++s) {
    text += (s == 0 ? "" : " | ");
    for (std::size_t i = 0; i < stages[s].size(); ++i)
      text += (i == 0 ? "" : " + ") + printable(workers[static_cast<std::size_t>(stages[s][i])].hello.name, 60);
    standing_by -= stages[s].size();
  }
  text = std::to_string(stages.size()) + (stages.size() == 1 ? " stage: " : " stages: ") + text;
  if (standing_by > 0) text += "; " + std::to_string(standing_by) + " standing by";
  return text + "; about " + format_duration(placed.step_time) + " a step";
}

}  // namespace

Result<protocol::Placed> SimplePlacing::place(const protocol::JobRequest& job, protocol::Epoch epoch,
                                              const std::vector<protocol::WorkerFacts>& workers,
                                              const std::vector<protocol::LineFacts>& lines) const {
  SUANLI_ASSIGN_OR_RETURN(const train::JobConfig config, train::parse_job(job.job_file, "job " + job.id));
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(config));
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, train::training_graph(config));
  route::Demand demand = demand_of(config, graph);
  std::map<std::pair<std::string, std::string>, route::LineSpeed> speed;
  for (const protocol::LineFacts& line : lines) speed[{line.from, line.to}] = {line.delay, line.rate};
  for (const protocol::WorkerFacts& worker : workers)
    demand.workers.push_back({rate_of(worker.hello, arithmetic), worker.hello.memory});
  demand.line = [&](route::WorkerIndex from, route::WorkerIndex to) {
    const auto found = speed.find({workers[static_cast<std::size_t>(from)].peer, workers[static_cast<std::size_t>(to)].peer});
    return found == speed.end() ? route::LineSpeed{} : found->second;
  };
  SUANLI_ASSIGN_OR_RETURN(route::Placed placed, placer_->place(demand));
  placed.table.epoch = epoch;
  protocol::Placed result;
  result.table_text = route::print_route_table(placed.table);
  result.said = describe(placed, workers);
  result.table = std::move(placed.table);
  return result;
}

}  // namespace suanli::pool
