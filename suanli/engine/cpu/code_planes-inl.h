// Codes of 2, 3, 4, 6 or 8 bits to and from bytes (graph::pack_codes), compiled once per instruction set (include after
// hwy/foreach_target.h).

// Per-target include guard.
#if defined(SUANLI_ENGINE_CPU_CODE_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SUANLI_ENGINE_CPU_CODE_PLANES_INL_H_
#undef SUANLI_ENGINE_CPU_CODE_PLANES_INL_H_
#else
#define SUANLI_ENGINE_CPU_CODE_PLANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A plane of 4, 2 or 1 bits of each code: byte j holds those of the codes j, j + stride, j + 2 stride, ..
using PlaneTag = hn::CappedTag<std::uint8_t, 16>;
constexpr std::size_t kPlaneLanes = hn::MaxLanes(PlaneTag());

// Calls body for each vector of [0, n), then for what is left with one lane at a time.
template <class Body>
HWY_INLINE void for_bytes(std::size_t n, const Body& body) {
  std::size_t j = 0;
  for (; j + kPlaneLanes <= n; j += kPlaneLanes) body(PlaneTag(), j);
  for (; j < n; ++j) body(hn::CappedTag<std::uint8_t, 1>(), j);
}

HWY_INLINE void put_halves(const std::uint8_t* HWY_RESTRICT c, std::size_t n, std::uint8_t* HWY_RESTRICT out) {
  const std::size_t s = n / 2;
  for_bytes(s, [&](auto d, std::size_t j) {
    const auto low = hn::And(hn::LoadU(d, c + j), hn::Set(d, 15));
    hn::StoreU(hn::Or(low, hn::ShiftLeft<4>(hn::LoadU(d, c + s + j))), d, out + j);
  });
}
template <int kBelow>
HWY_INLINE void put_quarters(const std::uint8_t* HWY_RESTRICT c, std::size_t n, std::uint8_t* HWY_RESTRICT out) {
  const std::size_t s = n / 4;
  for_bytes(s, [&](auto d, std::size_t j) {
    const auto part = [&](std::size_t k) {
      auto code = hn::LoadU(d, c + k * s + j);
      if constexpr (kBelow > 0) code = hn::ShiftRight<kBelow>(code);
      return hn::And(code, hn::Set(d, 3));
    };
    const auto low = hn::Or(part(0), hn::ShiftLeft<2>(part(1))), high = hn::Or(part(2), hn::ShiftLeft<2>(part(3)));
    hn::StoreU(hn::Or(low, hn::ShiftLeft<4>(high)), d, out + j);
  });
}
// Bit 2 of each, of codes of three bits: eight bytes at a time where there are so many.
constexpr std::uint64_t kOnes = 0x0101010101010101;
HWY_INLINE void put_eighths(const std::uint8_t* HWY_RESTRICT c, std::size_t n, std::uint8_t* HWY_RESTRICT out) {
  const std::size_t s = n / 8;
  std::size_t j = 0;
  for (; j + 8 <= s; j += 8) {
    std::uint64_t bytes = 0, part = 0;
    for (std::size_t k = 0; k < 8; ++k) {
      std::memcpy(&part, c + j + k * s, 8);
      bytes |= (part >> 2 & kOnes) << k;
    }
    std::memcpy(out + j, &bytes, 8);
  }
  for (; j < s; ++j) {
    int byte = 0;
    for (std::size_t k = 0; k < 8; ++k) byte |= (c[j + k * s] >> 2) << k;
    out[j] = static_cast<std::uint8_t>(byte);
  }
}

// n is a multiple of 8.
HWY_INLINE void pack_planes(const std::uint8_t* codes, std::size_t n, int bits, std::uint8_t* out) {
  switch (bits) {
    case 2: return put_quarters<0>(codes, n, out);
    case 3:
      put_quarters<0>(codes, n, out);
      return put_eighths(codes, n, out + n / 4);
    case 4: return put_halves(codes, n, out);
    case 6:
      put_halves(codes, n, out);
      return put_quarters<4>(codes, n, out + n / 2);
    default: std::memcpy(out, codes, n);
  }
}

HWY_INLINE void get_halves(const std::uint8_t* HWY_RESTRICT in, std::size_t n, std::uint8_t* HWY_RESTRICT c) {
  const std::size_t s = n / 2;
  for_bytes(s, [&](auto d, std::size_t j) {
    const auto byte = hn::LoadU(d, in + j);
    hn::StoreU(hn::And(byte, hn::Set(d, 15)), d, c + j);
    hn::StoreU(hn::ShiftRight<4>(byte), d, c + s + j);
  });
}
// With kBelow > 0 the lower bits are there.
template <int kBelow>
HWY_INLINE void get_quarters(const std::uint8_t* HWY_RESTRICT in, std::size_t n, std::uint8_t* HWY_RESTRICT c) {
  const std::size_t s = n / 4;
  for_bytes(s, [&](auto d, std::size_t j) {
    const auto byte = hn::LoadU(d, in + j);
    const auto put = [&](auto code, std::size_t k) {
      code = hn::And(code, hn::Set(d, 3));
      if constexpr (kBelow > 0) code = hn::Or(hn::ShiftLeft<kBelow>(code), hn::LoadU(d, c + k * s + j));
      hn::StoreU(code, d, c + k * s + j);
    };
    put(byte, 0);
    put(hn::ShiftRight<2>(byte), 1);
    put(hn::ShiftRight<4>(byte), 2);
    put(hn::ShiftRight<6>(byte), 3);
  });
}
HWY_INLINE void get_eighths(const std::uint8_t* HWY_RESTRICT in, std::size_t n, std::uint8_t* HWY_RESTRICT c) {
  const std::size_t s = n / 8;
  std::size_t j = 0;
  for (; j + 8 <= s; j += 8) {
    std::uint64_t bytes = 0, codes = 0;
    std::memcpy(&bytes, in + j, 8);
    for (std::size_t k = 0; k < 8; ++k) {
      std::memcpy(&codes, c + j + k * s, 8);
      codes |= (bytes >> k & kOnes) << 2;
      std::memcpy(c + j + k * s, &codes, 8);
    }
  }
  for (; j < s; ++j)
    for (std::size_t k = 0; k < 8; ++k) c[k * s + j] = static_cast<std::uint8_t>(c[k * s + j] | (in[j] >> k & 1) << 2);
}

HWY_INLINE void unpack_planes(const std::uint8_t* in, std::size_t n, int bits, std::uint8_t* codes) {
  switch (bits) {
    case 2: return get_quarters<0>(in, n, codes);
    case 3:
      get_quarters<0>(in, n, codes);
      return get_eighths(in + n / 4, n, codes);
    case 4: return get_halves(in, n, codes);
    case 6:
      get_halves(in, n, codes);
      return get_quarters<4>(in + n / 2, n, codes);
    default: std::memcpy(codes, in, n);
  }
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
