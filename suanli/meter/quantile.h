// Quantiles of a few measurements.
#pragma once

#include <vector>

namespace suanli::meter {

// The value below which a fraction `q` in [0, 1] of the values lie, linear between neighbours (type 7 of Hyndman and Fan,
// "Sample Quantiles in Statistical Packages", 1996). At least one value.
double quantile(std::vector<double> values, double q);
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

}  // namespace suanli::meter
