#include "suanli/meter/budget.h"

#include <gtest/gtest.h>

namespace suanli::meter {
namespace {

TEST(Budget, WithoutLimitEverythingMayStart) {
  const Budget budget;
  EXPECT_FALSE(budget.limited());
  EXPECT_TRUE(budget.may_start(Flops(1e30), Flops(1e30)));
}

TEST(Budget, IsSpentToTheLastOperationAndNeverOverrun) {
  const Budget budget(Flops(100));
  EXPECT_TRUE(budget.may_start(Flops(40), Flops(60)));
  EXPECT_FALSE(budget.may_start(Flops(41), Flops(60)));
  EXPECT_FALSE(budget.may_start(Flops(101), Flops(0)));
}

TEST(Budget, TellsWhatIsLeft) {
  const Budget budget(Flops(100));
  EXPECT_EQ(budget.left(Flops(30)), Flops(70));
  EXPECT_EQ(budget.left(Flops(130)), Flops(0))
      << "a lower limit on resume leaves nothing, not less";
  EXPECT_EQ(budget.fits(Flops(30), Flops(10)), 3);
  EXPECT_EQ(budget.fits(Flops(30), Flops(100)), 0);
  EXPECT_EQ(Budget(Flops(1e300)).fits(Flops(1), Flops(0)), 1'000'000'000'000'000'000);
}

}  // namespace
}  // namespace suanli::meter
