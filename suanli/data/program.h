// Runs another program, without a shell, and takes what it prints.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::data {

struct ProgramLimits {
  Seconds timeout{60};
  Bytes output{std::int64_t{1} << 28};
};

// The standard output of `arguments[0]`, found on PATH, which gets no input and whose messages are
// dropped. Errors: not_found if there is no such program; io if it fails, prints more than the
// limit or takes longer (it is killed).
Result<std::string> run_program(const std::vector<std::string>& arguments,
                                const ProgramLimits& limits = {});

}  // namespace suanli::data
