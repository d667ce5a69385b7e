#include "suanli/train/local_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "suanli/base/philox.h"
#include "suanli/engine/compile.h"

namespace suanli::train {
namespace {

using graph::Codec;
using graph::f32;
using testing::HasSubstr;
using Floats = std::vector<float>;
using Packed = std::map<std::string, std::vector<std::byte>>;

const std::vector<OuterParam> kParams = {{"a", f32({7, 40})}, {"b", f32({130})}, {"c", f32({})}};

std::span<std::byte> writable(Floats& values) { return std::as_writable_bytes(std::span(values)); }

// One replica: its parameters, and its half of every exchange.
class Replica {
 public:
  Replica(const LocalSteps& settings, int replicas, engine::Arithmetic arithmetic, int index)
      : settings_(settings),
        replicas_(replicas),
        index_(index),
        device_(engine::make_cpu_device(1 + index % 3)),
        state(*device_) {
    target_.arithmetic = arithmetic;
    for (const OuterParam& param : kParams) {
      Floats zeros(static_cast<std::size_t>(param.type.elements()), 0.5F);
      EXPECT_TRUE(state.add(param.name, param.type, writable(zeros)));
    }
    EXPECT_TRUE(begin_local_steps(state, kParams));
  }

  // w_r moves a part of the way to its own optimum.
  void inner_steps(int count) {
    for (const OuterParam& param : kParams) {
      Floats w = read(param.name);
      for (std::size_t i = 0; i < w.size(); ++i)
        for (int step = 0; step < count; ++step) w[i] -= 0.1F * (w[i] - optimum(param.name, i));
      EXPECT_TRUE(state.write(param.name, writable(w)));
    }
  }
  float optimum(const std::string& name, std::size_t i) const {
    const Philox random(static_cast<std::uint64_t>(index_) * 100 + static_cast<std::uint64_t>(name[0]), Stream::test);
    return static_cast<float>(random.normal(i));
  }

  Packed send(std::span<const OuterParam> fragment, std::uint64_t round) {
    Packed packed;
    Result<graph::Graph> graph = outer_send_graph(fragment, settings_);
    EXPECT_TRUE(graph) << graph.error().to_string();
    const auto executor = start(*graph);
    std::vector<engine::HostTensor> inputs;
    const auto key = graph::codec_key(1, round, static_cast<std::uint32_t>(index_));
    if (settings_.codec.needs_key()) inputs.push_back({"outer.key", key.data(), Bytes(16)});
    update(*executor, inputs);
    for (const OuterParam& param : fragment) {
      std::vector<std::byte>& bytes = packed[param.name];
      bytes.resize(static_cast<std::size_t>(graph::wire_type(settings_.codec, param.type).bytes().value()));
      EXPECT_TRUE(executor->read("delta/" + param.name, bytes));
    }
    return packed;
  }
  void apply(std::span<const OuterParam> fragment, const std::vector<Packed>& all) {
    const Status refused = try_apply(fragment, all);
    EXPECT_TRUE(refused) << refused.error().to_string();
  }
  Status try_apply(std::span<const OuterParam> fragment, const std::vector<Packed>& all) {
    std::vector<std::string> names;
    for (int r = 0; r < replicas_; ++r)
      for (const OuterParam& param : fragment) names.push_back("delta." + std::to_string(r) + "/" + param.name);
    std::vector<engine::HostTensor> inputs;
    for (int r = 0; r < replicas_; ++r)
      for (const OuterParam& param : fragment) {
        const auto& bytes = all[static_cast<std::size_t>(r)].at(param.name);
        inputs.push_back({names[inputs.size()], bytes.data(), Bytes(static_cast<std::int64_t>(bytes.size()))});
      }
    for (const OuterPart part : {OuterPart::check, OuterPart::local, OuterPart::shared}) {
      SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, outer_apply_graph(fragment, settings_, replicas_, part));
      const auto executor = start(graph);
      executor->begin_step();
      SUANLI_RETURN_IF_ERROR(executor->update(inputs));
    }
    return {};
  }

  Floats read(const std::string& name) {
    Floats values(static_cast<std::size_t>(state.find(name)->type.elements()));
    EXPECT_TRUE(state.read(name, writable(values)));
    return values;
  }

