#include "suanli/route/placement_advice.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>

#include "suanli/base/text.h"

namespace suanli::route {
namespace {

constexpr std::size_t kWishesTried = 8;                     // other numbers of stages
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;  // of all blocks together, so that no sum overflows

// To the three digits that format_bytes() shows, so that who gives what is printed gives enough.
Bytes rounded_up(Bytes bytes) {
  std::int64_t unit = 1;
  while (bytes.value() / unit >= 1024) unit *= 1024;
  const double units = static_cast<double>(bytes.value()) / static_cast<double>(unit);
  const double digits = units < 10 ? 100 : units < 100 ? 10 : 1;
  return Bytes(static_cast<std::int64_t>(std::ceil(std::ceil(units * digits) / digits * static_cast<double>(unit))));
}

class Advice {
 public:
  Advice(const Demand& demand, const std::function<bool(const Demand&)>& holds)
      : demand_(demand), holds_(holds), cost_(demand) {}

  tl::unexpected<Error> error() const {
    Demand free = demand_;
    free.stages = free.replicas = 0;
    free.wanted_cut.clear();
    const bool has_wishes = demand_.stages != 0 || demand_.replicas != 0 || !demand_.wanted_cut.empty();
    if (demand_.replicas > 1 && !holds_with_any_memory()) return too_slow();
    if (has_wishes && holds_(free)) return wishes_do_not_fit();
    std::vector<std::string> ways;
    const std::optional<Bytes> each = least_of_each();
    if (each) ways.push_back("give every worker " + format_bytes(*each));
    if (const auto more = workers_to_add(each)) ways.push_back(*more);
    if (ways.empty()) ways.emplace_back("lower 'train.batch' (and raise 'train.micro_batches'), or make the model smaller");
    Bytes pool(0);
    for (const WorkerPower& power : demand_.workers) pool += usable(power.memory);
    const Bytes whole = whole_job(), largest = usable(largest_worker());
    const std::string count = std::to_string(demand_.workers.size()) + (demand_.workers.size() == 1 ? " worker" : " workers");
    std::string what = "state and one micro-batch take " + format_bytes(whole) + ", " + count + " together " +
                       (demand_.workers.size() == 1 ? "has " : "have ") + format_bytes(pool);
    if (demand_.kept > Bytes(0)) what += " beside AQ-SGD's buffers";
    if (whole > pool) {
      what += ": " + format_bytes(whole - pool) + " are missing";
    } else {
      what += ", but no cut between blocks fits: the largest worker has " + format_bytes(largest);
      if (each && usable(*each) > largest)
        what += ", " + format_bytes(usable(*each) - largest) + " short of what every one would need";
    }
    return fail(ErrorCode::no_memory, what, "placement", joined(ways));
  }

 private:
  Bytes usable(Bytes memory) const { return cost_.memory().usable(memory); }
  Bytes largest_worker() const { return std::ranges::max(demand_.workers, {}, &WorkerPower::memory).memory; }
  Bytes whole_job() const { return cost_.memory().total({0, cost_.block_count(), 1, 0, demand_.micro_batches, 1}); }
  // With single workers as stages, as many as there are: where that is what is asked for, every worker's own memory counts.
  bool may_be_chain() const { return demand_.stages == 0 && demand_.replicas <= 1; }

  static std::string joined(const std::vector<std::string>& ways) {
    std::string text;
    for (std::size_t i = 0; i < ways.size(); ++i) text += (i == 0 ? "" : ", or ") + ways[i];
    return text;
  }

  std::vector<Bytes> memories(Bytes at_least = Bytes(0)) const {
    std::vector<Bytes> memory;
    for (const WorkerPower& power : demand_.workers) memory.push_back(std::max(power.memory, at_least));
    return memory;
  }
  bool holds_chain(const std::vector<Bytes>& memory) const {
    return std::ranges::any_of(chain_orders(memory, {}),
                               [&](const Group& order) { return cost_.chain(order, memory).has_value(); });
  }

  // So that usable() of it is enough.
  static Bytes with_kept(Bytes needed, Bytes kept) {
    const Bytes small = rounded_up(needed + needed / (kKeptShare - 1) + Bytes(1)), large = rounded_up(needed + kept);
    return std::min(small, large);
  }

