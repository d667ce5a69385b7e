// Products of panels with VPDPWSSD: 16 sums, each of two products of int16. With v = 128 h + l,
//   128 hh + (h l + l h) = h v' + l h'      three terms: both into one sum
//   T = 128 (h v') + l v'                   four terms: two sums
// each below 2^31 over 512 elements. VPDPBUSD would need a third fewer instructions, but an unsigned operand.
#include "suanli/engine/cpu/exact/product_panels.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include "suanli/engine/cpu/exact/finish_avx512.h"

#define SUANLI_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

namespace suanli::engine::exact {
namespace {

constexpr std::int64_t kRows = 8;  // of A at a time: 16 sums of 16, and what they need, fit the 32 registers

SUANLI_VNNI inline __m512i broadcast(const std::int32_t* pair) { return _mm512_set1_epi32(*pair); }

SUANLI_VNNI void three_terms(const std::int32_t* h, const std::int32_t* l, const std::int32_t* v, const std::int32_t* bh,
                             std::int64_t pairs, std::int32_t* sums) {
  __m512i s[kRows][2];
  for (auto& row : s) row[0] = row[1] = _mm512_setzero_si512();
  for (std::int64_t p = 0; p < pairs; ++p, h += kPanel, l += kPanel, v += kPanel, bh += kPanel) {
    const __m512i v0 = _mm512_load_si512(v), v1 = _mm512_load_si512(v + 16);
    const __m512i h0 = _mm512_load_si512(bh), h1 = _mm512_load_si512(bh + 16);
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < kRows; ++i) {
      const __m512i high = broadcast(h + i), low = broadcast(l + i);
      s[i][0] = _mm512_dpwssd_epi32(s[i][0], high, v0);
      s[i][1] = _mm512_dpwssd_epi32(s[i][1], high, v1);
      s[i][0] = _mm512_dpwssd_epi32(s[i][0], low, h0);
      s[i][1] = _mm512_dpwssd_epi32(s[i][1], low, h1);
    }
  }
  for (std::int64_t i = 0; i < kRows; ++i) {
    _mm512_store_si512(sums + i * kPanel, s[i][0]);
    _mm512_store_si512(sums + i * kPanel + 16, s[i][1]);
  }
}

// One digit of A times v: half of the four terms.
SUANLI_VNNI void one_digit(const std::int32_t* digit, const std::int32_t* v, std::int64_t pairs, std::int32_t* sums) {
  __m512i s[kRows][2];
  for (auto& row : s) row[0] = row[1] = _mm512_setzero_si512();
  for (std::int64_t p = 0; p < pairs; ++p, digit += kPanel, v += kPanel) {
    const __m512i v0 = _mm512_load_si512(v), v1 = _mm512_load_si512(v + 16);
#pragma GCC unroll 8
    for (std::int64_t i = 0; i < kRows; ++i) {
      const __m512i x = broadcast(digit + i);
      s[i][0] = _mm512_dpwssd_epi32(s[i][0], x, v0);
      s[i][1] = _mm512_dpwssd_epi32(s[i][1], x, v1);
    }
  }
  for (std::int64_t i = 0; i < kRows; ++i) {
    _mm512_store_si512(sums + i * kPanel, s[i][0]);
    _mm512_store_si512(sums + i * kPanel + 16, s[i][1]);
  }
}

}  // namespace

SUANLI_VNNI void multiply_panels_avx512(const PanelProduct& p) {
  alignas(64) std::int32_t q[kPanel * kPanel], low[kPanel * kPanel];
  const std::int64_t pairs = (p.length + 1) / 2, plane = pairs * kPanel;
  const auto* a = reinterpret_cast<const std::int32_t*>(p.a);
  const auto* b = reinterpret_cast<const std::int32_t*>(p.b);
  for (std::int64_t i = 0; i < p.rows; i += kRows) {
    if (p.terms == 3) {
      three_terms(a + i, a + plane + i, b, b + plane, pairs, q + i * kPanel);
    } else {
      one_digit(a + i, b, pairs, q + i * kPanel);
      one_digit(a + plane + i, b, pairs, low + i * kPanel);
    }
  }
  const PanelSums sums{.high = nullptr, .middle = q, .low = p.terms == 3 ? nullptr : low};
  for (std::int64_t i = 0; i < p.rows; ++i) finish_row(sums, p, i, p.tame());
}

}  // namespace suanli::engine::exact

#else

namespace suanli::engine::exact {

void multiply_panels_avx512(const PanelProduct&) { SUANLI_CHECK(false); }

}  // namespace suanli::engine::exact

#endif
