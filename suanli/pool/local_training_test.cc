#include "suanli/pool/local_training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "suanli/pool/replicas_for_test.h"

namespace suanli::pool {
namespace {

using graph::Codec;
using Kind = Codec::Kind;

SmallJob with(train::LocalSteps local, engine::Arithmetic arithmetic = engine::Arithmetic::f32) {
  SmallJob job;
  job.arithmetic = arithmetic;
  job.local = std::move(local);
  return job;
}

constexpr Codec kFour{.kind = Kind::feedback, .bits = 4};

std::map<std::string, graph::TensorType> params_of(const SmallJob& job) {
  std::map<std::string, graph::TensorType> types;
  for (const train::OuterParam& param : train::outer_params(job.graph())) types[param.name] = param.type;
  return types;
}

// What each replica would have alone after one step on its own micro-batches: its weights.
std::vector<Snapshot> alone(const SmallJob& job, int ranks) {
  SmallJob no_outer = job;
  no_outer.local->inner_steps = 1'000;
  SmallPool pool(no_outer, lanes(no_outer, {}, ranks));
  pool.step();
  std::vector<Snapshot> weights(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank)
    for (const auto& [name, type] : params_of(job))
      weights[static_cast<std::size_t>(rank)][name] =
          pool.runners[static_cast<std::size_t>(rank)]->read_state(replica_name(static_cast<std::size_t>(rank), name)).value();
  return weights;
}

TEST(LocalTraining, OneLosslessStepIsTheMeanOfTheReplicas) {
  for (const int ranks : {2, 3})
    for (const std::vector<int>& cuts : {std::vector<int>{}, {1}, {0, 2}}) {
      const SmallJob job = with({.inner_steps = 1, .outer_lr = 1, .outer_momentum = 0, .codec = {}});
      const std::vector<Snapshot> own = alone(job, ranks);
      SmallPool pool(job, lanes(job, cuts, ranks));
      pool.step();
      const Snapshot all = pool.collect();
      for (const auto& [name, type] : params_of(job)) {
        const std::vector<float> mean = floats(all.at(name));
        EXPECT_EQ(all.at(name), all.at("replica/1/" + name));
        for (std::size_t i = 0; i < mean.size(); ++i) {
          double sum = 0;
          for (const Snapshot& one : own) sum += floats(one.at(name))[i];
          ASSERT_NEAR(mean[i], sum / ranks, 1e-6) << name << " " << i;
        }
        EXPECT_NE(own[0].at(name), own[1].at(name)) << name;
      }
    }
}

// A lane's gradient is the mean over its own micro-batches: two lanes of three micro-batches each, of the same text, are what one
// machine is with three.
TEST(LocalTraining, ALaneTrainsAsIfItWereAlone) {
  const train::LocalSteps never{.inner_steps = 1'000, .codec = {}};
  SmallJob two = with(never), one;
  two.alike = 2;
  one.micro_batches = 3;
  for (const std::vector<int>& cuts : {std::vector<int>{}, {1}}) {
    SmallPool pool(two, lanes(two, cuts, 2)), single(one, lanes(one, cuts, 1));
    EXPECT_EQ(pool.steps(3), single.steps(3));
    const Snapshot all = pool.collect(), alone = single.collect();
    for (const auto& [name, type] : params_of(two)) {
      EXPECT_EQ(all.at("replica/0/" + name), alone.at(name)) << name;
      EXPECT_EQ(all.at("replica/1/" + name), alone.at(name)) << name;
      EXPECT_EQ(all.at(name + ".adam_v"), alone.at(name + ".adam_v")) << name;
    }
    if (cuts.empty()) {
      EXPECT_EQ(pool.sent(), Bytes(0)) << "between outer steps lanes exchange nothing";
    }
  }
}

TEST(LocalTraining, LanesShareBitsAndGoTheirOwnWayBetween) {
  for (const engine::Arithmetic arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::exact})
    for (const int delay : {0, 1}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(arithmetic)) + ", delay " + std::to_string(delay));
      const SmallJob job = with(
          {.inner_steps = 2, .fragments = 2, .delay = delay, .keep_local = delay == 0 ? 0 : 0.5, .codec = kFour}, arithmetic);
      SmallPool pool(job, lanes(job, {1}, 2));
      Snapshot before = pool.collect();
      for (int i = 1; i <= 6; ++i) {
        pool.step();
        const Snapshot all = pool.collect();  // compares what is shared: weights, momentum
        EXPECT_NE(all.at("replica/0/outer.error/wpe.weight") == all.at("replica/1/outer.error/wpe.weight"), i >= 2);
        EXPECT_EQ(all.at("wpe.weight") != before.at("wpe.weight"), i >= 2 && (i - delay) % 2 == 0 && i - delay >= 2) << i;
        before = all;
      }
    }
}

TEST(LocalTraining, ACutChangesNothing) {
  const SmallJob job = with({.inner_steps = 2, .fragments = 2, .delay = 1, .keep_local = 0.5, .codec = kFour},
                            engine::Arithmetic::exact);
  Snapshot first;
  for (const std::vector<int>& cuts : {std::vector<int>{}, {1}, {0, 2}}) {
    SmallPool pool(job, lanes(job, cuts, 2));
    pool.steps(5);
    Snapshot all = pool.collect();
    std::erase_if(all, [](const auto& each) { return each.first.find(engine::kExponents) != std::string::npos; });
    if (first.empty()) first = all;
    EXPECT_EQ(all, first);
  }
}

