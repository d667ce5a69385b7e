#include "suanli/data/shard_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "suanli/base/test_folder.h"
#include "suanli/data/dataset_for_test.h"

namespace suanli::data {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kTokens = 20'000;
const std::atomic<bool> kGoOn = false;

class ShardCaches : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_ / "dataset");
    info_ = write_dataset_for_test(folder_ / "dataset", texts_for_test(6, kTokens));
    source_ = std::make_unique<FolderShards>(folder_ / "dataset", info_);
  }
  const std::vector<ShardEntry>& shards() const { return info_.of(Split::train); }
  WantedShard wanted(std::size_t i) const { return wanted_shard(info_, shards()[i]).value(); }
  std::unique_ptr<ShardCache> cache_for(std::size_t count) {
    return ShardCache::open(folder_ / "cache", Bytes(static_cast<std::int64_t>(count * wanted(0).bytes))).value();
  }
  // Brings what is not there; whether it had to.
  bool bring(ShardCache& cache, std::size_t i) {
    auto claim = cache.claim(wanted(i)).value();
    if (claim.shard) return false;
    EXPECT_TRUE(claim.incoming);
    EXPECT_TRUE(source_->fetch(wanted(i), claim.incoming->bytes(), kGoOn));
    const auto kept = cache.keep(std::move(claim.incoming), source_->name());
    EXPECT_TRUE(kept) << kept.error().to_string();
    return true;
  }
  std::string here(const ShardCache& cache) const {
    std::string text;
    for (std::size_t i = 0; i < shards().size(); ++i) text += cache.contains(shards()[i].digest) ? std::to_string(i) : "-";
    return text;
  }
  std::string shard_path(std::size_t i, const std::string& suffix = ".shard") {
    return folder_ / "cache" + "/" + shards()[i].digest.hex() + suffix;
  }

  TestFolder folder_;
  DatasetInfo info_;
  std::unique_ptr<FolderShards> source_;
};

TEST_F(ShardCaches, KeepsWhatWasBroughtAndFindsItAgain) {
  auto cache = cache_for(6);
  EXPECT_EQ(cache->find(shards()[0].digest), nullptr);
  EXPECT_TRUE(bring(*cache, 0));
  EXPECT_FALSE(bring(*cache, 0));
  const auto shard = cache->find(shards()[0].digest);
  ASSERT_NE(shard, nullptr);
  const auto original = source_->find(shards()[0].digest);
  ASSERT_NE(original, nullptr);
  EXPECT_TRUE(std::ranges::equal(shard->file_bytes(), original->file_bytes()));
  EXPECT_EQ(shard->file_bytes().size(), wanted(0).bytes) << "the size follows from the list";
  EXPECT_EQ(cache->size().value(), static_cast<std::int64_t>(wanted(0).bytes));
  cache = cache_for(6);
  EXPECT_FALSE(bring(*cache, 0)) << "a new process finds it";
}

TEST_F(ShardCaches, WhatWasUsedLongestAgoGoesFirst) {
  const auto cache = cache_for(3);
  for (const std::size_t i : {0, 1, 2}) EXPECT_TRUE(bring(*cache, i));
  EXPECT_NE(cache->find(shards()[0].digest), nullptr);
  EXPECT_TRUE(bring(*cache, 3));
  EXPECT_EQ(here(*cache), "0-23--");
  cache->touch(shards()[2].digest);
  EXPECT_TRUE(bring(*cache, 4));
  EXPECT_EQ(here(*cache), "--234-");
  EXPECT_LE(cache->size(), cache->limit());
}

