// A job's steps on several workers give what one machine gives.
#include "suanli/pool/stage_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <thread>

#include "suanli/base/philox.h"
#include "suanli/engine/compile.h"
#include "suanli/graph/cut.h"
#include "suanli/model/gpt.h"
#include "suanli/pool/memory_exchange_for_test.h"
#include "suanli/pool/state_layout.h"
#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/schedule.h"

namespace suanli::pool {
namespace {

using graph::Phase;

constexpr std::int64_t kBatch = 2;

struct TestJob {
  model::GptConfig model{.layers = 3, .heads = 2, .width = 16, .context = 8, .vocab = 13, .norm_eps = 1e-5};
  std::int64_t micro_batches = 4, steps = 3;
  std::int64_t misfit_before = -1;  // step before which exponents are made too small, so that it must be repeated
  engine::Arithmetic arithmetic = engine::Arithmetic::exact;
  float lr = 0.01F;

  graph::Graph graph() const {
    return model::gpt_training_graph(model, kBatch, micro_batches,
                                     {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip_norm = 1.0})
        .value();
  }
};

// Tokens and targets as a pure function of step and micro-batch.
class Inputs {
 public:
  explicit Inputs(const TestJob& job) : job_(job) {}
  std::span<const engine::HostTensor> at(std::int64_t step, std::int64_t micro_batch) {
    const Philox random(7, Stream::test, static_cast<std::uint64_t>(step * 1000 + micro_batch));
    const auto count = static_cast<std::size_t>(kBatch * job_.model.context);
    tokens_.resize(count), targets_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      tokens_[i] = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(job_.model.vocab), 2 * i));
      targets_[i] = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(job_.model.vocab), 2 * i + 1));
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
};

// So small that no sum fits.
std::vector<std::byte> made_too_small(std::vector<std::byte> exponents) {
  for (std::size_t i = 0; i < exponents.size(); i += 4) {
    std::int32_t exponent = 0;
    std::memcpy(&exponent, exponents.data() + i, 4);
    exponent -= 30;
    std::memcpy(exponents.data() + i, &exponent, 4);
  }
  return exponents;
}

