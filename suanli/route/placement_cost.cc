#include "suanli/route/placement_cost.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "suanli/route/schedule.h"

namespace suanli::route {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int kLeastCredits = 2;

}  // namespace

std::vector<std::size_t> stage_bounds(const graph::Cut& cut, std::size_t blocks) {
  std::vector<std::size_t> bounds = {0};
  for (int block : cut.after_blocks) bounds.push_back(static_cast<std::size_t>(block) + 1);
  bounds.push_back(blocks);
  return bounds;
}

PlacementCost::PlacementCost(const Demand& demand) : demand_(demand), memory_(demand) {
  const auto workers = static_cast<WorkerIndex>(worker_count());
  for (WorkerIndex a = 0; a < workers; ++a) {
    for (WorkerIndex b = 0; b < workers; ++b) {
      const LineSpeed line = demand.line && a != b ? demand.line(a, b) : LineSpeed();
      delay_.push_back(line.delay.value());
      per_byte_.push_back(line.rate.value() > 0 ? 1 / line.rate.value() : 0);
    }
  }
  forward_ = backward_ = {0};
  for (const BlockCost& block : demand.blocks) {
    forward_.push_back(forward_.back() + block.forward.value());
    backward_.push_back(backward_.back() + block.backward.value());
    largest_crossing_ = std::max({largest_crossing_, block.forward_out.value(), block.backward_in.value()});
  }
}

int PlacementCost::slots_that_fit(StageLoad load, Bytes usable) const {
  load.slots = 0;
  const std::int64_t slot = memory_.slot(load).value(), room = (usable - memory_.total(load)).value();
  const std::int64_t most = std::min<std::int64_t>(demand_.micro_batches, kMostMicroBatches);
  return static_cast<int>(slot == 0 ? most : std::clamp<std::int64_t>(room / slot, 1, most));
}

// The route table's shares are by the times of whole lanes, or may round the other way.
std::int64_t PlacementCost::most_micro_batches(std::size_t replicas, std::int64_t share) const {
  const std::int64_t most = demand_.micro_batches - static_cast<std::int64_t>(replicas) + 1;
  return demand_.lanes ? most : std::min(most, share + 1);
}

Seconds PlacementCost::distance(WorkerIndex a, WorkerIndex b) const {
  const double bytes = static_cast<double>(largest_crossing_);
  return Seconds(delay_[cell(a, b)] + delay_[cell(b, a)] + bytes * (per_byte_[cell(a, b)] + per_byte_[cell(b, a)]));
}

Speeds PlacementCost::speeds(const Placement& placement) const {
  // The functions outlive the demand, so they share a copy of what they read.
  struct Lines {
    std::size_t workers;
    std::vector<double> delay, per_byte;
    std::vector<double> forward_out, backward_in;  // [worker]: bytes after its stage, and before it
  };
  auto lines = std::make_shared<Lines>();
  lines->workers = worker_count();
  lines->delay = delay_;
  lines->per_byte = per_byte_;
  lines->forward_out.resize(worker_count());
  lines->backward_in.resize(worker_count());
  Speeds speeds;
  speeds.forward.resize(worker_count());
  speeds.backward.resize(worker_count());
  const std::vector<std::size_t> bounds = stage_bounds(placement.cut, block_count());
  for (std::size_t s = 0; s < placement.stages.size(); ++s) {
    const std::size_t first = bounds[s], end = bounds[s + 1];
    for (WorkerIndex worker : placement.stages[s]) {
      const auto w = static_cast<std::size_t>(worker);
      speeds.forward[w] = Flops(forward_[end] - forward_[first]) / demand_.workers[w].rate;
      speeds.backward[w] = Flops(backward_[end] - backward_[first]) / demand_.workers[w].rate;
      lines->forward_out[w] = static_cast<double>(demand_.blocks[end - 1].forward_out.value());
      lines->backward_in[w] = first == 0 ? 0 : static_cast<double>(demand_.blocks[first - 1].backward_in.value());
    }
  }
  speeds.occupied = [lines](WorkerIndex from, WorkerIndex to, bool forward) {
    const auto a = static_cast<std::size_t>(from);
    return Seconds((forward ? lines->forward_out[a] : lines->backward_in[a]) *
                   lines->per_byte[a * lines->workers + static_cast<std::size_t>(to)]);
  };
  speeds.hop = [lines, occupied = speeds.occupied](WorkerIndex from, WorkerIndex to, bool forward) {
    const std::size_t line = static_cast<std::size_t>(from) * lines->workers + static_cast<std::size_t>(to);
    return Seconds(lines->delay[line]) + occupied(from, to, forward);
  };
  return speeds;
}

