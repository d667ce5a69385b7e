// A small job trained on one machine and by StageRunners on threads, which exchange through memory.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "suanli/base/philox.h"
#include "suanli/engine/compile.h"
#include "suanli/graph/cut.h"
#include "suanli/model/gpt.h"
#include "suanli/pool/memory_exchange_for_test.h"
#include "suanli/pool/stage_runner.h"
#include "suanli/pool/state_layout.h"
#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/schedule.h"

namespace suanli::pool {

inline constexpr std::int64_t kBatch = 2;

struct TestJob {
  model::GptConfig model{.layers = 3, .heads = 2, .width = 16, .context = 8, .vocab = 13, .norm_eps = 1e-5};
  std::int64_t micro_batches = 4, steps = 3;
  bool is_cut_off = false;          // nothing travels from the last commit on
  std::int64_t misfit_before = -1;  // step before which exponents are made too small, so that it must be repeated
  engine::Arithmetic arithmetic = engine::Arithmetic::exact;
  float lr = 0.01F;
  std::int64_t windows = std::int64_t{1} << 40;  // then the samples come again
  graph::BoundaryCodecs codecs{};
  train::ActivationStore::Options sample_buffers{};

  std::vector<std::int64_t> samples(std::int64_t step, std::int64_t micro_batch) const {
    std::vector<std::int64_t> rows;
    const std::int64_t first = (step * micro_batches + micro_batch) * kBatch;
    for (std::int64_t row = 0; row < kBatch; ++row) rows.push_back((first + row) % windows);
    return rows;
  }

  graph::Graph graph() const {
    return model::gpt_training_graph(model, kBatch, micro_batches,
                                     {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0})
        .value();
  }
};

// Tokens and targets as a pure function of the sample.
class Inputs {
 public:
  explicit Inputs(const TestJob& job) : job_(job) {}
  std::span<const engine::HostTensor> at(std::int64_t step, std::int64_t micro_batch) {
    const auto count = static_cast<std::size_t>(kBatch * job_.model.context);
    tokens_.clear(), targets_.clear();
    for (const std::int64_t sample : job_.samples(step, micro_batch)) {
      const Philox random(7, Stream::test, static_cast<std::uint64_t>(sample));
      const auto token = [&](std::int64_t i) {
        const auto vocab = static_cast<std::uint64_t>(job_.model.vocab);
        return static_cast<std::int32_t>(random.below(vocab, static_cast<std::uint64_t>(i)));
      };
      for (std::int64_t i = 0; i < job_.model.context; ++i) tokens_.push_back(token(2 * i)), targets_.push_back(token(2 * i + 1));
    }
    const Bytes size(static_cast<std::int64_t>(count * sizeof(std::int32_t)));
    tensors_ = {{{"tokens", tokens_.data(), size}, {"targets", targets_.data(), size}}};
    return tensors_;
  }

