// What replicas keep of their own, on its way through the state of one machine to other replicas.
#include "suanli/pool/state_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "suanli/pool/replicas_for_test.h"

namespace suanli::pool {
namespace {

using testing::Contains;
using testing::Each;
using testing::StartsWith;

constexpr graph::Codec kFour{.kind = graph::Codec::Kind::feedback, .bits = 4};

// The coordinator's state of one machine.
class Whole {
 public:
  explicit Whole(const SmallJob& job) : device_(engine::make_cpu_device(1)), state(*device_) {
    EXPECT_TRUE(state.initialize(job.graph(), 5));
    if (job.arithmetic != engine::Arithmetic::exact) return;
    const std::vector<std::int32_t> none(live_sums(job.graph()).size(), 0);
    EXPECT_TRUE(state.add(engine::kExponents, graph::i32({static_cast<std::int64_t>(none.size())}),
                          std::as_bytes(std::span(none))));
  }
  void take(const StateLayout& layout, const Snapshot& all) {
    for (const auto& [name, bytes] : all) {
      EXPECT_EQ(layout.size_of(name, state).value(), Bytes(static_cast<std::int64_t>(bytes.size()))) << name;
      EXPECT_TRUE(layout.write(name, bytes, state)) << name;
    }
  }
  // What the pool's workers ask for.
  Snapshot give(const StateLayout& layout, std::size_t stages, std::size_t ranks) {
    Snapshot all;
    for (std::size_t stage = 0; stage < stages; ++stage)
      for (std::size_t rank = 0; rank < ranks; ++rank)
        for (const std::string& name : layout.held(stage, rank)) all[name] = layout.read(name, state).value();
    return all;
  }

 private:
  std::unique_ptr<engine::Device> device_;

