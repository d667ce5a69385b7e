#include "suanli/engine/cpu/exact/attention_pack.h"

#include <algorithm>
#include <cstring>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/exact/attention_rows.h"
#include "suanli/engine/cpu/exact/product_panels.h"

#if defined(__x86_64__)
#include "suanli/engine/cpu/amx.h"
#define SUANLI_BYTES __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#endif

namespace suanli::engine::exact {

#if defined(__x86_64__)
namespace {

// Left to the compiler to make vectors of.
SUANLI_BYTES void digits_of_step(const std::int16_t* v, std::int8_t* high, std::int8_t* low) {
  for (int i = 0; i < 64; ++i) {
    const auto h = static_cast<std::int16_t>((v[i] + 64) >> 7);
    high[i] = static_cast<std::int8_t>(h);
    low[i] = static_cast<std::int8_t>(v[i] - h * 128);
  }
}

// One row: 64 bytes per step and digit.
void digits_of_row(const std::int16_t* v, std::int64_t length, std::int8_t* high, std::int8_t* low) {
  for (; length >= 64; length -= 64, v += 64, high += amx::kStepBytes, low += amx::kStepBytes) digits_of_step(v, high, low);
  if (length == 0) return;
  std::int16_t rest[64] = {};
  std::copy_n(v, length, rest);
  digits_of_step(rest, high, low);
}

}  // namespace

void pack_weights(const Packing& packing, const std::int16_t* weights, std::int64_t stride, std::byte* to) {
  if (packing.isa != Isa::amx) return pack(packing, IntegerMatrix{weights, stride, 1, kWeightBits}, {0, packing.rows}, to);
  SUANLI_CHECK(packing.side == Side::a && packing.blocks() == 1);
  const std::int64_t plane = digit_bytes(packing.isa, packing.k) / 2;
  for (std::int64_t first = 0; first < packing.rows; first += kPanel, to += packing.panel_bytes()) {
    const std::int64_t rows = std::min(kPanel, packing.rows - first);
    if (rows < kPanel) std::memset(to, 0, static_cast<std::size_t>(2 * plane));
    int exponents[kPanel] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      auto* const high = reinterpret_cast<std::int8_t*>(to + r * 64);
      digits_of_row(weights + (first + r) * stride, packing.k, high, high + plane);
      exponents[r] = kWeightBits;
    }
    set_scales(packing.side, exponents, scales_of(to, packing.isa, packing.k));
  }
}
#else
void pack_weights(const Packing& packing, const std::int16_t* weights, std::int64_t stride, std::byte* to) {
  pack(packing, IntegerMatrix{weights, stride, 1, kWeightBits}, {0, packing.rows}, to);
}
#endif

}  // namespace suanli::engine::exact
