#include "suanli/plan/cluster.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/plan/prices.h"

namespace suanli::plan {
namespace {

constexpr double kSamePeak = 0.004;  // two figures of one data sheet, rounded apart

// Of a price range that is only known by its ends.
Interval between(double low, double high) { return {low, std::sqrt(low * high), high}; }

Interval or_else(const std::optional<double>& given, const Interval& usual) { return given ? Interval::exactly(*given) : usual; }

std::string source_of(bool is_given, const std::string& otherwise) { return is_given ? "given" : otherwise; }

bool is_same(FlopsPerSecond a, FlopsPerSecond b) { return std::abs(a / b - 1) < kSamePeak; }

std::string in_tflops(FlopsPerSecond rate) { return format_si(rate.value(), "FLOP/s"); }

// The one that takes the place of a dtype which a device has not. Empty if none does.
const char* stand_in_of(const std::string& dtype) { return dtype == "bf16" ? "fp16" : dtype == "fp16" ? "bf16" : ""; }

bool is_dense_peak_of_any(const Accelerator& device, FlopsPerSecond rate, double times) {
  return std::ranges::any_of(device.dense_peak, [&](const auto& each) { return is_same(rate, each.second.value * times); });
}

void push_price(const ClusterSetup& setup, std::vector<Assumption>& all) {
  if (!knows_price(setup)) return;
  const auto& price = setup.device.price;
  all.push_back({"device_price_usd", "price of one " + setup.device.name,
                 setup.price ? Interval::exactly(setup.price->value()) : between(price->low.value(), price->high.value()), "USD",
                 setup.price ? "given" : format("%d, %s: ", price->year, price->kind.c_str()) + price->source});
  all.push_back(
      {"surroundings_price", "machines, network, storage and building, over the price of the devices",
       or_else(setup.surroundings_price, {0.4, 0.7, 1.0}), "fraction",
       source_of(setup.surroundings_price.has_value(),
                 "our judgement: an eight-device machine sells for 1.3 to 1.6 times its devices; the founding documents "
                 "add as much again for all")});
  all.push_back({"lifetime_years", "years over which capital is written off", or_else(setup.lifetime_years, {3, 4, 6}), "year",
                 source_of(setup.lifetime_years.has_value(),
                           "server lifetimes in annual reports of Meta, Alphabet and Microsoft, 2020 to 2024: 3 to 6 years")});
}

void push(const std::optional<Assumption>& stated, Assumption usual, std::vector<Assumption>& all) {
  if (stated) {
    usual.value = stated->value;
    usual.source = stated->source;
    usual.text = stated->text.empty() ? (usual.unit == "1" ? "overhead of the building (PUE)" : "electricity") : stated->text;
  }
  all.push_back(std::move(usual));
}

void push_power(const ClusterSetup& setup, std::vector<Assumption>& all) {
  if (!knows_power(setup)) return;
  const auto& power = setup.device.power;
  all.push_back({"device_w", "design power of one " + setup.device.name,
                 Interval::exactly(setup.power ? setup.power->value() : power->value.value()), "W",
                 setup.power ? "given" : power->source});
  all.push_back(
      {"surroundings_power", "power of a device with its share of machine and network, over its design power",
       or_else(setup.surroundings_power, {1.2, 1.5, 1.82}), "1",
       source_of(setup.surroundings_power.has_value(),
                 "high: DGX H100 data sheet, at most 10.2 kW for eight devices of 700 W; training draws less than that")});
  push(setup.overhead, prices().overhead(kUsualOverhead).value().assumption("pue"), all);
  push(setup.electricity, prices().electricity(kUsualElectricity).value().assumption("electricity_usd_per_kwh"), all);
}

tl::unexpected<Error> wrong(std::string message, std::string next_step) {
  return fail(ErrorCode::usage, std::move(message), "", std::move(next_step));
}

}  // namespace

Assumption given(double value, std::string unit) { return {"", "", Interval::exactly(value), std::move(unit), "given"}; }

bool knows_price(const ClusterSetup& setup) { return setup.price || setup.device.price; }
bool knows_power(const ClusterSetup& setup) { return setup.power || setup.device.power; }

const Sourced<FlopsPerSecond>* dense_peak(const Accelerator& device, const std::string& dtype) {
  auto found = device.dense_peak.find(dtype);
  if (found == device.dense_peak.end()) found = device.dense_peak.find(stand_in_of(dtype));
  return found == device.dense_peak.end() ? nullptr : &found->second;
}

Accelerator device_at_peak(const ClusterSetup& setup) {
  Accelerator device = setup.device;
  const auto* dense = dense_peak(device, setup.dtype);
  if (!setup.peak || !dense) return device;
  // A sparse peak or that of another dtype is a slip, of which peak_warnings() tells: the products are no faster for it.
  if (is_dense_peak_of_any(device, *setup.peak, 1) || is_dense_peak_of_any(device, *setup.peak, 2)) return device;
  if (device.sparse_bf16_peak && is_same(*setup.peak, device.sparse_bf16_peak->value)) return device;
  const double ratio = *setup.peak / dense->value;
  for (auto& [dtype, peak] : device.dense_peak) peak.value = peak.value * ratio;
  if (device.measured_matmul) device.measured_matmul->value = device.measured_matmul->value * ratio;
  return device;
}

Result<Assumption> peak_assumption(const ClusterSetup& setup) {
  const std::string text = "peak of one " + setup.device.name + " in " + setup.dtype;
  if (setup.peak) return Assumption{"peak_flops_per_s", text, Interval::exactly(setup.peak->value()), "FLOP/s", "given"};
  if (const auto* peak = dense_peak(setup.device, setup.dtype))
    return Assumption{"peak_flops_per_s", text + ", dense", Interval::exactly(peak->value.value()), "FLOP/s", peak->source};
  std::string known;
  for (const auto& [dtype, peak] : setup.device.dense_peak) known += (known.empty() ? "" : ", ") + dtype;
  return wrong(setup.device.name + " has no known peak in " + setup.dtype, "choose a dtype of " + known + ", or state --peak");
}

std::vector<Error> peak_warnings(const ClusterSetup& setup) {
  const auto* dense = dense_peak(setup.device, setup.dtype);
  if (!setup.peak && dense && !setup.device.dense_peak.contains(setup.dtype))
    return {{ErrorCode::usage,
             format("%s has no %s products: the peak of %s stands in for it", setup.device.name.c_str(), setup.dtype.c_str(),
                    stand_in_of(setup.dtype)),
             "--dtype", std::string("write --dtype ") + stand_in_of(setup.dtype)}};
  if (!setup.peak || !dense || is_same(*setup.peak, dense->value)) return {};
  const std::string entered = in_tflops(*setup.peak), right = in_tflops(dense->value);
  const std::string next_step = "leave --peak out: the dense peak of " + setup.dtype + " is " + right;
  std::string is_what;
  if (setup.device.sparse_bf16_peak && is_same(*setup.peak, setup.device.sparse_bf16_peak->value) &&
      (setup.dtype == "bf16" || setup.dtype == "fp16"))
    is_what =
        format("the %s peak with structured sparsity, which holds only where half of all weights are zero: twice the dense %s",
               setup.dtype.c_str(), right.c_str());
  for (const auto& [dtype, peak] : setup.device.dense_peak)
    if (dtype != setup.dtype && &peak != dense && is_same(*setup.peak, peak.value))
      is_what += (is_what.empty() ? "the dense " + dtype + " peak"
                                  : ". In numbers it is also the dense " + dtype + " peak, so that it looks right");
  if (is_what.empty() && is_same(*setup.peak, dense->value * 2))
    is_what = format("twice the dense %s peak of %s: data sheets print this for structured sparsity, which training does not use",
                     setup.dtype.c_str(), right.c_str());
  for (const auto& [dtype, peak] : setup.device.dense_peak)
    if (is_what.empty() && &peak != dense && is_same(*setup.peak, peak.value * 2))
      is_what = format("twice the dense %s peak: its figure with structured sparsity, and of another dtype", dtype.c_str());
  const bool is_too_high = is_what.empty() && *setup.peak > dense->value;
  if (is_too_high) is_what = "above the dense " + setup.dtype + " peak of " + right;
  if (is_what.empty()) return {};
  return {{ErrorCode::usage, "a peak of " + entered + " for " + setup.device.name + " is " + is_what, "--peak", next_step}};
}

std::vector<Assumption> cluster_assumptions(const ClusterSetup& setup) {
  std::vector<Assumption> all;
  push_price(setup, all);
  push_power(setup, all);
  return all;
}

Status check_cluster(const ClusterSetup& setup) {
  if (setup.devices < 1)
    return wrong(format("%lld devices compute nothing", static_cast<long long>(setup.devices)), "ask for at least one");
  if (setup.overhead && setup.overhead->value.low < 1)
    return fail(ErrorCode::usage,
                format("an overhead of %g is below 1: a building cannot draw less than what is in it", setup.overhead->value.low),
                "--pue", "write for example 1.1");
  if (setup.surroundings_power && *setup.surroundings_power < 1)
    return fail(ErrorCode::usage, format("%g is below 1: a machine cannot draw less than its devices", *setup.surroundings_power),
                "--surroundings-power", "write for example 1.5, or 1 for the devices alone");
  return {};
}

double capital_usd(const Values& v, double devices) { return devices * v["device_price_usd"] * (1 + v["surroundings_price"]); }

double cluster_watts(const Values& v, double devices) { return devices * v["device_w"] * v["surroundings_power"] * v["pue"]; }

double electricity_usd(const Values& v, double joules) { return joules / kJoulesPerKwh * v["electricity_usd_per_kwh"]; }

double depreciation_usd(const Values& v, double devices, double seconds) {
  return capital_usd(v, devices) * seconds / (v["lifetime_years"] * kSecondsPerYear);
}

Result<Report> plan_cluster(const ClusterSetup& setup, const ClusterQuestion& question) {
  SUANLI_RETURN_IF_ERROR(check_cluster(setup));
  SUANLI_ASSIGN_OR_RETURN(Assumption peak, peak_assumption(setup));
  std::vector<Assumption> assumptions = {std::move(peak)};
  std::ranges::move(cluster_assumptions(setup), std::back_inserter(assumptions));
  const bool has_price = knows_price(setup), has_power = knows_power(setup);
  if (has_power) {
    const Interval usual{800, 899, 1800};  // kWh a month of 30 days
    const double to_watts = 1000.0 / 720;
    assumptions.push_back(
        {"household_w", "mean power of a household",
         or_else(question.household_watts, {usual.low * to_watts, usual.expected * to_watts, usual.high * to_watts}), "W",
         source_of(question.household_watts.has_value(),
                   "EIA 2022: 899 kWh of electricity a month in the United States (in the European Union about 300); "
                   "low and high: the founding documents, 800 kWh a month, and 1,800 with heat")});
  }
  const auto count = static_cast<double>(setup.devices);
  const std::optional<double> seconds = question.days ? std::optional(*question.days * kSecondsPerDay) : std::nullopt;
  Report report = estimate(std::move(assumptions), [&](const Values& v) {
    Figures figures = {{"devices", count, "given"}, {"peak_flops_per_s", count * v["peak_flops_per_s"], "devices x peak of one"}};
    if (has_price) {
      figures.push_back({"devices_usd", count * v["device_price_usd"], "devices x price"});
      figures.push_back(
          {"surroundings_usd", count * v["device_price_usd"] * v["surroundings_price"], "devices x price x share of the rest"});
      figures.push_back({"capital_usd", capital_usd(v, count), "devices and the rest"});
    }
    if (has_power) {
      figures.push_back({"devices_w", count * v["device_w"], "devices x design power"});
      figures.push_back({"power_w", cluster_watts(v, count), "devices x design power x surroundings x overhead of the building"});
      figures.push_back({"households", cluster_watts(v, count) / v["household_w"], "power / mean power of a household"});
    }
    if (has_power && seconds) {
      const double joules = cluster_watts(v, count) * *seconds;
      figures.push_back({"energy_j", joules, "power x time"});
      figures.push_back({"electricity_usd", electricity_usd(v, joules), "energy x price"});
      if (has_price)
        figures.push_back({"electricity_share", electricity_usd(v, joules) / capital_usd(v, count), "electricity / capital"});
    }
    if (has_price && seconds)
      figures.push_back({"depreciation_usd", depreciation_usd(v, count, *seconds), "capital x time / lifetime"});
    return figures;
  });
  report.warnings = peak_warnings(setup);
  if (!has_price)
    report.warnings.push_back({ErrorCode::usage, "no price of " + setup.device.name + " is known: capital is left out", "--price",
                               "state --price USD"});
  if (!has_power)
    report.warnings.push_back({ErrorCode::usage,
                               "no design power of " + setup.device.name + " is known: power and energy are left out", "--power",
                               "state --power WATTS"});
  return report;
}

}  // namespace suanli::plan
