// Any text is refused with its place, or holds numbers that come back the same.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/pool/pool_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  const auto counts = pool::parse_pool_counts({reinterpret_cast<const char*>(data), size}, "file");
  if (counts)
    SUANLI_CHECK(pool::parse_pool_counts(pool::print_pool_counts(*counts), "again").value() == *counts);
  else
    SUANLI_CHECK(counts.error().place == "file");
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {suanli::pool::print_pool_counts({}), suanli::pool::print_pool_counts({3, 1'000'000})};
}
