// What electricity, rented machines and the overhead of a building cost: data/prices.toml, each entry with its year and source.
// Prices of other years and places differ; every verb takes a price of the user's own.
//
//   SUANLI_ASSIGN_OR_RETURN(const PricePreset price, prices().electricity("us-industrial"));
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/report.h"

namespace suanli::plan {

struct PricePreset {
  std::string name;    // "us-industrial", "H100-SXM-80GB", "hyperscale"
  std::vector<std::string> aliases;
  std::string text;    // what it is the price of
  Interval value;      // in `unit`
  std::string unit;    // "USD/kWh", "USD/h" per device, "1" for the overhead of a building (PUE)
  int year = 0;
  std::string source;  // begins with the year

  // As an assumption of a report.
  Assumption assumption(std::string key) const { return {std::move(key), text, value, unit, source}; }
};

class PriceTable {
 public:
  // Strict: known sections and keys, 0 < low <= expected <= high, a source and a year. Errors (config) name line and key.
  static Result<PriceTable> parse(std::string_view text, const std::string& place);

  const std::vector<PricePreset>& electricity() const { return electricity_; }
  const std::vector<PricePreset>& renting() const { return renting_; }
  const std::vector<PricePreset>& overhead() const { return overhead_; }
  // By name, whatever the case. Error usage with the nearest names.
  Result<PricePreset> electricity(std::string_view name) const;
  Result<PricePreset> renting(std::string_view device) const;
  Result<PricePreset> overhead(std::string_view name) const;

 private:
  std::vector<PricePreset> electricity_, renting_, overhead_;
};

// The table of the library.
const PriceTable& prices();

// What verbs take where nothing is said: an industrial user's electricity, and the overhead of a room without any.
inline constexpr const char* kUsualElectricity = "us-industrial";
inline constexpr const char* kNoOverhead = "none";
inline constexpr const char* kUsualOverhead = "hyperscale";  // of a large cluster

}  // namespace suanli::plan