TEST(LocalTraining, ARestoredSnapshotGoesOnWithTheSameBits) {
  for (const engine::Arithmetic arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::exact})
    for (const int at : {1, 4, 5, 6, 7}) {
      SCOPED_TRACE(at);
      const Codec codec = at % 2 == 0 ? kFour : Codec{.kind = Kind::top_k};
      const SmallJob job = with({.inner_steps = 4, .fragments = 2, .delay = 2, .keep_local = 0.5, .codec = codec}, arithmetic);
      SmallPool whole(job, lanes(job, {1}, 2)), first(job, lanes(job, {1}, 2)), second(job, lanes(job, {1}, 2));
      whole.steps(9);
      first.steps(at);
      second.restore(first.collect(), at);
      second.steps(9 - at);
      EXPECT_EQ(second.collect(), whole.collect());
    }
}

TEST(LocalTraining, AStepMadeAgainChangesNothing) {
  const SmallJob job = with({.inner_steps = 2, .codec = kFour});
  SmallPool once(job, lanes(job, {1}, 2)), twice(job, lanes(job, {1}, 2));
  once.steps(2);
  twice.step();
  const Snapshot before = twice.collect();
  twice.prepare(1);
  twice.prepare(2);
  EXPECT_EQ(twice.collect(), before);
  twice.commit();
  EXPECT_EQ(twice.collect(), once.collect());
}

// In exact arithmetic lanes have exponents of their own; when the sums of one do not fit, all repeat the step.
TEST(LocalTraining, WhenTheSumsOfOneLaneDoNotFitAllRepeat) {
  const SmallJob job = with({.inner_steps = 2, .codec = kFour}, engine::Arithmetic::exact);
  SmallPool pool(job, lanes(job, {1}, 2)), small(job, lanes(job, {1}, 2));
  pool.step();
  small.step();
  for (const auto& runner : small.runners) {
    if (runner->rank() == 0) continue;
    const std::string name = replica_name(1, exponents_name(runner->stage_index()));
    std::vector<std::byte> bytes = runner->read_state(name).value();
    for (std::size_t i = 0; i < bytes.size(); i += 4) {
      std::int32_t exponent = 0;
      std::memcpy(&exponent, &bytes[i], 4);
      exponent -= 30;
      std::memcpy(&bytes[i], &exponent, 4);
    }
    EXPECT_TRUE(runner->write_state(name, bytes));
  }
  EXPECT_NEAR(pool.step(), small.step(), 1e-6);
  EXPECT_EQ(pool.attempts, 1);
  EXPECT_GT(small.attempts, 1);
  EXPECT_EQ(pool.collect().at("replica/0/wpe.weight"), small.collect().at("replica/0/wpe.weight"));
}

// With a delay nobody waits for an exchange before it is applied: each lane makes its steps up to there before the other begins.
TEST(LocalTraining, ALaneGoesOnWhileItsExchangeIsUnderWay) {
  const SmallJob job = with({.inner_steps = 2, .delay = 1, .keep_local = 0.5, .codec = kFour});
  SmallPool together(job, lanes(job, {}, 2)), apart(job, lanes(job, {}, 2));
  for (const auto& runner : apart.runners) {
    for (std::int64_t step = 0; step < 2; ++step) {
      ASSERT_TRUE(runner->prepare(step, 1));
      ASSERT_TRUE(runner->commit());
    }
    EXPECT_GT(runner->sent(), Bytes(0));
  }
  apart.done = 2;
  apart.step();
  together.steps(3);
  EXPECT_EQ(apart.collect(), together.collect());
}

TEST(LocalTraining, LearnsAndSendsLess) {
  const auto mean_of_last = [](const std::vector<double>& losses) {
    double mean = 0;
    for (std::size_t i = losses.size() - 10; i < losses.size(); ++i) mean += losses[i] / 10;
    return mean;
  };
  SmallJob every;
  SmallPool plain(every, lanes(every, {}, 2));
  const SmallJob job = with({.inner_steps = 4, .outer_lr = 1, .outer_momentum = 0, .codec = kFour});
  SmallPool pool(job, lanes(job, {}, 2));
  const double plain_loss = mean_of_last(plain.steps(60)), loss = mean_of_last(pool.steps(60));
  EXPECT_NEAR(loss, plain_loss, 0.15 * plain_loss);
  EXPECT_LT(pool.sent().value() * 20, plain.sent().value());
}

TEST(LocalTraining, PlacesThatAreNoLanesAreNamed) {
  const SmallJob job;
  const auto complaint = [&](const route::RouteTable& table) {
    const Status checked = check_lanes(table);
    return checked ? std::string() : checked.error().to_string();
  };
  EXPECT_EQ(complaint(lanes(job, {1}, 2)), "");
  route::RouteTable crossed = lanes(job, {1}, 2);
  crossed.routes[3][1] = crossed.routes[2][1];
  EXPECT_THAT(complaint(crossed), testing::HasSubstr("micro-batch 3 goes from rank 1 of stage 0 to rank 0 of stage 1"));
  route::RouteTable unequal = lanes(job, {1}, 2);
  unequal.placement.stages[1].pop_back();
  EXPECT_THAT(complaint(unequal), testing::HasSubstr("stage 1 has 1 replicas and stage 0 has 2"));
  route::RouteTable idle = lanes(job, {}, 2);
  for (auto& route : idle.routes) route = {0};
  EXPECT_THAT(complaint(idle), testing::HasSubstr("1 of 2 ranks have no micro-batch"));
}

}  // namespace
}  // namespace suanli::pool
