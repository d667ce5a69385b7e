#include "suanli/plan/quantity.h"

#include <charconv>
#include <cmath>
#include <span>
#include <string>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

struct UnitName {
  std::string_view name;
  double factor;
  bool takes_prefix = false;
};

constexpr double kHour = 3600, kDay = 86400;
constexpr double kYearHours = 8760, kMonthHours = 720;  // a month of 30 days

constexpr UnitName kParameterUnits[] = {{"parameters", 1}, {"parameter", 1}, {"params", 1}, {"param", 1}};
constexpr UnitName kTokenUnits[] = {{"tokens", 1}, {"token", 1}, {"tok", 1}};
constexpr UnitName kDeviceUnits[] = {{"devices", 1}, {"device", 1}, {"GPUs", 1}, {"GPU", 1}, {"chips", 1}, {"cards", 1}};
constexpr UnitName kFlopUnits[] = {{"FLOP", 1, true},  {"FLOPs", 1, true},          {"flop", 1, true},
                                   {"flops", 1, true}, {"FLOP/s-days", kDay, true}, {"FLOP/s-day", kDay, true}};
constexpr UnitName kRateUnits[] = {{"FLOP/s", 1, true}, {"FLOPs/s", 1, true}, {"FLOPS", 1, true}, {"flop/s", 1, true}};
constexpr UnitName kFractionUnits[] = {{"%", 0.01}, {"percent", 0.01}};
constexpr UnitName kDayUnits[] = {{"days", 1}, {"day", 1},     {"d", 1},      {"h", 1 / 24.0}, {"hours", 1 / 24.0}, {"weeks", 7},
                                  {"week", 7}, {"months", 30}, {"month", 30}, {"years", 365},  {"year", 365}};
constexpr UnitName kDurationUnits[] = {{"s", 1},       {"ms", 1e-3},     {"min", 60},         {"m", 60},
                                       {"h", kHour},   {"hours", kHour}, {"hour", kHour},     {"d", kDay},
                                       {"days", kDay}, {"day", kDay},    {"weeks", 7 * kDay}, {"week", 7 * kDay}};
constexpr UnitName kWattUnits[] = {{"W", 1, true}, {"watts", 1}};
constexpr UnitName kDollarUnits[] = {{"USD", 1, true}, {"dollars", 1}};
constexpr UnitName kDollarHourUnits[] = {{"USD/h", 1}, {"USD/hour", 1}, {"/h", 1}, {"/hour", 1}};
constexpr UnitName kDollarKwhUnits[] = {{"USD/kWh", 1}, {"/kWh", 1}, {"USD/MWh", 1e-3}};
constexpr UnitName kHouseholdUnits[] = {
    {"kWh/year", 1000 / kYearHours}, {"kWh/month", 1000 / kMonthHours}, {"MWh/year", 1e6 / kYearHours}, {"W", 1, true}};

struct Kind {
  QuantityKind kind;
  std::string_view name, example;
  std::span<const UnitName> units;
  double least, most;       // beyond them nothing is meant: a slip of units; 0: anything above
  double factor = 1;        // of a bare number
  bool bare_prefix = true;  // "405B" without a unit
};

constexpr Kind kKinds[] = {
    {QuantityKind::parameters, "a number of parameters", "405e9 or 405B", kParameterUnits, 1, 1e18},
    {QuantityKind::tokens, "a number of tokens", "15.6e12 or 15.6T", kTokenUnits, 1, 1e18},
    {QuantityKind::devices, "a number of devices", "16384 or 100k", kDeviceUnits, 1, 1e9},
    {QuantityKind::flops, "a number of operations", "3.8e25 FLOP", kFlopUnits, 1, 1e36},
    {QuantityKind::flops_per_second, "a rate in FLOP/s", "989e12 or 989 TFLOP/s", kRateUnits, 1, 1e24},
    {QuantityKind::fraction, "a fraction", "0.4 or 40 %", kFractionUnits, 1e-6, 1, 1, false},
    {QuantityKind::days, "a time in days", "100 or 36h", kDayUnits, 0, 1e6, 1, false},
    {QuantityKind::duration, "a duration", "90 (seconds), 30 min, 3h or 2 days", kDurationUnits, 0, 1e12, 1, false},
    {QuantityKind::watts, "a power", "700 or 700 W", kWattUnits, 0, 1e9},
    {QuantityKind::dollars, "an amount of money", "30000 or 30k USD", kDollarUnits, 0, 1e18},
    {QuantityKind::dollars_per_hour, "a price per hour", "2.5 or 2.5 USD/h", kDollarHourUnits, 0, 1e9, 1, false},
    {QuantityKind::dollars_per_kwh, "a price of electricity", "0.08 or 0.08 USD/kWh", kDollarKwhUnits, 0, 1e6, 1, false},
    {QuantityKind::household_power, "what a household uses", "10800 kWh/year, 900 kWh/month or 1.2 kW", kHouseholdUnits, 0, 1e9,
     1000 / kYearHours, false},
    {QuantityKind::number, "a number", "1.1 or 70 %", kFractionUnits, 0, 1e6, 1, false},
};