 public:
  engine::State state;
};

TEST(StateLayout, LanesComeBackFromTheStateOfOneMachine) {
  for (const engine::Arithmetic arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::exact}) {
    SmallJob job;
    job.arithmetic = arithmetic;
    job.local = train::LocalSteps{.inner_steps = 3, .delay = 1, .keep_local = 0.5, .codec = kFour};
    SmallPool first(job, lanes(job, {1}, 2)), second(job, lanes(job, {1}, 2));
    Whole whole(job);
    EXPECT_THAT(whole.state.tensors().size(), testing::Gt(0U));
    EXPECT_THAT(first.layout().fit(whole.state).value(), Contains("replica/1/wpe.weight.adam_m"));
    first.steps(4);
    whole.take(first.layout(), first.collect());
    second.restore(whole.give(first.layout(), 2, 2), 4);
    EXPECT_EQ(second.collect(), first.collect());
    first.steps(3);
    second.steps(3);
    EXPECT_EQ(second.collect(), first.collect());
  }
}

TEST(StateLayout, ANewLaneBeginsWithWhatAllShareAndAGoneOneLeavesNothing) {
  SmallJob job;
  job.micro_batches = 6;
  job.local = train::LocalSteps{.inner_steps = 2, .codec = kFour};
  SmallPool two(job, lanes(job, {}, 2)), three(job, lanes(job, {1}, 3));
  Whole whole(job);
  ASSERT_TRUE(two.layout().fit(whole.state));
  two.steps(3);
  const Snapshot all = two.collect();
  whole.take(two.layout(), all);
  const auto begun = three.layout().fit(whole.state);
  ASSERT_TRUE(begun);
  EXPECT_THAT(*begun, Each(StartsWith("replica/2/")));
  const Snapshot given = whole.give(three.layout(), 2, 3);
  EXPECT_EQ(given.at("replica/2/wpe.weight"), all.at("wpe.weight"));
  EXPECT_EQ(given.at("replica/2/wpe.weight.adam_v"), all.at("wpe.weight.adam_v")) << "lane 0's";
  EXPECT_EQ(given.at("replica/1/wpe.weight"), all.at("replica/1/wpe.weight"));
  EXPECT_THAT(given.at("replica/2/outer.error/wpe.weight"), Each(std::byte{0}));
  three.restore(given, 3);
  three.steps(2);
  three.collect();

  ASSERT_TRUE(two.layout().fit(whole.state));
  EXPECT_EQ(whole.state.find("replica/2/wpe.weight"), nullptr);
  SmallJob plain;
  const StateLayout without = StateLayout::create(plain.graph(), {}, false).value();
  EXPECT_THAT(without.fit(whole.state).value(), testing::IsEmpty());
  for (const engine::State::Tensor& tensor : whole.state.tensors()) EXPECT_FALSE(is_of_replicas(tensor.name)) << tensor.name;
}

// What a new lane "sends again" is that nothing has moved.
TEST(StateLayout, ANewLaneHasNothingOnItsWay) {
  for (const graph::Codec& codec : {kFour, graph::Codec{}, graph::Codec{.kind = graph::Codec::Kind::top_k, .keep = 0.1}}) {
    SmallJob job;
    job.local = train::LocalSteps{.inner_steps = 4, .delay = 2, .keep_local = 0.5, .codec = codec};
    SmallPool two(job, lanes(job, {}, 2)), three(job, lanes(job, {}, 3));
    Whole whole(job);
    ASSERT_TRUE(two.layout().fit(whole.state));
    two.steps(5);  // sent after step 4, not applied
    whole.take(two.layout(), two.collect());
    ASSERT_TRUE(three.layout().fit(whole.state));
    three.restore(whole.give(three.layout(), 1, 3), 5);
    three.steps(2);
    for (const auto& [name, bytes] : three.collect()) {
      if (name.find("outer.sent/") != std::string::npos) continue;
      for (const float value : floats(bytes)) ASSERT_TRUE(std::isfinite(value)) << name;
    }
  }
}

// Lane 0 is lost in its second stage alone: none of it is kept, and lane 1 is the first of those that are left.
TEST(StateLayout, LanesThatAreLeftWholeAreCountedAnew) {
  for (const engine::Arithmetic arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::exact}) {
    SmallJob job;
    job.arithmetic = arithmetic;
    job.local = train::LocalSteps{.inner_steps = 2, .codec = kFour};
    SmallPool three(job, lanes(job, {1}, 3)), two(job, lanes(job, {1}, 2));
    three.steps(3);
    const StateLayout& layout = three.layout();
    Snapshot offered;
    for (const auto& runner : three.runners)
      for (const std::string& name : layout.owned(runner->stage_index(), runner->rank()))
        if (runner->stage_index() == 0 || runner->rank() > 0) offered[name] = runner->read_state(name).value();
    std::set<std::string> names;
    for (const auto& [name, bytes] : offered) names.insert(name);
    ASSERT_THAT(layout.whole_lanes(names), testing::ElementsAre(1, 2));
    Snapshot kept;
    for (const std::size_t lane : {1, 2})
      for (const std::size_t stage : {0, 1})
        for (const std::string& name : layout.owned(stage, lane)) kept[layout.lane_name(name, lane, lane - 1)] = offered.at(name);
    EXPECT_EQ(kept.at("wpe.weight.adam_m"), offered.at("replica/1/wpe.weight.adam_m"));
    EXPECT_EQ(kept.at("replica/0/wpe.weight"), offered.at("replica/1/wpe.weight"));
    EXPECT_EQ(kept.at("replica/1/wpe.weight.adam_m"), offered.at("replica/2/wpe.weight.adam_m"));
    if (arithmetic == engine::Arithmetic::exact) {
      EXPECT_EQ(kept.at(exponents_name(1)), offered.at(replica_name(1, exponents_name(1))));
    }
    const std::vector<std::string> gone = layout.names_of_lanes_from(2);
    EXPECT_THAT(gone, Each(StartsWith("replica/2/")));
    EXPECT_THAT(gone, testing::SizeIs(testing::Gt(0U)));
    // It is all that two lanes have, and they go on.
    Whole whole(job);
    ASSERT_TRUE(two.layout().fit(whole.state));
    whole.take(two.layout(), kept);
    EXPECT_EQ(whole.give(two.layout(), 2, 2), kept);
    two.restore(kept, 3);
    two.steps(3);
    two.collect();
    offered.erase("replica/1/wpe.weight");
    names.erase("replica/1/wpe.weight");
    EXPECT_THAT(layout.whole_lanes(names), testing::ElementsAre(2));
  }
}

TEST(StateLayout, OnlyReplicasThatAddUpPackedHaveErrors) {
  SmallJob job;
  job.weights = WeightCodec{kFour, 100};
  route::RouteTable table = lanes(job, {1}, 2);
  const ReplicaState uneven{{1, 2}, job.weights, {}};
  const StateLayout layout = StateLayout::create(job.graph(), table.placement.cut, false, uneven).value();
  EXPECT_THAT(layout.owned(0, 0), Each(testing::Not(StartsWith("replica/"))));
  EXPECT_THAT(layout.owned(1, 1), Contains("replica/1/error/h.1.attn.c_attn.weight"));
  EXPECT_THAT(layout.owned(1, 0), Contains("replica/0/error/wte.weight.2")) << "the last stage's part of the tied embedding";
}

}  // namespace
}  // namespace suanli::pool
