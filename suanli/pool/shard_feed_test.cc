#include "suanli/pool/shard_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "suanli/base/clock.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/dataset_for_test.h"

namespace suanli::pool {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kContext = 64, kRows = 4, kMicroBatches = 3;

// The dataset's folder with faults to be switched on, counting what it is asked.
class FaultySource final : public data::ShardSource {
 public:
  FaultySource(std::string name, const std::string& folder, const data::DatasetInfo& info)
      : name_(std::move(name)), real_(folder, info) {}
  std::string name() const override { return name_; }
  Status fetch(const data::WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) override {
    {
      const std::lock_guard lock(mutex_);
      asked_.push_back(shard.digest);
    }
    while (held_up && !stop) real_clock().sleep_for(Seconds(0.001));
    if (stop) return fail(ErrorCode::interrupted, "stopped", name_);
    if (gone) return fail(ErrorCode::unreachable, "the machine is gone", name_);
    SUANLI_RETURN_IF_ERROR(real_.fetch(shard, to, stop));
    if (damages) to[to.size() / 2] ^= std::byte{1};
    return {};
  }
  std::vector<Digest> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::atomic<bool> held_up = false, gone = false, damages = false;

 private:
  const std::string name_;
  data::FolderShards real_;
  mutable std::mutex mutex_;
  std::vector<Digest> asked_;
};

class ShardFeeds : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "dataset");
    // Of unequal lengths, one of them too short for a window.
    auto texts = data::texts_for_test(7, 5000);
    texts[1].resize(2777);
    texts[3].resize(40);
    texts[6].resize(65);
    info_ = data::write_dataset_for_test(folder_ / "dataset", texts, {std::string(500, 'v')});
    dataset_ = data::Dataset::open(folder_ / "dataset").value();
    windows_ = data::Windows::create(*dataset_, data::Split::train, kContext).value();
    good_ = source("good");
  }
  std::shared_ptr<FaultySource> source(const std::string& name) {
    return std::make_shared<FaultySource>(name, folder_ / "dataset", info_);
  }
  data::Sampler sampler(std::uint64_t seed = 1) {
    return data::Sampler::create(windows_->count(), kRows * kMicroBatches, seed).value();
  }
  // `shards`: how many of the largest the cache has room for.
  std::unique_ptr<data::ShardCache> cache_for(double shards, const std::string& name = "cache") {
    const auto largest = static_cast<double>(data::wanted_shard(info_, info_.of(data::Split::train)[0])->bytes);
    return data::ShardCache::open(folder_ / name, Bytes(static_cast<std::int64_t>(shards * largest))).value();
  }
  std::unique_ptr<ShardFeed> feed(data::ShardCache& cache, std::vector<std::shared_ptr<data::ShardSource>> sources,
                                  Seconds patience = Seconds(60)) {
    ShardFeedOptions options;
    options.patience = patience;
    options.pause = Seconds(0.01);
    options.warn = [this](const std::string& text) {
      const std::lock_guard lock(mutex_);
      warnings_.push_back(text);
    };
    return ShardFeed::create(info_, kContext, sampler(), kRows, cache, std::move(sources), options).value();
  }
  // Fills through the feed and from the local windows; whether both give the same tokens.
  ::testing::AssertionResult same(ShardFeed& feed, std::int64_t step, std::int64_t micro_batch) {
    train::Batch mine(kRows, kContext), local(kRows, kContext);
    if (const Status filled = feed.fill(mine, step, micro_batch); !filled)
      return ::testing::AssertionFailure() << filled.error().to_string();
    EXPECT_TRUE(local.fill(*windows_, sampler(), step, micro_batch));
    for (std::int64_t row = 0; row < kRows; ++row) {
      if (!std::ranges::equal(mine.row(row).inputs, local.row(row).inputs) ||
          !std::ranges::equal(mine.row(row).targets, local.row(row).targets))
        return ::testing::AssertionFailure() << "other tokens in row " << row << " of step " << step;
    }
    return ::testing::AssertionSuccess();
  }
  std::int64_t steps_of_an_epoch() const { return static_cast<std::int64_t>(windows_->count()) / (kRows * kMicroBatches) + 1; }
  std::vector<std::string> warnings() {
    const std::lock_guard lock(mutex_);
    return warnings_;
  }

  TestFolder folder_;
  data::DatasetInfo info_;
  std::optional<data::Dataset> dataset_;
  std::optional<data::Windows> windows_;
  std::shared_ptr<FaultySource> good_;
  std::mutex mutex_;
  std::vector<std::string> warnings_;
};

