#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/plan/quantity.h"

// The first byte says which kind is expected.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  if (size == 0) return 0;
  constexpr int kKinds = static_cast<int>(plan::QuantityKind::number) + 1;
  const auto kind = static_cast<plan::QuantityKind>(data[0] % kKinds);
  const Result<double> value = plan::parse_quantity({reinterpret_cast<const char*>(data) + 1, size - 1}, kind, "--flag");
  if (value)
    SUANLI_CHECK(std::isfinite(*value) && *value > 0);
  else
    SUANLI_CHECK(value.error().code == ErrorCode::usage && value.error().place == "--flag");
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {std::string(1, 0) + "405B params", std::string("\1") + "15.6T tokens", std::string("\4") + "989 TFLOP/s",
          std::string("\5") + "40 %", std::string("\x0c") + "900 kWh/month"};
}
