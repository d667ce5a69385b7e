#include "suanli/cli/metered_energy.h"

#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/plan/power.h"

namespace suanli::cli {
namespace {

constexpr double kJoulesPerKilowattHour = 3.6e6, kSecondsPerHour = 3600;

}  // namespace

MeteredEnergy metered_energy(const meter::Totals& totals, const MeterTerms& terms, const train::RunRecords& records) {
  const double seconds = totals.total_seconds().value();
  // A power that is stated stands for the whole machine, of which the counters see only a part.
  const bool is_stated = terms.watts.has_value();
  const double counted = is_stated ? 0 : std::min(totals.joules_over.value(), seconds);
  const double joules = is_stated ? 0 : totals.joules.value();
  MeteredEnergy energy;
  energy.is_measured = counted >= 0.99 * seconds && counted > 0;
  std::vector<plan::Assumption> assumptions;
  if (counted > 0)
    assumptions.push_back({"machine_over_package", "power of the machine over what its processors and memory count",
                           plan::kMachineOverPackage, "1", "losses of the power supply, fans, disks, network: not counted"});
  if (!energy.is_measured) {
    const int threads = records.sessions.empty() ? 0 : records.sessions.back().threads;
    const plan::MachinePower power = plan::machine_power(terms.watts, terms.profile, threads);
    assumptions.push_back({"watts", "power of the machine under load", power.watts, "W", power.source});
  }
  const bool pays_electricity = !terms.price_per_hour || terms.electricity_is_given;
  if (pays_electricity) assumptions.push_back(terms.electricity);
  if (terms.price_per_hour)
    assumptions.push_back({"price_per_hour", "price of the machine", plan::Interval::exactly(*terms.price_per_hour), "USD/h",
                           "given: --price-per-hour"});
  std::string why = is_stated ? "watts x seconds" : "estimated: watts x seconds";
  if (energy.is_measured)
    why = "what the processors and their memory counted x the machine around them";
  else if (counted > 0)
    why = "counted for " + format("%.0f", counted) + " s x the machine around it, watts x seconds for the rest";
  energy.report = plan::estimate(std::move(assumptions), [&](const plan::Values& values) {
    double used = 0;
    if (counted > 0) used += joules * values["machine_over_package"];
    if (!energy.is_measured) used += values["watts"] * (seconds - counted);
    const double electricity = pays_electricity ? used / kJoulesPerKilowattHour * values["usd_per_kwh"] : 0;
    plan::Figures figures = {{"energy_j", used, why}};
    if (counted > 0)
      figures.push_back({"counted_energy_j", joules, "counted by the processor packages and their memory (RAPL), other programs "
                                                     "included"});
    figures.push_back({"electricity_usd", electricity,
                       pays_electricity ? "energy x price of electricity" : "the price of the machine has it in it"});
    double money = electricity;
    if (terms.price_per_hour) money += seconds / kSecondsPerHour * values["price_per_hour"];
    figures.push_back({"money_usd", money,
                       !terms.price_per_hour ? "electricity alone: no price of the machine is given"
                       : pays_electricity    ? "hours x price of the machine + electricity"
                                             : "hours x price of the machine, which has the electricity in it"});
    return figures;
  });
  if (counted == 0 && !is_stated)
    energy.report.notes.push_back(
        "Energy is estimated: the machine shows no counter (or not to this user). State its power with --watts.");
  if (is_stated && totals.joules_over.value() > 0)
    energy.report.notes.push_back("The machine counted " + format_si(totals.joules.value(), "J") + " over " +
                                  format_duration(totals.joules_over) +
                                  " in its processor packages and memory; --watts replaces that.");
  return energy;
}

}  // namespace suanli::cli
