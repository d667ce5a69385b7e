// What `suanli train` says at its end.
#pragma once

#include <string>

#include "suanli/cli/curves.h"
#include "suanli/cli/verb.h"
#include "suanli/train/job.h"
#include "suanli/train/trainer.h"

namespace suanli::cli {

struct RunEnd {
  train::TrainReport report;
  train::JobConfig job;
  bool tokens_are_bytes = true;
  std::optional<Chart> chart;  // nothing to plot: none
  std::string svg;             // path of the picture, may be empty
  std::string sample;          // generated text after the job's prompt, may be empty
};

// Losses, the curve, a sample, where time went, and commands to try next.
std::string report_text(const RunEnd& end, const Context& context);

// Seconds by cause with bars.
std::string time_text(const meter::Usage& usage, const Terminal& terminal);

// A word for a shell: quoted if it needs to be.
std::string shell_word(std::string_view word);

}  // namespace suanli::cli
