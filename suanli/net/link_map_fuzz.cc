// Any text is refused with a line and a next step, or is a map of lines that could be.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/net/link_map.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  const auto map = LinkMap::parse({reinterpret_cast<const char*>(data), size}, "links.toml");
  if (!map) {
    const suanli::Error& error = map.error();
    SUANLI_CHECK(error.code == suanli::ErrorCode::config && error.place.starts_with("links.toml") && !error.next_step.empty());
    return 0;
  }
  SUANLI_CHECK(!map->places().empty());
  for (std::size_t worker = 0; worker < 5; ++worker) {
    const std::size_t place = map->place_of_worker(worker);
    EmulatedLine line(map->line(place, 0), suanli::Seconds(0));
    const suanli::Seconds first = line.send(1, suanli::Seconds(1));
    SUANLI_CHECK(first >= suanli::Seconds(1) && line.send(1000, suanli::Seconds(1)) >= first);
    SUANLI_CHECK(line.room(10, suanli::Seconds(2)) <= 10);
  }
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {
      "[[place]]\nname = \"a\"\n[[place]]\nname = \"b\"\nworkers = 3\n[[link]]\nbetween = [\"a\", \"b\"]\ndelay = \"100ms\"\n"
      "rate = \"1.5 Gbit/s\"\njitter = \"2ms\"\nqueue = \"5ms\"\n[[link]]\ndelay = \"0ms\"\nrate = \"100 Mbit/s\"\n[[outage]]\n"
      "at = \"5s\"\nlasts = \"1s\"\nevery = \"20s\"\ncut = true\n",
      "[[place]]\nname = \"a\"\n[[link]]\nfrom = \"a\"\nto = \"a\"\ndelay = \"1ms\"\nrate = \"1 kbit/s\"\n[[outage]]\n"
      "from = \"a\"\nto = \"a\"\nat = \"0s\"\nlasts = \"2s\"\n"};
}