Seconds PlacementCost::exchange(const Placement& placement) const {
  if (demand_.lanes) return Seconds(0);
  const std::vector<std::size_t> bounds = stage_bounds(placement.cut, block_count());
  double longest = 0;
  for (std::size_t s = 0; s < placement.stages.size(); ++s) {
    const Group& group = placement.stages[s];
    const double replicas = static_cast<double>(group.size());
    const double bytes = static_cast<double>(memory_.state(bounds[s], bounds[s + 1]).value()) / 4;
    for (WorkerIndex a : group)
      for (WorkerIndex b : group)
        if (a != b)  // every member sends its part to the others, and takes the sums back
          longest = std::max(longest, 2 * (replicas - 1) / replicas * bytes * per_byte_[cell(a, b)] + 2 * delay_[cell(a, b)]);
  }
  return Seconds(longest);
}

std::vector<PlacementCost::Stage> PlacementCost::figures(const std::vector<Group>& groups, bool full_slots) const {
  std::vector<Stage> stages(groups.size());
  for (std::size_t s = 0; s < groups.size(); ++s) {
    Stage& stage = stages[s];
    std::vector<Seconds> each;
    stage.memory = Bytes(std::numeric_limits<std::int64_t>::max());
    for (WorkerIndex worker : groups[s]) {
      const WorkerPower& power = demand_.workers[static_cast<std::size_t>(worker)];
      each.push_back(Seconds(1 / power.rate.value()));
      stage.memory = std::min(stage.memory, memory_.usable(power.memory));
    }
    std::vector<std::int64_t> share = shares(demand_.micro_batches, each);
    double last = 0;
    for (std::size_t k = 0; k < each.size(); ++k) {
      if (share[k] == 0 && !demand_.lanes) return {};
      if (share[k] == 0) {  // a lane has one at least
        --*std::ranges::max_element(share);
        share[k] = 1;
      }
      last = std::max(last, static_cast<double>(share[k]) * each[k].value());
    }
    stage.rate = static_cast<double>(demand_.micro_batches) / last;
    const auto open = static_cast<std::int64_t>(groups.size() - s);
    if (full_slots) stage.slots = std::min(open, *std::ranges::max_element(share));
    stage.replicas = groups[s].size();
    stage.micro_batches = most_micro_batches(stage.replicas, *std::ranges::max_element(share));
    if (s + 1 == groups.size()) continue;
    const double pairs = static_cast<double>(groups[s].size() * groups[s + 1].size());
    const double lines = static_cast<double>(std::max(groups[s].size(), groups[s + 1].size()));
    for (WorkerIndex a : groups[s]) {
      for (WorkerIndex b : groups[s + 1]) {
        stage.forward += per_byte_[cell(a, b)] / pairs / lines;
        stage.backward += per_byte_[cell(b, a)] / pairs / lines;
        stage.delay += (delay_[cell(a, b)] + delay_[cell(b, a)]) / pairs;
      }
    }
  }
  return stages;
}

double PlacementCost::crossing(const Stage& stage, std::size_t end) const {
  if (end == block_count()) return 0;
  const BlockCost& block = demand_.blocks[end - 1];
  return std::max(stage.forward * static_cast<double>(block.forward_out.value()),
                  stage.backward * static_cast<double>(block.backward_in.value()));
}

std::optional<Draft> PlacementCost::cut(const std::vector<Group>& groups, bool full_slots) {
  const std::size_t blocks = block_count(), count = groups.size();
  if (count == 0 || count > blocks) return {};
  const std::vector<Stage> stages = figures(groups, full_slots);
  if (stages.empty()) return {};
  for (std::size_t s = 0; s < count; ++s)  // what figures() and exchange() take
    cells_ += static_cast<std::int64_t>(groups[s].size() * (groups[s].size() + (s + 1 < count ? groups[s + 1].size() : 1)));
  // slowest[s][end]: of stages 0..s over blocks [0, end), the time of the slowest; from[s][end]: where stage s begins then.
  std::vector<double> slowest((count + 1) * (blocks + 1), kNever);
  std::vector<std::size_t> from((count + 1) * (blocks + 1), 0);
  slowest[0] = 0;
  for (std::size_t s = 0; s < count; ++s) {
    const Stage& stage = stages[s];
    for (std::size_t end = s + 1; end + (count - s - 1) <= blocks; ++end) {
      if (!may_end(end) || (s + 1 == count && end != blocks)) continue;
      const double line = crossing(stage, end);
      const std::size_t here = (s + 1) * (blocks + 1) + end;
      for (std::size_t first = end; first-- > s;) {
        ++cells_;
        const double before = slowest[s * (blocks + 1) + first];
        const double compute = (forward_[end] - forward_[first] + backward_[end] - backward_[first]) / stage.rate;
        if (compute >= slowest[here]) break;  // and grows from here on
        const double time = std::max({before, compute, line});
        const StageLoad load{first, end, stage.slots, kLeastCredits, stage.micro_batches, stage.replicas};
        if (time >= slowest[here] || memory_.total(load) > stage.memory) continue;
        slowest[here] = time;
        from[here] = first;
      }
    }
  }
  if (slowest.back() == kNever) return {};
  std::vector<std::size_t> ends(count);
  for (std::size_t s = count, end = blocks; s-- > 0; end = from[(s + 1) * (blocks + 1) + end]) ends[s] = end;
  Draft draft{{{}, groups}, estimate(groups, stages, ends)};
  for (std::size_t s = 0; s + 1 < count; ++s) draft.placement.cut.after_blocks.push_back(static_cast<int>(ends[s]) - 1);
  draft.step += exchange(draft.placement);
  return draft;
}

