#include "suanli/plan/fleet_step.h"

#include <gtest/gtest.h>

#include <numeric>

namespace suanli::plan {
namespace {

MachinePace pace(double micro_batch, double update = 0) {
  return {.micro_batch = {0.9 * micro_batch, micro_batch, 1.2 * micro_batch},
          .update = Interval::exactly(update),
          .backward_share = 0.5};
}

double end_of(const std::vector<MachinePace>& machines, const std::vector<std::int64_t>& shares) {
  double end = 0;
  for (std::size_t i = 0; i < machines.size(); ++i)
    end = std::max(end, shares[i] == 0
                            ? 0
                            : static_cast<double>(shares[i]) * machines[i].micro_batch.expected + machines[i].update.expected);
  return end;
}

// By trying all.
double best_end(const std::vector<MachinePace>& machines, std::int64_t left, std::vector<std::int64_t> shares = {}) {
  if (shares.size() + 1 == machines.size()) {
    shares.push_back(left);
    return end_of(machines, shares);
  }
  double best = 1e300;
  for (std::int64_t share = 0; share <= left; ++share) {
    auto more = shares;
    more.push_back(share);
    best = std::min(best, best_end(machines, left - share, more));
  }
  return best;
}

TEST(FleetStep, SharesAreTheBestThereAre) {
  const std::vector<std::vector<MachinePace>> fleets = {
      {pace(1), pace(1)}, {pace(1), pace(3)}, {pace(1, 2), pace(3, 1), pace(0.7)}, {pace(5), pace(0.3, 4)}};
  for (const auto& machines : fleets)
    for (const std::int64_t micro_batches : {1, 2, 7, 24}) {
      const auto shares = balanced_shares(machines, micro_batches);
      EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}), micro_batches);
      EXPECT_DOUBLE_EQ(end_of(machines, shares), best_end(machines, micro_batches));
    }
}

TEST(FleetStep, AMachineThreeTimesFasterTakesThreeQuarters) {
  EXPECT_EQ(balanced_shares(std::vector<MachinePace>{pace(1), pace(3)}, 64), (std::vector<std::int64_t>{48, 16}));
}

TEST(FleetStep, RingsMoveTwiceTheBytesLessTwoParts) {
  const Bytes bytes(4'000'000);
  EXPECT_EQ(ring_all_reduce(bytes, 1, BytesPerSecond(1e6), Seconds(1)), Seconds(0));
  EXPECT_DOUBLE_EQ(ring_all_reduce(bytes, 2, BytesPerSecond(1e6), Seconds(0)).value(), 4);
  EXPECT_DOUBLE_EQ(ring_all_reduce(bytes, 4, BytesPerSecond(1e6), Seconds(0.01)).value(), 6 + 0.06);
}

TEST(FleetStep, TheSlowestMachineEndsTheStepAndHidesWhatItsBackwardHides) {
  const std::vector<MachinePace> machines = {pace(2), pace(3)};
  const FleetStep step = fleet_step(machines, 10, Bytes(2'000'000), BytesPerSecond(1e6), Seconds(0));
  EXPECT_EQ(step.shares, (std::vector<std::int64_t>{6, 4}));
  EXPECT_DOUBLE_EQ(step.compute.expected, 12);
  EXPECT_DOUBLE_EQ(step.compute.high, 1.2 * 12);
  EXPECT_DOUBLE_EQ(step.all_reduce, 2);
  EXPECT_DOUBLE_EQ(step.hideable, 1);
  EXPECT_EQ(step.working, 2);
}

TEST(FleetStep, WhoHasNothingToDoIsNotInTheRing) {
  const FleetStep step =
      fleet_step(std::vector<MachinePace>{pace(1), pace(1), pace(1)}, 1, Bytes(1000), BytesPerSecond(1), Seconds(1));
  EXPECT_EQ(step.working, 1);
  EXPECT_EQ(step.all_reduce, 0);
  EXPECT_DOUBLE_EQ(step.compute.expected, 1);
}

}  // namespace
}  // namespace suanli::plan
