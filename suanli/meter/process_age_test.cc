#include "suanli/meter/process_age.h"

#include <gtest/gtest.h>

#include "suanli/base/clock.h"

namespace suanli::meter {
namespace {

TEST(ProcessAge, GrowsWithTime) {
  const Seconds first = process_age();
  const Seconds before = real_clock().now();
  real_clock().sleep_for(Seconds(0.02));
  const Seconds grown = process_age() - first, passed = real_clock().now() - before;
  EXPECT_GE(first.value(), 0);
  EXPECT_LT(first.value(), 3600) << "a test does not run for an hour";
  EXPECT_GE(grown.value(), 0.019);
  EXPECT_LE(grown.value(), passed.value() + 0.001);
}

}  // namespace
}  // namespace suanli::meter
