#include "suanli/engine/memory_plan.h"

#include <gtest/gtest.h>

#include "suanli/base/philox.h"

namespace suanli::engine {
namespace {

TEST(MemoryPlan, NothingNeedsNothing) {
  std::vector<Lifetime> none;
  const ArenaPlan plan = plan_arena(none);
  EXPECT_EQ(plan.size, Bytes(0));
  EXPECT_EQ(plan.least, Bytes(0));
}

TEST(MemoryPlan, BuffersThatNeverMeetShareTheirBytes) {
  std::vector<Lifetime> buffers = {{100, 0, 1}, {100, 2, 3}, {64, 1, 2}};
  const ArenaPlan plan = plan_arena(buffers);
  EXPECT_EQ(buffers[0].offset, buffers[1].offset);
  EXPECT_EQ(plan.size, Bytes(128 + 64));
  EXPECT_EQ(plan.least, Bytes(128 + 64));
}

TEST(MemoryPlan, RandomBuffersNeverOverlapWhileAlive) {
  const Philox random(7, Stream::test);
  for (std::uint64_t round = 0; round < 50; ++round) {
    std::vector<Lifetime> buffers;
    for (std::uint64_t i = 0; i < 60; ++i) {
      const std::uint64_t at = (round * 60 + i) * 3;
      const int first = static_cast<int>(random.below(100, at));
      buffers.push_back({static_cast<std::int64_t>(random.below(5000, at + 1)), first,
                         first + static_cast<int>(random.below(20, at + 2))});
    }
    const ArenaPlan plan = plan_arena(buffers);
    EXPECT_GE(plan.size, plan.least);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_EQ(buffers[i].offset % kAlignment, 0);
      EXPECT_LE(buffers[i].offset + buffers[i].size, plan.size.value());
      for (std::size_t j = 0; j < i; ++j) {
        const bool together =
            buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
        const bool overlap = buffers[i].offset < buffers[j].offset + buffers[j].size &&
                             buffers[j].offset < buffers[i].offset + buffers[i].size;
        EXPECT_FALSE(together && overlap) << "round " << round << ": " << i << " and " << j;
      }
    }
  }
}

}  // namespace
}  // namespace suanli::engine
