#include "suanli/pool/job_demand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/pool/replicas_for_test.h"
#include "suanli/pool/simple_placing.h"
#include "suanli/route/placement_cost.h"
#include "suanli/train/codecs.h"
#include "suanli/train/setup.h"

namespace suanli::pool {
namespace {

using ::testing::HasSubstr;

// Weights of 4,096 elements and more.
train::JobConfig job_with(const std::string& forward, const std::string& backward, const std::string& weights) {
  train::JobConfig job;
  job.model.layers = 4;
  job.model.heads = 2;
  job.model.width = 64;
  job.model.context = 16;
  job.model.vocab = 80;
  job.train.batch = 2;
  job.train.micro_batches = 4;
  job.train.dtype = "f32";
  job.codec.forward = forward;
  job.codec.backward = backward;
  job.codec.weights = weights;
  return job;
}

graph::Graph graph_of(const train::JobConfig& job) { return train::training_graph(job).value(); }

// What codecs add to a stage's compiled program is no more than the formula says, at any end and with any number of slots.
TEST(JobDemand, ProgramsWithCodecsTakeNoMoreThanItSays) {
  const graph::Cut cut{{2, 4}};
  for (const auto& [forward, backward] : {std::pair{"aq8", "none"}, {"aq4", "direct8"}, {"aq2", "direct2"}, {"direct4", "none"},
                                          {"direct8", "direct8"}, {"none", "direct4"}}) {
    const train::JobConfig job = job_with(forward, backward, "none");
    const graph::Graph graph = graph_of(job);
    const train::JobCodecs codecs = train::codecs_of(job);
    const route::StageMemory with(demand_of(job, graph)), without(demand_of(job_with("none", "none", "none"), graph));
    for (int stage = 0; stage < 3; ++stage)
      for (const int slots : {1, 2, 4}) {
        SCOPED_TRACE(std::string(forward) + " " + backward + ", stage " + std::to_string(stage) + ", " + std::to_string(slots));
        const auto taken = [&](const graph::BoundaryCodecs& between) {
          engine::Target target;
          target.arithmetic = engine::Arithmetic::f32;
          target.slots = slots;
          const graph::StageGraph made = graph::stage_graph(graph, cut, stage, between).value();
          return engine::compile(made.graph, target).value().memory.total(slots);
        };
        const std::size_t bounds[] = {0, 3, 5, 6};
        const route::StageLoad load{bounds[stage], bounds[stage + 1], slots, 2, 4, 1};
        EXPECT_LE(taken({codecs.forward, codecs.backward}) - taken({}), with.program(load) - without.program(load));
      }
  }
}

TEST(JobDemand, ReplicasThatPackTakeNoMoreThanItSays) {
  for (const std::string weights : {"ef8", "ef2", "topk"})
    for (const int ranks : {2, 5}) {
      const train::JobConfig job = job_with("none", "none", weights);
      SmallJob small;
      small.model = {.layers = 4, .heads = 2, .width = 64, .context = 16, .vocab = 80, .norm_eps = 1e-5};
      small.weights = WeightCodec{train::codecs_of(job).weights};
      const SmallPool pool(small, lanes(small, {2}, ranks));
      const route::StageMemory with(demand_of(job, graph_of(job)));
      const route::StageMemory without(demand_of(job_with("none", "none", "none"), graph_of(job)));
      for (const auto& runner : pool.runners) {
        const std::size_t stage = runner->stage_index();
        const route::StageLoad load{stage == 0 ? 0U : 3U, stage == 0 ? 3U : 6U, 1, 2, 4, static_cast<std::size_t>(ranks)};
        const Bytes said = with.beside(load) - without.beside(load), taken = runner->replica_sums()->memory();
        EXPECT_LE(taken, said) << weights << ", " << ranks << " replicas, stage " << stage;
        EXPECT_GT(taken, said / 2) << "a bound that nothing comes near refuses jobs that would fit";
      }
    }
}

// Both ends note every micro-batch until the commit.
TEST(JobDemand, NotedActivationsTakeNoMoreThanItSays) {
  const train::JobConfig job = job_with("aq4", "none", "none");
  const route::Demand demand = demand_of(job, graph_of(job));
  const std::int64_t activation = job.train.batch * job.model.context * job.model.width * 4;
  for (std::size_t b = 0; b + 1 < demand.blocks.size(); ++b) {
    EXPECT_EQ(demand.blocks[b].noted, Bytes(activation));
    EXPECT_EQ(demand.blocks[b].first_out, Bytes(activation));
    EXPECT_LT(demand.blocks[b].forward_out, Bytes(activation / 4));
  }
  MemoryHub hub;
  MemoryExchange first_exchange(hub, 0), second_exchange(hub, 1);
  const auto samples = [](std::int64_t, std::int64_t micro_batch) { return std::vector<std::int64_t>{2 * micro_batch}; };
  std::vector<BoundaryRoute> routes;
  for (std::int64_t i = 0; i < 4; ++i) routes.push_back({{7, true}, i, 1});
  auto buffers = SampleBuffers::create({}, samples, routes, 4, 1, first_exchange).value();
  for (std::int64_t i = 0; i < 4; ++i) buffers.note({7, true}, i, std::vector<std::byte>(static_cast<std::size_t>(activation)));
  const route::StageMemory memory(demand);
  EXPECT_LE(buffers.noted(), memory.beside({0, 3, 1, 0, 4, 1}));
}

// A lane's tensors, its own and what all share.
TEST(JobDemand, LanesTakeNoMoreThanItSays) {
  train::JobConfig job = job_with("none", "none", "ef4");
  job.local.inner_steps = 4;
  job.local.delay = 2;
  const graph::Graph graph = graph_of(job);
  const train::LocalSteps settings = train::local_steps_of(job);
  const route::Demand with = demand_of(job, graph), without = demand_of(job_with("none", "none", "none"), graph);
  const graph::Cut cut{{2}};
  for (int stage = 0; stage < 2; ++stage) {
    const graph::StageGraph made = graph::stage_graph(graph, cut, stage).value();
    Bytes taken;
    for (const train::OuterParam& param : train::outer_params(graph))
      if (made.graph.find(param.name) != graph::kNoNode)
        for (const OuterTensor& tensor : outer_tensors(param, settings)) taken += tensor.type.bytes();
    Bytes said;
    for (std::size_t b = stage == 0 ? 0 : 3; b < (stage == 0 ? 3U : 6U); ++b)
      said += with.blocks[b].state - without.blocks[b].state;
    EXPECT_LE(taken, said) << stage;
    EXPECT_GT(taken, said / 2) << stage;
  }
}

class Placing : public ::testing::Test {
 protected:
  static Result<protocol::Placed> place(train::JobConfig job, std::int64_t memory, int workers = 2) {
    job.data.path = "data";
    job.run.dir = "run";
    protocol::JobRequest request;
    request.id = "job";
    request.job_file = train::print_job(job);
    std::vector<protocol::WorkerFacts> facts;
    for (int i = 0; i < workers; ++i) {
      protocol::WorkerFacts& one = facts.emplace_back();
      one.peer = one.hello.name = "w" + std::to_string(i);
      one.hello.memory = Bytes(memory);
      one.hello.rates = {FlopsPerSecond(1e10), FlopsPerSecond(1e10), FlopsPerSecond(1e10)};
    }
    return SimplePlacing().place(request, 1, facts, {});
  }
  // The least memory of every worker with which the job is placed.
  static std::int64_t least(const train::JobConfig& job) {
    std::int64_t low = 0, high = std::int64_t{1} << 32;
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (place(job, middle) ? high : low) = middle;
    }
    return high;
  }
};

TEST_F(Placing, WhatCodecsHoldIsAskedForAndNamed) {
  train::JobConfig plain = job_with("none", "none", "none"), packed = job_with("aq4", "direct8", "none");
  plain.pool.stages = packed.pool.stages = 2;
  packed.codec.memory = 1e9;
  const std::int64_t enough = least(plain), more = least(packed);
  const std::int64_t activation = plain.train.batch * plain.model.context * plain.model.width * 4;
  // Of each micro-batch what one end notes; a quarter of the memory is for what is kept.
  EXPECT_GT(more * 3 / 4, enough + plain.train.micro_batches * activation);
  const auto refused = place(packed, enough);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::no_memory);
  EXPECT_THAT(refused.error().next_step, HasSubstr("give every worker "));
}

