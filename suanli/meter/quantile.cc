#include "suanli/meter/quantile.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/error.h"

namespace suanli::meter {

double quantile(std::vector<double> values, double q) {
  SUANLI_CHECK(!values.empty() && q >= 0 && q <= 1);
  std::ranges::sort(values);
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace suanli::meter
