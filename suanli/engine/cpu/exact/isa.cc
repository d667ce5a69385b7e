#include "suanli/engine/cpu/exact/isa.h"

#include <hwy/targets.h>

#include <algorithm>
#include <atomic>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/amx.h"

namespace suanli::engine::exact {
namespace {

std::atomic<Isa> current_limit = Isa::amx;

Isa isa_of_cpu() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return Isa::scalar;
  for (const bool has : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                         __builtin_cpu_supports("avx512dq") != 0, __builtin_cpu_supports("avx512vl") != 0,
                         __builtin_cpu_supports("avx512vnni") != 0})
    if (!has) return Isa::avx2;
  return amx::available() ? Isa::amx : Isa::avx512;
#else
  return Isa::scalar;
#endif
}

// What Highway may not use under the limit. Its targets' bits descend with their power.
std::int64_t disabled_targets(Isa limit) {
  if (limit == Isa::scalar) return ~std::int64_t{HWY_EMU128 | HWY_SCALAR};
#if defined(__x86_64__)
  if (limit == Isa::avx2) return std::int64_t{HWY_AVX2} - 1;
#endif
  return 0;
}

}  // namespace

Isa best_isa() {
  static const Isa cpu = isa_of_cpu();
  return std::min(cpu, current_limit.load());
}

void set_isa_limit(Isa limit) {
  current_limit = limit;
  hwy::DisableTargets(disabled_targets(limit));  // the next dispatch chooses anew
}
void clear_isa_limit() { set_isa_limit(Isa::amx); }

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::amx: return "amx";
  }
  SUANLI_CHECK(false);
}

std::optional<Isa> isa_from_name(std::string_view name) {
  for (const Isa isa : kAllIsas)
    if (name_of(isa) == name) return isa;
  return std::nullopt;
}

}  // namespace suanli::engine::exact
