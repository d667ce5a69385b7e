// A fleet of machines as a file: what computes, and how it is connected (docs/formats/fleet.md).
//
//   [[machine]]
//   name = "desk"
//   profile = "desk.json"      # as `suanli calibrate --out` wrote it; or device = "H100"
//   [[link]]
//   between = ["desk", "attic"]
//   delay = "2ms"
//   rate = "1 Gbit/s"
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::plan {

struct Machine {
  std::string name;
  std::string profile;      // path of a profile; empty: `device` is given
  std::string device;       // name of an accelerator
  std::int64_t count = 1;   // alike; of devices: how many accelerators
  double share = 1;         // of its computing that the job may use
  std::optional<Dollars> price_per_hour;  // of one
  std::optional<Watts> power;             // of one, under load
  std::optional<Bytes> memory;            // of one, that the job may use
  std::string place;        // "fleet.toml:3"
};

// Both ways alike.
struct Link {
  std::string a, b;         // names; both empty: between all that have no link of their own
  Seconds delay;            // one way
  BytesPerSecond rate;
};

struct Fleet {
  std::vector<Machine> machines;
  std::vector<Link> links;

  // Between machines of these names (the same name: among machines alike). Null if the file says nothing.
  const Link* between(std::string_view a, std::string_view b) const;
};

inline constexpr std::int64_t kMostMachines = 100'000;
inline constexpr std::size_t kMostEntriesOfFleet = 1'000;  // [[machine]]; those alike are one

// Errors (config) name line, key and value: unknown keys, names that stand twice or nowhere, quantities that cannot be, units
// that do not fit.
Result<Fleet> parse_fleet(std::string_view text, const std::string& place);
// Paths in the file are relative to its folder.
Result<Fleet> load_fleet(const std::string& path);

// "1 Gbit/s" as bytes per second. Bytes are refused, with the rate in bits.
Result<BytesPerSecond> parse_bit_rate(std::string_view text, const std::string& what);

}  // namespace suanli::plan
