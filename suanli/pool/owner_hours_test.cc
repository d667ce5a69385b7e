#include "suanli/pool/owner_hours.h"

#include <gtest/gtest.h>

namespace suanli::pool {
namespace {

TEST(OwnerHours, DayAndNight) {
  const protocol::HoursWindow day{9 * 60, 17 * 60 + 30}, night{22 * 60, 7 * 60};
  EXPECT_FALSE(is_within(day, 9 * 60 - 1));
  EXPECT_TRUE(is_within(day, 9 * 60));
  EXPECT_TRUE(is_within(day, 17 * 60 + 29));
  EXPECT_FALSE(is_within(day, 17 * 60 + 30));
  EXPECT_FALSE(is_within(night, 22 * 60 - 1));
  EXPECT_TRUE(is_within(night, 22 * 60));
  EXPECT_TRUE(is_within(night, 0));
  EXPECT_TRUE(is_within(night, 7 * 60 - 1));
  EXPECT_FALSE(is_within(night, 7 * 60));
}

TEST(OwnerHours, Text) {
  EXPECT_EQ(clock_text(0), "00:00");
  EXPECT_EQ(clock_text(7 * 60 + 5), "07:05");
  EXPECT_EQ(clock_text(23 * 60 + 59), "23:59");
}

}  // namespace
}  // namespace suanli::pool
