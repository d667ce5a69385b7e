#include "suanli/cli/plan_terms.h"

#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/cli/plan_options.h"
#include "suanli/plan/fault_rates.h"
#include "suanli/plan/prices.h"
#include "suanli/plan/quantity.h"

namespace suanli::cli {
namespace {

Result<std::vector<plan::Assumption>> faults_of(const TermFlags& flags, const plan::JobHost& host) {
  SUANLI_RETURN_IF_ERROR(check_faults(flags.mtbf, flags.fault_preset));
  if (!flags.mtbf.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const double mean, plan::parse_quantity(flags.mtbf, plan::QuantityKind::duration, "--mtbf"));
    return plan::given_fault_assumptions(Seconds(mean), host.nodes);
  }
  auto preset = plan::fault_preset(flags.fault_preset.empty() ? kUsualFaults : flags.fault_preset);
  if (!preset) {
    preset.error().place = "--fault-preset";
    return tl::unexpected(std::move(preset).error());
  }
  return plan::fault_assumptions(*preset, host.nodes, host.devices_per_node);
}

// Machines of a fleet may have prices of their own, with their electricity in them; the others' electricity is paid.
void set_fleet_prices(plan::JobTerms& terms, const std::vector<plan::FleetMember>& members, const plan::FleetHost& host) {
  double all = 0, paid = 0;
  for (std::size_t i = 0; i < host.shares.size(); ++i) {
    const auto& price = members[i].machine.price_per_hour;
    all += host.shares[i].watts;
    if (!price) paid += host.shares[i].watts;
    if (price)
      terms.price_per_hour = terms.price_per_hour.value_or(0) + price->value() * static_cast<double>(members[i].machine.count);
  }
  if (terms.price_per_hour) terms.electricity_share = all > 0 ? paid / all : 0;
}

}  // namespace

Result<plan::JobTerms> terms_of(const TermFlags& flags, const plan::FleetHost& host,
                                const std::vector<plan::FleetMember>& members) {
  plan::JobTerms terms;
  const bool has_devices = std::ranges::any_of(members, [](const auto& member) { return member.device.has_value(); });
  SUANLI_ASSIGN_OR_RETURN(terms.faults, faults_of(flags, host.host));
  SUANLI_ASSIGN_OR_RETURN(terms.electricity, electricity_price(flags.electricity));
  SUANLI_ASSIGN_OR_RETURN(const auto overhead, plan::prices().overhead(has_devices ? plan::kUsualOverhead : plan::kNoOverhead));
  terms.overhead = overhead.assumption("building_overhead");
  SUANLI_ASSIGN_OR_RETURN(terms.price_per_hour,
                          quantity_of(flags.price_per_hour, plan::QuantityKind::dollars_per_hour, "--price-per-hour"));
  if (terms.price_per_hour) {
    for (const plan::FleetMember& member : members)
      if (member.machine.price_per_hour)
        return fail(ErrorCode::usage,
                    "--price-per-hour is of all machines, but '" + printable(member.machine.name) + "' has a price of its own (" +
                        printable(member.machine.place) + ")",
                    "--price-per-hour", "leave it out, or take the prices out of the fleet's file");
    // It has the electricity in it, unless a price for that is stated too.
    terms.electricity_share = flags.electricity.empty() ? 0 : 1;
  } else {
    set_fleet_prices(terms, members, host);
  }
  return terms;
}

}  // namespace suanli::cli
