#include "suanli/checkpoint/background_writer.h"

#include <gmock/gmock.h>

#include <semaphore>

#include "suanli/base/test_folder.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/checkpoint/test_snapshot.h"

namespace suanli::checkpoint {
namespace {

using ::testing::ElementsAre;

// Keeps the steps saved; a save may be held back until released, or fail.
class FakeTier final : public Tier {
 public:
  Status save(const Snapshot& snapshot) override {
    started.release();
    if (hold) released.acquire();
    if (snapshot.step < 0) return fail(ErrorCode::no_space, "full", "disk");
    saved.push_back(snapshot.step);
    return {};
  }
  Result<std::vector<SnapshotInfo>> list() const override { return std::vector<SnapshotInfo>(); }
  Result<Snapshot> load(std::int64_t, const TensorFilter&) const override { return Snapshot(); }
  Status prune(int keep) override {
    pruned_to = keep;
    return prune_fails ? Status(fail(ErrorCode::io, "refused", "disk")) : Status();
  }

  bool hold = false, prune_fails = false;
  std::counting_semaphore<> started{0}, released{0};
  std::vector<std::int64_t> saved;
  int pruned_to = 0;
};

// Ten seconds pass between two readings. The first one, which submit() takes once it finds the
// writer busy, lets the held save go on.
class ReleasingClock final : public Clock {
 public:
  explicit ReleasingClock(FakeTier& tier) : tier_(tier) {}
  Seconds now() const override {
    if (readings_ == 0) tier_.released.release(2);
    return Seconds(10.0 * readings_++);
  }
  void sleep_for(Seconds) override {}
  int readings() const { return readings_; }

 private:
  FakeTier& tier_;
  mutable int readings_ = 0;
};

Snapshot of_step(std::int64_t step) {
  Snapshot snapshot;
  snapshot.step = step;
  return snapshot;
}

TEST(BackgroundWriter, SavesAndPrunes) {
  FakeTier tier;
  BackgroundWriter writer(tier, 3);
  EXPECT_FALSE(writer.poll().saved_step);
  for (std::int64_t step : {1, 2, 3}) writer.submit(of_step(step));
  const auto progress = writer.drain();
  EXPECT_EQ(progress.saved_step, 3);
  EXPECT_EQ(progress.saved_count, 3);
  EXPECT_TRUE(progress.errors.empty());
  EXPECT_THAT(tier.saved, ElementsAre(1, 2, 3));
  EXPECT_EQ(tier.pruned_to, 3);
}

TEST(BackgroundWriter, SubmitReturnsWhileTheSaveRuns) {
  FakeTier tier;
  tier.hold = true;
  BackgroundWriter writer(tier, 1);
  EXPECT_EQ(writer.submit(of_step(1)), Seconds(0));
  tier.started.acquire();
  EXPECT_FALSE(writer.poll().saved_step);  // the save is under way and held back
  tier.released.release();
  EXPECT_EQ(writer.drain().saved_step, 1);
}

TEST(BackgroundWriter, SubmitWaitsForTheSaveBeforeAndSaysHowLong) {
  FakeTier tier;
  tier.hold = true;
  ReleasingClock clock(tier);
  BackgroundWriter writer(tier, 1, clock);
  EXPECT_EQ(writer.submit(of_step(1)), Seconds(0));
  EXPECT_EQ(clock.readings(), 0);
  EXPECT_EQ(writer.submit(of_step(2)), Seconds(10));
  EXPECT_EQ(writer.drain().saved_step, 2);
  EXPECT_THAT(tier.saved, ElementsAre(1, 2));
}

TEST(BackgroundWriter, AFailedSaveIsReportedOnceAndTheNextOneTriesAgain) {
  FakeTier tier;
  BackgroundWriter writer(tier, 1);
  writer.submit(of_step(1));
  writer.submit(of_step(-2));
  auto progress = writer.drain();
  EXPECT_EQ(progress.saved_step, 1);
  ASSERT_EQ(progress.errors.size(), 1u);
  EXPECT_EQ(progress.errors[0].code, ErrorCode::no_space);
  EXPECT_TRUE(writer.poll().errors.empty());
  writer.submit(of_step(3));
  EXPECT_EQ(writer.drain().saved_step, 3);
}

TEST(BackgroundWriter, AFailedPruneDoesNotUndoTheSave) {
  FakeTier tier;
  tier.prune_fails = true;
  BackgroundWriter writer(tier, 1);
  writer.submit(of_step(1));
  const auto progress = writer.drain();
  EXPECT_EQ(progress.saved_step, 1);
  ASSERT_EQ(progress.errors.size(), 1u);
  EXPECT_EQ(progress.errors[0].code, ErrorCode::io);
}

TEST(BackgroundWriter, GivesBuffersBack) {
  FakeTier tier;
  BackgroundWriter writer(tier, 1);
  EXPECT_TRUE(writer.recycle().tensors.empty());
  Snapshot snapshot = test_snapshot(1);
  const std::byte* buffer = snapshot.tensors[0].data.data();
  writer.submit(std::move(snapshot));
  writer.drain();
  Snapshot recycled = writer.recycle();
  ASSERT_FALSE(recycled.tensors.empty());
  EXPECT_EQ(recycled.tensors[0].data.data(), buffer);
  EXPECT_TRUE(writer.recycle().tensors.empty());
}

TEST(BackgroundWriter, KeepsTheSnapshotBeingWritten) {
  FakeTier tier;
  tier.hold = true;
  BackgroundWriter writer(tier, 1);
  writer.submit(test_snapshot(1));
  tier.started.acquire();
  EXPECT_TRUE(writer.recycle().tensors.empty());
  tier.released.release();
}

// The thread has hardly begun when it is told to stop.
TEST(BackgroundWriter, AnImmediateStopLosesNothing) {
  for (int i = 0; i < 100; ++i) {
    FakeTier tier;
    { BackgroundWriter(tier, 1).submit(of_step(1)); }
    ASSERT_THAT(tier.saved, ElementsAre(1)) << "round " << i;
  }
}

TEST(BackgroundWriter, TheDestructorFinishesWhatWasSubmitted) {
  TestFolder run;
  auto tier = LocalTier::open(run.path(), LocalTier::Access::owner);
  ASSERT_TRUE(tier);
  {
    BackgroundWriter writer(**tier, 2);
    for (std::int64_t step = 1; step <= 5; ++step) {
      Snapshot snapshot = writer.recycle();
      snapshot = test_snapshot(step);
      writer.submit(std::move(snapshot));
      (void)load_latest(**tier, {});  // readers do not disturb it
    }
  }
  auto infos = (*tier)->list();
  ASSERT_TRUE(infos);
  ASSERT_EQ(infos->size(), 2u);
  EXPECT_TRUE(same(*(*tier)->load(5, {}), test_snapshot(5)));
}

}  // namespace
}  // namespace suanli::checkpoint
