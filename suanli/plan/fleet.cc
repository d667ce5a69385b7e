#include "suanli/plan/fleet.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/plan/toml_entry.h"

namespace suanli::plan {
namespace {

constexpr Bytes kMaxFleetBytes{std::int64_t{1} << 20};
constexpr double kBitsPerByte = 8;
constexpr double kMostBytes = 1e18;
constexpr double kMostBitsPerSecond = 1e18;
constexpr Seconds kLongestDelay{3600};

// A quantity of base/text.h as a text, such as "24Gi"; its error is one of the key.
template <typename Parse>
auto parsed(TomlEntry& entry, std::string_view key, const std::string& text, Parse parse) -> decltype(parse(text, "")) {
  auto value = parse(text, "");
  if (value) return value;
  return entry.wrong(key, "is wrong: " + value.error().message, value.error().next_step);
}

Result<std::optional<Bytes>> memory_of(TomlEntry& entry) {
  SUANLI_ASSIGN_OR_RETURN(const auto text, entry.optional_text("memory"));
  if (!text) return std::nullopt;
  SUANLI_ASSIGN_OR_RETURN(const double bytes, parsed(entry, "memory", *text, parse_scaled));
  if (bytes < 1 || bytes > kMostBytes) return entry.wrong("memory", "is '" + printable(*text) + "', which no machine has");
  return Bytes(static_cast<std::int64_t>(bytes));
}

Result<Machine> machine_of(TomlEntry& entry) {
  constexpr NumberRange kPrice{.least = 0, .most = 1e6}, kPower{.least = 0, .most = 1e6, .open_least = true};
  Machine machine;
  machine.place = entry.place_of("name");
  SUANLI_ASSIGN_OR_RETURN(machine.name, entry.text("name"));
  SUANLI_ASSIGN_OR_RETURN(const auto profile, entry.optional_text("profile"));
  SUANLI_ASSIGN_OR_RETURN(const auto device, entry.optional_text("device"));
  if (profile.has_value() == device.has_value())
    return entry.wrong("profile", profile ? "and 'device' exclude one another" : "is missing, and so is 'device'",
                       "name the file that `suanli calibrate --out` wrote on the machine, or an accelerator");
  machine.profile = profile.value_or("");
  machine.device = device.value_or("");
  if (entry.has("count")) {
    SUANLI_ASSIGN_OR_RETURN(machine.count, entry.integer("count", 1, kMostMachines));
  }
  SUANLI_ASSIGN_OR_RETURN(const auto share, entry.optional_number("share", {.least = 0, .most = 1, .open_least = true}));
  machine.share = share.value_or(1);
  SUANLI_ASSIGN_OR_RETURN(const auto price, entry.optional_number("price_per_hour", kPrice));
  if (price) machine.price_per_hour = Dollars(*price);
  SUANLI_ASSIGN_OR_RETURN(const auto watts, entry.optional_number("watts", kPower));
  if (watts) machine.power = Watts(*watts);
  SUANLI_ASSIGN_OR_RETURN(machine.memory, memory_of(entry));
  SUANLI_RETURN_IF_ERROR(entry.finish());
  return machine;
}

Result<Link> link_of(TomlEntry& entry) {
  Link link;
  SUANLI_ASSIGN_OR_RETURN(const auto between, entry.optional_texts("between"));
  if (entry.has("between")) {
    if (between.size() != 2)
      return entry.wrong("between", "names " + std::to_string(between.size()) + " machines", "name two, such as [\"a\", \"b\"]");
    link.a = between[0];
    link.b = between[1];
  }
  SUANLI_ASSIGN_OR_RETURN(const std::string delay, entry.text("delay"));
  SUANLI_ASSIGN_OR_RETURN(link.delay, parsed(entry, "delay", delay, parse_duration));
  if (link.delay > kLongestDelay) return entry.wrong("delay", "is '" + printable(delay) + "', more than an hour");
  SUANLI_ASSIGN_OR_RETURN(const std::string rate, entry.text("rate"));
  SUANLI_ASSIGN_OR_RETURN(link.rate, parsed(entry, "rate", rate, parse_bit_rate));
  SUANLI_RETURN_IF_ERROR(entry.finish());
  return link;
}

bool is_link_of(const Link& link, std::string_view a, std::string_view b) {
  return (link.a == a && link.b == b) || (link.a == b && link.b == a);
}

// What has been read so far, by name.
class Reading {
 public:
  Fleet take() { return std::move(fleet_); }