 private:
  std::unique_ptr<engine::Executor> start(const graph::Graph& graph) {
    EXPECT_TRUE(state.initialize(graph, 1));
    auto program = engine::compile(graph, target_);
    EXPECT_TRUE(program) << program.error().to_string();
    auto executor = engine::Executor::create(std::make_shared<const engine::Program>(std::move(*program)), *device_, state);
    EXPECT_TRUE(executor) << executor.error().to_string();
    return std::move(*executor);
  }
  static void update(engine::Executor& executor, std::span<const engine::HostTensor> inputs) {
    executor.begin_step();
    const Status status = executor.update(inputs);
    EXPECT_TRUE(status) << status.error().to_string();
  }

  LocalSteps settings_;
  int replicas_, index_;
  std::unique_ptr<engine::Device> device_;
  engine::Target target_;

 public:
  engine::State state;
};

std::vector<std::unique_ptr<Replica>> replicas(const LocalSteps& settings, int count, engine::Arithmetic arithmetic) {
  std::vector<std::unique_ptr<Replica>> all;
  for (int r = 0; r < count; ++r) all.push_back(std::make_unique<Replica>(settings, count, arithmetic, r));
  return all;
}

void outer_step(std::vector<std::unique_ptr<Replica>>& all, std::span<const OuterParam> fragment, std::uint64_t round) {
  std::vector<Packed> packed;
  for (const auto& replica : all) packed.push_back(replica->send(fragment, round));
  for (const auto& replica : all) replica->apply(fragment, packed);
}

// The same in a plain loop, in float64: w_r, w, m of one element after `rounds` rounds of `inner` steps.
double plain(const std::vector<float>& optima, int rounds, int inner, const LocalSteps& settings) {
  double w = 0.5, m = 0;
  std::vector<double> local(optima.size(), w);
  for (int round = 0; round < rounds; ++round) {
    double mean = 0;
    for (std::size_t r = 0; r < optima.size(); ++r) {
      for (int step = 0; step < inner; ++step) local[r] -= 0.1 * (local[r] - optima[r]);
      mean += (w - local[r]) / static_cast<double>(optima.size());
    }
    m = settings.outer_momentum * m + mean;
    w -= settings.outer_lr * (mean + settings.outer_momentum * m);
    for (double& each : local) each = settings.keep_local * each + (1 - settings.keep_local) * w;
  }
  return w;
}

TEST(LocalSteps, AreThoseOfAPlainLoop) {
  for (const double keep : {0.0, 0.5})
    for (const engine::Arithmetic arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::exact}) {
      LocalSteps settings{.inner_steps = 5, .delay = keep > 0, .keep_local = keep, .codec = {}};
      auto all = replicas(settings, 3, arithmetic);
      for (std::uint64_t round = 0; round < 6; ++round) {
        for (const auto& replica : all) replica->inner_steps(5);
        outer_step(all, kParams, round);
      }
      for (const OuterParam& param : kParams) {
        const Floats w = all[1]->read("outer.global/" + param.name);
        for (std::size_t i = 0; i < w.size(); ++i) {
          std::vector<float> optima;
          for (const auto& replica : all) optima.push_back(replica->optimum(param.name, i));
          ASSERT_NEAR(w[i], plain(optima, 6, 5, settings), 1e-5) << param.name << " " << i;
        }
      }
    }
}