 private:
  const TestJob& job_;
  std::vector<std::int32_t> tokens_, targets_;
  std::array<engine::HostTensor, 2> tensors_;
};

using StateBytes = std::map<std::string, std::vector<std::byte>>;

struct Trained {
  StateBytes state;
  std::vector<double> losses;
  int repeats = 0;
  int broken = 0;                     // commits that others failed
  std::int64_t packed = 0, full = 0;  // of AQ-SGD's crossings, at both ends
  std::vector<Bytes> sent;            // by all, after each step
  std::vector<Error> notices;         // of all workers, in any order
};

// So small that no sum fits.
inline std::vector<std::byte> made_too_small(std::vector<std::byte> exponents) {
  for (std::size_t i = 0; i < exponents.size(); i += 4) {
    std::int32_t exponent = 0;
    std::memcpy(&exponent, exponents.data() + i, 4);
    exponent -= 30;
    std::memcpy(exponents.data() + i, &exponent, 4);
  }
  return exponents;
}

inline Trained train_alone(const TestJob& job) {
  const graph::Graph graph = job.graph();
  const auto device = engine::make_cpu_device(1);
  engine::State state(*device);
  EXPECT_TRUE(state.initialize(graph, 5));
  const auto program = std::make_shared<const engine::Program>(engine::compile(graph, {.arithmetic = job.arithmetic}).value());
  const auto executor = engine::Executor::create(program, *device, state).value();
  Inputs inputs(job);
  Trained trained;
  for (std::int64_t step = 0; step < job.steps; ++step) {
    if (step == job.misfit_before) {
      std::vector<std::byte> exponents(static_cast<std::size_t>(state.find(engine::kExponents)->type.bytes().value()));
      EXPECT_TRUE(state.read(engine::kExponents, exponents));
      EXPECT_TRUE(state.write(engine::kExponents, made_too_small(exponents)));
    }
    do {
      ++trained.repeats;
      executor->begin_step();
      for (std::int64_t i = 0; i < job.micro_batches; ++i) {
        EXPECT_TRUE(executor->forward(0, inputs.at(step, i)));
        EXPECT_TRUE(executor->backward(0));
      }
    } while (executor->must_repeat_step().value());
    --trained.repeats;
    const engine::HostTensor lr{"lr", &job.lr, Bytes(4)};
    EXPECT_TRUE(executor->update({&lr, 1}));
    trained.losses.push_back(executor->read_scalar("loss").value());
  }
  for (const engine::State::Tensor& tensor : state.tensors()) {
    auto& bytes = trained.state[tensor.name];
    bytes.resize(static_cast<std::size_t>(tensor.type.bytes().value()));
    EXPECT_TRUE(state.read(tensor.name, bytes));
  }
  return trained;
}

// The state of one machine from those of all workers.
inline Status collect(const TestJob& job, const route::RouteTable& table,
                      const std::vector<std::unique_ptr<StageRunner>>& runners, StateBytes& bytes_of) {
  const graph::Graph graph = job.graph();
  const bool is_exact = job.arithmetic == engine::Arithmetic::exact;
  SUANLI_ASSIGN_OR_RETURN(const StateLayout layout, StateLayout::create(graph, table.placement.cut, is_exact));
  const auto device = engine::make_cpu_device(1);
  engine::State state(*device);
  SUANLI_RETURN_IF_ERROR(state.initialize(graph, 99));
  if (is_exact) {
    const std::vector<std::int32_t> none(live_sums(graph).size(), 0);
    SUANLI_RETURN_IF_ERROR(
        state.add(engine::kExponents, graph::i32({static_cast<std::int64_t>(none.size())}), std::as_bytes(std::span(none))));
  }
  for (const auto& runner : runners)
    for (const std::string& name : layout.owned(runner->stage_index())) {
      SUANLI_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, runner->read_state(name));
      SUANLI_RETURN_IF_ERROR(layout.write(name, bytes, state));
    }
  for (const engine::State::Tensor& tensor : state.tensors()) {
    auto& bytes = bytes_of[tensor.name];
    bytes.resize(static_cast<std::size_t>(tensor.type.bytes().value()));
    SUANLI_RETURN_IF_ERROR(state.read(tensor.name, bytes));
  }
  return {};
}

inline Result<Trained> train_together(const TestJob& job, const route::RouteTable& table) {
  MemoryHub hub;
  std::mutex mutex;
  Trained trained;
  std::optional<Error> failure;
  std::vector<std::unique_ptr<StageRunner>> runners;
  std::vector<std::unique_ptr<MemoryExchange>> exchanges;
  std::vector<std::unique_ptr<Inputs>> inputs;
  for (WorkerIndex worker = 0; worker < static_cast<WorkerIndex>(table.orders.size()); ++worker) {
    if (table.stage_of(worker) == route::kNoStage) continue;
    exchanges.push_back(std::make_unique<MemoryExchange>(hub, worker));
    inputs.push_back(std::make_unique<Inputs>(job));
    StageJob stage{.graph = job.graph(),
                   .arithmetic = job.arithmetic,
                   .seed = 5,
                   .table = table,
                   .self = worker,
                   .memory_limit = {},
                   .codecs = job.codecs,
                   .samples = [&job](std::int64_t step, std::int64_t i) { return job.samples(step, i); },
                   .sample_buffers = job.sample_buffers,
                   .inputs = [&own = *inputs.back()](std::int64_t step, std::int64_t i) { return own.at(step, i); },
                   .step_inputs =
                       [&](std::int64_t) {
                         return std::vector<engine::HostTensor>{{"lr", &job.lr, Bytes(4)}};
                       }};
    SUANLI_ASSIGN_OR_RETURN(runners.emplace_back(), StageRunner::create(std::move(stage), *exchanges.back(), real_clock()));
  }
  for (std::int64_t step = 0; step < job.steps; ++step) {
    if (step == job.misfit_before)
      for (const auto& runner : runners) {
        const std::string name = exponents_name(runner->stage_index());
        EXPECT_TRUE(runner->write_state(name, made_too_small(runner->read_state(name).value())));
      }
    bool again = true;
    for (std::int64_t attempt = 1; again; ++attempt) {
      again = false;
      std::vector<std::thread> threads;
      for (const auto& runner : runners)
        threads.emplace_back([&, step, attempt] {
          const auto prepared = runner->prepare(step, attempt);
          const std::lock_guard lock(mutex);
          if (!prepared) {
            if (!failure) failure = prepared.error();
            hub.fail(prepared.error());
          } else if (prepared->must_repeat) {
            again = true;
          } else if (runner == runners.front()) {
            trained.losses.resize(static_cast<std::size_t>(step));
            trained.losses.push_back(prepared->scalars.at("loss"));
          }
        });
      for (std::thread& thread : threads) thread.join();
      if (failure) return tl::unexpected(*failure);
      trained.repeats += again;
    }
    std::vector<std::thread> threads;
    if (job.is_cut_off && step + 1 == job.steps) hub.fail({ErrorCode::unreachable, "all lines are cut", "", ""});
    for (const auto& runner : runners)
      threads.emplace_back([&] {
        const auto committed = runner->commit();
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(committed) << committed.error().to_string();
        trained.broken += committed && committed->broken;
        if (const auto notice = runner->take_notice()) trained.notices.push_back(*notice);
      });
    for (std::thread& thread : threads) thread.join();
    Bytes sent;
    for (const auto& runner : runners) sent += runner->sent();
    trained.sent.push_back(sent);
  }
  for (const auto& runner : runners)
    if (const SampleBuffers* buffers = runner->sample_buffers()) {
      trained.packed += buffers->packed();
      trained.full += buffers->full();
    }
  SUANLI_RETURN_IF_ERROR(collect(job, table, runners, trained.state));
  return trained;
}