TEST_F(ShardCaches, WhatIsHeldStays) {
  const auto cache = cache_for(2);
  bring(*cache, 0);
  bring(*cache, 1);
  auto first = cache->find(shards()[0].digest);
  cache->touch(shards()[1].digest);
  EXPECT_TRUE(bring(*cache, 2));
  EXPECT_EQ(here(*cache), "0-2---");
  const auto other = cache->find(shards()[2].digest);
  auto claim = cache->claim(wanted(3)).value();
  EXPECT_EQ(claim.wait, ShardCache::Wait::full_of_shards_in_use);
  EXPECT_EQ(claim.incoming, nullptr);
  EXPECT_EQ(here(*cache), "0-2---") << "nothing goes in vain";
  // Another process in the same folder sees what this one holds.
  const auto second = cache_for(2);
  EXPECT_EQ(second->claim(wanted(3)).value().wait, ShardCache::Wait::full_of_shards_in_use);
  first.reset();
  EXPECT_TRUE(bring(*second, 3));
  EXPECT_EQ(here(*cache), "--23--");
}

TEST_F(ShardCaches, WhatIsLookedAtMayGoAndStaysReadable) {
  const auto cache = cache_for(1);
  bring(*cache, 0);
  const auto shard = cache->peek(shards()[0].digest);
  ASSERT_NE(shard, nullptr);
  EXPECT_EQ(cache->peek(shards()[0].digest), shard);
  EXPECT_TRUE(bring(*cache, 1));
  EXPECT_EQ(here(*cache), "-1----");
  EXPECT_TRUE(shard->verify());
  EXPECT_EQ(cache->peek(shards()[0].digest), nullptr);
}

TEST_F(ShardCaches, WhatIsOnItsWayCounts) {
  const auto cache = cache_for(2);
  auto one = cache->claim(wanted(0)).value(), two = cache->claim(wanted(1)).value();
  ASSERT_TRUE(one.incoming && two.incoming);
  EXPECT_EQ(cache->size(), cache->limit());
  EXPECT_EQ(cache->claim(wanted(0)).value().wait, ShardCache::Wait::fetched_by_another);
  EXPECT_EQ(cache->claim(wanted(2)).value().wait, ShardCache::Wait::full_of_shards_in_use);
  one.incoming.reset();
  EXPECT_TRUE(cache->claim(wanted(2)).value().incoming);
}

TEST_F(ShardCaches, LargerThanTheLimitSaysWhatToDo) {
  const auto cache = ShardCache::open(folder_ / "cache", Bytes(1000)).value();
  const auto claim = cache->claim(wanted(0));
  ASSERT_FALSE(claim);
  EXPECT_EQ(claim.error().code, ErrorCode::no_space);
  EXPECT_THAT(claim.error().message, HasSubstr("train-0.shard"));
  EXPECT_THAT(claim.error().next_step, HasSubstr(std::to_string(wanted(0).bytes)));
}

TEST_F(ShardCaches, WhatComesDamagedIsNotKept) {
  const auto cache = cache_for(6);
  // Each place lies in another part: header, tokens, index. Then a whole other shard, and nothing at all.
  for (const std::size_t place : {std::size_t{3}, std::size_t{100}, std::size_t{5000}, wanted(0).bytes - 1}) {
    auto claim = cache->claim(wanted(0)).value();
    ASSERT_TRUE(source_->fetch(wanted(0), claim.incoming->bytes(), kGoOn));
    claim.incoming->bytes()[place] ^= std::byte{1};
    const auto kept = cache->keep(std::move(claim.incoming), "folder far away");
    ASSERT_FALSE(kept) << place;
    EXPECT_EQ(kept.error().code, ErrorCode::corrupt);
    EXPECT_THAT(kept.error().message, HasSubstr("folder far away"));
    EXPECT_EQ(here(*cache), "------");
  }
  auto claim = cache->claim(wanted(0)).value();
  ASSERT_TRUE(source_->fetch(wanted(1), claim.incoming->bytes(), kGoOn));
  EXPECT_EQ(cache->keep(std::move(claim.incoming), "x").error().code, ErrorCode::mismatch);
  claim = cache->claim(wanted(0)).value();
  EXPECT_EQ(cache->keep(std::move(claim.incoming), "x").error().code, ErrorCode::corrupt);
  EXPECT_EQ(cache->size(), Bytes(0));
  EXPECT_TRUE(bring(*cache, 0));
}

