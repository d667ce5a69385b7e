#include "suanli/route/list_scheduling.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

namespace suanli::route {
namespace {

using graph::Phase;

class ListScheduler {
 public:
  ListScheduler(RouteTable& table, const Speeds& speeds, const std::vector<int>& slots)
      : table_(table), speeds_(speeds), slots_(slots), workers_(table.orders.size()) {
    for (WorkerOrder& order : table_.orders) order = {};
    for (std::size_t m = 0; m < table_.routes.size(); ++m) arrive(Phase::forward, m, 0);
  }

  void run() {
    begin_all();
    while (!events_.empty()) {
      now_ = events_.top().time;
      // All that happens at one time is seen before anybody chooses.
      while (!events_.empty() && events_.top().time == now_) {
        const Event event = events_.top();
        events_.pop();
        event.arrival ? arrive(event.phase, event.micro_batch, event.stage) : end(event.phase, event.micro_batch, event.stage);
      }
      begin_all();
    }
    for (WorkerOrder& order : table_.orders) order.slots = peak_slots(order.work);
  }

 private:
  struct Ready {
    Seconds since;
    std::size_t micro_batch;
    bool operator<(const Ready& other) const {
      return since != other.since ? since > other.since : micro_batch > other.micro_batch;
    }
  };
  struct Worker {
    std::priority_queue<Ready> forward, backward;
    int open = 0;  // micro-batches between forward and backward
    bool busy = false;
  };
  struct Event {
    Seconds time;
    std::uint64_t sequence;
    bool arrival;  // of what this work takes; else its end
    Phase phase;
    std::size_t micro_batch, stage;
    bool operator<(const Event& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };

  std::size_t holder(std::size_t micro_batch, std::size_t stage) const {
    return static_cast<std::size_t>(table_.routes[micro_batch][stage]);
  }

  void arrive(Phase phase, std::size_t micro_batch, std::size_t stage) {
    const std::size_t w = holder(micro_batch, stage);
    (phase == Phase::forward ? workers_[w].forward : workers_[w].backward).push({now_, micro_batch});
    awake_.push_back({w, stage});
  }

  void end(Phase phase, std::size_t micro_batch, std::size_t stage) {
    const std::size_t w = holder(micro_batch, stage);
    workers_[w].busy = false;
    awake_.push_back({w, stage});
    if (phase == Phase::backward) {
      --workers_[w].open;
      if (stage > 0) send(phase, micro_batch, stage, stage - 1);
    } else if (stage + 1 < table_.stage_count()) {
      send(phase, micro_batch, stage, stage + 1);
    } else {
      arrive(Phase::backward, micro_batch, stage);
    }
  }

  void send(Phase phase, std::size_t micro_batch, std::size_t stage, std::size_t to_stage) {
    const WorkerIndex from = table_.routes[micro_batch][stage], to = table_.routes[micro_batch][to_stage];
    const bool forward = phase == Phase::forward;
    Seconds leaves = now_;
    if (speeds_.occupied) {
      Seconds& free = lines_[static_cast<std::uint64_t>(from) << 32 | static_cast<std::uint64_t>(to)];
      leaves = std::max(leaves, free);
      free = leaves + speeds_.occupied(from, to, forward);
    }
    const Seconds hop = speeds_.hop ? speeds_.hop(from, to, forward) : Seconds(0);
    events_.push({leaves + hop, sequence_++, true, phase, micro_batch, to_stage});
  }

  void begin_all() {
    for (const auto& [worker, stage] : awake_) begin(worker, stage);
    awake_.clear();
  }

  void begin(std::size_t w, std::size_t stage) {
    Worker& worker = workers_[w];
    if (worker.busy) return;
    if (!worker.backward.empty()) {
      begin(w, stage, Phase::backward, worker.backward);
    } else if (!worker.forward.empty() && worker.open < slots_[w]) {
      ++worker.open;
      begin(w, stage, Phase::forward, worker.forward);
    }
  }

  void begin(std::size_t w, std::size_t stage, Phase phase, std::priority_queue<Ready>& ready) {
    const std::size_t micro_batch = ready.top().micro_batch;
    ready.pop();
    workers_[w].busy = true;
    table_.orders[w].work.push_back({phase, static_cast<std::int64_t>(micro_batch)});
    events_.push({now_ + speeds_.of(static_cast<WorkerIndex>(w), phase), sequence_++, false, phase, micro_batch, stage});
  }

  RouteTable& table_;
  const Speeds& speeds_;
  const std::vector<int>& slots_;
  std::vector<Worker> workers_;
  std::priority_queue<Event> events_;
  std::vector<std::pair<std::size_t, std::size_t>> awake_;  // worker and stage: who looks for work next
  std::unordered_map<std::uint64_t, Seconds> lines_;        // when the line from one worker to another is free again
  std::uint64_t sequence_ = 0;
  Seconds now_{0};
};

}  // namespace

void schedule_orders(RouteTable& table, const Speeds& speeds, const std::vector<int>& slots) {
  ListScheduler(table, speeds, slots).run();
}

}  // namespace suanli::route
