// The fields of a profile, once: what is written is what is read (docs/formats/profile.md). An archive is a writer that builds
// JSON or a reader that takes it apart; it has
//   text(key, string)        not empty
//   flag(key, bool)
//   count(key, integer)      at least 1
//   bytes(key, Bytes)        at least 0
//   number(key, double, range)
//   numbers(key, vector, range)  at most kMostSizes
//   interval(key, Interval, range)  low <= expected <= high, all in the range
//   dtype(key, Arithmetic)
//   each(key, vector, f)     a list of objects, f(archive, element) has the fields of one
//   maybe(key, optional, f)  null or an object
#pragma once

#include <cstddef>

#include "suanli/plan/profile.h"

namespace suanli::plan {

inline constexpr const char* kProfileFormat = "suanli profile";
inline constexpr std::size_t kMostSizes = 8;
inline constexpr std::size_t kMostEntries = 10'000;  // of a list; a full calibration has 1,500 kernels
// Sizes of one kind of kernel in one arithmetic: interpolating between n of them takes n^3 operations once and n^2 per call. A
// full calibration has at most 105.
inline constexpr std::size_t kMostOfKind = 256;

// What a machine can have, with room for those to come: between these, no sum of a plan overflows or vanishes.
struct FieldRange {
  double least = 0, most = 0;
};
inline constexpr FieldRange kRates{1e3, 1e18};      // per second
inline constexpr FieldRange kTimes{1e-12, 1e6};     // seconds
inline constexpr FieldRange kFactors{0.5, 100};
inline constexpr FieldRange kAmounts{0, 1e18};      // operations, bytes
inline constexpr FieldRange kSizes{1, 1e18};
inline constexpr FieldRange kPowers{1e-3, 1e6};     // watts
inline constexpr FieldRange kCoreShares{0, 1e5};    // of one core, all threads together

template <typename Archive>
void interval_fields(Archive& a, Interval& interval, const FieldRange& range) {
  a.bounds(interval, range);
}

template <typename Archive>
void profile_fields(Archive& a, Profile& p) {
  a.text("machine", p.machine);
  a.text("host", p.host);
  a.text("build", p.build);
  a.text("time", p.time);
  a.flag("quick", p.quick);
  a.count("threads", p.threads);
  a.count("cores", p.cores);
  a.number("waited_share", p.waited_share, kCoreShares);
  a.bytes("memory_bytes", p.memory);
  a.bytes("l2_bytes", p.l2);
  a.bytes("l3_bytes", p.l3);
  a.interval("clock_hz", p.clock_hz, kRates);
  a.interval("read_bytes_per_s", p.read, kRates);
  a.interval("copy_bytes_per_s", p.copy, kRates);
  a.interval("elementwise_flops_per_s", p.elementwise, kRates);
  a.interval("launch_s", p.launch_seconds, kTimes);
  a.each("peaks", p.peaks, [](Archive& b, Profile::Peak& peak) {
    b.dtype("dtype", peak.arithmetic);
    b.text("loop", peak.loop);
    b.interval("flops_per_s", peak.flops_per_second, kRates);
    b.number("nominal_flops_per_s", peak.nominal, kAmounts);
  });
  a.each("step_overheads", p.step_overheads, [](Archive& b, Profile::Overhead& overhead) {
    b.dtype("dtype", overhead.arithmetic);
    b.interval("factor", overhead.factor, kFactors);
  });
  a.each("matmuls", p.matmuls, [](Archive& b, MatmulRate& rate) {
    b.dtype("dtype", rate.arithmetic);
    b.text("shape_class", rate.shape_class);
    b.count("m", rate.m);
    b.count("n", rate.n);
    b.count("k", rate.k);
    b.interval("flops_per_s", rate.flops_per_second, kRates);
  });
  a.each("kernels", p.kernels, [](Archive& b, KernelRate& rate) {
    b.text("kind", rate.kind);
    b.dtype("dtype", rate.arithmetic);
    b.numbers("sizes", rate.sizes, kSizes);
    b.number("flops", rate.flops, kAmounts);
    b.number("bytes", rate.bytes, kAmounts);
    b.interval("seconds", rate.seconds, kTimes);
  });
  a.maybe("disk", p.disk, [](Archive& b, DiskRate& disk) {
    b.interval("write_bytes_per_s", disk.write, kRates);
    b.interval("read_bytes_per_s", disk.read, kRates);
    b.flag("read_from_cache", disk.read_from_cache);
    b.interval("sync_s", disk.sync_seconds, kTimes);
  });
  a.maybe("idle_watts", p.idle_watts, [](Archive& b, Interval& watts) { interval_fields(b, watts, kPowers); });
  a.maybe("busy_watts", p.busy_watts, [](Archive& b, Interval& watts) { interval_fields(b, watts, kPowers); });
}

}  // namespace suanli::plan
