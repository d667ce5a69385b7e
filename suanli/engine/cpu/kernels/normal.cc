// normal: () -> x, element i = mean + std * Philox(seed, stream, step).normal(i), attrs mean, std,
// seed, stream, step; how parameters begin. The same steps as philox.cc and box_muller.h, on
// vectors: the same bits.
#include "suanli/base/box_muller.h"
#include "suanli/base/philox.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/kernels/normal.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using RealTag = hn::ScalableTag<double>;
using Real = hn::Vec<RealTag>;
using WordTag = hn::RebindToUnsigned<RealTag>;  // a lane holds one 32-bit word in its lower half
using Word = hn::Vec<WordTag>;
constexpr std::size_t kLanes = hn::MaxLanes(RealTag());
// Vectors in flight, so that one waits for its products while the next goes on.
constexpr std::size_t kFlight = 4;

HWY_INLINE Real real(double value) { return hn::Set(RealTag(), value); }
HWY_INLINE Word word(std::uint64_t value) { return hn::Set(WordTag(), value); }

// All 64 bits of the product of the lower halves.
HWY_INLINE Word product(Word a, std::uint32_t b) {
#if HWY_TARGET == HWY_SCALAR
  return word((hn::GetLane(a) & 0xFFFFFFFFu) * b);
#else
  const hn::Repartition<std::uint32_t, WordTag> d;
  return hn::MulEven(hn::BitCast(d, a), hn::BitCast(d, word(b)));
#endif
}

template <std::size_t kTerms>
HWY_INLINE Real polynomial_of(const std::array<double, kTerms>& coefficients, Real z) {
  Real sum = real(coefficients[kTerms - 1]);
  for (std::size_t k = kTerms - 1; k-- > 0;) sum = hn::Add(hn::Mul(sum, z), real(coefficients[k]));
  return sum;
}

// x below 2^53 as a real, exactly: its halves become mantissas.
HWY_INLINE Real real_of(Word x) {
  const RealTag d;
  const Word high = hn::Or(hn::ShiftRight<32>(x), word(0x4530000000000000));  // 2^84 + high 2^32
  const Word low = hn::Or(hn::And(x, word(0xFFFFFFFF)), word(0x4330000000000000));  // 2^52 + low
  const Real whole = hn::Sub(hn::BitCast(d, high), real(0x1p84));
  return hn::Add(whole, hn::Sub(hn::BitCast(d, low), real(0x1p52)));
}

HWY_INLINE Real box_muller_of(Real u, Real v) {
  const RealTag d;
  const Word bits = hn::BitCast(WordTag(), u);
  const Word exponent =
      hn::ShiftRight<52>(hn::Add(bits, word((std::uint64_t{64} << 52) - BoxMuller::kSqrtHalf)));
  const Real m = hn::BitCast(d, hn::Add(bits, hn::ShiftLeft<52>(hn::Sub(word(64), exponent))));
  const Real biased = hn::BitCast(d, hn::Or(exponent, word(0x4330000000000000)));
  const Real n = hn::Sub(real(0x1p52 + 64), biased);
  const Real s = hn::Div(hn::Sub(m, real(1)), hn::Add(m, real(1)));
  const Real squared_radius = hn::Sub(hn::Mul(n, real(BoxMuller::kTwoLn2)),
                                      hn::Mul(s, polynomial_of(BoxMuller::kLog, hn::Mul(s, s))));
  const Real a = hn::Sub(hn::Abs(hn::Sub(v, real(0.5))), real(0.25));
  const Real sine = hn::Mul(a, polynomial_of(BoxMuller::kSine, hn::Mul(a, a)));
  return hn::Mul(hn::Sqrt(squared_radius), sine);
}

struct Draw {
  double mean, deviation;
  std::uint32_t k0, k1, step_low;
};

// Elements first .. first + kFlight * kLanes.
HWY_INLINE void draw(const Draw& how, std::uint64_t first, float* to) {
  Word c0[kFlight], c1[kFlight], c2[kFlight], c3[kFlight];
  for (std::size_t f = 0; f < kFlight; ++f) {
    const Word index = hn::Iota(WordTag(), first + f * kLanes);
    c0[f] = index;  // only the lower halves count until the end
    c1[f] = hn::ShiftRight<32>(index);
    c2[f] = word(0);
    c3[f] = word(how.step_low);
  }
  std::uint32_t k0 = how.k0, k1 = how.k1;
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
    for (std::size_t f = 0; f < kFlight; ++f) {
      const Word p0 = product(c0[f], 0xD2511F53u);
      const Word p1 = product(c2[f], 0xCD9E8D57u);
      c0[f] = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1[f]), word(k0));
      c1[f] = p1;
      c2[f] = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3[f]), word(k1));
      c3[f] = p0;
    }
  for (std::size_t f = 0; f < kFlight; ++f) {
    const auto fraction = [](Word low, Word high) {
      return hn::ShiftRight<11>(hn::Or(hn::And(low, word(0xFFFFFFFF)), hn::ShiftLeft<32>(high)));
    };
    const Real u = hn::Mul(real_of(hn::Add(fraction(c0[f], c1[f]), word(1))), real(0x1p-53));
    const Real v = hn::Mul(real_of(fraction(c2[f], c3[f])), real(0x1p-53));
    const Real x = hn::Add(real(how.mean), hn::Mul(real(how.deviation), box_muller_of(u, v)));
    const hn::Rebind<float, RealTag> narrow;
    hn::StoreU(hn::DemoteTo(narrow, x), narrow, to + f * kLanes);
  }
}

void DrawNormals(const Philox& random, double mean, double deviation, std::uint64_t begin,
                 std::size_t n, float* to) {
  const Draw how{mean, deviation, random.key()[0], random.key()[1], random.step_low()};
  constexpr std::size_t kStep = kFlight * kLanes;
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) draw(how, begin + i, to + i);
  if (i == n) return;
  float rest[kStep];
  draw(how, begin + i, rest);
  std::copy_n(rest, n - i, to + i);
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {
namespace {

HWY_EXPORT(DrawNormals);

Result<std::unique_ptr<Kernel>> make_normal(const KernelSpec& spec) {
  if (!has_dtypes(spec, {}, {graph::DType::f32})) return unsupported(spec);
  const Philox random(static_cast<std::uint64_t>(spec.attrs.integer("seed")),
                      static_cast<Stream>(spec.attrs.integer("stream")),
                      static_cast<std::uint64_t>(spec.attrs.integer("step")));
  const double mean = spec.attrs.real("mean");
  const double deviation = spec.attrs.real("std");
  const std::int64_t n = spec.outputs[0].elements();
  return simple_kernel("hwy:" + simd_name(), [=](const KernelArgs& args) {
    parallel_ranges(args.pool, n, 16384, [&](std::int64_t begin, std::int64_t end, int) {
      HWY_DYNAMIC_DISPATCH(DrawNormals)
      (random, mean, deviation, static_cast<std::uint64_t>(begin),
       static_cast<std::size_t>(end - begin), output<float>(args, 0) + begin);
    });
  });
}

}  // namespace

void register_normal(KernelTable& table) { table.add("normal", make_normal); }

}  // namespace suanli::engine
#endif
