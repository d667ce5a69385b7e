#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/cli/curves.h"
#include "suanli/cli/plot.h"
#include "suanli/cli/svg.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::cli;
  const auto curves = parse_curves({reinterpret_cast<const char*>(data), size}, "metrics.jsonl");
  if (!curves) {
    SUANLI_CHECK(curves.error().place == "metrics.jsonl");
    return 0;
  }
  const Chart chart = loss_chart(*curves, "loss");
  SUANLI_CHECK(!plot(chart, Terminal{.utf8 = true}).empty());
  SUANLI_CHECK(!plot(chart, Terminal{}).empty());
  SUANLI_CHECK(line_chart_svg(chart).ends_with("</svg>\n"));
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {R"({"kind":"start","step":0,"steps":3}
{"kind":"step","step":1,"loss":5.5}
{"kind":"step","step":2,"loss":4.25}
{"kind":"eval","step":2,"valid_loss":4.5}
{"kind":"step","step":3,"loss":1e-300}
{"kind":"end","step":3,"outcome":"finished"}
)",
          "{\"kind\":\"step\",\"step\":9007199254740993,\"loss\":1.7e308}\n"
          "{\"kind\":\"step\",\"step\":9007199254740999,\"loss\":-1.7e308}\n"};
}