TEST_F(Placing, ErrorsOfReplicasAreAskedFor) {
  train::JobConfig plain = job_with("none", "none", "none"), packed = job_with("none", "none", "ef4");
  for (train::JobConfig* job : {&plain, &packed}) job->pool.stages = 1, job->pool.replicas = 2;
  std::int64_t elements = 0;
  for (const PackedSum& sum : packed_sums(graph_of(packed), {train::codecs_of(packed).weights})) elements += sum.type.elements();
  EXPECT_GE(least(packed), least(plain) + 8 * elements);
  packed.pool.replicas = plain.pool.replicas = 1;
  EXPECT_EQ(least(packed), least(plain)) << "one replica exchanges nothing";
}

// A worker asks the formula that placed it, with what is its own.
TEST_F(Placing, AWorkersProgramHasWhatIsLeft) {
  train::JobConfig job = job_with("aq4", "direct8", "none");
  job.pool.stages = 2;
  job.codec.memory = 1e9;
  const std::int64_t memory = least(job);
  const auto placed = place(job, memory);
  ASSERT_TRUE(placed);
  const route::Demand demand = demand_of(job, graph_of(job));
  const route::StageMemory formula(demand);
  for (const auto& stage : placed->table.placement.stages) {
    const auto left = memory_for_program(demand, placed->table, stage.front(), Bytes(memory));
    ASSERT_TRUE(left) << left.error().to_string();
    EXPECT_LT(*left, formula.usable(Bytes(memory)));
    const auto none = memory_for_program(demand, placed->table, stage.front(), Bytes(20'000));
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ErrorCode::no_memory);
    EXPECT_THAT(none.error().message, HasSubstr("what codecs keep take"));
  }
}

}  // namespace
}  // namespace suanli::pool
