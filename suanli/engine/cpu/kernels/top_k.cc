// top_k_pack and top_k_unpack (graph/ops/top_k.cc).
//
// A sample tells a size that about a third more than k elements reach. Those are collected, and the k largest are chosen among
// them: two quick passes over all elements. Should the sample have misled (fewer than k, or far more), or k be a large part of
// all elements, all of them are the candidates. The result is exact, and the same, either way.
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "suanli/engine/cpu/kernels/top_k.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace suanli::engine::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// How many of the n sizes reach `floor`; n < 2^31.
std::int64_t CountFrom(const std::uint32_t* x, std::int64_t n, std::int32_t floor) {
  const hn::ScalableTag<std::int32_t> d;
  constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(hn::ScalableTag<std::int32_t>()));
  const auto below = hn::Set(d, floor - 1), without_sign = hn::Set(d, 0x7FFFFFFF);
  auto counts = hn::Zero(d);
  const auto* values = reinterpret_cast<const std::int32_t*>(x);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)  // a mask is -1 in each lane
    counts = hn::Sub(counts, hn::VecFromMask(d, hn::Gt(hn::And(hn::LoadU(d, values + i), without_sign), below)));
  std::int64_t count = hn::GetLane(hn::SumOfLanes(d, counts));
  for (; i < n; ++i) count += (values[i] & 0x7FFFFFFF) >= floor;
  return count;
}

// Their places, counted from `first`.
void CollectFrom(const std::uint32_t* x, std::int64_t n, std::int32_t floor, std::uint32_t first, std::uint32_t* places) {
  const hn::ScalableTag<std::int32_t> d;
  constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(hn::ScalableTag<std::int32_t>()));
  const auto below = hn::Set(d, floor - 1), without_sign = hn::Set(d, 0x7FFFFFFF);
  const auto* values = reinterpret_cast<const std::int32_t*>(x);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto reach = hn::Gt(hn::And(hn::LoadU(d, values + i), without_sign), below);
    if (hn::AllFalse(d, reach)) continue;
    std::uint8_t bytes[8] = {};  // StoreMaskBits may write as many
    hn::StoreMaskBits(d, reach, bytes);
    for (std::uint32_t bits = bytes[0] | std::uint32_t{bytes[1]} << 8; bits != 0; bits &= bits - 1)
      *places++ = first + static_cast<std::uint32_t>(i) + static_cast<std::uint32_t>(std::countr_zero(bits));
  }
  for (; i < n; ++i)
    if ((values[i] & 0x7FFFFFFF) >= floor) *places++ = first + static_cast<std::uint32_t>(i);
}

}  // namespace suanli::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace suanli::engine {
namespace {

using graph::DType;

HWY_EXPORT(CountFrom);
HWY_EXPORT(CollectFrom);

constexpr std::int64_t kBlock = 65536;  // elements of a task
constexpr std::int64_t kStride = 256;   // of this many elements one is in the sample
constexpr std::size_t kBuckets = 2048;

// The 31 bits of |x|, highest digit first.
struct DigitRange {
  int shift, bits;
};
constexpr std::array<DigitRange, 3> kDigits = {{{20, 11}, {10, 10}, {0, 10}}};

// |x| as bits, in the order of sizes; signed, which every instruction set can compare.
std::int32_t size_of(std::uint32_t bits) { return static_cast<std::int32_t>(bits & 0x7FFFFFFF); }

struct BlockCount {
  std::int64_t above = 0;  // elements larger than the threshold
  std::int64_t equal = 0;
};

// Where things lie in scratch.
struct TopKPlan {
  std::int64_t elements = 0, k = 0;
  std::int64_t sample = 0, rank = 0;  // of the sample, the rank that is the floor of candidates; 0: no sample is taken
  std::int64_t capacity = 0;          // of candidates