Trained train_alone(const TestJob& job) {
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
Status collect(const TestJob& job, const route::RouteTable& table, const std::vector<std::unique_ptr<StageRunner>>& runners,
               StateBytes& bytes_of) {
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

Result<Trained> train_together(const TestJob& job, const route::RouteTable& table) {
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
    for (const auto& runner : runners) threads.emplace_back([&] { EXPECT_TRUE(runner->commit()); });
    for (std::thread& thread : threads) thread.join();
  }
  SUANLI_RETURN_IF_ERROR(collect(job, table, runners, trained.state));
  return trained;
}

// All forwards, then all backwards, the same everywhere.
route::RouteTable all_forwards_first(const TestJob& job, std::vector<int> cuts, std::vector<std::vector<WorkerIndex>> stages,
                                     std::uint64_t seed) {
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
  for (const Phase phase : {Phase::forward, Phase::backward})
    for (std::int64_t i = 0; i < job.micro_batches; ++i)
      for (const WorkerIndex worker : table.routes[static_cast<std::size_t>(i)])
        table.orders[static_cast<std::size_t>(worker)].work.push_back({phase, i});
  for (route::WorkerOrder& order : table.orders) order.slots = route::peak_slots(order.work);
  return table;
}

void expect_equal(const Trained& together, const Trained& alone) {
  EXPECT_EQ(together.losses, alone.losses);
  ASSERT_EQ(together.state.size(), alone.state.size());
  for (const auto& [name, bytes] : alone.state) {
    const auto found = together.state.find(name);
    ASSERT_NE(found, together.state.end()) << name;
    EXPECT_TRUE(found->second == bytes) << name;
  }
}

TEST(StageRunner, OneStageIsTheWholeJob) {
  const TestJob job;
  const auto table = all_forwards_first(job, {}, {{0}}, 1);
  const auto together = train_together(job, table);
  ASSERT_TRUE(together) << together.error().to_string();
  expect_equal(*together, train_alone(job));
}

TEST(StageRunner, EveryCutGivesTheSameBits) {
  const TestJob job;
  const Trained alone = train_alone(job);
  for (const std::vector<int>& cuts : {std::vector<int>{0}, {1}, {2}, {3}, {0, 2}, {1, 3}, {0, 1, 2, 3}}) {
    std::vector<std::vector<WorkerIndex>> stages;
    for (WorkerIndex i = 0; i <= static_cast<WorkerIndex>(cuts.size()); ++i) stages.push_back({i});
    const auto together = train_together(job, all_forwards_first(job, cuts, stages, 1));
    ASSERT_TRUE(together) << together.error().to_string();
    expect_equal(*together, alone);
  }
}

// Any cuts, any replicas, workers that stand by, uneven speeds, so any routes and orders.
route::RouteTable random_table(const TestJob& job, std::uint64_t seed) {
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

TEST(StageRunner, FiftyRandomPlacementsGiveTheSameBits) {
  TestJob job;
  job.micro_batches = 5;
  job.steps = 2;
  const Trained alone = train_alone(job);
  std::set<std::size_t> stage_counts;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    const route::RouteTable table = random_table(job, seed);
    stage_counts.insert(table.stage_count());
    const auto together = train_together(job, table);
    ASSERT_TRUE(together) << together.error().to_string();
    expect_equal(*together, alone);
    if (HasFailure()) break;
  }
  EXPECT_EQ(stage_counts.size(), 5U) << "the draw is poor";
}

TEST(StageRunner, AStepWhoseSumsDoNotFitIsRepeatedByAll) {
  TestJob job;
  job.misfit_before = 1;
  const Trained alone = train_alone(job);
  EXPECT_GT(alone.repeats, 0);
  for (std::uint64_t seed = 100; seed < 106; ++seed) {
    SCOPED_TRACE(seed);
    const auto together = train_together(job, random_table(job, seed));
    ASSERT_TRUE(together) << together.error().to_string();
    EXPECT_EQ(together->repeats, alone.repeats);
    expect_equal(*together, alone);
  }
}

double norm_of(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

// After one step the first moment is the clipped gradient times 1 - beta1.
TEST(StageRunner, InFastArithmeticGradientsAgree) {
  for (const auto& [arithmetic, tolerance] : {std::pair{engine::Arithmetic::f32, 1e-5}, {engine::Arithmetic::bf16, 1e-2}}) {
    TestJob job;
    job.arithmetic = arithmetic;
    job.steps = 1;
    const Trained alone = train_alone(job);
    for (std::uint64_t seed = 200; seed < 206; ++seed) {
      SCOPED_TRACE(seed);
      const auto together = train_together(job, random_table(job, seed));
      ASSERT_TRUE(together) << together.error().to_string();
      for (const auto& [name, bytes] : alone.state) {
        if (!name.ends_with(".adam_m")) continue;
        std::vector<float> a(bytes.size() / 4), b(a.size()), difference(a.size());
        std::memcpy(a.data(), bytes.data(), bytes.size());
        std::memcpy(b.data(), together->state.at(name).data(), bytes.size());
        for (std::size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
        ASSERT_GT(norm_of(a), 0) << name;
        EXPECT_LT(norm_of(difference) / norm_of(a), tolerance) << name;
      }
    }
  }
}

TEST(StageRunner, AGradientThatIsNotFiniteIsRefusedByAllAndChangesNothing) {
  TestJob job;
  job.lr = std::numeric_limits<float>::infinity();
  job.arithmetic = engine::Arithmetic::f32;
  const auto together = train_together(job, random_table(job, 7));
  ASSERT_FALSE(together);
  EXPECT_EQ(together.error().code, ErrorCode::not_finite);
}

TEST(StageRunner, ReplicasGiveTheSameBits) {
  const TestJob job;
  const Trained alone = train_alone(job);
  const auto together = train_together(job, all_forwards_first(job, {1}, {{2, 0, 3}, {1, 4}}, 3));
  ASSERT_TRUE(together) << together.error().to_string();
  expect_equal(*together, alone);
}

}  // namespace
}  // namespace suanli::pool
