// The time of a kernel call of any size from the calls of its class that were measured.
//
// A call's roofline here is the sum of what its operations take at the limit of products (or of multiply-adds), its bytes at the
// bandwidth of memory, and the cost of a launch. What a measured call took over its roofline is a factor; the logarithm of that
// factor is interpolated between the measured sizes, and the call takes its roofline times the factor. Near a measured size the
// answer is that measurement; far from all of them it is what the nearest reached of their rooflines.
//
// Interpolation is by kriging (Gaussian-process regression) with the correlation exp(-distance / kRange), distances being those
// of the logarithms of sizes: it bends no curve between neighbours and weighs neighbours that say the same thing once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/plan/interval.h"
#include "suanli/plan/kernel_class.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {

class RateTable {
 public:
  // Of one arithmetic. The profile outlives the table; it has limits of that arithmetic.
  RateTable(const Profile& profile, engine::Arithmetic arithmetic);

  struct Estimate {
    Interval seconds;            // of one call
    bool is_memory_bound = false;  // its bytes take longer than its operations, at the limits
    bool is_measured = true;     // false: calls of other kinds, or only the limits, spoke for it
  };
  Estimate estimate(const CallClass& call) const;

 private:
  struct Kind {
    std::string name;
    std::vector<const KernelRate*> rates;
    std::vector<double> inverse;   // of the matrix of correlations, rows x columns
    std::vector<double> excess;    // logarithm of measured over roofline
    double mean = 0;               // of `excess`
    std::vector<double> weighted;  // inverse x (excess - mean): what each point adds per correlation with it
  };
  Interval roofline(double flops, double bytes, bool is_product) const;
  double expected_roofline(const KernelRate& rate) const;
  Kind make_kind(const std::string& name, std::vector<const KernelRate*> rates) const;
  const Kind* find(const std::string& name) const;

  const Profile& profile_;
  Interval product_rate_;
  std::vector<Kind> kinds_;
};

}  // namespace suanli::plan
