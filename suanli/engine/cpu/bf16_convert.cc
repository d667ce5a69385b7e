#include "suanli/engine/cpu/bf16_convert.h"

#include "suanli/base/error.h"

#if defined(__x86_64__)

#include "suanli/engine/cpu/avx512.h"

#include <cstring>

namespace suanli::engine {
namespace {

SUANLI_AVX512 inline __m256i rounded(__m512 x) {
  const __m256bh half = _mm512_cvtneps_pbh(x);
  __m256i bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

}  // namespace

bool has_bf16_instructions() {
  static const bool yes = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
  }();
  return yes;
}

SUANLI_AVX512 void narrow_by_instruction(const float* from, Bf16* to, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    std::memcpy(to + i, &both, sizeof(both));
  }
  for (; i < n; i += 16) {
    const __mmask16 mask = static_cast<__mmask16>(first_of_32(n - i));
    _mm256_mask_storeu_epi16(to + i, mask, rounded(_mm512_maskz_loadu_ps(mask, from + i)));
  }
}

SUANLI_AVX512 void narrow_past_caches(const float* from, Bf16* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 32) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    __m512i bits;
    std::memcpy(&bits, &both, sizeof(bits));
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), bits);
  }
}

void finish_streams() { _mm_sfence(); }

SUANLI_AVX512 void round_by_instruction(const float* from, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = static_cast<__mmask16>(first_of_32(n - i));
    const __m512i wide = _mm512_cvtepu16_epi32(rounded(_mm512_maskz_loadu_ps(mask, from + i)));
    _mm512_mask_storeu_ps(to + i, mask, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
  }
}

}  // namespace suanli::engine

#else

namespace suanli::engine {

bool has_bf16_instructions() { return false; }
void narrow_by_instruction(const float*, Bf16*, std::int64_t) { SUANLI_CHECK(false); }
void narrow_past_caches(const float*, Bf16*, std::int64_t) { SUANLI_CHECK(false); }
void finish_streams() {}
void round_by_instruction(const float*, float*, std::int64_t) { SUANLI_CHECK(false); }

}  // namespace suanli::engine

#endif
