#include "suanli/data/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::data {
namespace {

using ::testing::HasSubstr;

TEST(Program, GivesItsOutput) {
  EXPECT_EQ(run_program({"printf", "%s-%s", "a b", "$HOME"}).value(), "a b-$HOME");
}

TEST(Program, HasNoInput) { EXPECT_EQ(run_program({"cat"}).value(), ""); }

TEST(Program, FailuresAreErrors) {
  EXPECT_EQ(run_program({"/nonexistent/program"}).error().code, ErrorCode::not_found);
  EXPECT_THAT(run_program({"false"}).error().message, HasSubstr("exit code 1"));
  EXPECT_THAT(run_program({"sleep", "1000"}, {Seconds(0.05), Bytes(100)}).error().message,
              HasSubstr("did not end within"));
  EXPECT_THAT(run_program({"yes"}, {Seconds(60), Bytes(1000)}).error().message,
              HasSubstr("printed more than"));
}

}  // namespace
}  // namespace suanli::data
