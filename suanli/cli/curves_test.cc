#include "suanli/cli/curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"

namespace suanli::cli {
namespace {

using ::testing::HasSubstr;

TEST(Curves, ReadsLossesAndLeavesOutTheRest) {
  const auto curves = parse_curves(
      "{\"kind\":\"start\",\"step\":0}\n"
      "{\"kind\":\"step\",\"step\":1,\"loss\":5}\n"
      "{\"kind\":\"step\",\"step\":2,\"loss\":null}\n"
      "{\"kind\":\"eval\",\"step\":2,\"valid_loss\":4.5}\n"
      "{\"kind\":\"step\",\"step\":3,\"loss\":4}\n"
      "{\"kind\":\"step\",\"st",
      "m");
  ASSERT_TRUE(curves) << curves.error().to_string();
  ASSERT_EQ(curves->train.size(), 2u);
  EXPECT_EQ(curves->train[1].x, 3);
  EXPECT_EQ(curves->train[1].y, 4);
  ASSERT_EQ(curves->valid.size(), 1u);
  EXPECT_EQ(curves->valid[0].y, 4.5);
  EXPECT_EQ(curves->damaged, 1);
}

TEST(Curves, StepsDoneAgainReplaceTheOldOnes) {
  const auto curves = parse_curves(
      "{\"kind\":\"step\",\"step\":1,\"loss\":5}\n"
      "{\"kind\":\"step\",\"step\":2,\"loss\":9}\n"
      "{\"kind\":\"step\",\"step\":2,\"loss\":4}\n",
      "m");
  ASSERT_TRUE(curves);
  ASSERT_EQ(curves->train.size(), 2u);
  EXPECT_EQ(curves->train[1].y, 4);
}

TEST(Curves, SaysWhatIsWrong) {
  const auto foreign = parse_curves("hello\nworld\n", "/runs/a/metrics.jsonl");
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, ErrorCode::foreign);
  EXPECT_EQ(foreign.error().place, "/runs/a/metrics.jsonl");
  EXPECT_EQ(parse_curves("", "m").error().code, ErrorCode::empty);
  EXPECT_EQ(parse_curves("{\"kind\":\"start\",\"step\":0}\n", "m").error().code, ErrorCode::empty);
  const auto missing = read_curves("/nonexistent/run");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().place, HasSubstr("/nonexistent/run"));
}

TEST(Curves, WritesThePicture) {
  const TestFolder folder;
  const Chart chart = loss_chart({.train = {{1, 5}, {2, 4}}, .valid = {}, .damaged = 0}, "loss");
  ASSERT_TRUE(write_loss_svg(chart, folder / "loss.svg"));
  EXPECT_THAT(*read_file(folder / "loss.svg"), HasSubstr("</svg>"));
  EXPECT_FALSE(write_loss_svg(chart, folder / "none/loss.svg"));
}

}  // namespace
}  // namespace suanli::cli