// The replicas' shared state has the same bits at all of them, and ends where the mean of the optima is.
TEST(LocalSteps, PackedReplicasStayEqualAndArrive) {
  const auto distance = [](Codec codec) {
    const LocalSteps settings{.inner_steps = 10, .outer_lr = 0.5, .outer_momentum = 0.5, .codec = codec};
    auto all = replicas(settings, 4, engine::Arithmetic::f32);
    for (std::uint64_t round = 0; round < 30; ++round) {
      for (const auto& replica : all) replica->inner_steps(10);
      outer_step(all, kParams, round);
      for (const OuterParam& param : kParams)
        for (const std::string prefix : {"", "outer.global/", "outer.momentum/"})
          for (const auto& replica : all) EXPECT_EQ(replica->read(prefix + param.name), all[0]->read(prefix + param.name));
    }
    double squares = 0;
    for (const OuterParam& param : kParams) {
      const Floats w = all[0]->read(param.name);
      for (std::size_t i = 0; i < w.size(); ++i) {
        double mean = 0;
        for (const auto& replica : all) mean += replica->optimum(param.name, i) / 4;
        squares += (w[i] - mean) * (w[i] - mean) / 411;
      }
    }
    return std::sqrt(squares);
  };
  using Kind = Codec::Kind;
  EXPECT_LT(distance({}), 1e-6);
  EXPECT_LT(distance({.kind = Kind::feedback, .bits = 8}), 0.003);
  EXPECT_LT(distance({.kind = Kind::feedback, .bits = 4}), 0.035);
  EXPECT_LT(distance({.kind = Kind::feedback, .bits = 4, .rounding = Codec::Rounding::stochastic}), 0.05);
  EXPECT_LT(distance({.kind = Kind::top_k, .keep = 0.5}), 0.15);
  for (const int bits : {2, 4})
    EXPECT_LT(distance({.kind = Kind::feedback, .bits = bits}), 0.8 * distance({.kind = Kind::direct, .bits = bits})) << bits;
}

TEST(LocalSteps, FragmentsTogetherAreTheWhole) {
  const LocalSteps settings{.inner_steps = 4, .fragments = 2, .codec = {.kind = Codec::Kind::direct, .bits = 8}};
  auto whole = replicas(settings, 2, engine::Arithmetic::f32), parts = replicas(settings, 2, engine::Arithmetic::f32);
  for (auto* all : {&whole, &parts})
    for (const auto& replica : *all) replica->inner_steps(4);
  outer_step(whole, kParams, 0);
  for (const auto& fragment : outer_fragments(kParams, 2)) outer_step(parts, fragment, 0);
  for (const OuterParam& param : kParams) EXPECT_EQ(whole[0]->read(param.name), parts[0]->read(param.name));
}

TEST(LocalSteps, FragmentsAreRunsOfAboutTheSameSize) {
  std::vector<OuterParam> params;
  for (int i = 0; i < 20; ++i) params.push_back({"p" + std::to_string(i), f32({i % 3 == 0 ? 1000 : 10})});
  for (const int count : {1, 2, 5, 100}) {
    const auto fragments = outer_fragments(params, count);
    EXPECT_LE(fragments.size(), static_cast<std::size_t>(count));
    if (count <= 5) {
      EXPECT_EQ(fragments.size(), static_cast<std::size_t>(count));
    }
    std::size_t next = 0;
    for (const auto& fragment : fragments) {
      ASSERT_FALSE(fragment.empty());
      std::int64_t elements = 0;
      for (const OuterParam& param : fragment) {
        EXPECT_EQ(param.name, params.at(next++).name);
        elements += param.type.elements();
      }
      EXPECT_LE(elements, 7130 / count + 1000);
    }
    EXPECT_EQ(next, params.size());
  }
  EXPECT_TRUE(outer_fragments({}, 3).empty());
}

