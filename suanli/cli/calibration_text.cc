#include "suanli/cli/calibration_text.h"

#include <algorithm>
#include <map>

#include "suanli/base/text.h"
#include "suanli/cli/table.h"
#include "suanli/plan/kernel_class.h"

namespace suanli::cli {
namespace {

using plan::Interval;
using plan::Profile;

std::string shown(double value, std::string_view unit) {
  return unit == "s" ? format_duration(Seconds(value)) : format_si(value, unit);
}

std::string spread(const Interval& value, const char* unit) {
  return shown(value.low, unit) + " to " + shown(value.high, unit);
}

void add_row(Table& table, const std::string& name, const Interval& value, const char* unit, const std::string& note = "") {
  table.add_row({name, shown(value.expected, unit), spread(value, unit), note});
}

std::string limits_text(const Profile& profile) {
  Table table({{"limit"}, {"measured", Align::right}, {"four of five within"}, {""}});
  for (const Profile::Peak& peak : profile.peaks)
    add_row(table, std::string(engine::name_of(peak.arithmetic)) + " products", peak.flops_per_second, "FLOP/s",
            printable(peak.loop) + ", " + format("%.0f %%", 100 * peak.flops_per_second.expected / peak.nominal) + " of " +
                format_si(peak.nominal, "FLOP/s") + " nominal");
  add_row(table, "elementwise", profile.elementwise, "FLOP/s", "f32 multiply-adds");
  add_row(table, "memory, reading", profile.read, "B/s");
  add_row(table, "memory, copying", profile.copy, "B/s", "bytes read and bytes written");
  add_row(table, "clock", profile.clock_hz, "Hz", "of one core while all compute");
  add_row(table, "launch of a call", profile.launch_seconds, "s");
  if (profile.disk) {
    add_row(table, "disk, writing", profile.disk->write, "B/s", "until it is durable");
    add_row(table, "disk, reading", profile.disk->read, "B/s", profile.disk->read_from_cache ? "from the page cache" : "");
    add_row(table, "small durable write", profile.disk->sync_seconds, "s");
  }
  if (profile.idle_watts) add_row(table, "power, idle", *profile.idle_watts, "W", "of the processor package");
  if (profile.busy_watts) add_row(table, "power, busy", *profile.busy_watts, "W", "of the processor package");
  return table.to_string();
}

std::string matmuls_text(const Profile& profile) {
  Table table({{"matrix product"},
               {"M x N x K", Align::right},
               {"dtype"},
               {"measured", Align::right},
               {"four of five within"},
               {"of limit", Align::right}});
  for (const plan::MatmulRate& rate : profile.matmuls) {
    const Profile::Peak* peak = profile.peak(rate.arithmetic);
    table.add_row(
        {printable(rate.shape_class), format_count(rate.m) + " x " + format_count(rate.n) + " x " + format_count(rate.k),
         std::string(engine::name_of(rate.arithmetic)), format_si(rate.flops_per_second.expected, "FLOP/s"),
         spread(rate.flops_per_second, "FLOP/s"),
         peak == nullptr ? "" : format("%.0f %%", 100 * rate.flops_per_second.expected / peak->flops_per_second.expected)});
  }
  return table.to_string();
}

// Of each kind the largest call: what it reaches of its limit.
std::string kernels_text(const Profile& profile) {
  struct Kind {
    std::size_t sizes = 0;
    const plan::KernelRate* largest = nullptr;
  };
  std::map<std::pair<std::string, engine::Arithmetic>, Kind> kinds;
  const auto weight = [](const plan::KernelRate& rate) { return rate.flops + rate.bytes; };
  for (const plan::KernelRate& rate : profile.kernels) {
    Kind& kind = kinds[{rate.kind, rate.arithmetic}];
    ++kind.sizes;
    if (kind.largest == nullptr || weight(rate) > weight(*kind.largest)) kind.largest = &rate;
  }
  Table table({{"kernel"},
               {"dtype"},
               {"sizes", Align::right},
               {"largest", Align::right},
               {"reaches", Align::right},
               {"spread", Align::right}});
  for (const auto& [key, kind] : kinds) {
    const plan::KernelRate& rate = *kind.largest;
    const double seconds = rate.seconds.expected;
    const bool is_product = plan::is_product_kind(rate.kind);
    table.add_row(
        {printable(key.first), std::string(engine::name_of(key.second)), std::to_string(kind.sizes),
         format_duration(Seconds(seconds)),
         is_product ? format_si(rate.flops / seconds, "FLOP/s") : format_si(rate.bytes / seconds, "B/s"),
         format("-%.0f %% +%.0f %%", 100 * (1 - rate.seconds.low / seconds), 100 * (rate.seconds.high / seconds - 1))});
  }
  return table.to_string();
}

}  // namespace

std::string calibration_text(const Profile& profile) {
  return format("%s, %d core%s, %d thread%s; %s\n\n", printable(profile.machine).c_str(), profile.cores,
                profile.cores == 1 ? "" : "s", profile.threads, profile.threads == 1 ? "" : "s", profile.time.c_str()) +
         limits_text(profile) + "\n" + matmuls_text(profile) + "\n" + kernels_text(profile) +
         "(kernel calls as they run inside training steps; bytes are operands and results once)\n";
}

Json calibration_json(const Profile& profile) { return Json::parse(plan::print_profile(profile), nullptr, false); }

}  // namespace suanli::cli
