#include "suanli/plan/snapshot_time.h"

namespace suanli::plan {

Interval seconds_over(double bytes, const Interval& rate) { return {bytes / rate.high, bytes / rate.expected, bytes / rate.low}; }

SnapshotTime snapshot_time(const Profile& profile, Bytes state) {
  const auto bytes = static_cast<double>(state.value());
  const Interval digest = seconds_over(bytes, kSnapshotRate);
  SnapshotTime time;
  time.copy = seconds_over(2 * bytes, profile.copy);  // a read and a write
  time.stall = sum(time.copy, scaled(digest, 1.0 / profile.threads));
  time.write = sum(digest, seconds_over(bytes, profile.disk ? profile.disk->write : kUnknownDisk));
  if (profile.disk) time.write = sum(time.write, profile.disk->sync_seconds);
  return time;
}

}  // namespace suanli::plan