TEST_F(ShardFeeds, GiveTheTokensOfEveryWindowFromAColdCacheAndAWarmOne) {
  const auto cache = cache_for(7);
  {
    const auto cold = feed(*cache, {good_});
    cold->will_need(0, {0, 1, 2});
    for (std::int64_t step = 0; step < steps_of_an_epoch(); ++step) {
      for (std::int64_t i = 0; i < kMicroBatches; ++i) ASSERT_TRUE(same(*cold, step, i));
    }
    const auto asked = good_->asked();
    EXPECT_EQ(asked.size(), std::set<Digest>(asked.begin(), asked.end()).size()) << "each shard came once";
    EXPECT_EQ(asked.size(), 6U) << "all but the one that has no window";
    while (cold->fetched() < cache->size()) real_clock().sleep_for(Seconds(0.001));  // counted just after it can be found
    EXPECT_EQ(cold->fetched(), cache->size());
  }
  const auto warm = feed(*cache, {good_});
  EXPECT_TRUE(same(*warm, 5, 2));
  EXPECT_EQ(warm->fetched(), Bytes(0));
  EXPECT_EQ(warm->waited(), Seconds(0));
  EXPECT_EQ(good_->asked().size(), 6U);
  EXPECT_THAT(warnings(), IsEmpty());
}

TEST_F(ShardFeeds, ACacheSmallerThanTheDatasetEvictsAndFetchesAgain) {
  for (const double shards : {1.0, 2.5}) {
    const auto cache = cache_for(shards, "cache" + std::to_string(shards));
    const auto small = feed(*cache, {good_});
    small->will_need(0, {0, 1, 2});
    for (std::int64_t step = 0; step < 6; ++step) {
      for (std::int64_t i = 0; i < kMicroBatches; ++i) ASSERT_TRUE(same(*small, step, i));
      EXPECT_LE(cache->size(), cache->limit());
    }
    EXPECT_GT(small->fetched(), cache->limit() * 2);
  }
}

TEST_F(ShardFeeds, AShardThatComesDamagedIsTakenElsewhereAndItsSourceNamed) {
  const auto bad = source("the bad one");
  bad->damages = true;
  const auto cache = cache_for(7);
  const auto wary = feed(*cache, {bad, good_});
  for (std::int64_t step = 0; step < 4; ++step) ASSERT_TRUE(same(*wary, step, 0));
  EXPECT_THAT(bad->asked(), SizeIs(1)) << "the last to be asked from then on";
  ASSERT_THAT(warnings(), SizeIs(1));
  EXPECT_THAT(warnings()[0], HasSubstr("the bad one"));
  EXPECT_THAT(warnings()[0], HasSubstr("damaged"));
}

TEST_F(ShardFeeds, ASourceThatVanishesIsReplacedAndMayComeBack) {
  const auto cache = cache_for(1);
  const auto first = source("first");
  const auto wary = feed(*cache, {first, good_}, Seconds(0.05));
  ASSERT_TRUE(same(*wary, 0, 0));
  first->gone = true;
  for (std::int64_t step = 1; step < 4; ++step) ASSERT_TRUE(same(*wary, step, 0));
  EXPECT_THAT(warnings(), SizeIs(1));
  good_->gone = true;
  train::Batch batch(kRows, kContext);
  Status filled;
  for (std::int64_t step = 4; filled && step < 20; ++step) filled = wary->fill(batch, step, 1);
  ASSERT_FALSE(filled);
  EXPECT_EQ(filled.error().code, ErrorCode::unreachable);
  EXPECT_THAT(filled.error().message, HasSubstr("first: the machine is gone"));
  EXPECT_THAT(filled.error().message, HasSubstr("good: the machine is gone"));
  EXPECT_THAT(warnings(), SizeIs(2)) << "one warning for each, however often it is asked";
  first->gone = false;
  EXPECT_TRUE(same(*wary, 4, 0));
  EXPECT_TRUE(same(*wary, 5, 1));
}

TEST_F(ShardFeeds, WhatASourceLacksIsNoFaultOfIt) {
  TestFolder empty;
  const auto cache = cache_for(7);
  auto nothing = std::make_shared<data::FolderShards>(empty.path(), info_);
  EXPECT_TRUE(same(*feed(*cache, {nothing, good_}), 0, 0));
  EXPECT_THAT(warnings(), IsEmpty());
  train::Batch batch(kRows, kContext);
  const Status filled = feed(*cache_for(7, "other"), {nothing}, Seconds(0.02))->fill(batch, 0, 0);
  EXPECT_EQ(filled.error().code, ErrorCode::not_found);
  EXPECT_THAT(filled.error().message, HasSubstr(empty.path()));
}

TEST_F(ShardFeeds, FetchesAheadWhileTheWorkerComputes) {
  const auto cache = cache_for(7);
  const auto eager = feed(*cache, {good_});
  eager->will_need(0, {0, 1, 2});
  while (good_->asked().size() < 6 || eager->fetched() < cache->size() || cache->size() == Bytes(0))
    real_clock().sleep_for(Seconds(0.002));
  // Everything came without one fill(); so no fill() waits, even if the source now never answers again.
  good_->held_up = true;
  for (std::int64_t step = 0; step < 3; ++step) {
    for (std::int64_t i = 0; i < kMicroBatches; ++i) ASSERT_TRUE(same(*eager, step, i));
  }
  EXPECT_EQ(eager->waited(), Seconds(0));
}