TEST_F(ShardCaches, WhatTheDiskDamagedIsRemovedAndBroughtAgain) {
  bring(*cache_for(6), 0);
  {
    std::fstream file(shard_path(0), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(7000);
    file.put('\xfe').put('\xfd').put('\xfc');
  }
  const auto cache = cache_for(6);
  EXPECT_EQ(cache->find(shards()[0].digest), nullptr);
  EXPECT_EQ(here(*cache), "------");
  EXPECT_TRUE(bring(*cache, 0));
  EXPECT_NE(cache->find(shards()[0].digest), nullptr);
}

TEST_F(ShardCaches, AProcessThatDiesInTheMiddleLeavesNothingThatIsFound) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto claim = cache_for(2)->claim(wanted(0)).value();
    const bool fetched = source_->fetch(wanted(0), claim.incoming->bytes(), kGoOn).has_value();
    if (fetched) _exit(7);  // without a destructor, as if it had been killed
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 7);
  ASSERT_TRUE(std::filesystem::exists(shard_path(0, ".part")));
  const auto cache = cache_for(1);  // no room beside the leftover
  EXPECT_EQ(cache->find(shards()[0].digest), nullptr);
  EXPECT_TRUE(bring(*cache, 1));
  EXPECT_FALSE(std::filesystem::exists(shard_path(0, ".part")));
  EXPECT_TRUE(bring(*cache, 0));
}

TEST_F(ShardCaches, TwoProcessesAndSomeThreadsShareAFolder) {
  // Everybody asks for everything many times, in a cache for half of it; nobody may see a wrong byte.
  const auto work = [&](std::size_t seed) {
    const auto cache = cache_for(3);
    for (std::size_t round = 0; round < 60; ++round) {
      const std::size_t i = (seed + round * (seed % 3 + 1)) % shards().size();
      for (;;) {
        auto claim = cache->claim(wanted(i)).value();
        if (claim.incoming) {
          if (!source_->fetch(wanted(i), claim.incoming->bytes(), kGoOn)) return false;
          claim.shard = cache->keep(std::move(claim.incoming), "x").value();
        }
        if (!claim.shard) {
          std::this_thread::yield();
          continue;
        }
        const auto original = Shard::open(folder_ / "dataset" + "/" + shards()[i].file);
        if (!std::ranges::equal(claim.shard->file_bytes(), original->file_bytes())) return false;
        break;
      }
    }
    return true;
  };
  std::vector<pid_t> children;
  for (const std::size_t seed : {1, 2}) {
    children.push_back(fork());
    ASSERT_GE(children.back(), 0);
    if (children.back() == 0) _exit(work(seed) ? 0 : 1);
  }
  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (const std::size_t seed : {3, 4}) threads.emplace_back([&, seed] { good += work(seed); });
  }
  EXPECT_EQ(good, 2);
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_LE(cache_for(3)->size(), cache_for(3)->limit());
}

TEST_F(ShardCaches, FilesOfOthersAreLeftAlone) {
  const auto cache = cache_for(1);
  std::ofstream(folder_ / "cache" + "/notes.shard") << std::string(100'000, 'x');
  bring(*cache, 0);
  bring(*cache, 1);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "cache" + "/notes.shard"));
  EXPECT_EQ(here(*cache), "-1----");
}

TEST_F(ShardCaches, AFolderBringsOnlyWhatItLists) {
  std::atomic<bool> stop = true;
  std::vector<std::byte> place(wanted(0).bytes);
  EXPECT_EQ(source_->fetch(wanted(0), place, stop).error().code, ErrorCode::interrupted);
  std::filesystem::resize_file(folder_ / "dataset/train-0.shard", 1000);
  EXPECT_EQ(source_->fetch(wanted(0), place, kGoOn).error().code, ErrorCode::mismatch);
  EXPECT_EQ(source_->find(shards()[0].digest), nullptr);
  std::filesystem::remove(folder_ / "dataset/train-0.shard");
  EXPECT_EQ(source_->fetch(wanted(0), place, kGoOn).error().code, ErrorCode::not_found);
  EXPECT_EQ(source_->find(sha256("another")), nullptr);
}

}  // namespace
}  // namespace suanli::data
