// Words about memory that several verbs use.
#pragma once

#include <string>

#include "suanli/engine/target.h"

namespace suanli::cli {

// "elementwise ops and norms; all of the first 3 blocks"; empty if nothing is recomputed.
std::string recomputed_text(const engine::Recomputation& again);

}  // namespace suanli::cli
