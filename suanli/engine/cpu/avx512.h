// What the files written in AVX-512 intrinsics share. x86-64 only. Each function that uses them names its target itself, so
// that the rest of the program runs on any CPU, and runs only after the CPU was asked (amx.h, bf16_convert.h).
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12's own intrinsics start from undefined registers by "x = x", and warn of it where they are inlined.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

#define SUANLI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace suanli::engine {

// The first n of 32 lanes: none from 0 down, all from 32 up.
inline __mmask32 first_of_32(std::int64_t n) {
  return n >= 32 ? ~__mmask32{0} : n <= 0 ? __mmask32{0} : (__mmask32{1} << n) - 1;
}

}  // namespace suanli::engine
