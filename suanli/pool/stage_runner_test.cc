// A job's steps on several workers give what one machine gives.
#include <cmath>
#include <limits>
#include <set>

#include "suanli/pool/stage_world_for_test.h"

namespace suanli::pool {
namespace {

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

// The last stage waits for the embedding, which the first one owns; neither needs the other for what it owns itself.
TEST(StageRunner, ACommitThatWasToldNeedsNobodyElse) {
  TestJob job;
  job.steps = 2;
  job.is_cut_off = true;
  const Trained alone = train_alone(job);
  for (const engine::Arithmetic arithmetic : {engine::Arithmetic::exact, engine::Arithmetic::f32}) {
    job.arithmetic = arithmetic;
    const auto table = all_forwards_first(job, {0, 2}, {{0, 3}, {1}, {2}}, 1);
    const auto together = train_together(job, table);
    ASSERT_TRUE(together) << together.error().to_string();
    EXPECT_EQ(together->broken, 4);
    job.is_cut_off = false;
    const auto undisturbed = train_together(job, table);
    job.is_cut_off = true;
    EXPECT_EQ(undisturbed->broken, 0);
    expect_equal(*together, *undisturbed);
    if (arithmetic == engine::Arithmetic::exact) expect_equal(*together, alone);
  }
  EXPECT_EQ(train_together(job, all_forwards_first(job, {}, {{0}}, 1))->broken, 1);
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
