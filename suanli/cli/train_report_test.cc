#include "suanli/cli/train_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suanli::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RunEnd some_end(train::Outcome outcome) {
  RunEnd end;
  end.report.outcome = outcome;
  end.report.run_folder = "/runs/my run";
  end.report.step = 60;
  end.report.steps = 100;
  end.report.loss = 2.5;
  end.report.valid_loss = 2.0;
  end.report.best_valid_loss = 1.9;
  end.report.usage.work.total = Flops(3e12);
  end.report.usage.of(meter::Cause::forward) = Seconds(30);
  end.report.usage.of(meter::Cause::backward) = Seconds(60);
  end.report.usage.of(meter::Cause::update) = Seconds(10);
  end.job.run.budget = 4e12;
  return end;
}

const Context kContext{"build/suanli", {}, {}};

TEST(TrainReport, NumbersAreThere) {
  const std::string text = report_text(some_end(train::Outcome::finished), kContext);
  EXPECT_THAT(text, HasSubstr("2.0000  (perplexity 7.39, 2.885 bits/byte)"));
  EXPECT_THAT(text, HasSubstr("best of all"));
  EXPECT_THAT(text, HasSubstr("3.00 TFLOP"));
  EXPECT_THAT(text, HasSubstr("/runs/my run"));
}

TEST(TrainReport, BitsPerByteOnlyWhereTokensAreBytes) {
  RunEnd end = some_end(train::Outcome::finished);
  end.tokens_are_bytes = false;
  const std::string text = report_text(end, kContext);
  EXPECT_THAT(text, Not(HasSubstr("bits/byte")));
  EXPECT_THAT(text, Not(HasSubstr("generate")));
}

TEST(TrainReport, SamplesKeepTheirLinesAndNothingElseOfATerminal) {
  RunEnd end = some_end(train::Outcome::finished);
  end.job.sample.prompt = "In the";
  end.sample = " end\n\n and\x1b[2J so on";
  EXPECT_THAT(report_text(end, kContext), HasSubstr("  In the end\n  \n   and\\x1b[2J so on\n"));
}

TEST(TrainReport, NextCommandsSuitTheOutcome) {
  const std::string stopped = report_text(some_end(train::Outcome::interrupted), kContext);
  EXPECT_THAT(stopped, HasSubstr("build/suanli train '/runs/my run' --resume\n"));
  const std::string spent = report_text(some_end(train::Outcome::budget_spent), kContext);
  EXPECT_THAT(spent, HasSubstr("--resume --budget 8e+12"));
  const std::string finished = report_text(some_end(train::Outcome::finished), kContext);
  EXPECT_THAT(finished, HasSubstr("--set train.steps=200"));
}

TEST(TrainReport, TimeAddsUp) {
  const std::string text = time_text(some_end(train::Outcome::finished).report.usage, {});
  EXPECT_THAT(text, HasSubstr("forward      30.0 s  30.0 %  #########\n"));
  EXPECT_THAT(text, HasSubstr("all         100.0 s\n"));
  EXPECT_THAT(time_text({}, {}), HasSubstr("0.0 %")) << "nothing done yet";
}

TEST(TrainReport, ShellWords) {
  EXPECT_EQ(shell_word("runs/a-1.x"), "runs/a-1.x");
  EXPECT_EQ(shell_word("two words"), "'two words'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
}

}  // namespace
}  // namespace suanli::cli
