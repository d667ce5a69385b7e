#include "suanli/pool/state_dates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::pool {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

train::JobConfig job_of(std::int64_t steps, std::int64_t evaluation, std::int64_t snapshot) {
  train::JobConfig job;
  job.train.steps = steps;
  job.train.dtype = "f32";
  job.eval.every = evaluation;
  job.checkpoint.every = snapshot;
  return job;
}

std::vector<std::int64_t> collected(const StateDates& dates) {
  std::vector<std::int64_t> steps;
  for (std::int64_t step = 1; step <= dates.last_step; ++step)
    if (dates.is_collected(step)) steps.push_back(step);
  return steps;
}

TEST(StateDates, CollectWhatEvaluationsAndSnapshotsNeed) {
  EXPECT_THAT(collected(StateDates::of(job_of(10, 2, 4), true)), ElementsAre(2, 4, 6, 8, 10));
  EXPECT_THAT(collected(StateDates::of(job_of(10, 2, 4), false)), ElementsAre(4, 8, 10));
  EXPECT_THAT(collected(StateDates::of(job_of(10, 0, 4), true)), ElementsAre(4, 8, 10));
  EXPECT_THAT(collected(StateDates::of(job_of(10, 4, 0), true)), ElementsAre(4, 8, 10));
  EXPECT_THAT(collected(StateDates::of(job_of(10, 0, 0), true)), ElementsAre(10));
  EXPECT_THAT(collected(StateDates::of(job_of(10, 100, 4), true)), ElementsAre(4, 8, 10)) << "100 is never reached";
  EXPECT_THAT(collected(StateDates::of(job_of(10, 10, 4), true)), ElementsAre(4, 8, 10)) << "10 is the last anyway";
  EXPECT_THAT(collected(StateDates::of(job_of(12, 4, 6), true)), ElementsAre(2, 4, 6, 8, 10, 12));
}

TEST(StateDates, OthersAskForNoStatesBetween) {
  train::JobConfig job = job_of(24, 8, 8);
  job.sample.every = 4;
  EXPECT_EQ(StateDates::of(job, true).every(), 4);
  job.sample.every = 12;
  EXPECT_EQ(StateDates::of(job, true).every(), 8) << "with the next state that there is";
  job.sample.every = 16;
  EXPECT_EQ(StateDates::of(job, true).every(), 8);
  job.checkpoint.digest_every = 2;
  EXPECT_EQ(StateDates::of(job, true).every(), 8) << "digests are of exact arithmetic";
  job.train.dtype = "exact";
  EXPECT_EQ(StateDates::of(job, true).every(), 2);
  job.eval.every = job.checkpoint.every = 0;
  job.sample.every = 0;
  job.checkpoint.digest_every = 5;
  EXPECT_EQ(StateDates::of(job, true).every(), 5);
}

TEST(StateDates, WasteIsTold) {
  EXPECT_FALSE(StateDates::of(job_of(100, 5, 10), true).waste());
  EXPECT_FALSE(StateDates::of(job_of(100, 10, 5), true).waste());
  EXPECT_FALSE(StateDates::of(job_of(100, 0, 7), true).waste());
  EXPECT_FALSE(StateDates::of(job_of(3, 4, 6), true).waste()) << "neither is reached";
  const auto waste = StateDates::of(job_of(100, 4, 6), true).waste();
  ASSERT_TRUE(waste);
  EXPECT_THAT(waste->message, HasSubstr("every 2 steps"));
  EXPECT_THAT(waste->place, HasSubstr("eval.every"));
  EXPECT_FALSE(waste->next_step.empty());
}

TEST(StateDates, DueOnceEvenIfLate) {
  EXPECT_TRUE(is_due(4, 0, 4));
  EXPECT_FALSE(is_due(4, 0, 3));
  EXPECT_TRUE(is_due(4, 3, 5)) << "that of step 4 could not be had";
  EXPECT_FALSE(is_due(4, 5, 7));
  EXPECT_TRUE(is_due(4, 5, 8));
  EXPECT_FALSE(is_due(0, 5, 8));
}

}  // namespace
}  // namespace suanli::pool