// The first micro-batch there and back, and then one in every period.
Seconds PlacementCost::estimate(const std::vector<Group>& groups, const std::vector<Stage>& stages,
                                const std::vector<std::size_t>& ends) const {
  double trip = 0, period = 0;
  for (std::size_t s = groups.size(); s-- > 0;) {
    const std::size_t first = s == 0 ? 0 : ends[s - 1], end = ends[s];
    const double replicas = static_cast<double>(groups[s].size());
    const double compute = (forward_[end] - forward_[first] + backward_[end] - backward_[first]) / stages[s].rate;
    if (end < block_count()) {
      const double lines = static_cast<double>(std::max(groups[s].size(), groups[s + 1].size()));
      trip += stages[s].delay + lines * (stages[s].forward * static_cast<double>(demand_.blocks[end - 1].forward_out.value()) +
                                         stages[s].backward * static_cast<double>(demand_.blocks[end - 1].backward_in.value()));
    }
    trip += compute * replicas;
    const StageLoad load{first, end, 1, kLeastCredits, stages[s].micro_batches, stages[s].replicas};
    const int slots = slots_that_fit(load, stages[s].memory);
    period = std::max({period, compute, crossing(stages[s], end), trip / (slots * replicas)});
  }
  return Seconds(trip + period * static_cast<double>(demand_.micro_batches - 1));
}

std::optional<Placement> PlacementCost::chain(const Group& order, const std::vector<Bytes>& memory_of) const {
  constexpr std::size_t kOut = std::numeric_limits<std::size_t>::max();
  const std::size_t blocks = block_count();
  // reached[j][end]: the first j workers can hold blocks [0, end); the last of them from `begin` on, or kOut if it is left out.
  std::vector<std::vector<bool>> reached(order.size() + 1, std::vector<bool>(blocks + 1));
  std::vector<std::vector<std::size_t>> begin(order.size() + 1, std::vector<std::size_t>(blocks + 1, kOut));
  reached[0][0] = true;
  for (std::size_t j = 0; j < order.size(); ++j) {
    reached[j + 1] = reached[j];
    const Bytes there = memory_.usable(memory_of[static_cast<std::size_t>(order[j])]);
    for (std::size_t end = 1; end <= blocks; ++end) {
      for (std::size_t first = end; may_end(end) && !reached[j + 1][end] && first-- > 0;) {
        const StageLoad load{first, end, 1, kLeastCredits, demand_.micro_batches, 1};
        if (memory_.least(first, end) > there) break;  // and grows from here on
        if (!reached[j][first] || memory_.total(load) > there) continue;
        reached[j + 1][end] = true;
        begin[j + 1][end] = first;
      }
    }
  }
  if (!reached[order.size()][blocks]) return {};
  Placement placement;
  for (std::size_t j = order.size(), end = blocks; j > 0; --j) {
    if (begin[j][end] == kOut) continue;
    placement.stages.insert(placement.stages.begin(), {order[j - 1]});
    if (end < blocks) placement.cut.after_blocks.insert(placement.cut.after_blocks.begin(), static_cast<int>(end) - 1);
    end = begin[j][end];
  }
  return placement;
}

std::optional<Bytes> PlacementCost::least_of_each(std::size_t stages, std::size_t replicas) const {
  const std::size_t blocks = block_count();
  const std::int64_t none = std::numeric_limits<std::int64_t>::max();
  // least[end]: of the largest of the stages so far, which hold blocks [0, end).
  std::vector<std::int64_t> least(blocks + 1, none);
  least[0] = 0;
  const std::int64_t micro_batches = most_micro_batches(replicas, demand_.micro_batches);
  for (std::size_t s = 0; s < stages; ++s) {
    std::vector<std::int64_t> next(blocks + 1, none);
    for (std::size_t end = 1; end <= blocks; ++end)
      for (std::size_t first = 0; may_end(end) && first < end; ++first)
        if (least[first] != none)
          next[end] = std::min(next[end], std::max(least[first], memory_.total({first, end, 1, kLeastCredits, micro_batches,
                                                                                replicas}).value()));
    least = std::move(next);
  }
  return least[blocks] == none ? std::nullopt : std::optional(Bytes(least[blocks]));
}

}  // namespace suanli::route
