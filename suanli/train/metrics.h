// The metrics of a run: one JSON object per line, appended as things happen
// (docs/formats/run-folder.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/train/observer.h"

namespace suanli::train {

// One line each, without its newline. Numbers that are not finite become null.
std::string metrics_line(const StartInfo& info);
std::string metrics_line(const StepRecord& record);
std::string metrics_line(const EvalRecord& record);
std::string metrics_line(const CheckpointRecord& record);
std::string metrics_line(const GrowthRecord& record);
std::string metrics_line(const DigestRecord& record);
std::string sample_line(std::int64_t step, std::string_view text);
std::string warning_line(std::int64_t step, const Error& warning);
std::string end_line(std::int64_t step, std::string_view outcome, const Spent& spent);

// What earlier sessions told of their spending.
struct EarlierSpent : Spent {
  bool has_totals = false;  // older versions wrote flops_total alone
};
// Stands for lines that were removed, so that what they told of spending is not forgotten.
std::string spent_line(std::int64_t step, const EarlierSpent& spent);

// Each line is one write to the file, so that a killed process leaves whole lines, and at most one
// part of a line if the machine itself died. One thread.
class MetricsFile {
 public:
  // Opens for appending. Lines of steps beyond `last_step`, from a session that went on after its
  // last checkpoint, and damaged lines are removed first, atomically; if they told of more spending than those that stay, a
  // spent_line() takes their place.
  static Result<MetricsFile> open(const std::string& path, std::int64_t last_step);
  MetricsFile(MetricsFile&& other) noexcept;
  MetricsFile& operator=(MetricsFile&& other) noexcept;
  ~MetricsFile();

  // The line found at opening that tells of most operations, removed ones included: what the run has
  // really spent.
  const EarlierSpent& spent_before() const { return spent_before_; }

  // After a failure (no_space) the next append begins on a line of its own.
  [[nodiscard]] Status append(std::string_view line);

 private:
  MetricsFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_ = -1;
  bool torn_ = false;  // the file ends inside a line
  EarlierSpent spent_before_;
};

// What an earlier session left in `text`.
struct EarlierLines {
  std::string kept;    // the lines that a run continuing after `last_step` keeps
  EarlierSpent spent;  // in lines that are not kept too
  bool spent_is_kept = true;  // by one of the kept lines
};
EarlierLines read_lines(std::string_view text, std::int64_t last_step);

}  // namespace suanli::train
