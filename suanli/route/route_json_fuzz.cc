// Any text is either refused with its place or read as a table that is printed and read again unchanged, and any table that is
// read can be checked.
#include <cstdint>

#include "suanli/route/random_placement_for_test.h"
#include "suanli/route/route_json.h"
#include "suanli/route/schedule.h"

namespace route = suanli::route;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto table = route::parse_route_table(text, "input");
  if (!table) {
    SUANLI_CHECK(!table.error().message.empty() && table.error().place.starts_with("input"));
    return 0;
  }
  const auto again = route::parse_route_table(route::print_route_table(*table), "copy");
  SUANLI_CHECK(again && *again == *table);
  const suanli::Status sound = route::check(*table, table->orders.size());
  SUANLI_CHECK(sound || (sound.error().code == suanli::ErrorCode::graph && !sound.error().message.empty()));
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  std::vector<std::string> seeds = {route::print_route_table(route::RouteTable())};
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const route::RandomPool pool = route::random_pool(seed);
    const auto table = route::make_route_table(pool.placement, pool.micro_batches, pool.speeds);
    SUANLI_CHECK(table.has_value());
    seeds.push_back(route::print_route_table(*table));
  }
  return seeds;
}
