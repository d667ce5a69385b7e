// Time against money: the same run on several devices, in several numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "suanli/plan/large_run.h"

namespace suanli::plan {

struct SweepQuestion {
  LargeRun run;                        // its device and number are replaced
  std::vector<Accelerator> devices;
  std::vector<std::int64_t> counts;
};

struct SweepPoint {
  std::string device;
  std::int64_t count = 0;
  Interval time_s, money_usd, mfu;
  bool is_on_frontier = false;         // nothing else is both faster and cheaper
};

struct Sweep {
  std::vector<SweepPoint> points;      // by device, then count
  struct LeftOut {
    std::string device;
    std::int64_t count = 0;
    Error reason;
  };
  std::vector<LeftOut> left_out;       // what does not fit or cannot be laid out
  bool is_rented = false;              // what money is: rent, or depreciation and electricity
  std::vector<Error> warnings;
};

// Errors: usage (input that is impossible for every point, no price for a device), no_memory if nothing fits at all.
Result<Sweep> sweep(const SweepQuestion& question);

// Marks those that no other beats in expected time and money both.
void mark_frontier(std::vector<SweepPoint>& points);

}  // namespace suanli::plan
