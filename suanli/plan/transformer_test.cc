#include "suanli/plan/transformer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace suanli::plan {
namespace {

constexpr double kGiB = 1073741824.0;

// Models of Korthikanti et al., 2022, Table 3, and what Figure 1 shows of a device, in GiB (0: not at hand). The parameters are
// those of their formula, 12 L h^2.
struct Published {
  std::int64_t heads, width, layers;
  int pipeline, interleave;
  std::int64_t micro_batch;
  double state;        // parameters, gradients and optimizer state
  double activations;  // without recomputation or sequence parallelism
  double frugal;       // with sequence parallelism and selective recomputation
};
constexpr Published k22B = {64, 6144, 48, 1, 1, 4, 45.5625, 59.25, 0};
constexpr Published k530B = {128, 20480, 105, 35, 3, 1, 31.640625, 114.0234375, 0};
constexpr Published k1T = {160, 25600, 128, 64, 1, 1, 0, 0, 26.5625};

Transformer model_of(const Published& published) {
  Transformer model;
  model.layers = published.layers;
  model.width = published.width;
  model.heads = published.heads;
  model.context = 2048;
  model.vocab = 51'200;
  model.parameters = 12.0 * static_cast<double>(published.layers) * static_cast<double>(published.width) *
                     static_cast<double>(published.width);
  return model;
}

Layout layout_of(const Published& published, bool sequence_parallel) {
  Layout layout;
  layout.tensor = 8;
  layout.pipeline = published.pipeline;
  layout.interleave = published.interleave;
  layout.sequence_parallel = sequence_parallel;
  return layout;
}

// To the last digit that Figure 1 has: the figure is the formula.
TEST(Korthikanti, StateOfFigureOne) {
  for (const Published& each : {k22B, k530B})
    EXPECT_EQ(state_memory(model_of(each), layout_of(each, false)).total() / kGiB, each.state);
  // 18 bytes a parameter: 2, 4 and 12.
  const StateMemory state = state_memory(model_of(k530B), layout_of(k530B, false));
  EXPECT_EQ(state.gradients, 2 * state.weights);
  EXPECT_EQ(state.optimizer, 6 * state.weights);
}

TEST(Korthikanti, ActivationsOfFigureOne) {
  for (const Published& each : {k22B, k530B})
    EXPECT_EQ(activation_memory(model_of(each), layout_of(each, false), each.micro_batch, Recomputation::none, false) / kGiB,
              each.activations);
  EXPECT_EQ(activation_memory(model_of(k1T), layout_of(k1T, true), 1, Recomputation::selective, false) / kGiB, k1T.frugal);
}

// Their Table 2, by hand, for the 22B model: s b h = 2048 x 4 x 6144.
TEST(Korthikanti, EachRowOfTableTwo) {
  const Transformer model = model_of(k22B);
  const double unit = 2048.0 * 4 * 6144 * 48;
  Layout alone, tensor = layout_of(k22B, false), sequence = layout_of(k22B, true);
  const double scores = 5.0 * 64 * 2048 / 6144;
  const auto of = [&](const Layout& layout, Recomputation recomputation, bool flash = false) {
    return activation_memory(model, layout, 4, recomputation, flash) / unit;
  };
  EXPECT_DOUBLE_EQ(of(alone, Recomputation::none), 34 + scores);
  EXPECT_DOUBLE_EQ(of(tensor, Recomputation::none), 10 + 24 / 8.0 + scores / 8);
  EXPECT_DOUBLE_EQ(of(sequence, Recomputation::none), (34 + scores) / 8);
  EXPECT_DOUBLE_EQ(of(tensor, Recomputation::selective), 10 + 24 / 8.0);
  EXPECT_DOUBLE_EQ(of(sequence, Recomputation::selective), 34 / 8.0);
  EXPECT_DOUBLE_EQ(of(tensor, Recomputation::full), 2);
  EXPECT_DOUBLE_EQ(of(sequence, Recomputation::none, true), 34 / 8.0) << "flash attention keeps no scores either";
}

TEST(StateMemory, ShardingDividesWhatItNames) {
  Transformer model;
  model.parameters = 1e9;
  Layout layout;
  layout.data = 8;
  EXPECT_EQ(state_memory(model, layout).total(), 18e9);
  layout.shard = 1;
  EXPECT_EQ(state_memory(model, layout).total(), 6e9 + 12e9 / 8);
  layout.shard = 2;
  EXPECT_EQ(state_memory(model, layout).total(), 2e9 + 16e9 / 8);
  layout.shard = 3;
  EXPECT_EQ(state_memory(model, layout).total(), 18e9 / 8);
}

// Narayanan et al., 2021: 72 B s L h^2 (1 + s / 6h + V / 12 L h), and 96 B s L h^2 (1 + s / 6h + V / 16 L h) with all recomputed.
TEST(FlopsPerToken, EqualMegatronsForms) {
  Transformer model = model_of(k530B);
  const double L = 105, h = 20480, s = 2048, V = 51'200;
  model.parameters = 12 * L * h * h + V * h;
  const double layer_part = L * h * h;
  EXPECT_DOUBLE_EQ(flops_per_token(model), 72 * layer_part * (1 + s / (6 * h) + V / (12 * L * h)));
  EXPECT_DOUBLE_EQ(hardware_flops_per_token(model, Recomputation::full),
                   96 * layer_part * (1 + s / (6 * h) + V / (16 * L * h)));
  EXPECT_DOUBLE_EQ(hardware_flops_per_token(model, Recomputation::none), flops_per_token(model));
}

// Their Table 5 has MFU and HFU with selective recomputation: 41.5 and 43.7 %, 56.3 and 57.0 %.
TEST(FlopsPerToken, HardwareCountGivesPublishedHfuFromMfu) {
  const auto hfu_of = [](const Published& published, double mfu) {
    Transformer model = model_of(published);
    model.parameters += 51'200.0 * static_cast<double>(model.width);
    return mfu * hardware_flops_per_token(model, Recomputation::selective) / flops_per_token(model);
  };
  EXPECT_NEAR(hfu_of(k22B, 41.5), 43.7, 0.06);
  EXPECT_NEAR(hfu_of(k1T, 56.3), 57.0, 0.06);
}

TEST(FlopsPerToken, CausalCountsHalfTheSquareAndExpertsCountActive) {
  Transformer model = model_of(k22B);
  const double products = 6 * model.parameters;
  EXPECT_DOUBLE_EQ(flops_per_token(model, AttentionCount::causal) - products, (flops_per_token(model) - products) / 2);
  model.active_parameters = model.parameters / 4;
  EXPECT_DOUBLE_EQ(flops_per_token(model), products / 4 + 12.0 * 48 * 6144 * 2048);
  model.context = 0;
  EXPECT_DOUBLE_EQ(flops_per_token(model), products / 4) << "no shape, no attention";
}

TEST(UsualShape, IsThatOfPublishedModels) {
  const struct { double parameters; std::int64_t layers, width; } published[] = {
      {6.7e9, 32, 4096}, {1.75e11, 96, 12288}, {4.05e11, 126, 16384}, {1e12, 128, 25600}};
  for (const auto& each : published) {
    const Transformer model = usual_shape(each.parameters);
    EXPECT_NEAR(static_cast<double>(model.layers), static_cast<double>(each.layers), 0.05 * static_cast<double>(each.layers));
    EXPECT_NEAR(static_cast<double>(model.width), static_cast<double>(each.width), 0.05 * static_cast<double>(each.width));
  }
  for (const double parameters : {1.0, 1e3, 1e6, 1.24e8, 1e15, 1e30}) {
    const Transformer model = usual_shape(parameters);
    EXPECT_TRUE(model.has_shape()) << parameters;
    EXPECT_GE(model.heads, 1) << parameters;
    EXPECT_TRUE(std::isfinite(flops_per_token(model))) << parameters;
  }
}

// GPT-2: 12 layers of 768 over 50,257 tokens and 1,024 positions have 124,439,808 parameters; the form leaves out the two last
// norm vectors.
TEST(ParametersOfShape, CountsGpt2) { EXPECT_NEAR(parameters_of_shape(12, 768, 50'257, 1024), 124'439'808, 1e4); }

}  // namespace
}  // namespace suanli::plan
