// A copy of a run as another folder: what `eval`, `generate` and `train --resume` need.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::cli {

struct RunCopy {
  std::optional<std::int64_t> step;  // of the newest snapshot, which is copied; none: there is none yet
  Bytes bytes;
};

// The run may go on meanwhile. Errors: not_found (no run in `from`), config (`to` holds something already), io, no_space.
Result<RunCopy> copy_run(const std::string& from, const std::string& to);

}  // namespace suanli::cli
