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

// Who collects the state takes the step that lanes take in the next one, on the same bits: so a snapshot needs nobody to wait.
TEST(LocalTraining, TheOuterStepOfACollectedStateIsThatOfTheLanes) {
  for (const engine::Arithmetic arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::exact}) {
    const SmallJob job = with({.inner_steps = 2, .fragments = 2, .codec = kFour}, arithmetic);
    SmallPool pool(job, lanes(job, {1}, 3));
    pool.steps(4);
    const Snapshot given = pool.given(), taken = pool.collect();
    pool.step();
    const Snapshot next = pool.given();
    int due = 0;
    for (const auto& [name, type] : params_of(job)) {
      due += taken.at(name) != given.at(name);
      EXPECT_EQ(next.at(name), taken.at(name)) << name;
      EXPECT_EQ(next.at("outer.momentum/" + name), taken.at("outer.momentum/" + name)) << name;
    }
    EXPECT_GT(due, 0);
    EXPECT_LT(due, static_cast<int>(params_of(job).size())) << "one of two fragments";
  }
}

// Whoever is lost while lanes exchange, the others hold one and the same state, that after the step, and the reason.
TEST(LocalTraining, ABrokenExchangeEndsBetweenSteps) {
  for (const int delay : {0, 1}) {
    const SmallJob job = with({.inner_steps = 2, .delay = delay, .codec = kFour});
    SmallPool pool(job, lanes(job, {1}, 2)), whole(job, lanes(job, {1}, 2));
    pool.step();
    whole.steps(2);
    ASSERT_TRUE(pool.prepare());
    pool.cut();
    for (const auto& runner : pool.runners) {
      const auto committed = runner->commit();
      ASSERT_TRUE(committed) << committed.error().to_string();
      ASSERT_TRUE(committed->broken);
    }
    pool.done = 2;
    EXPECT_EQ(pool.collect().at("wpe.weight"), whole.collect().at("wpe.weight"));
    for (const auto& runner : pool.runners) {
      const auto prepared = runner->prepare(2, 1);
      ASSERT_FALSE(prepared);
      EXPECT_EQ(prepared.error().code, ErrorCode::unreachable);
    }
    EXPECT_EQ(pool.collect().at("wpe.weight"), whole.collect().at("wpe.weight"));
  }
}

// With a delay all must be here before a step that applies it may be committed.
TEST(LocalTraining, WhatACommitAppliesIsAwaitedBefore) {
  const SmallJob job = with({.inner_steps = 2, .delay = 1, .keep_local = 0.5, .codec = kFour});
  SmallPool pool(job, lanes(job, {}, 2));
  StageRunner& first = *pool.runners[0];
  for (std::int64_t step = 0; step < 2; ++step) {
    ASSERT_TRUE(first.prepare(step, 1));
    ASSERT_TRUE(first.commit());
  }
  const Snapshot before = {{"w", first.read_state("wpe.weight").value()},
                           {"m", first.read_state("outer.momentum/wpe.weight").value()}};
  pool.cut();  // before the other lane has sent anything
  const auto prepared = first.prepare(2, 1);
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, ErrorCode::unreachable);
  EXPECT_EQ(first.read_state("wpe.weight").value(), before.at("w"));
  EXPECT_EQ(first.read_state("outer.momentum/wpe.weight").value(), before.at("m"));
}

TEST(LocalTraining, AnOuterStepThatIsNotFiniteStopsTheJobByName) {
  const SmallJob job = with({.inner_steps = 1, .codec = {}});
  SmallPool pool(job, lanes(job, {}, 2));
  pool.step();
  pool.step();
  pool.set_lr(1e38F);
  ASSERT_TRUE(pool.prepare());
  pool.commit();
  const Snapshot diverged = pool.given();
  for (const auto& runner : pool.runners) {
    const auto prepared = runner->prepare(3, 1);
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().code, ErrorCode::not_finite);
    EXPECT_THAT(prepared.error().message, testing::MatchesRegex("the outer step after step 3 makes .*weight.* not finite.*"));
    EXPECT_THAT(params_of(job), testing::Contains(testing::Key(prepared.error().place)));
  }
  EXPECT_EQ(pool.given(), diverged) << "nothing has spread";
  const auto collected = pool.try_collect();
  ASSERT_FALSE(collected) << "nor is it saved";
  EXPECT_THAT(collected.error().message, testing::HasSubstr("the outer step after step 3 makes"));
}

TEST(LocalTraining, TheLastStepLeavesTheMeanOfTheLanesWhereItCutsARoundShort) {
  for (const int delay : {0, 3})
    for (const int last : {1, 3, 4, 6, 7}) {
      SCOPED_TRACE(std::to_string(last) + " steps, delay " + std::to_string(delay));
      train::LocalSteps local{.inner_steps = 4, .delay = delay, .keep_local = delay == 0 ? 0 : 0.5, .codec = {}};
      const SmallJob endless = with(local);
      local.last_step = last;
      const SmallJob job = with(local);
      SmallPool on(endless, lanes(endless, {1}, 2)), pool(job, lanes(job, {1}, 2));
      on.steps(last);
      pool.steps(last);
      const Snapshot way = on.given(), end = pool.collect();
      EXPECT_EQ(floats(end.at("outer.begun"))[0], floats(std::vector<std::byte>{std::byte(last), {}, {}, {}})[0]);
      for (const auto& [name, type] : params_of(job)) {
        EXPECT_EQ(end.at("replica/0/" + name), end.at(name)) << name;
        EXPECT_EQ(end.at("replica/1/" + name), end.at(name)) << name;
        if (last == 4 || (delay > 0 && last >= 4)) continue;  // a round's end is on its way, or this is one
        const std::vector<float> w = floats(end.at(name)), a = floats(way.at("replica/0/" + name)),
                                 b = floats(way.at("replica/1/" + name));
        for (std::size_t i = 0; i < w.size(); ++i) ASSERT_NEAR(w[i], (a[i] + b[i]) / 2, 1e-6) << name << " " << i;
        if (last < 4) {
          EXPECT_EQ(floats(end.at("outer.momentum/" + name)), std::vector<float>(w.size()));
        }
      }
    }
}

// What was on its way when a run ended is not applied again when it goes on.
TEST(LocalTraining, ARunGoesOnAfterItsLastStep) {
  train::LocalSteps local{.inner_steps = 4, .fragments = 2, .delay = 3, .keep_local = 0.5, .last_step = 9, .codec = kFour};
  const SmallJob nine = with(local);
  local.last_step = 30;
  const SmallJob more = with(local);
  SmallPool first(nine, lanes(nine, {1}, 2)), second(more, lanes(more, {1}, 2)), third(more, lanes(more, {1}, 2));
  first.steps(9);
  const Snapshot end = first.collect();
  second.restore(end, 9);
  second.steps(3);  // up to step 12
  EXPECT_EQ(second.collect().at("wpe.weight"), end.at("wpe.weight"));
  const Bytes silent = second.sent();
  third.restore(second.collect(), 12);
  second.steps(8);
  third.steps(8);
  EXPECT_EQ(second.collect(), third.collect());
  EXPECT_NE(second.collect().at("wpe.weight"), end.at("wpe.weight"));
  EXPECT_GT(second.sent(), silent);
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
