#include "suanli/meter/quantile.h"

#include <gtest/gtest.h>

namespace suanli::meter {
namespace {

TEST(Quantile, IsLinearBetweenNeighbours) {
  EXPECT_EQ(quantile({7}, 0.9), 7);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(quantile({5, 1, 2, 3, 4}, 0), 1);
  EXPECT_EQ(quantile({5, 1, 2, 3, 4}, 1), 5);
  EXPECT_DOUBLE_EQ(quantile({10, 20, 30, 40, 50}, 0.1), 14);
}

TEST(QuantileDeathTest, OfNothingIsABug) { EXPECT_DEATH(median({}), "values"); }

}  // namespace
}  // namespace suanli::meter