  Status add_machine(TomlEntry& entry) {
    SUANLI_ASSIGN_OR_RETURN(Machine machine, machine_of(entry));
    if (!known_.insert(machine.name).second)
      return entry.wrong("name", "'" + printable(machine.name) + "' stands there twice", "give each its own, or raise 'count'");
    if (fleet_.machines.size() == kMostEntriesOfFleet)
      return entry.wrong("name", "'" + printable(machine.name) + "' is one [[machine]] more than the " +
                                     format_count(static_cast<std::int64_t>(kMostEntriesOfFleet)) + " that a fleet may have",
                         "write machines that are alike as one, with 'count'");
    count_ += machine.count;
    if (count_ > kMostMachines)
      return entry.wrong("count", "makes more than " + format_count(kMostMachines) + " machines", "lower it");
    fleet_.machines.push_back(std::move(machine));
    return {};
  }

  Status add_link(TomlEntry& entry) {
    SUANLI_ASSIGN_OR_RETURN(Link link, link_of(entry));
    for (const std::string& name : {link.a, link.b})
      if (!name.empty() && !known_.contains(name))
        return entry.wrong("between",
                           "names '" + printable(name) + "', which is no machine" +
                               did_you_mean(name, std::vector<std::string>(known_.begin(), known_.end())),
                           "name machines of this file");
    if (!linked_.insert(std::minmax(link.a, link.b)).second)
      return entry.wrong("between", link.a.empty() ? "is missing in a second link" : "names a pair a second time",
                         "keep one of the two links");
    fleet_.links.push_back(std::move(link));
    return {};
  }

 private:
  Fleet fleet_;
  std::int64_t count_ = 0;
  std::set<std::string> known_;
  std::set<std::pair<std::string, std::string>> linked_;
};

}  // namespace

Result<BytesPerSecond> parse_bit_rate(std::string_view text, const std::string& what) {
  struct Unit {
    std::string_view name;
    double bits;
  };
  static constexpr Unit kUnits[] = {{"bit/s", 1}, {"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {"Tbit/s", 1e12}};
  static constexpr Unit kByteUnits[] = {{"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}};
  const std::size_t unit_begin = text.find_first_not_of("0123456789.");
  const std::string number(text.substr(0, std::min(unit_begin, text.size())));
  std::string_view unit = unit_begin == std::string_view::npos ? "" : text.substr(unit_begin);
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto value = parse_scaled(number, what);
  const std::string shown = "'" + printable(text) + "'";
  if (value)
    for (const Unit& each : kUnits) {
      if (each.name != unit) continue;
      const double bits = *value * each.bits;
      if (bits < 1 || bits > kMostBitsPerSecond)
        return fail(ErrorCode::usage, shown + " is no rate that a link has", what, "correct it");
      return BytesPerSecond(bits / kBitsPerByte);
    }
  if (value)
    for (const Unit& each : kByteUnits)
      if (unit == each.name || unit == std::string(each.name) + "/s")
        return fail(ErrorCode::usage, shown + " are bytes, but rates of links are in bits per second", what,
                    "if bytes per second are meant, write '" + format_si(*value * each.bits * kBitsPerByte, "bit/s") + "'");
  return fail(ErrorCode::usage, shown + " is no rate in bits per second", what,
              "write for example '100 Mbit/s' (bit/s, kbit/s, Mbit/s, Gbit/s, Tbit/s)");
}

const Link* Fleet::between(std::string_view a, std::string_view b) const {
  for (const Link& link : links)
    if (is_link_of(link, a, b)) return &link;
  for (const Link& link : links)
    if (link.a.empty()) return &link;
  return nullptr;
}

Result<Fleet> parse_fleet(std::string_view text, const std::string& place) {
  Reading reading;
  const std::vector<std::string> sections = {"machine", "link"};
  // Links after machines, wherever they stand.
  const Status machines = read_toml_entries(text, place, sections, [&](const std::string& section, TomlEntry& entry) {
    return section == "machine" ? reading.add_machine(entry) : Status();
  });
  if (!machines) return tl::unexpected(machines.error());
  const Status links = read_toml_entries(text, place, sections, [&](const std::string& section, TomlEntry& entry) {
    return section == "link" ? reading.add_link(entry) : Status();
  });
  if (!links) return tl::unexpected(links.error());
  Fleet fleet = reading.take();
  if (fleet.machines.empty())
    return fail(ErrorCode::config, "the fleet has no machine", place, "write [[machine]], and name and profile below it");
  return fleet;
}

Result<Fleet> load_fleet(const std::string& path) {
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxFleetBytes));
  SUANLI_ASSIGN_OR_RETURN(Fleet fleet, parse_fleet(text, path));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  for (Machine& machine : fleet.machines)
    if (!machine.profile.empty()) machine.profile = (folder / machine.profile).lexically_normal().string();
  return fleet;
}

}  // namespace suanli::plan
