// Any text is either refused with a place and a next step, or read as a profile that prints and reads back the same, and with
// which the times of calls are finite and above 0.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/profile_for_test.h"
#include "suanli/plan/rate_table.h"

namespace {

// Of calls small and large, of kinds that the profile has and that it lacks.
void check_times(const suanli::plan::Profile& profile) {
  using namespace suanli::plan;
  for (const auto arithmetic : {suanli::engine::Arithmetic::f32, suanli::engine::Arithmetic::bf16}) {
    const RateTable table(profile, arithmetic);
    std::vector<CallClass> calls = {
        {.kind = "matmul forward", .sizes = {1, 1, 1}, .flops = 2, .bytes = 12, .is_product = true},
        {.kind = "matmul weight gradient curve", .sizes = {1e5, 1e4, 1e4}, .flops = 2e13, .bytes = 8e9, .is_product = true},
        {.kind = "adamw", .sizes = {4}, .flops = 1, .bytes = 4},
        {.kind = "region map", .sizes = {1e10}, .flops = 1e10, .bytes = 1e10},
        {.kind = "unheard of", .sizes = {7}, .flops = 0, .bytes = 0}};
    for (const KernelRate& rate : profile.kernels)
      if (calls.size() < 20)
        calls.push_back({.kind = rate.kind, .sizes = rate.sizes, .flops = rate.flops, .bytes = rate.bytes,
                         .is_product = is_product_kind(rate.kind)});
    for (const CallClass& call : calls) {
      const Interval seconds = table.estimate(call).seconds;
      SUANLI_CHECK(seconds.low > 0 && seconds.low <= seconds.expected && seconds.expected <= seconds.high);
      SUANLI_CHECK(std::isfinite(seconds.high));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::plan;
  const auto profile = parse_profile({reinterpret_cast<const char*>(data), size}, "p.json");
  if (!profile) {
    using enum suanli::ErrorCode;
    const suanli::Error& error = profile.error();
    SUANLI_CHECK(error.code == corrupt || error.code == foreign || error.code == version);
    SUANLI_CHECK(error.place.starts_with("p.json") && !error.next_step.empty());
    return 0;
  }
  const std::string printed = print_profile(*profile);
  const auto again = parse_profile(printed, "printed");
  SUANLI_CHECK(again && print_profile(*again) == printed);
  (void)profile_warnings(*profile, 2);
  check_times(*profile);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  suanli::plan::Profile bare = suanli::plan::profile_for_test();
  bare.kernels.clear();
  bare.matmuls.clear();
  bare.disk.reset();
  return {print_profile(suanli::plan::profile_for_test()), print_profile(bare),
          "{\"format\": \"suanli profile\", \"version\": 1}"};
}