const Kind& kind_of(QuantityKind kind) {
  for (const Kind& each : kKinds)
    if (each.kind == kind) return each;
  SUANLI_CHECK(false);
  return kKinds[0];
}

double prefix_of(char letter) {
  switch (letter) {
    case 'k':
    case 'K': return 1e3;
    case 'M': return 1e6;
    case 'G':
    case 'B': return 1e9;
    case 'T': return 1e12;
    case 'P': return 1e15;
    case 'E': return 1e18;
    case 'Z': return 1e21;
    default: return 0;
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// What follows the number, as a factor; 0 if it is no unit of this kind.
double factor_of(std::string_view rest, const Kind& kind) {
  rest = trimmed(rest);
  if (rest.empty()) return kind.factor;
  for (const UnitName& unit : kind.units)
    if (rest == unit.name) return unit.factor;
  const double prefix = prefix_of(rest.front());
  if (prefix == 0) return 0;
  const std::string_view after = trimmed(rest.substr(1));
  if (after.empty()) return kind.bare_prefix ? prefix * kind.factor : 0;
  const bool is_apart = rest.size() > 1 && rest[1] == ' ';
  for (const UnitName& unit : kind.units)
    // "15T tokens" for counts; "989 TFLOP/s" for units that take a prefix.
    if (after == unit.name && (unit.takes_prefix || (is_apart && kind.bare_prefix))) return prefix * unit.factor;
  return 0;
}

tl::unexpected<Error> wrong(std::string message, const Kind& kind, std::string_view place) {
  return fail(ErrorCode::usage, std::move(message), std::string(place), "write for example " + std::string(kind.example));
}

}  // namespace

std::string_view name_of(QuantityKind kind) { return kind_of(kind).name; }

Result<double> parse_quantity(std::string_view text, QuantityKind which, std::string_view place) {
  const Kind& kind = kind_of(which);
  const std::string quoted = "'" + printable(text) + "'";
  const std::string expected = std::string(kind.name);
  std::string_view number = trimmed(text);
  const bool is_money =
      which == QuantityKind::dollars || which == QuantityKind::dollars_per_hour || which == QuantityKind::dollars_per_kwh;
  if (is_money && number.starts_with('$')) number.remove_prefix(1);
  double value = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
  if (parsed.ec == std::errc::result_out_of_range) return wrong(quoted + " is beyond all numbers", kind, place);
  if (parsed.ec != std::errc()) return wrong(quoted + " is not " + expected, kind, place);
  const std::string_view rest(parsed.ptr, static_cast<std::size_t>(number.data() + number.size() - parsed.ptr));
  if (rest.starts_with(','))
    return wrong(quoted + " has a comma; digits are written without groups, decimals with a point", kind, place);
  const double factor = factor_of(rest, kind);
  if (factor == 0) {
    for (const Kind& other : kKinds)
      if (other.kind != which && other.kind != QuantityKind::number && !trimmed(rest).empty() && factor_of(rest, other) != 0)
        return wrong(quoted + " is " + std::string(other.name) + ", where " + expected + " is expected", kind, place);
    return wrong(quoted + " ends in '" + printable(trimmed(rest)) + "', which is no unit of " + expected, kind, place);
  }
  value *= factor;
  if (!std::isfinite(value)) return wrong(quoted + " is not a finite number", kind, place);
  if (value < 0) return wrong(quoted + " is negative", kind, place);
  if (value == 0) return wrong(quoted + " is zero", kind, place);
  if (which == QuantityKind::fraction && value > 1) return wrong(quoted + " is more than 1 (100 %)", kind, place);
  if (value < kind.least) return wrong(quoted + format(" is less than %g", kind.least), kind, place);
  if (value > kind.most) return wrong(quoted + format(" is more than %g, the most that is understood", kind.most), kind, place);
  return value;
}

}  // namespace suanli::plan
