#include "suanli/pool/exchange.h"

namespace suanli::pool {

std::string Label::to_string() const {
  constexpr const char* kNames[] = {"activation", "gradient", "sums",        "summed",    "exponents",
                                    "step value", "marks",    "packed sums", "outer step"};
  return std::string(kNames[static_cast<int>(purpose)]) + " " + std::to_string(number) + " of step " + std::to_string(step + 1) +
         " (attempt " + std::to_string(attempt) + ", node %" + std::to_string(port) + ")";
}

}  // namespace suanli::pool
