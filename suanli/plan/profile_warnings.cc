// Whether a profile speaks for this machine, this build and today.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {
namespace {

constexpr double kDay = 86400;
constexpr double kOldAge = 30 * kDay;
// Of one core: what calibrations on the idle reference machine waited (4.6 to 5.2 %), and
// what the stretch was fitted to be.
constexpr double kUsualWaiting = 0.05, kStretch = 5;
const char* const kAgain = "calibrate again: `suanli calibrate`";

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != 0 ? name : "unknown";
}

}  // namespace

std::string utc_text(double seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm utc{};
  if (::gmtime_r(&time, &utc) == nullptr) return "";
  char text[40];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc));
}

std::optional<double> utc_seconds(std::string_view text) {
  std::tm utc{};
  const std::string copy(text);
  const char* end = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  if (end == nullptr || *end != 0) return std::nullopt;
  const auto seconds = static_cast<double>(::timegm(&utc));
  // What strptime lets pass, such as the 31st of February, comes back as another day.
  return utc_text(seconds) == text ? std::optional(seconds) : std::nullopt;
}

Here here() {
  const CpuInfo cpu = cpu_info();
  return {.machine = cpu.model.empty() ? "unknown" : cpu.model,
          .host = host_name(),
          .build = SUANLI_VERSION,
          .cores = cpu.cores,
          .now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count()};
}

double Profile::disturbed_share() const {
  return std::max(0.0, waited_share - std::max(0, threads - cores) - kUsualWaiting);
}

double waiting_factor(const Profile& profile) { return 1 + kStretch * profile.disturbed_share(); }

std::vector<Error> profile_warnings(const Profile& profile, int threads) { return profile_warnings(profile, threads, here()); }

std::vector<Error> profile_warnings(const Profile& profile, int threads, const Here& here) {
  std::vector<Error> warnings;
  const auto warn = [&](std::string message, std::string place, std::string next_step) {
    warnings.push_back({ErrorCode::mismatch, std::move(message), std::move(place), std::move(next_step)});
  };
  if (profile.machine != here.machine || profile.cores != here.cores)
    warn("the profile is of another machine: " + printable(profile.machine) + ", " + std::to_string(profile.cores) +
             " cores; here it is " + printable(here.machine) + ", " + std::to_string(here.cores) + " cores",
         "profile.machine", "what follows from it holds there, not here; to know this machine, calibrate here");
  else if (profile.host != here.host)
    warn("the profile was made on host '" + printable(profile.host) + "', this is '" + printable(here.host) + "'", "profile.host",
         "machines of one kind differ by their neighbours; to know this one, calibrate here");
  if (profile.build != here.build)
    warn("the profile was made by suanli " + printable(profile.build) + ", this is " + here.build, "profile.build", kAgain);
  if (threads > 0 && profile.threads != threads)
    warn("the profile is of " + std::to_string(profile.threads) + " threads, but " + std::to_string(threads) + " are to run",
         "profile.threads", "calibrate with `suanli calibrate --threads " + std::to_string(threads) + "`");
  const std::optional<double> time = utc_seconds(profile.time);
  if (time && here.now - *time > kOldAge)
    warn("the profile is " + format("%.0f", std::floor((here.now - *time) / kDay)) + " days old", "profile.time", kAgain);
  if (time && *time - here.now > kDay)
    warn("the profile was made at " + profile.time + ", which is still to come", "profile.time",
         "set this machine's clock, or " + std::string(kAgain));
  if (profile.disturbed_share() > kMuchDisturbed)
    warn(format("the profile was made while other programs had the cores (%.0f %% of one core's time was waited for): its times "
                "are longer and its intervals wider than the machine is",
                100 * profile.waited_share),
         "profile.waited_share", "calibrate again when the machine has nothing else to do: `suanli calibrate`");
  return warnings;
}

}  // namespace suanli::plan
