// The loss curves of a run, read from its metrics.jsonl (docs/formats/run-folder.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/cli/chart.h"

namespace suanli::cli {

struct Curves {
  std::vector<Point> train, valid;  // (step, loss in nats per token)
  std::int64_t damaged = 0;         // lines that could not be read
};

// Takes what it can: lines that are no JSON object, or of a kind not known here, are left out. No
// loss at all is an error (empty), no readable line foreign.
Result<Curves> parse_curves(std::string_view text, const std::string& place);
Result<Curves> read_curves(const std::string& run_folder);

Chart loss_chart(const Curves& curves, const std::string& title);

// Writes the picture beside the metrics or elsewhere.
[[nodiscard]] Status write_loss_svg(const Chart& chart, const std::string& path);

}  // namespace suanli::cli
