// A cluster of accelerators: what it can do, what it costs to buy, what it draws, and how many households draw as much.
//
//   ClusterSetup setup{.device = table.find("H100").value(), .devices = 100'000};
//   SUANLI_ASSIGN_OR_RETURN(const Report report, plan_cluster(setup, {.days = 100}));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/plan/accelerators.h"
#include "suanli/plan/report.h"

namespace suanli::plan {

// What is not given is assumed, with its source.
struct ClusterSetup {
  Accelerator device;
  std::int64_t devices = 0;
  std::string dtype = "bf16";                // whose dense peak counts
  std::optional<FlopsPerSecond> peak;        // of one device, instead of the table's
  std::optional<Dollars> price;              // of one device
  std::optional<double> surroundings_price;  // machines, network, storage and building, over the price of the devices
  std::optional<Watts> power;                // of one device
  std::optional<double>
      surroundings_power;                 // power of a device's share of machine and network, over that of the device; at least 1
  std::optional<Assumption> overhead;     // of the building (PUE); at least 1
  std::optional<Assumption> electricity;  // USD/kWh
  std::optional<double> lifetime_years;   // over which capital is written off
};

// A figure that someone states, as an assumption; cluster_assumptions() gives it its key and words.
Assumption given(double value, std::string unit);

// What a report can say of a cluster depends on what is known of the device.
bool knows_price(const ClusterSetup& setup);
bool knows_power(const ClusterSetup& setup);

// Of a dtype; bf16 and fp16 stand in for one another on devices that have only one of them. Null if there is none.
const Sourced<FlopsPerSecond>* dense_peak(const Accelerator& device, const std::string& dtype);
// The device, its rates scaled to a peak that is stated: a device that computes at half the rate has products at half the rate.
// Not to a peak that is the sparse one or that of another dtype.
Accelerator device_at_peak(const ClusterSetup& setup);
// "peak_flops_per_s" of one device. Error usage if neither the setup nor the table has a peak for the dtype.
Result<Assumption> peak_assumption(const ClusterSetup& setup);
// Warnings about a given peak: that it is the sparse one, of another dtype, or above what the device can do.
std::vector<Error> peak_warnings(const ClusterSetup& setup);
// Of the price and the power, if known: "device_price_usd", "surroundings_price", "lifetime_years"; "device_w",
// "surroundings_power", "pue", "electricity_usd_per_kwh".
std::vector<Assumption> cluster_assumptions(const ClusterSetup& setup);
// Errors (usage) of what is impossible: no devices, an overhead below 1, an unknown dtype.
Status check_cluster(const ClusterSetup& setup);

// From these assumptions.
double capital_usd(const Values& values, double devices);
double cluster_watts(const Values& values, double devices);
double electricity_usd(const Values& values, double joules);
// Of the capital, for so much time.
double depreciation_usd(const Values& values, double devices, double seconds);

struct ClusterQuestion {
  std::optional<double> days;             // energy, electricity and depreciation are of so long
  std::optional<double> household_watts;  // mean power of a household
};
Result<Report> plan_cluster(const ClusterSetup& setup, const ClusterQuestion& question);

inline constexpr double kJoulesPerKwh = 3.6e6;
inline constexpr double kSecondsPerDay = 86400;
inline constexpr double kSecondsPerYear = 365 * kSecondsPerDay;

}  // namespace suanli::plan
