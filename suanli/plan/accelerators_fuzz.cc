#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/accelerators.h"
#include "suanli/plan/data_files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  plan::AcceleratorTable table;
  const Status added = table.add({reinterpret_cast<const char*>(data), size}, "devices.toml");
  if (!added) {
    SUANLI_CHECK(added.error().code == ErrorCode::config);
    SUANLI_CHECK(added.error().place.starts_with("devices.toml"));
    SUANLI_CHECK(table.all().empty());
    return 0;
  }
  for (const plan::Accelerator& device : table.all()) {
    SUANLI_CHECK(!device.dense_peak.empty() && device.per_node > 0);
    for (const auto& [dtype, peak] : device.dense_peak) SUANLI_CHECK(peak.value.value() > 0 && !peak.source.empty());
    SUANLI_CHECK(table.find(device.name).has_value());
  }
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {"[[device]]\nname = \"X-1\"\naliases = [\"X\"]\nsource = \"its maker\"\nbf16_dense_tflops = 100\nmemory_gib = 24\n"
          "power_w = { value = 300, source = \"a meter\" }\nper_node = 4\n"
          "price_usd = { low = 1000, high = 2000, year = 2026, kind = \"new\", source = \"a shop\" }\n",
          std::string(suanli::plan::data_file("accelerators.toml"))};
}
