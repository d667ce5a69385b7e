#include "suanli/pool/replica_sums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "suanli/pool/replicas_for_test.h"

namespace suanli::pool {
namespace {

using graph::Codec;
using Kind = Codec::Kind;

constexpr std::int64_t kLeast = 100;  // elements: of the small job all weights but biases and gains

WeightCodec feedback(int bits) { return {{.kind = Kind::feedback, .bits = bits}, kLeast}; }

SmallJob with(std::optional<WeightCodec> weights) {
  SmallJob job;
  job.weights = std::move(weights);
  return job;
}

TEST(ReplicaSums, TheGradientsOfWeightsArePackedAndNothingElse) {
  const SmallJob job;
  const graph::Graph graph = job.graph();
  std::vector<std::string> names;
  for (const PackedSum& sum : packed_sums(graph, {{}, kLeast})) {
    names.push_back(sum.name);
    EXPECT_EQ(graph.node(sum.sum).type, sum.type);
  }
  // The tied embedding has two sums, of the first and of the last block.
  EXPECT_THAT(names, testing::IsSupersetOf({"wte.weight", "wte.weight.2", "wpe.weight", "h.0.attn.c_attn.weight",
                                            "h.1.mlp.c_proj.weight"}));
  EXPECT_EQ(names.size(), 3U + 2 * 4);
  EXPECT_TRUE(packed_sums(graph, {}).empty()) << "all weights of this job are small";
}

TEST(ReplicaSums, LosslessSumsAreThoseOfTheAllReduce) {
  for (const int ranks : {2, 3})
    for (const std::vector<int>& cuts : {std::vector<int>{}, {1}}) {
      SmallPool plain(with({}), lanes(SmallJob(), cuts, ranks));
      SmallPool packed(with(WeightCodec{{}, kLeast}), lanes(SmallJob(), cuts, ranks));
      EXPECT_EQ(plain.steps(3), packed.steps(3));
      EXPECT_EQ(plain.collect(), packed.collect());
    }
}

TEST(ReplicaSums, AllReplicasHoldTheSameBitsAfterEveryStep) {
  for (const Codec& codec : {Codec{.kind = Kind::feedback, .bits = 2}, Codec{.kind = Kind::feedback, .bits = 8},
                             Codec{.kind = Kind::top_k, .keep = 0.05}}) {
    SmallPool pool(with(WeightCodec{codec, kLeast}), lanes(SmallJob(), {1}, 3));
    for (int i = 0; i < 4; ++i) {
      pool.step();
      const Snapshot all = pool.collect();  // compares
      EXPECT_NE(all.at("replica/0/error/wpe.weight"), all.at("replica/1/error/wpe.weight"));
    }
  }
}

// Without clipping and momentum, what all replicas have sent so far is the sum of what was meant less the errors they keep: the
// first moment of Adam after one step tells the sum (1 - beta1 = 0.1 of it, per token).
TEST(ReplicaSums, WhatWasSentAndTheErrorsAreWhatWasMeant) {
  SmallJob meant = with({}), packed = with(feedback(3));
  meant.clip_norm = packed.clip_norm = 0;
  meant.lr = packed.lr = 0;  // so that both see the same weights in every step
  SmallPool plain(meant, lanes(meant, {1}, 3)), coded(packed, lanes(packed, {1}, 3));
  const double tokens = static_cast<double>(meant.batch * meant.micro_batches * meant.model.context);
  std::map<std::string, std::vector<double>> meant_sum, sent_sum, meant_before, sent_before;
  // g of a step from the moments before and after it: m' = 0.9 m + 0.1 g / tokens.
  const auto add = [&](SmallPool& pool, auto& sum, auto& before) {
    for (const auto& [name, bytes] : pool.collect()) {
      if (!name.ends_with(".adam_m")) continue;
      const std::vector<float> m = floats(bytes);
      auto& total = sum[name];
      auto& old = before[name];
      total.resize(m.size()), old.resize(m.size());
      for (std::size_t i = 0; i < m.size(); ++i) {
        total[i] += (m[i] - 0.9 * old[i]) / 0.1 * tokens;
        old[i] = m[i];
      }
    }
  };
  for (int step = 0; step < 4; ++step) {
    plain.step();
    coded.step();
    add(plain, meant_sum, meant_before);
    add(coded, sent_sum, sent_before);
    const Snapshot state = coded.collect();
    double differs = 0;
    for (const std::string name : {"h.0.attn.c_attn.weight", "wpe.weight", "wte.weight", "h.1.mlp.c_proj.weight"}) {
      std::vector<double> errors(meant_sum.at(name + ".adam_m").size());
      for (int rank = 0; rank < 3; ++rank)
        for (const std::string part : {"", ".2"}) {
          const auto error = state.find("replica/" + std::to_string(rank) + "/error/" + name + part);
          ASSERT_EQ(error == state.end(), part == ".2" && name != "wte.weight");
          if (error == state.end()) continue;
          const std::vector<float> values = floats(error->second);
          for (std::size_t i = 0; i < errors.size(); ++i) errors[i] += values[i];
        }
      for (std::size_t i = 0; i < errors.size(); ++i) {
        const double meant_value = meant_sum.at(name + ".adam_m")[i], sent_value = sent_sum.at(name + ".adam_m")[i];
        EXPECT_NEAR(sent_value + errors[i], meant_value, 1e-4) << name << " " << i;
        differs = std::max(differs, std::abs(sent_value - meant_value));
      }
    }
    EXPECT_GT(differs, 0.01) << "nothing was lost, so nothing was tested";
  }
}

TEST(ReplicaSums, AStepMadeAgainBeginsWithTheSameError) {
  SmallPool pool(with(feedback(4)), lanes(SmallJob(), {1}, 2)), twice(with(feedback(4)), lanes(SmallJob(), {1}, 2));
  pool.steps(2);
  twice.steps(2);
  const Snapshot before = twice.collect();
  twice.prepare(1);
  EXPECT_EQ(twice.collect(), before) << "only a commit changes state";
  twice.prepare(2);
  EXPECT_EQ(twice.collect(), before);
  twice.commit();
  pool.step();
  EXPECT_EQ(twice.collect(), pool.collect());
}

TEST(ReplicaSums, ARestoredSnapshotGoesOnWithTheSameBits) {
  const SmallJob job = with(feedback(4));
  SmallPool whole(job, lanes(job, {1}, 2)), first(job, lanes(job, {1}, 2)), second(job, lanes(job, {1}, 2));
  whole.steps(5);
  first.steps(2);
  second.restore(first.collect(), 2);
  second.steps(3);
  EXPECT_EQ(second.collect(), whole.collect());
}

double last_losses(const std::optional<WeightCodec>& weights) {
  SmallPool pool(with(weights), lanes(SmallJob(), {1}, 3));
  const std::vector<double> losses = pool.steps(60);
  double mean = 0;
  for (std::size_t i = 50; i < 60; ++i) mean += losses[i] / 10;
  EXPECT_LT(mean, losses[0] - 0.5) << "it does not learn";
  return mean;
}

TEST(ReplicaSums, TrainsToNearlyTheSameLoss) {
  const double plain = last_losses({}), eight = last_losses(feedback(8)), two = last_losses(feedback(2));
  EXPECT_NEAR(eight, plain, 0.01 * plain);
  EXPECT_NEAR(two, plain, 0.05 * plain);
  EXPECT_GT(std::abs(two - plain), std::abs(eight - plain));
  RecordProperty("none", std::to_string(plain));
  RecordProperty("ef8", std::to_string(eight));
  RecordProperty("ef2", std::to_string(two));
}

TEST(ReplicaSums, LessIsSentAndTheCodecIsMetered) {
  const auto figures = [](const std::optional<WeightCodec>& weights) {
    SmallPool pool(with(weights), lanes(SmallJob(), {}, 2));
    pool.step();
    return std::pair(pool.sent().value(), pool.runners[0]->usage().work.total.value());
  };
  const auto [plain, plain_flops] = figures({});
  const auto [four, four_flops] = figures(feedback(4));
  const auto [eight, eight_flops] = figures(feedback(8));
  EXPECT_LT(eight, plain / 2);
  EXPECT_LT(four, eight);
  EXPECT_GT(four_flops, plain_flops);
}

// The record of a run counts by graphs alone what a worker counts of its programs.
TEST(ReplicaSums, TheirWorkIsToldByTypesAndNumbers) {
  for (const Codec& codec : {Codec{.kind = Kind::feedback, .bits = 4}, Codec{.kind = Kind::top_k}}) {
    const SmallJob job = with(WeightCodec{codec, kLeast});
    const SmallPool pool(job, lanes(job, {}, 3));
    std::vector<graph::TensorType> types;
    for (const PackedSum& sum : packed_sums(job.graph(), *job.weights)) types.push_back(sum.type);
    const auto told = packing_work(types, codec, 3);
    ASSERT_TRUE(told);
    EXPECT_EQ(told->by_op, pool.runners[0]->replica_sums()->work().by_op);
    EXPECT_GT(told->by_op.count(codec.kind == Kind::top_k ? "top_k_pack" : "quantize_tiles"), 0U);
  }
}

}  // namespace
}  // namespace suanli::pool
