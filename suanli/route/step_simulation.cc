#include "suanli/route/step_simulation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <unordered_map>

namespace suanli::route {
namespace {

using graph::Phase;

constexpr std::size_t kNoWork = std::numeric_limits<std::size_t>::max();

// Works in their orders, and how outputs find the works that take them.
class Wiring {
 public:
  explicit Wiring(const RouteTable& table) : table_(table), stages_(table.stage_count()) {
    for (auto& numbers : number_) numbers.resize(table.routes.size() * stages_);
    stage_.assign(table.orders.size(), kNoStage);
    for (std::size_t s = 0; s < stages_; ++s)
      for (WorkerIndex worker : table.placement.stages[s]) stage_[static_cast<std::size_t>(worker)] = s;
    ranks_.resize(table.orders.size());
    takers_.resize(table.orders.size());
    for (std::size_t w = 0; w < table.orders.size(); ++w) {
      const std::vector<Work>& order = table.orders[w].work;
      for (std::size_t i = 0; i < order.size(); ++i) {
        number_[order[i].phase == Phase::backward][cell(order[i].micro_batch, stage_[w])] = i;
        ranks_[w].push_back(takers_[w].size());
        if (takes_input(w, i)) takers_[w].push_back(i);
      }
    }
  }

  const Work& work(std::size_t worker, std::size_t number) const { return table_.orders[worker].work[number]; }
  bool takes_input(std::size_t worker, std::size_t number) const {
    return work(worker, number).phase == Phase::forward ? stage_[worker] > 0 : stage_[worker] + 1 < stages_;
  }
  bool gives_output(std::size_t worker, std::size_t number) const {
    return work(worker, number).phase == Phase::forward ? stage_[worker] + 1 < stages_ : stage_[worker] > 0;
  }
  std::size_t sender(std::size_t worker, std::size_t number) const { return neighbour(worker, number, false); }
  std::size_t receiver(std::size_t worker, std::size_t number) const { return neighbour(worker, number, true); }
  // The number, in the order of `worker`, of the work like this one of another stage.
  std::size_t number(std::size_t worker, const Work& like) const {
    return number_[like.phase == Phase::backward][cell(like.micro_batch, stage_[worker])];
  }
  // How many works before this one take an input.
  std::size_t rank(std::size_t worker, std::size_t number) const { return ranks_[worker][number]; }
  std::size_t taker(std::size_t worker, std::size_t rank) const {
    return rank < takers_[worker].size() ? takers_[worker][rank] : kNoWork;
  }

 private:
  std::size_t cell(std::int64_t micro_batch, std::size_t stage) const {
    return static_cast<std::size_t>(micro_batch) * stages_ + stage;
  }
  // Forwards run down the stages, backwards up.
  std::size_t neighbour(std::size_t worker, std::size_t number, bool next) const {
    const Work& of = work(worker, number);
    const std::size_t stage = (of.phase == Phase::forward) == next ? stage_[worker] + 1 : stage_[worker] - 1;
    return static_cast<std::size_t>(table_.routes[static_cast<std::size_t>(of.micro_batch)][stage]);
  }

  const RouteTable& table_;
  const std::size_t stages_;
  std::vector<std::size_t> number_[2];             // [backward][micro-batch, stage]
  std::vector<std::size_t> stage_;                 // [worker]
  std::vector<std::vector<std::size_t>> ranks_;    // [worker][number]
  std::vector<std::vector<std::size_t>> takers_;   // [worker][rank]
};

class Player {
 public:
  Player(const RouteTable& table, const Speeds* speeds)
      : table_(table), speeds_(speeds), wiring_(table), credits_(static_cast<std::size_t>(table.credits)) {
    workers_.resize(table.orders.size());
    for (std::size_t w = 0; w < workers_.size(); ++w) workers_[w].input.resize(table.orders[w].work.size(), Input::absent);
  }

  PlayedStep run() {
    for (std::size_t w = 0; w < workers_.size(); ++w) begin(w);
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      event.arrival ? arrive(event.worker, event.number) : end(event.worker, event.number);
    }
    return result();
  }

 private:
  enum class Input : std::uint8_t { absent, made, delivered };
  struct Worker {
    std::size_t position = 0;  // the work it stands at
    std::size_t taken = 0;     // inputs of the works before that
    std::size_t held = 0;      // outputs not yet delivered
    bool busy = false;
    std::vector<Input> input;  // [number], of the works that take one
    std::vector<Span> spans;
  };
  struct Event {
    Seconds time;
    std::uint64_t sequence;
    bool arrival;  // of the input of this work; else its end
    std::size_t worker, number;
    bool operator<(const Event& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };

