// What a snapshot of a run takes on a machine: its state is copied by all threads, and then digested and written by one beside
// the training (checkpoint/local_tier.h), or alone after the last step.
#pragma once

#include "suanli/base/units.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/profile.h"

namespace suanli::plan {

// In seconds.
struct SnapshotTime {
  Interval copy;   // until training may go on
  Interval stall;  // the copy, and computing that the core which digests is taken from
  Interval write;  // from the copy until the snapshot is durable

  Interval last() const { return sum(copy, write); }  // after the last step, which waits for it
};

// Bytes to digest and write a second where nothing was measured: a core with or without SHA instructions; disks of all kinds.
inline constexpr Interval kSnapshotRate{0.35e9, 0.7e9, 1.4e9};
inline constexpr Interval kUnknownDisk{0.1e9, 0.5e9, 2e9};

Interval seconds_over(double bytes, const Interval& rate);

SnapshotTime snapshot_time(const Profile& profile, Bytes state);

}  // namespace suanli::plan