  // The least that would do if every worker had it.
  std::optional<Bytes> least_of_each() const {
    std::optional<Bytes> least;
    if (may_be_chain()) {
      // A worker with all of the job always does.
      Bytes low = Bytes(0), high = with_kept(whole_job(), demand_.kept);
      while (high - low > Bytes(1)) {
        const Bytes middle = low + (high - low) / 2;
        (holds_chain(memories(middle)) ? high : low) = middle;
      }
      least = rounded_up(high);
    } else {
      const std::size_t replicas = std::max<std::size_t>(demand_.replicas, 1);
      const std::size_t most = std::min(demand_.workers.size() / replicas, cost_.block_count());
      for (std::size_t stages = demand_.stages == 0 ? 1 : demand_.stages; stages <= (demand_.stages == 0 ? most : demand_.stages);
           ++stages)
        if (const auto one = cost_.least_of_each(stages, replicas))
          if (const Bytes memory = with_kept(*one, demand_.kept); !least || memory < *least) least = memory;
    }
    if (!least) return {};
    Demand more = demand_;
    for (WorkerPower& power : more.workers) power.memory = std::max(power.memory, *least);
    return holds_(more) ? least : std::nullopt;
  }

  // Workers as large as the largest. `each`: what every worker would have to have.
  std::optional<std::string> workers_to_add(std::optional<Bytes> each) const {
    const Bytes largest = largest_worker();
    std::optional<std::size_t> enough;
    if (may_be_chain()) {
      for (std::size_t more = 1; !enough && more <= cost_.block_count(); ++more) {
        std::vector<Bytes> memory = memories();
        memory.resize(memory.size() + more, largest);
        if (holds_chain(memory)) enough = more;
      }
    } else if (each && demand_.stages != 0 && *each <= largest) {
      const auto small = [&](const WorkerPower& power) { return power.memory < *each; };
      enough = static_cast<std::size_t>(std::ranges::count_if(demand_.workers, small));
    }
    if (!enough || demand_.workers.size() + *enough > kMostPlaced) return {};
    Demand more = demand_;
    more.workers.resize(more.workers.size() + *enough, std::ranges::max(demand_.workers, {}, &WorkerPower::memory));
    const auto known = static_cast<WorkerIndex>(demand_.workers.size());
    more.line = [line = demand_.line, known](WorkerIndex from, WorkerIndex to) {
      return line && from < known && to < known ? line(from, to) : LineSpeed{};
    };
    if (!holds_(more)) return {};
    return "add " + std::to_string(*enough) + (*enough == 1 ? " worker of " : " workers of ") + format_bytes(rounded_up(largest));
  }

  bool holds_with_any_memory() const {
    Demand large = demand_;
    for (WorkerPower& power : large.workers) power.memory = Bytes(std::int64_t{1} << 60);
    return holds_(large);
  }

  tl::unexpected<Error> too_slow() const {
    return fail(ErrorCode::config,
                "of pool.replicas = " + std::to_string(demand_.replicas) +
                    " replicas of a stage, one or more are too slow beside the others to have one of the " +
                    std::to_string(demand_.micro_batches) + " micro-batches",
                "placement", "set pool.replicas to 0, or raise 'train.micro_batches'");
  }

  tl::unexpected<Error> wishes_do_not_fit() const {
    std::vector<std::string> ways = {"leave pool.stages, pool.replicas and pool.split to the placer"};
    if (demand_.stages != 0 && demand_.wanted_cut.empty()) {
      Demand other = demand_;
      for (std::size_t tried = 0; tried < kWishesTried && check_wishes(other); ++tried) {
        ++other.stages;
        if (!check_wishes(other) || !holds_(other)) continue;
        ways.push_back("ask for " + std::to_string(other.stages) + " stages");
        break;
      }
    }
    if (const auto each = least_of_each()) ways.push_back("give every worker " + format_bytes(*each));
    return fail(ErrorCode::no_memory,
                "the workers' memory holds the job, but not with pool.stages = " + std::to_string(demand_.stages) +
                    " and pool.replicas = " + std::to_string(demand_.replicas),
                "placement", joined(ways));
  }

