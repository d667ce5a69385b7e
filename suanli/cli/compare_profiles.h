// The rate of exchange between two devices, by their profiles.
#pragma once

#include <string>
#include <vector>

#include "suanli/base/error.h"

namespace suanli::cli {

struct CompareProfilesOptions {
  std::string first, second;      // FILE, or FILE@f32, FILE@bf16
  std::vector<std::string> jobs;  // job files or folders of runs
  bool json = false, why = false;
};

// Errors: usage (the same side twice, an arithmetic that there is not); of the files.
Result<int> compare_profiles(const CompareProfilesOptions& options);

}  // namespace suanli::cli
