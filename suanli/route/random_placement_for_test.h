// Random placements with random speeds: any number of stages, any replicas, some workers that stand by, uneven workers and lines.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/route/route_table.h"
#include "suanli/route/speeds.h"

namespace suanli::route {

struct RandomPool {
  Placement placement;
  std::int64_t micro_batches = 1;
  std::size_t workers = 1;
  Speeds speeds;
};

class RandomDraw {
 public:
  explicit RandomDraw(std::uint64_t seed) : random_(seed, Stream::test) {}
  // In [low, high].
  std::int64_t whole(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(high - low + 1), drawn_++));
  }
  double real(double low, double high) { return low + (high - low) * random_.uniform(drawn_++); }

 private:
  Philox random_;
  std::uint64_t drawn_ = 0;
};

inline RandomPool random_pool(std::uint64_t seed) {
  RandomDraw draw(seed);
  RandomPool pool;
  const std::int64_t stages = draw.whole(1, 6);
  std::vector<WorkerIndex> names;
  for (std::int64_t s = 0; s < stages; ++s) pool.placement.stages.emplace_back(static_cast<std::size_t>(draw.whole(1, 4)));
  for (const auto& holders : pool.placement.stages) pool.workers += holders.size();
  pool.workers += static_cast<std::size_t>(draw.whole(0, 2));
  --pool.workers;
  names.resize(pool.workers);
  std::iota(names.begin(), names.end(), 0);
  for (std::size_t i = names.size(); i > 1; --i)
    std::swap(names[i - 1], names[static_cast<std::size_t>(draw.whole(0, static_cast<std::int64_t>(i) - 1))]);
  int block = -1;
  for (std::size_t s = 0; s < pool.placement.stages.size(); ++s) {
    for (WorkerIndex& holder : pool.placement.stages[s]) holder = names.back(), names.pop_back();
    block += static_cast<int>(draw.whole(1, 3));
    if (s + 1 < pool.placement.stages.size()) pool.placement.cut.after_blocks.push_back(block);
  }
  pool.micro_batches = draw.whole(1, 24);
  std::vector<double> lines;
  const double slowest = draw.whole(0, 1) == 0 ? 0.2 : 4.0;
  for (std::size_t i = 0; i < pool.workers * pool.workers; ++i) lines.push_back(draw.real(0, slowest));
  for (std::size_t w = 0; w < pool.workers; ++w) {
    pool.speeds.forward.push_back(Seconds(draw.real(0.2, 2)));
    pool.speeds.backward.push_back(pool.speeds.forward.back() * draw.real(1, 3));
  }
  pool.speeds.hop = [lines, workers = pool.workers](WorkerIndex from, WorkerIndex to, bool) {
    return Seconds(lines[static_cast<std::size_t>(from) * workers + static_cast<std::size_t>(to)]);
  };
  if (draw.whole(0, 1) == 0)
    pool.speeds.occupied = [hop = pool.speeds.hop](WorkerIndex from, WorkerIndex to, bool forward) {
      return hop(from, to, forward) * 0.7;
    };
  return pool;
}

}  // namespace suanli::route