// All forwards, then all backwards, the same everywhere.
inline route::RouteTable all_forwards_first(const TestJob& job, std::vector<int> cuts,
                                            std::vector<std::vector<WorkerIndex>> stages, std::uint64_t seed) {
  route::RouteTable table;
  table.placement = {{std::move(cuts)}, std::move(stages)};
  WorkerIndex workers = 0;
  for (const auto& replicas : table.placement.stages)
    for (const WorkerIndex worker : replicas) workers = std::max(workers, worker + 1);
  table.orders.resize(static_cast<std::size_t>(workers));
  const Philox random(seed, Stream::test);
  for (std::int64_t i = 0; i < job.micro_batches; ++i) {
    auto& route = table.routes.emplace_back();
    for (std::size_t stage = 0; stage < table.placement.stages.size(); ++stage) {
      const auto& replicas = table.placement.stages[stage];
      route.push_back(replicas[random.below(replicas.size(), static_cast<std::uint64_t>(i) * 64 + stage)]);
    }
  }
  for (const graph::Phase phase : {graph::Phase::forward, graph::Phase::backward})
    for (std::int64_t i = 0; i < job.micro_batches; ++i)
      for (const WorkerIndex worker : table.routes[static_cast<std::size_t>(i)])
        table.orders[static_cast<std::size_t>(worker)].work.push_back({phase, i});
  for (route::WorkerOrder& order : table.orders) order.slots = route::peak_slots(order.work);
  return table;
}

inline void expect_equal(const Trained& together, const Trained& alone) {
  EXPECT_EQ(together.losses, alone.losses);
  ASSERT_EQ(together.state.size(), alone.state.size());
  for (const auto& [name, bytes] : alone.state) {
    const auto found = together.state.find(name);
    ASSERT_NE(found, together.state.end()) << name;
    EXPECT_TRUE(found->second == bytes) << name;
  }
}

// Any cuts, any replicas, workers that stand by, uneven speeds, so any routes and orders.
inline route::RouteTable random_table(const TestJob& job, std::uint64_t seed) {
  route::RandomDraw draw(seed);
  route::Placement placement;
  for (int block = 0; block + 1 < static_cast<int>(job.model.layers) + 2; ++block)
    if (draw.whole(0, 1) == 1) placement.cut.after_blocks.push_back(block);
  WorkerIndex workers = static_cast<WorkerIndex>(draw.whole(0, 1));  // worker 0 may stand by
  for (std::size_t s = 0; s <= placement.cut.after_blocks.size(); ++s) {
    auto& holders = placement.stages.emplace_back();
    for (std::int64_t replicas = draw.whole(1, 3); replicas > 0; --replicas) holders.push_back(workers++);
    if (draw.whole(0, 1) == 1) std::ranges::reverse(holders);
  }
  route::Speeds speeds;
  for (WorkerIndex i = 0; i < workers; ++i) {
    speeds.forward.push_back(Seconds(draw.real(0.1, 2)));
    speeds.backward.push_back(Seconds(draw.real(0.1, 4)));
  }
  const double hop = draw.real(0, 3);
  speeds.hop = [hop](WorkerIndex, WorkerIndex, bool forward) { return Seconds(forward ? hop : hop / 2); };
  route::ScheduleOptions options;
  options.credits = static_cast<int>(draw.whole(1, 3));
  return route::make_route_table(std::move(placement), job.micro_batches, speeds, options).value();
}

}  // namespace suanli::pool
