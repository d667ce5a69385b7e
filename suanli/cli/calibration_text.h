// What `suanli calibrate` prints.
#pragma once

#include <string>

#include "suanli/cli/output.h"
#include "suanli/plan/profile.h"

namespace suanli::cli {

std::string calibration_text(const plan::Profile& profile);
// The fields of the profile's file (docs/formats/profile.md).
Json calibration_json(const plan::Profile& profile);

}  // namespace suanli::cli
