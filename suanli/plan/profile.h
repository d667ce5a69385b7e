// What a machine was measured to do: the file that `suanli calibrate` writes and that plans, comparisons and pools read
// (docs/formats/profile.md).
//
// Every figure is an interval: the median of samples that are spread over the whole calibration, and what four of five
// repetitions of the calibration are within (calibrate.h says how that is found).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/engine/target.h"
#include "suanli/plan/interval.h"

namespace suanli::plan {

inline constexpr int kProfileVersion = 1;

// One kind of kernel call at one size: how long it takes. `flops` are the operations of canonical nodes (KernelCall::flops),
// `bytes` what the call must read and write (kernel_class.h).
struct KernelRate {
  std::string kind;            // class of kernel: "matmul forward gelu" (kernel_class.h)
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  std::vector<double> sizes;   // of the call, as the class counts them: of a product M, N, K
  double flops = 0, bytes = 0;
  Interval seconds;            // of one call, its launch included
};

struct MatmulRate {  // a bare product, for people and for exchange rates
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  std::string shape_class;  // "square", "forward", "input gradient", "weight gradient", "small", "thin", "vocabulary"
  std::int64_t m = 0, n = 0, k = 0;
  Interval flops_per_second;
};

struct DiskRate {
  Interval write, read;    // bytes per second, writing through fsync; reading a file whose pages were dropped if they could be
  bool read_from_cache = false;  // they could not: `read` is the page cache's rate
  Interval sync_seconds;   // of a small durable write
};

struct Profile {
  int version = kProfileVersion;
  std::string machine;      // brand string of the CPU
  std::string host;         // name of the machine
  std::string build;        // version of suanli
  std::string time;         // UTC, ISO 8601: "2026-11-22T03:34:00Z"
  bool quick = false;
  int threads = 0, cores = 0;
  double waited_share = 0;  // of one core: how long threads waited for cores that other programs had (or each other, if more
                            // threads than cores). What was measured meanwhile counts only where there is too little else
  Bytes memory, l2, l3;
  Interval clock_hz;
  Interval read, copy;      // memory bandwidth, bytes per second
  Interval elementwise;     // f32 multiply-adds in registers, FLOP/s
  struct Peak {             // the limits that `suanli bench` holds kernels against (meter::Calibration)
    engine::Arithmetic arithmetic = engine::Arithmetic::f32;
    std::string loop;
    Interval flops_per_second;
    double nominal = 0;     // dense peak of the instructions at the measured clock
  };
  std::vector<Peak> peaks;
  Interval launch_seconds;  // of a call that does next to nothing
  struct Overhead {         // of a step over the sum of its calls' times, at least 1
    engine::Arithmetic arithmetic = engine::Arithmetic::f32;
    Interval factor;
  };
  std::vector<Overhead> step_overheads;
  std::vector<MatmulRate> matmuls;
  std::vector<KernelRate> kernels;
  std::optional<DiskRate> disk;
  std::optional<Interval> idle_watts, busy_watts;  // of the processor package, where the machine tells (RAPL)

  // Null if it was not calibrated.
  const Peak* peak(engine::Arithmetic arithmetic) const;
  // Was bf16 measured on units for matrix products? There "auto" means bf16.
  bool has_matrix_units() const;
  // What other programs took away: the waited share without what more threads than cores take from one another, nor what is
  // usual on an idle system; of one core.
  double disturbed_share() const;
};

// A calibration beside other programs finds other medians, by more than its rounds differ. The stretch of its intervals, as a
// factor on their logarithms: 1 + 5 x (disturbed share less 0.05). With 5 x the share, calibrations beside a program on both
// cores held 69 to 84 % of the kernels that undisturbed ones measured (8 to 17 % without), and 97 to 100 % of those of one
// another (44 to 62 % without), over pairs of profiles of the reference machine.
inline constexpr double kMuchDisturbed = 0.05;  // from here on it is worth a word
double waiting_factor(const Profile& profile);
void widen_for_waiting(Profile& profile);

// Strict: every key known, every number finite and in range, every interval in order. Errors name the place: foreign (no
// profile), version, corrupt.
Result<Profile> parse_profile(std::string_view json, const std::string& place);
Result<Profile> load_profile(const std::string& path);
// Reads back as the same profile.
std::string print_profile(const Profile& profile);

// What speaks against using `profile` for this process with so many threads (0: unknown): another machine, another build,
// another number of threads, older than 30 days. Code mismatch.
std::vector<Error> profile_warnings(const Profile& profile, int threads);
// The same for a given machine, build and time (seconds since 1970), for tests.
struct Here {
  std::string machine, host, build;
  int cores = 0;
  double now = 0;
};
Here here();
std::vector<Error> profile_warnings(const Profile& profile, int threads, const Here& here);

// "2026-11-22T03:34:00Z" of seconds since 1970, and back; empty for what is no such time.
std::string utc_text(double seconds);
std::optional<double> utc_seconds(std::string_view text);

}  // namespace suanli::plan
