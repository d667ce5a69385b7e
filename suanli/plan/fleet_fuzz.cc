// Any text is either refused with a place and a next step, or read as a fleet of machines that could be.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/fleet.h"
#include "suanli/plan/prices.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::plan;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_bit_rate(text.substr(0, 100), "rate");
  const auto refused_well = [](const suanli::Error& error) {
    return error.code == suanli::ErrorCode::config && error.place.starts_with("file.toml") && !error.next_step.empty();
  };
  if (const auto table = PriceTable::parse(text, "file.toml"); !table) SUANLI_CHECK(refused_well(table.error()));
  const auto fleet = parse_fleet(text, "file.toml");
  if (!fleet) {
    SUANLI_CHECK(refused_well(fleet.error()));
    return 0;
  }
  SUANLI_CHECK(!fleet->machines.empty());
  for (const Machine& machine : fleet->machines) {
    SUANLI_CHECK(machine.profile.empty() != machine.device.empty());
    SUANLI_CHECK(machine.count >= 1 && machine.count <= kMostMachines && machine.share > 0 && machine.share <= 1);
  }
  for (const Link& link : fleet->links) {
    SUANLI_CHECK(link.rate.value() > 0 && link.delay.value() >= 0);
    SUANLI_CHECK(fleet->between(link.b, link.a) == &link);
  }
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {
      "[[machine]]\nname = \"a\"\nprofile = \"a.json\"\nmemory = \"24Gi\"\nshare = 0.5\n[[machine]]\nname = \"b\"\n"
      "device = \"H100\"\ncount = 8\nprice_per_hour = 2.5\nwatts = 700\n[[link]]\nbetween = [\"a\", \"b\"]\ndelay = \"20ms\"\n"
      "rate = \"1 Gbit/s\"\n[[link]]\ndelay = \"1ms\"\nrate = \"100 Mbit/s\"\n",
      "[[electricity]]\nname = \"a\"\ntext = \"b\"\nlow = 1\nexpected = 2\nhigh = 3\nyear = 2024\nsource = \"c\"\n", "1.5 Gbit/s",
      "5 GB/s"};
}
