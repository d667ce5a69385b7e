#include "suanli/cli/progress.h"

#include <gtest/gtest.h>

namespace suanli::cli {
namespace {

class ProgressTest : public ::testing::Test {
 protected:
  Progress make(const Terminal& terminal) {
    return Progress(terminal, [this](std::string_view text) { shown_ += text; },
                    {.clock = &clock_});
  }
  ManualClock clock_;
  std::string shown_;
};

TEST_F(ProgressTest, RewritesOneLineOnATerminal) {
  {
    Progress progress = make({.is_tty = true, .width = 10});
    progress.show([] { return "one"; });
    progress.show([] { return "too soon"; });
    clock_.advance(Seconds(0.2));
    progress.show([] { return "wider than the terminal"; });
    progress.note("stays");
  }
  EXPECT_EQ(shown_,
            "\rone\x1b[K"
            "\rwider tha\x1b[K"
            "\r\x1b[Kstays\n"
            "\rwider tha\x1b[K"
            "\n");
}

TEST_F(ProgressTest, PrintsALineNowAndThenInAPipe) {
  {
    Progress progress = make({.is_tty = false});
    for (int i = 0; i < 100; ++i) {
      progress.show([&] { return std::to_string(i); });
      clock_.advance(Seconds(0.125));
    }
    progress.note("done");
  }
  EXPECT_EQ(shown_, "0\n40\n80\ndone\n");
}

TEST_F(ProgressTest, MakesNoTextThatIsNotShown) {
  Progress progress = make({.is_tty = true});
  int made = 0;
  for (int i = 0; i < 10; ++i) progress.show([&] { return std::to_string(++made); });
  EXPECT_EQ(made, 1);
}

}  // namespace
}  // namespace suanli::cli