  void begin(std::size_t w) {
    Worker& worker = workers_[w];
    const std::size_t number = worker.position;
    if (worker.busy || number == table_.orders[w].work.size() || worker.held >= credits_) return;
    if (wiring_.takes_input(w, number) && worker.input[number] != Input::delivered) return;
    worker.busy = true;
    const Seconds takes = speeds_ ? speeds_->of(static_cast<WorkerIndex>(w), wiring_.work(w, number).phase) : Seconds(0);
    worker.spans.push_back({now_, now_ + takes});
    events_.push({now_ + takes, sequence_++, false, w, number});
  }

  void end(std::size_t w, std::size_t number) {
    Worker& worker = workers_[w];
    worker.busy = false;
    ++worker.position;
    if (wiring_.takes_input(w, number)) {
      ++worker.taken;
      const std::size_t ready = wiring_.taker(w, worker.taken + credits_ - 1);
      if (ready != kNoWork && worker.input[ready] == Input::made) send(w, ready);
    }
    if (wiring_.gives_output(w, number)) {
      const std::size_t to = wiring_.receiver(w, number);
      const std::size_t taker = wiring_.number(to, wiring_.work(w, number));
      ++worker.held;
      workers_[to].input[taker] = Input::made;
      if (wiring_.rank(to, taker) < workers_[to].taken + credits_) send(to, taker);
    }
    begin(w);
  }

  // The input of this work leaves its maker.
  void send(std::size_t to, std::size_t number) {
    if (!speeds_ || !speeds_->hop) return events_.push({now_, sequence_++, true, to, number});
    const auto from = static_cast<WorkerIndex>(wiring_.sender(to, number));
    const auto receiver = static_cast<WorkerIndex>(to);
    const bool forward = wiring_.work(to, number).phase == Phase::forward;
    Seconds leaves = now_;
    if (speeds_->occupied) {
      Seconds& free = lines_[static_cast<std::uint64_t>(from) << 32 | static_cast<std::uint64_t>(receiver)];
      leaves = std::max(leaves, free);
      free = leaves + speeds_->occupied(from, receiver, forward);
    }
    events_.push({leaves + speeds_->hop(from, receiver, forward), sequence_++, true, to, number});
  }

  void arrive(std::size_t to, std::size_t number) {
    workers_[to].input[number] = Input::delivered;
    const std::size_t from = wiring_.sender(to, number);
    --workers_[from].held;
    begin(from);
    begin(to);
  }

  PlayedStep result() {
    PlayedStep step;
    step.ended = true;
    step.undelivered.resize(workers_.size());
    for (std::size_t w = 0; w < workers_.size(); ++w) {
      if (workers_[w].position < table_.orders[w].work.size()) step.ended = false;
      for (std::size_t i = 0; i < workers_[w].input.size(); ++i)
        if (workers_[w].input[i] == Input::made) step.undelivered[wiring_.sender(w, i)].push_back(static_cast<WorkerIndex>(w));
      step.spans.push_back(std::move(workers_[w].spans));
    }
    return step;
  }

  const RouteTable& table_;
  const Speeds* speeds_;
  const Wiring wiring_;
  const std::size_t credits_;
  std::vector<Worker> workers_;
  std::priority_queue<Event> events_;
  std::unordered_map<std::uint64_t, Seconds> lines_;  // when the line from one worker to another is free again
  std::uint64_t sequence_ = 0;
  Seconds now_{0};
};

}  // namespace

Seconds PlayedStep::length() const {
  Seconds last{0};
  for (const std::vector<Span>& worker : spans)
    if (!worker.empty()) last = std::max(last, worker.back().end);
  return last;
}

PlayedStep play_step(const RouteTable& table, const Speeds* speeds) { return Player(table, speeds).run(); }

Seconds simulated_step_time(const RouteTable& table, const Speeds& speeds) {
  const PlayedStep step = play_step(table, &speeds);
  SUANLI_CHECK(step.ended);
  return step.length();
}

Status check(const Speeds& speeds, const Placement& placement) {
  for (const std::vector<WorkerIndex>& holders : placement.stages) {
    for (WorkerIndex worker : holders) {
      const auto w = static_cast<std::size_t>(worker);
      if (worker < 0 || w >= speeds.forward.size() || w >= speeds.backward.size())
        return fail(ErrorCode::mismatch, "worker " + std::to_string(worker) + " holds a stage but has no speed");
      for (const Seconds time : {speeds.forward[w], speeds.backward[w]})
        if (!std::isfinite(time.value()) || time < Seconds(0))
          return fail(ErrorCode::mismatch, "worker " + std::to_string(worker) + " takes " + std::to_string(time.value()) +
                                               " seconds for a micro-batch, which is no time");
    }
  }
  return {};
}

}  // namespace suanli::route