TEST_F(ShardFeeds, FetchesAheadInTheOrderOfUseWithinTheBound) {
  const auto cache = cache_for(2);
  const auto eager = feed(*cache, {good_});
  eager->will_need(3, {2, 0});
  std::vector<Digest> expected;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const auto numbers = data::WindowNumbers::create(info_, data::Split::train, kContext, "").value();
    const Digest digest = info_.of(data::Split::train)[numbers.at(sampler().at(3, 2 * kRows + row)).shard].digest;
    if (std::ranges::find(expected, digest) == expected.end()) expected.push_back(digest);
  }
  ASSERT_GE(expected.size(), 2U);
  while (good_->asked().size() < 2) real_clock().sleep_for(Seconds(0.002));
  EXPECT_EQ(good_->asked()[0], expected[0]);
  EXPECT_EQ(good_->asked()[1], expected[1]);
  for (const std::int64_t i : {2, 0}) ASSERT_TRUE(same(*eager, 3, i));
}

TEST_F(ShardFeeds, AFillThatWaitsIsCounted) {
  good_->held_up = true;
  const auto cache = cache_for(7);
  const auto patient = feed(*cache, {good_});
  std::jthread later([&] {
    while (good_->asked().empty()) real_clock().sleep_for(Seconds(0.002));
    good_->held_up = false;
  });
  EXPECT_TRUE(same(*patient, 0, 0));
  EXPECT_GT(patient->waited(), Seconds(0));
}

TEST_F(ShardFeeds, StopEndsAFillThatWaits) {
  good_->held_up = true;
  const auto cache = cache_for(7);
  const auto stopped = feed(*cache, {good_});
  stopped->will_need(0, {0});
  std::jthread later([&] {
    while (good_->asked().empty()) real_clock().sleep_for(Seconds(0.002));
    stopped->stop();
  });
  train::Batch batch(kRows, kContext);
  EXPECT_EQ(stopped->fill(batch, 0, 0).error().code, ErrorCode::interrupted);
  // A feed that ends while its thread fetches: the test would hang.
  const auto other = feed(*cache, {good_});
  const std::size_t before = good_->asked().size();
  other->will_need(0, {0});
  while (good_->asked().size() == before) real_clock().sleep_for(Seconds(0.002));
}

TEST_F(ShardFeeds, TwoWorkersShareACacheAndTheFetching) {
  const auto cache = cache_for(7);
  const auto work = [&](std::int64_t offset) {
    const auto mine = feed(*cache, {good_});
    mine->will_need(0, {offset, 2});
    for (std::int64_t step = 0; step < 8; ++step) {
      for (const std::int64_t i : {offset, std::int64_t{2}}) EXPECT_TRUE(same(*mine, step, i));
    }
  };
  {
    std::jthread one([&] { work(0); }), two([&] { work(1); });
  }
  const auto asked = good_->asked();
  EXPECT_EQ(asked.size(), std::set<Digest>(asked.begin(), asked.end()).size()) << "nobody fetched what the other did";
}

TEST_F(ShardFeeds, TwoWorkersShareACacheWithRoomForOneShard) {
  const auto cache = cache_for(1);
  const auto work = [&](std::int64_t offset) {
    const auto mine = feed(*cache, {good_});
    mine->will_need(0, {offset});
    for (std::int64_t step = 0; step < 3; ++step) EXPECT_TRUE(same(*mine, step, offset));
  };
  std::jthread one([&] { work(0); }), two([&] { work(1); });
}

TEST_F(ShardFeeds, WhatCannotWorkIsSaidAtOnce) {
  const auto small = cache_for(0.5);
  const auto too_small = ShardFeed::create(info_, kContext, sampler(), kRows, *small, {good_}, {});
  ASSERT_FALSE(too_small);
  EXPECT_EQ(too_small.error().code, ErrorCode::no_space);
  const auto cache = cache_for(7);
  EXPECT_EQ(ShardFeed::create(info_, kContext, sampler(), kRows, *cache, {}, {}).error().code, ErrorCode::usage);
  EXPECT_EQ(ShardFeed::create(info_, 100'000, sampler(), kRows, *cache, {good_}, {}).error().code, ErrorCode::empty);
  data::DatasetInfo impossible = info_;
  impossible.of(data::Split::train)[0].documents = std::uint64_t{1} << 62;
  EXPECT_EQ(ShardFeed::create(impossible, kContext, sampler(), kRows, *cache, {good_}, {}).error().code, ErrorCode::corrupt);
}

TEST_F(ShardFeeds, StepsOutOfTheirOrderAreFilledToo) {
  const auto cache = cache_for(2);
  const auto any = feed(*cache, {good_});
  any->will_need(4, {1, 2});
  for (const auto& [step, i] : std::vector<std::pair<std::int64_t, std::int64_t>>{{4, 2}, {4, 1}, {9, 0}, {0, 0}, {5, 1}, {5, 1}})
    ASSERT_TRUE(same(*any, step, i));
}

}  // namespace
}  // namespace suanli::pool
