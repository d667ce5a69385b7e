#include "suanli/cli/memory_text.h"

namespace suanli::cli {

std::string recomputed_text(const engine::Recomputation& again) {
  std::string text = again.cheap ? "elementwise ops and norms" : "";
  if (again.blocks == 0) return text;
  return text + (text.empty() ? "" : "; ") + "all of the first " + std::to_string(again.blocks) +
         (again.blocks == 1 ? " block" : " blocks");
}

}  // namespace suanli::cli
