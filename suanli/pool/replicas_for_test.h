// For tests of what replicas exchange: all workers of a small job in one process, one thread each, over memory. Steps are made
// one by one, so that a test looks at every worker's state between them.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "suanli/base/philox.h"
#include "suanli/engine/compile.h"
#include "suanli/model/gpt.h"
#include "suanli/pool/memory_exchange_for_test.h"
#include "suanli/pool/outer_settling.h"
#include "suanli/pool/stage_runner.h"
#include "suanli/pool/state_layout.h"

namespace suanli::pool {

struct SmallJob {
  model::GptConfig model{.layers = 2, .heads = 2, .width = 16, .context = 8, .vocab = 13, .norm_eps = 1e-5};
  std::int64_t batch = 2, micro_batches = 6;
  std::int64_t alike = 1;  // so many neighbouring micro-batches have the same text
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  float lr = 0.01F;
  double clip_norm = 1.0;
  std::optional<WeightCodec> weights;
  std::optional<train::LocalSteps> local;

  graph::Graph graph() const {
    return model::gpt_training_graph(model, batch, micro_batches,
                                     {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip_norm = clip_norm})
        .value();
  }
};

// A text that can be learned: every token follows from the one before, most of the time.
class SmallText {
 public:
  explicit SmallText(const SmallJob& job) : job_(job) {}
  std::span<const engine::HostTensor> at(std::int64_t step, std::int64_t micro_batch) {
    const Philox random(7, Stream::test, static_cast<std::uint64_t>(step * 1000 + micro_batch / job_.alike));
    const auto vocab = static_cast<std::uint64_t>(job_.model.vocab);
    const auto count = static_cast<std::size_t>(job_.batch * job_.model.context);
    tokens_.resize(count), targets_.resize(count);
    std::uint64_t token = random.below(vocab, 3 * count);
    for (std::size_t i = 0; i < count; ++i) {
      tokens_[i] = static_cast<std::int32_t>(token);
      token = random.below(8, 2 * i) == 0 ? random.below(vocab, 2 * i + 1) : (5 * token + 3) % vocab;
      targets_[i] = static_cast<std::int32_t>(token);
    }
    const Bytes size(static_cast<std::int64_t>(count * sizeof(std::int32_t)));
    tensors_ = {{{"tokens", tokens_.data(), size}, {"targets", targets_.data(), size}}};
    return tensors_;
  }

 private:
  const SmallJob& job_;
  std::vector<std::int32_t> tokens_, targets_;
  std::array<engine::HostTensor, 2> tensors_;
};

// Stage s is held by the workers s, s + S, s + 2 S, .. of S stages; micro-batch i goes through rank i mod R of each.
inline route::RouteTable lanes(const SmallJob& job, std::vector<int> cuts, int ranks) {
  route::RouteTable table;
  table.placement.cut = {std::move(cuts)};
  const int stages = static_cast<int>(table.placement.cut.after_blocks.size()) + 1;
  for (int s = 0; s < stages; ++s) {
    auto& holders = table.placement.stages.emplace_back();
    for (int r = 0; r < ranks; ++r) holders.push_back(static_cast<WorkerIndex>(s + r * stages));
  }
  table.orders.resize(static_cast<std::size_t>(stages * ranks));
  for (std::int64_t i = 0; i < job.micro_batches; ++i) {
    auto& route = table.routes.emplace_back();
    for (const auto& holders : table.placement.stages) route.push_back(holders[static_cast<std::size_t>(i % ranks)]);
  }
  for (const graph::Phase phase : {graph::Phase::forward, graph::Phase::backward})
    for (std::int64_t i = 0; i < job.micro_batches; ++i)
      for (const WorkerIndex worker : table.routes[static_cast<std::size_t>(i)])
        table.orders[static_cast<std::size_t>(worker)].work.push_back({phase, i});
  for (route::WorkerOrder& order : table.orders) order.slots = route::peak_slots(order.work);
  return table;
}

using Snapshot = std::map<std::string, std::vector<std::byte>>;  // as tensors travel

class SmallPool {
 public:
  SmallPool(SmallJob job, route::RouteTable table)
      : job_(std::move(job)), table_(std::move(table)),
        layout_(StateLayout::create(job_.graph(), table_.placement.cut, job_.arithmetic == engine::Arithmetic::exact,
                                    {counts(table_), job_.weights, job_.local})
                    .value()) {
    for (WorkerIndex worker = 0; worker < static_cast<WorkerIndex>(table_.orders.size()); ++worker) {
      exchanges_.push_back(std::make_unique<MemoryExchange>(hub_, worker));
      texts_.push_back(std::make_unique<SmallText>(job_));
      StageJob stage{.graph = job_.graph(),
                     .arithmetic = job_.arithmetic,
                     .seed = 5,
                     .table = table_,
                     .self = worker,
                     .memory_limit = {},
                     .weights = job_.weights,
                     .local = job_.local,
                     .inputs = [&own = *texts_.back()](std::int64_t step, std::int64_t i) { return own.at(step, i); },
                     .step_inputs =
                         [this](std::int64_t) {
                           return std::vector<engine::HostTensor>{{"lr", &job_.lr, Bytes(4)}};
                         }};
      runners.push_back(StageRunner::create(std::move(stage), *exchanges_.back(), real_clock()).value());
    }
  }

