#include "suanli/data/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace suanli::data {
namespace {

std::vector<std::uint64_t> order(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch) {
  const Permutation permutation(size, seed, epoch);
  std::vector<std::uint64_t> result(size);
  for (std::uint64_t i = 0; i < size; ++i) result[i] = permutation(i);
  return result;
}

bool is_permutation_of_all(std::vector<std::uint64_t> values) {
  std::sort(values.begin(), values.end());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] != i) return false;
  }
  return true;
}

TEST(Permutation, IsABijectionForEverySize) {
  std::vector<std::uint64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 1);
  for (const std::uint64_t power : {512, 1024, 4096, 16384, 65536}) {
    for (const std::uint64_t size : {power - 1, power, power + 1}) sizes.push_back(size);
  }
  for (const std::uint64_t prime : {1009, 7919, 65537, 104729}) sizes.push_back(prime);
  for (const std::uint64_t size : sizes) {
    EXPECT_TRUE(is_permutation_of_all(order(size, 7, 0))) << size;
    EXPECT_TRUE(is_permutation_of_all(order(size, 7, 3))) << size;
  }
}

TEST(Permutation, HugeSizesStayInRangeAndDoNotRepeat) {
  for (const std::uint64_t size :
       {(std::uint64_t{1} << 40) + 1, (std::uint64_t{1} << 62) - 1, std::uint64_t{1} << 62}) {
    const Permutation permutation(size, 1, 0);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      const std::uint64_t value = permutation(i);
      EXPECT_LT(value, size);
      EXPECT_TRUE(seen.insert(value).second);
    }
  }
}

TEST(Permutation, EpochsAndSeedsDiffer) {
  for (const std::uint64_t size : {10, 100, 1000}) {
    EXPECT_NE(order(size, 1, 0), order(size, 1, 1));
    EXPECT_NE(order(size, 1, 0), order(size, 2, 0));
    EXPECT_NE(order(size, 1, 1), order(size, 2, 0));
  }
  EXPECT_NE(order(10, 1, 0), order(10, 1, std::uint64_t{1} << 32))
      << "the high half of the epoch counts";
  EXPECT_NE(order(10, 1, 0), order(10, 1 + (std::uint64_t{1} << 32), 0))
      << "the high half of the seed counts";
}

// All 24 orders of four windows come about equally often: chi-square with 23 degrees of freedom
// exceeds 58.6 in one of 60,000 cases.
TEST(Permutation, AllOrdersAreEquallyLikely) {
  std::map<std::vector<std::uint64_t>, int> counts;
  constexpr int kDraws = 24'000;
  for (int seed = 0; seed < kDraws; ++seed) ++counts[order(4, static_cast<std::uint64_t>(seed), 0)];
  EXPECT_EQ(counts.size(), 24u);
  double chi_square = 0;
  for (const auto& [unused, count] : counts)
    chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 58.6);
}

// Where a large order begins is spread over the whole range: 100 bins, 99 degrees of freedom, bound
// at 5 sigma.
TEST(Permutation, PositionsSpreadEvenly) {
  constexpr std::uint64_t kSize = 1'000'003;
  std::vector<double> bins(100);
  constexpr int kDraws = 20'000;
  for (int seed = 0; seed < kDraws; ++seed) {
    bins[Permutation(kSize, static_cast<std::uint64_t>(seed), 5)(17) * bins.size() / kSize] += 1;
  }
  double chi_square = 0;
  for (const double count : bins) chi_square += (count - 200) * (count - 200) / 200;
  EXPECT_LT(chi_square, 99 + 5 * std::sqrt(2 * 99.0));
}

// Neighbours are not kept together: among 1,000 pairs of consecutive positions about one stays a
// pair.
TEST(Permutation, BreaksNeighbours) {
  const std::vector<std::uint64_t> values = order(1000, 3, 0);
  int pairs = 0;
  for (std::size_t i = 1; i < values.size(); ++i) pairs += values[i] == values[i - 1] + 1;
  EXPECT_LT(pairs, 10);
}

TEST(Sampler, NoWindowTwiceWithinAnEpoch) {
  for (const std::uint64_t windows : {1, 2, 3, 7, 12, 31, 32, 33, 101}) {
    const Sampler sampler = *Sampler::create(windows, 5, 42);
    std::map<std::uint64_t, std::vector<std::uint64_t>> by_epoch;
    for (std::uint64_t step = 0; step < windows; ++step) {  // 5 epochs
      for (std::uint64_t i = 0; i < 5; ++i)
        by_epoch[sampler.epoch(step, i)].push_back(sampler.at(step, i));
    }
    EXPECT_EQ(by_epoch.size(), 5u);
    for (const auto& [epoch, ids] : by_epoch) {
      EXPECT_EQ(ids.size(), windows);
      EXPECT_TRUE(is_permutation_of_all(ids)) << windows << " windows, epoch " << epoch;
    }
  }
}

TEST(Sampler, DependsOnThePositionAlone) {
  const Sampler fours = *Sampler::create(50, 4, 9), twos = *Sampler::create(50, 2, 9);
  for (std::uint64_t step = 0; step < 40; ++step) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(fours.at(step, i), twos.at(2 * step + i / 2, i % 2));
    }
  }
}

// The order is part of what a run is: a change of these numbers breaks every resumed run.
TEST(Sampler, OrderIsStable) {
  const Sampler sampler = *Sampler::create(10, 10, 1);
  std::vector<std::uint64_t> ids;
  for (std::uint64_t i = 0; i < 10; ++i) ids.push_back(sampler.at(0, i));
  EXPECT_THAT(ids, ::testing::ElementsAre(3, 0, 2, 8, 9, 1, 7, 4, 6, 5));
}

TEST(Sampler, NoWindowsIsAnError) {
  const auto sampler = Sampler::create(0, 4, 1);
  EXPECT_EQ(sampler.error().code, ErrorCode::empty);
  EXPECT_THAT(sampler.error().message, ::testing::HasSubstr("context is longer than every shard"));
}

TEST(SamplerDeathTest, IndexOutsideTheStepIsABug) {
  const Sampler sampler = *Sampler::create(10, 4, 1);
  EXPECT_DEATH(sampler.at(0, 4), "index < samples_per_step_");
}

}  // namespace
}  // namespace suanli::data
