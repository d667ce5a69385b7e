#include "suanli/base/error.h"
#include "suanli/base/error_name.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace suanli {
namespace {

const std::vector<ErrorCode> kAllCodes = {
#define SUANLI_ERROR_CODE(name, exit_code, when) ErrorCode::name,
#include "suanli/base/error_codes.def"
#undef SUANLI_ERROR_CODE
};

TEST(Error, EveryCodeHasItsOwnNameAMeaningAndANonZeroExitCode) {
  std::set<std::string_view> names;
  for (ErrorCode code : kAllCodes) {
    EXPECT_TRUE(names.insert(name_of(code)).second) << name_of(code);
    EXPECT_EQ(error_code_named(name_of(code)), code);
    EXPECT_FALSE(meaning_of(code).empty()) << name_of(code);
    EXPECT_GT(exit_code_of(code), 0) << name_of(code);
    EXPECT_LT(exit_code_of(code), 126) << name_of(code);  // above, shells give their own meaning
  }
}

// Scripts depend on these numbers.
TEST(Error, ExitCodesAreStable) {
  EXPECT_EQ(exit_code_of(ErrorCode::usage), 2);
  EXPECT_EQ(exit_code_of(ErrorCode::config), 3);
  EXPECT_EQ(exit_code_of(ErrorCode::corrupt), 1);
  EXPECT_EQ(exit_code_of(ErrorCode::interrupted), 5);
  EXPECT_EQ(exit_code_of(ErrorCode::budget), 7);
}

TEST(Error, TextHasPlaceMessageNextStepAndCode) {
  EXPECT_EQ((Error{ErrorCode::corrupt, "digest is ab", "a.shard", "load it again"}).to_string(),
            "a.shard: digest is ab; load it again [corrupt]");
  EXPECT_EQ((Error{ErrorCode::usage, "no flag --x", "", ""}).to_string(), "no flag --x [usage]");
}

TEST(Error, WithinPutsTheOuterPlaceFirst) {
  Error error = Error{ErrorCode::io, "m", "tensor 3", ""}.within("a.ckpt");
  EXPECT_EQ(error.place, "a.ckpt: tensor 3");
  error = Error{ErrorCode::io, "m", "", ""}.within("a.ckpt");
  EXPECT_EQ(error.place, "a.ckpt");
}

TEST(Error, SystemErrorsBecomeTheCodeACallerActsOn) {
  EXPECT_EQ(system_error(ENOSPC, "writing", "f").code, ErrorCode::no_space);
  EXPECT_EQ(system_error(EFBIG, "writing", "f").code, ErrorCode::no_space);
  EXPECT_EQ(system_error(EDQUOT, "writing", "f").code, ErrorCode::no_space);
  EXPECT_EQ(system_error(ENOENT, "opening", "f").code, ErrorCode::not_found);
  EXPECT_EQ(system_error(ENOMEM, "mapping", "f").code, ErrorCode::no_memory);
  EXPECT_NE(system_error(ENOMEM, "mapping", "f").next_step.find("smaller model"), std::string::npos);
  const Error error = system_error(EACCES, "opening", "dir/f");
  EXPECT_EQ(error.code, ErrorCode::io);
  EXPECT_EQ(error.place, "dir/f");
  EXPECT_EQ(error.message, "opening failed: Permission denied");
  EXPECT_FALSE(error.next_step.empty());
}

Result<int> half(int value) {
  if (value % 2 != 0) return fail(ErrorCode::usage, std::to_string(value) + " is odd", "half");
  return value / 2;
}

Result<int> quarter(int value) {
  SUANLI_ASSIGN_OR_RETURN(const int once, half(value));
  SUANLI_ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Status check_quarter(int value) {
  SUANLI_RETURN_IF_ERROR(quarter(value));
  return {};
}

Result<std::unique_ptr<int>> boxed(bool good) {
  if (!good) return fail(ErrorCode::empty, "no box");
  return std::make_unique<int>(7);
}

Result<int> unboxed(bool good) {
  SUANLI_ASSIGN_OR_RETURN(const std::unique_ptr<int> box, boxed(good));
  return *box;
}

TEST(Error, MacrosPassValuesOnAndErrorsOut) {
  EXPECT_EQ(quarter(12).value(), 3);
  ASSERT_FALSE(quarter(6).has_value());
  EXPECT_EQ(quarter(6).error().message, "3 is odd");
  EXPECT_TRUE(check_quarter(8).has_value());
  EXPECT_EQ(check_quarter(5).error().to_string(), "half: 5 is odd [usage]");
}

TEST(Error, MacrosMoveValuesThatCannotBeCopied) {
  EXPECT_EQ(unboxed(true).value(), 7);
  EXPECT_EQ(unboxed(false).error().code, ErrorCode::empty);
}

TEST(ErrorDeathTest, AFailedCheckNamesConditionAndPlace) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int two = 2;
  SUANLI_CHECK(two == 2);
  EXPECT_DEATH(SUANLI_CHECK(two == 3), "error_test.cc:[0-9]+: internal check failed: two == 3");
}

}  // namespace
}  // namespace suanli
