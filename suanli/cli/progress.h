// One line on stderr that is written again and again on a terminal, and now and then elsewhere.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "suanli/base/clock.h"
#include "suanli/cli/terminal.h"

namespace suanli::cli {

struct ProgressOptions {
  Seconds redraw{0.1};  // least time between two drawings on a terminal
  Seconds repeat{5};    // between two lines in a pipe or file
  Clock* clock = &real_clock();
};

// One thread.
class Progress {
 public:
  using Sink = std::function<void(std::string_view)>;
  Progress(const Terminal& terminal, Sink sink, const ProgressOptions& options = {});
  // Ends the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The line is now this text, if it is time to show it; `make` is called only then.
  void show(const std::function<std::string()>& make);
  // A line that stays, above the moving one.
  void note(std::string_view line);
  // The last word of the moving line, if anything was shown; it stays.
  void finish();

 private:
  void draw();
  const Terminal terminal_;
  const Sink sink_;
  const ProgressOptions options_;
  std::string line_;       // as last shown
  bool is_drawn_ = false;  // the cursor stands in the moving line
  bool has_shown_ = false;
  Seconds last_;
};

// To stderr, unbuffered.
void write_stderr(std::string_view text);

}  // namespace suanli::cli
