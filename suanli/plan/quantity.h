// Numbers with units as a person writes them: "405e9", "405B", "15.6T tokens", "700 W", "0.08 USD/kWh", "3h", "40 %".
//
// A bare number is in the kind's first unit. Prefixes are powers of 1000 (k K M G B T P E Z; B is a billion). A unit of another
// kind is an error that says which kind was expected: figures of one kind are never taken for another.
#pragma once

#include <string_view>

#include "suanli/base/error.h"

namespace suanli::plan {

enum class QuantityKind {
  parameters,            // "405B", "405B params"
  tokens,                // "15.6T", "15.6T tokens"
  devices,               // "16384", "16384 GPUs", "100k"
  flops,                 // "3.8e25 FLOP"
  flops_per_second,      // "989T", "989 TFLOP/s"
  fraction,              // "0.4", "40 %"
  days,                  // "100", "100 days", "36h"; the value is in days
  duration,              // "90", "3 min", "3h", "2 days"; the value is in seconds
  watts,                 // "700", "700 W", "0.7 kW"
  dollars,               // "30000", "30k USD", "$30k"
  dollars_per_hour,      // "2", "2 USD/h"
  dollars_per_kwh,       // "0.08", "0.08 USD/kWh"
  household_power,       // "10800 kWh/year", "900 kWh/month", "1.2 kW"; the value is in watts, a bare number in kWh/year
  number,                // "1.1", "70 %"
};

// What is asked for, in words: "a number of tokens".
std::string_view name_of(QuantityKind kind);

// The value is above 0, counts are at least 1, a fraction is at most 1, and nothing is beyond what could ever be meant (1e18
// parameters, 1e9 devices). Error usage with `place`, the text and what to write.
Result<double> parse_quantity(std::string_view text, QuantityKind kind, std::string_view place);

}  // namespace suanli::plan