  const Demand& demand_;
  const std::function<bool(const Demand&)>& holds_;
  PlacementCost cost_;
};

}  // namespace

// Orders in which a chain of workers may fit where no balanced groups do.
std::vector<Group> chain_orders(const std::vector<Bytes>& memory, const Group& near) {
  Group largest(memory.size());
  std::iota(largest.begin(), largest.end(), 0);
  std::ranges::stable_sort(largest, std::greater<>(), [&](WorkerIndex w) { return memory[static_cast<std::size_t>(w)]; });
  std::vector<Group> orders = {largest, Group(largest.rbegin(), largest.rend())};
  if (memory.size() == near.size()) {
    orders.push_back(near);
    orders.emplace_back(near.rbegin(), near.rend());
  }
  return orders;
}

Status check_demand(const Demand& demand) {
  const auto wrong = [](std::string message) { return fail(ErrorCode::config, std::move(message), "demand"); };
  if (demand.blocks.empty() || demand.blocks.size() > kMostStages)
    return wrong(std::to_string(demand.blocks.size()) + " blocks; 1 to " + std::to_string(kMostStages) + " are possible");
  if (demand.legal_cut.size() + 1 != demand.blocks.size())
    return wrong(std::to_string(demand.blocks.size()) + " blocks have " + std::to_string(demand.legal_cut.size()) +
                 " boundaries said to be legal or not");
  if (demand.micro_batches < 1 || demand.micro_batches > kMostMicroBatches / static_cast<std::int64_t>(demand.blocks.size()))
    return wrong(std::to_string(demand.micro_batches) + " micro-batches are none or too many");
  if (!demand.wanted_cut.empty() && demand.wanted_cut.size() != demand.legal_cut.size())
    return wrong(std::to_string(demand.wanted_cut.size()) + " boundaries are said to be wanted or not");
  if (demand.workers.empty() || demand.workers.size() > kMostPlaced)
    return wrong(std::to_string(demand.workers.size()) + " workers; 1 to " + std::to_string(kMostPlaced) + " are possible");
  for (std::size_t w = 0; w < demand.workers.size(); ++w)
    if (!std::isfinite(demand.workers[w].rate.value()) || demand.workers[w].rate <= FlopsPerSecond(0) ||
        demand.workers[w].memory < Bytes(0))
      return wrong("worker " + std::to_string(w) + " has no possible rate or memory");
  std::int64_t bytes = 0;
  for (const BlockCost& block : demand.blocks) {
    if (!std::isfinite((block.forward + block.backward).value()) || block.forward < Flops(0) || block.backward < Flops(0))
      return wrong("a block has no possible number of operations");
    for (Bytes each : {block.state, block.stash, block.forward_out, block.backward_in, block.first_out, block.codec, block.noted,
                       block.replica_own, block.replica_packed}) {
      if (each < Bytes(0) || each.value() > kMostBytes - bytes) return wrong("the blocks have no possible number of bytes");
      bytes += each.value();
    }
  }
  for (const ReplicaWork& work : demand.replica_work)
    if (work.in_block.size() != demand.blocks.size() || work.bytes < Bytes(0) || work.packed < Bytes(0) ||
        work.bytes.value() > kMostBytes || work.packed.value() > kMostBytes)
      return wrong("what replicas work with has no possible number of bytes");
  if (demand.kept < Bytes(0)) return wrong("less than no memory is kept");
  return {};
}

Status check_wishes(const Demand& demand) {
  const std::size_t workers = demand.workers.size();
  std::size_t cuts = 0;
  for (std::size_t i = 0; i < demand.legal_cut.size(); ++i)
    cuts += demand.legal_cut[i] && (demand.wanted_cut.empty() || demand.wanted_cut[i]);
  const bool is_split = !demand.wanted_cut.empty();
  const std::size_t stages = std::min({demand.stages, workers, 1 + cuts}), there = std::max<std::size_t>(stages, 1);
  const std::size_t replicas =
      std::min({demand.replicas, workers / there, static_cast<std::size_t>(std::max<std::int64_t>(1, demand.micro_batches))});
  if (stages == demand.stages && replicas == demand.replicas) return {};
  std::string what, next;
  if (stages != demand.stages) {
    what = std::to_string(demand.stages) + " stages are asked for; " + std::to_string(workers) +
           " workers are there, and the job can be cut into " + std::to_string(1 + cuts);
    next = is_split ? "leave pool.split and pool.stages out, or change them to at most " + std::to_string(stages) + " stages"
                    : "set pool.stages to at most " + std::to_string(stages) + ", or to 0";
  } else {
    what = std::to_string(demand.replicas) + " replicas of " +
           (there == 1 ? "a stage" : "each of " + std::to_string(there) + " stages") + " are asked for; " +
           std::to_string(workers) + " workers and " + std::to_string(demand.micro_batches) + " micro-batches are there";
  }
  if (replicas != demand.replicas)
    next += std::string(next.empty() ? "" : "; and ") + "set pool.replicas to at most " + std::to_string(replicas) + ", or to 0";
  return fail(ErrorCode::config, what, "placement", next);
}

tl::unexpected<Error> too_small(const Demand& demand, const std::function<bool(const Demand&)>& holds) {
  return Advice(demand, holds).error();
}

}  // namespace suanli::route