  TopKPlan(std::int64_t n, std::int64_t wanted) : elements(n), k(wanted) {
    if (n < 4 * kBlock || k > n / 8) return;
    sample = n / kStride;
    const double expected = static_cast<double>(k) / kStride;
    rank = static_cast<std::int64_t>(expected + 4 * std::sqrt(expected)) + 8;
    capacity = 2 * rank * kStride;
  }
  std::int64_t blocks() const { return divide_up(elements, kBlock); }
  std::int64_t counts_at(int workers) const {
    return static_cast<std::int64_t>(workers) * static_cast<std::int64_t>(kBuckets * sizeof(std::int64_t));
  }
  std::int64_t sample_at(int workers) const {
    return counts_at(workers) + blocks() * static_cast<std::int64_t>(sizeof(BlockCount));
  }
  std::int64_t candidates_at(int workers) const { return sample_at(workers) + 4 * sample; }
  std::int64_t bytes(int workers) const { return candidates_at(workers) + 4 * capacity; }
};

class TopKPack final : public Kernel {
 public:
  TopKPack(std::int64_t elements, std::int64_t k) : plan_(elements, k) {}

  void run(const KernelArgs& args) const override {
    if (plan_.k == 0) return;
    if (plan_.sample > 0 && choose_among_candidates(args)) return;
    choose_among_all(args);
  }
  Bytes scratch(int workers) const override { return Bytes(plan_.bytes(workers)); }
  std::string implementation() const override { return plan_.sample > 0 ? "sample, radix select" : "radix select"; }

 private:
  // The k-th largest size of the `count` elements x(i), digit by digit; histograms add up to the same whoever counts.
  template <typename X>
  std::int32_t find_threshold(const KernelArgs& args, std::int64_t count, const X& x) const {
    auto* histograms = reinterpret_cast<std::int64_t*>(args.scratch);
    std::uint32_t found = 0;  // the digits known of the k-th largest size
    std::int64_t wanted = plan_.k;
    int known = 31;           // bits from here up are known
    for (const DigitRange digit : kDigits) {
      std::memset(histograms, 0, static_cast<std::size_t>(plan_.counts_at(args.pool.size())));
      const std::uint32_t mask = (1U << digit.bits) - 1;
      const bool all = known == 31;
      parallel_ranges(args.pool, count, kBlock, [&](std::int64_t begin, std::int64_t end, int worker) {
        std::int64_t* own = histograms + static_cast<std::size_t>(worker) * kBuckets;
        for (std::int64_t i = begin; i < end; ++i) {
          const auto size = static_cast<std::uint32_t>(size_of(x(i)));
          if (all || size >> known == found >> known) ++own[size >> digit.shift & mask];
        }
      }, 0);
      std::size_t bucket = mask;
      for (;; --bucket) {
        std::int64_t in_bucket = 0;
        for (int w = 0; w < args.pool.size(); ++w) in_bucket += histograms[static_cast<std::size_t>(w) * kBuckets + bucket];
        if (in_bucket >= wanted) break;
        wanted -= in_bucket;
      }
      found |= static_cast<std::uint32_t>(bucket) << digit.shift;
      known = digit.shift;
    }
    return static_cast<std::int32_t>(found);
  }