TEST(LocalSteps, EachFragmentIsDueOnceInEveryRound) {
  const LocalSteps settings{.inner_steps = 10, .fragments = 4, .delay = 3};
  std::map<int, std::vector<std::int64_t>> sent, applied;
  for (std::int64_t step = 1; step <= 60; ++step) {
    const OuterDue due = outer_due(settings, 0, step);
    for (const int f : due.send) sent[f].push_back(step);
    for (const int f : due.apply) applied[f].push_back(step);
  }
  EXPECT_EQ(sent[0], (std::vector<std::int64_t>{10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(sent[1], (std::vector<std::int64_t>{12, 22, 32, 42, 52}));
  EXPECT_EQ(sent[3], (std::vector<std::int64_t>{17, 27, 37, 47, 57}));
  EXPECT_EQ(applied[0], (std::vector<std::int64_t>{13, 23, 33, 43, 53}));
  EXPECT_EQ(applied[3], (std::vector<std::int64_t>{20, 30, 40, 50, 60}));
}

TEST(LocalSteps, TheLastStepTakesAllFragments) {
  using testing::ElementsAre;
  using testing::IsEmpty;
  LocalSteps settings{.inner_steps = 10, .fragments = 2, .delay = 3, .last_step = 27};
  EXPECT_FALSE(outer_due(settings, 0, 26).at_once);
  OuterDue due = outer_due(settings, 0, 27);
  EXPECT_TRUE(due.at_once);
  EXPECT_THAT(due.apply, ElementsAre(1)) << "sent after step 25, and not awaited for longer";
  EXPECT_THAT(due.send, IsEmpty());
  EXPECT_THAT(due.cut_short, ElementsAre(0, 1));
  settings.last_step = 30;
  due = outer_due(settings, 0, 30);
  EXPECT_THAT(due.send, ElementsAre(0));
  EXPECT_THAT(due.cut_short, ElementsAre(1));
  EXPECT_THAT(due.apply, IsEmpty()) << "fragment 1 was applied after step 28";
  // A run that goes on from step 27 begins its rounds there, whatever had been on its way before.
  settings.last_step = 60;
  for (const std::int64_t step : {28, 30, 33, 35})
    EXPECT_TRUE(outer_due(settings, 27, step).send.empty() && outer_due(settings, 27, step).apply.empty()) << step;
  EXPECT_THAT(outer_due(settings, 27, 37).send, ElementsAre(0));
  EXPECT_THAT(outer_due(settings, 27, 40).apply, ElementsAre(0));
  // Without a delay each step that sends applies at once, and nothing is on its way.
  settings.delay = 0;
  for (std::int64_t step = 1; step <= 60; ++step) {
    EXPECT_TRUE(outer_due(settings, 0, step).at_once);
    EXPECT_THAT(outer_due(settings, 0, step).apply, IsEmpty());
  }
}

// Of one lane alone; the others' weights and what all share stay as they were.
TEST(LocalSteps, WhatIsNotFiniteIsRefusedByName) {
  const LocalSteps settings{.inner_steps = 5, .codec = {}};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto all = replicas(settings, 2, engine::Arithmetic::f32);
    for (const auto& replica : all) replica->inner_steps(2);
    Floats diverged = all[1]->read("b");
    diverged[77] = bad;
    ASSERT_TRUE(all[1]->state.write("b", writable(diverged)));
    std::vector<Packed> packed;
    for (const auto& replica : all) packed.push_back(replica->send(kParams, 0));
    const Floats before = all[0]->read("a"), global = all[0]->read("outer.global/a");
    const Status refused = all[0]->try_apply(kParams, packed);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::not_finite);
    EXPECT_EQ(refused.error().place, "next/b");
    EXPECT_EQ(all[0]->read("a"), before);
    EXPECT_EQ(all[0]->read("outer.global/a"), global);
  }
}

TEST(LocalSteps, WrongSettingsAreNamed) {
  const auto complaint = [](LocalSteps settings) {
    const auto graph = outer_send_graph(kParams, settings);
    return graph ? std::string() : graph.error().to_string();
  };
  EXPECT_EQ(complaint({}), "");
  EXPECT_THAT(complaint({.inner_steps = 0}), HasSubstr("inner_steps is 0"));
  EXPECT_THAT(complaint({.outer_lr = 0}), HasSubstr("outer_lr"));
  EXPECT_THAT(complaint({.outer_momentum = 1}), HasSubstr("outer_momentum"));
  EXPECT_THAT(complaint({.inner_steps = 4, .fragments = 5}), HasSubstr("fragments is 5"));
  EXPECT_THAT(complaint({.inner_steps = 4, .delay = 4}), HasSubstr("delay is 4"));
  EXPECT_THAT(complaint({.keep_local = 1}), HasSubstr("keep_local"));
  EXPECT_THAT(complaint({.keep_local = 0.5}), HasSubstr("without a delay"));
  EXPECT_THAT(complaint({.codec = {.kind = Codec::Kind::delta}}), HasSubstr("delta"));
  EXPECT_THAT(complaint({.codec = {.kind = Codec::Kind::feedback, .bits = 7}}), HasSubstr("bits is 7"));
}

TEST(LocalSteps, BeginOnceKeepsWhatARestoredStateHolds) {
  Replica replica({.codec = {}}, 1, engine::Arithmetic::f32, 0);
  replica.inner_steps(3);
  ASSERT_TRUE(begin_local_steps(replica.state, kParams));  // as after a restore: the outer state is there
  EXPECT_EQ(replica.read("outer.global/b"), Floats(130, 0.5F));
}

}  // namespace
}  // namespace suanli::train