  // The loss, the mean of what all workers say; none if one asks for another attempt.
  std::optional<double> prepare(std::int64_t attempt = 1) {
    double loss = 0;
    bool again = false;
    on_all([&](StageRunner& runner) {
      const auto prepared = runner.prepare(done, attempt);
      const std::lock_guard lock(mutex_);
      ASSERT_TRUE(prepared) << prepared.error().to_string();
      again = again || prepared->must_repeat;
      if (!prepared->must_repeat) loss += prepared->scalars.at("loss") / static_cast<double>(runners.size());
    });
    return again ? std::nullopt : std::optional(loss);
  }
  void commit() {
    on_all([&](StageRunner& runner) {
      const auto committed = runner.commit();
      const std::lock_guard lock(mutex_);
      EXPECT_TRUE(committed) << committed.error().to_string();
    });
    ++done;
  }
  double step() {
    std::optional<double> loss;
    for (attempts = 1; !(loss = prepare(attempts)); ++attempts) SUANLI_CHECK(attempts < 20);
    commit();
    return *loss;
  }
  std::vector<double> steps(int count) {
    std::vector<double> losses;
    for (int i = 0; i < count; ++i) losses.push_back(step());
    return losses;
  }

  // Nothing travels any more.
  void cut() { hub_.fail({ErrorCode::unreachable, "all lines are cut", "", ""}); }
  void set_lr(float lr) { job_.lr = lr; }

  // What a coordinator keeps of what it collects: with the outer step that is due, if one is.
  Snapshot collect() {
    Result<Snapshot> all = try_collect();
    EXPECT_TRUE(all) << all.error().to_string();
    return all ? *std::move(all) : Snapshot();
  }
  Result<Snapshot> try_collect() {
    Snapshot all = given();
    if (!job_.local) return all;
    const auto device = engine::make_cpu_device(1);
    engine::State whole(*device);
    EXPECT_TRUE(whole.initialize(job_.graph(), 5));
    if (job_.arithmetic == engine::Arithmetic::exact) {
      const std::vector<std::int32_t> none(live_sums(job_.graph()).size(), 0);
      EXPECT_TRUE(whole.add(engine::kExponents, graph::i32({static_cast<std::int64_t>(none.size())}),
                            std::as_bytes(std::span(none))));
    }
    EXPECT_TRUE(layout_.fit(whole));
    for (const auto& [name, bytes] : all) EXPECT_TRUE(layout_.write(name, bytes, whole)) << name;
    SUANLI_RETURN_IF_ERROR(take_outer_step(whole, train::outer_params(job_.graph()), *job_.local, job_.arithmetic,
                                           table_.placement.stages.front().size(), done));
    for (auto& [name, bytes] : all) bytes = layout_.read(name, whole).value();
    return all;
  }
  // What the workers give: every tensor that two own has the same bits at both.
  Snapshot given() {
    Snapshot all;
    for (const auto& runner : runners)
      for (const std::string& name : layout_.owned(runner->stage_index(), runner->rank())) {
        const auto bytes = runner->read_state(name);
        EXPECT_TRUE(bytes) << bytes.error().to_string();
        const auto [there, is_new] = all.emplace(name, *bytes);
        EXPECT_TRUE(is_new || there->second == *bytes) << name << " differs between replicas";
      }
    return all;
  }
  void restore(const Snapshot& all, std::int64_t steps_done) {
    for (const auto& runner : runners)
      for (const std::string& name : layout_.held(runner->stage_index(), runner->rank()))
        EXPECT_TRUE(runner->write_state(name, all.at(name))) << name;
    done = steps_done;
  }
  const StateLayout& layout() const { return layout_; }
  Bytes sent() const {
    Bytes sum;
    for (const auto& runner : runners) sum += runner->sent();
    return sum;
  }

  std::vector<std::unique_ptr<StageRunner>> runners;  // by worker
  std::int64_t done = 0, attempts = 0;  // attempts: of the last step

 private:
  static std::vector<std::size_t> counts(const route::RouteTable& table) {
    std::vector<std::size_t> counts;
    for (const auto& replicas : table.placement.stages) counts.push_back(replicas.size());
    return counts;
  }
  template <typename Do>
  void on_all(const Do& work) {
    std::vector<std::thread> threads;
    for (const auto& runner : runners) threads.emplace_back([&work, &runner] { work(*runner); });
    for (std::thread& thread : threads) thread.join();
  }

  SmallJob job_;
  route::RouteTable table_;
  StateLayout layout_;
  MemoryHub hub_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<MemoryExchange>> exchanges_;
  std::vector<std::unique_ptr<SmallText>> texts_;
};

inline std::vector<float> floats(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace suanli::pool