  void choose_among_all(const KernelArgs& args) const {
    const auto* x = input<std::uint32_t>(args, 0);
    const std::int32_t threshold = find_threshold(args, plan_.elements, [x](std::int64_t i) { return x[i]; });
    auto* counts = reinterpret_cast<BlockCount*>(args.scratch + plan_.counts_at(args.pool.size()));
    parallel_ranges(args.pool, plan_.elements, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      std::int32_t above = 0, equal = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        above += size_of(x[i]) > threshold;
        equal += size_of(x[i]) == threshold;
      }
      counts[begin / kBlock] = {above, equal};
    });
    // From here on a block's `above` is where its result begins, `equal` how many of the threshold's size it takes.
    std::int64_t left = plan_.k, at = 0;
    for (std::int64_t i = 0; i < plan_.blocks(); ++i) left -= counts[i].above;
    for (std::int64_t i = 0; i < plan_.blocks(); ++i) {
      const std::int64_t taken = std::min(left, counts[i].equal), own = counts[i].above + taken;
      left -= taken;
      counts[i] = {at, taken};
      at += own;
    }
    auto* places = output<std::uint32_t>(args, 0);
    parallel_ranges(args.pool, plan_.elements, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      auto [to, equal] = counts[begin / kBlock];
      for (std::int64_t i = begin; i < end; ++i) {
        if (size_of(x[i]) < threshold || (size_of(x[i]) == threshold && equal-- <= 0)) continue;
        places[to] = static_cast<std::uint32_t>(i);
        places[plan_.k + to++] = x[i];
      }
    }, 0);
  }

  // False if the sample has misled.
  bool choose_among_candidates(const KernelArgs& args) const {
    const auto* x = input<std::uint32_t>(args, 0);
    const int workers = args.pool.size();
    auto* sample = reinterpret_cast<std::int32_t*>(args.scratch + plan_.sample_at(workers));
    for (std::int64_t i = 0; i < plan_.sample; ++i) {
      const std::uint32_t within = static_cast<std::uint32_t>(i) * 0x9E3779B1U >> 24;  // else columns of a matrix might show
      sample[i] = size_of(x[i * kStride + within]);
    }
    std::nth_element(sample, sample + plan_.rank - 1, sample + plan_.sample, std::greater<>());
    const std::int32_t floor = sample[plan_.rank - 1];

    auto* counts = reinterpret_cast<BlockCount*>(args.scratch + plan_.counts_at(workers));
    parallel_ranges(args.pool, plan_.elements, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      counts[begin / kBlock] = {HWY_DYNAMIC_DISPATCH(CountFrom)(x + begin, end - begin, floor), 0};
    });
    std::int64_t total = 0;
    for (std::int64_t i = 0; i < plan_.blocks(); ++i) total += std::exchange(counts[i].above, total);
    if (total < plan_.k || total > plan_.capacity) return false;

    auto* candidates = reinterpret_cast<std::uint32_t*>(args.scratch + plan_.candidates_at(workers));
    parallel_ranges(args.pool, plan_.elements, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      HWY_DYNAMIC_DISPATCH(CollectFrom)
      (x + begin, end - begin, floor, static_cast<std::uint32_t>(begin), candidates + counts[begin / kBlock].above);
    }, 0);

    const std::int32_t threshold = find_threshold(args, total, [&](std::int64_t i) { return x[candidates[i]]; });
    std::int64_t equal = plan_.k;
    for (std::int64_t i = 0; i < total; ++i) equal -= size_of(x[candidates[i]]) > threshold;
    auto* places = output<std::uint32_t>(args, 0);
    std::int64_t to = 0;
    for (std::int64_t i = 0; i < total; ++i) {
      const std::uint32_t place = candidates[i];
      if (size_of(x[place]) < threshold || (size_of(x[place]) == threshold && equal-- <= 0)) continue;
      places[to] = place;
      places[plan_.k + to++] = x[place];
    }
    return true;
  }

  TopKPlan plan_;
};

Result<std::unique_ptr<Kernel>> make_pack(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::f32}, {DType::u8})) return unsupported(spec);
  return std::make_unique<TopKPack>(spec.inputs[0].elements(), spec.attrs.integer("k"));
}

Result<std::unique_ptr<Kernel>> make_unpack(const KernelSpec& spec) {
  if (!has_dtypes(spec, {DType::u8}, {DType::f32})) return unsupported(spec);
  const std::int64_t elements = spec.outputs[0].elements(), k = spec.inputs[0].elements() / 8;
  return simple_kernel("scatter", [=](const KernelArgs& args) {
    const auto* places = input<std::uint32_t>(args, 0);
    const auto* values = input<float>(args, 0) + k;
    auto* out = output<float>(args, 0);
    // Places come from another machine: unless they rise and lie within, nothing is put anywhere and all is NaN.
    std::atomic<bool> good = true;
    parallel_ranges(args.pool, k, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      bool rising = true;
      for (std::int64_t i = begin; i < end; ++i)
        rising = rising && places[i] < elements && (i == 0 || places[i - 1] < places[i]);
      if (!rising) good = false;
    }, 0);
    const float rest = good ? 0 : std::numeric_limits<float>::quiet_NaN();
    parallel_ranges(args.pool, elements, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      std::fill(out + begin, out + end, rest);
    });
    if (!good) return;
    parallel_ranges(args.pool, k, kBlock, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) out[places[i]] = values[i];
    }, 0);
  });
}

}  // namespace

void register_top_k(KernelTable& table) {
  table.add("top_k_pack", make_pack);
  table.add("top_k_unpack", make_unpack);
}

}  // namespace suanli::engine
#endif
