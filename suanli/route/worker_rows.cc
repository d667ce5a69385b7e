#include "suanli/route/worker_rows.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

namespace suanli::route {
namespace {

constexpr std::size_t kFew = 5;  // workers of which everything is tried
constexpr std::size_t kMostRowSteps = 30'000'000;  // of near_row()
constexpr std::size_t kGaps = 3;

std::size_t index(WorkerIndex worker) { return static_cast<std::size_t>(worker); }

double length(const PlacementCost& cost, const Group& row) {
  double sum = 0;
  for (std::size_t i = 0; i + 1 < row.size(); ++i) sum += cost.distance(row[i], row[i + 1]).value();
  return sum;
}

Group nearest_row(const PlacementCost& cost, WorkerIndex start) {
  Group row = {start};
  std::vector<bool> used(cost.worker_count());
  used[index(start)] = true;
  while (row.size() < cost.worker_count()) {
    WorkerIndex best = -1;
    for (WorkerIndex next = 0; next < static_cast<WorkerIndex>(cost.worker_count()); ++next)
      if (!used[index(next)] && (best < 0 || cost.distance(row.back(), next) < cost.distance(row.back(), best))) best = next;
    used[index(best)] = true;
    row.push_back(best);
  }
  return row;
}

// Reverses the run [i, j] where that makes the row shorter.
bool shorten(const PlacementCost& cost, Group& row) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    for (std::size_t j = i + 1; j < row.size(); ++j) {
      double gain = 0;
      if (i > 0) gain += (cost.distance(row[i - 1], row[i]) - cost.distance(row[i - 1], row[j])).value();
      if (j + 1 < row.size()) gain += (cost.distance(row[j], row[j + 1]) - cost.distance(row[i], row[j + 1])).value();
      if (gain <= 1e-12) continue;
      std::reverse(row.begin() + static_cast<std::ptrdiff_t>(i), row.begin() + static_cast<std::ptrdiff_t>(j) + 1);
      return true;
    }
  }
  return false;
}

class Rows {
 public:
  void add(const Group& row) {
    if (!row.empty() && seen_.insert(row).second) rows_.push_back(row);
  }
  // The first `keep` of `ranked`, in the order in which they stand in `row`.
  void add_kept(const Group& row, const Group& ranked, std::size_t keep) {
    const std::set<WorkerIndex> kept(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(keep));
    Group part;
    std::ranges::copy_if(row, std::back_inserter(part), [&](WorkerIndex worker) { return kept.contains(worker); });
    add(part);
  }
  std::vector<Group> take() { return std::move(rows_); }

 private:
  std::set<Group> seen_;
  std::vector<Group> rows_;
};

// The workers, least key first.
Group ranked(std::size_t workers, const std::vector<double>& key) {
  Group order(workers);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](WorkerIndex worker) { return key[index(worker)]; });
  return order;
}

std::vector<Group> every_row(std::size_t workers) {
  Rows rows;
  Group all(workers);
  std::iota(all.begin(), all.end(), 0);
  for (std::size_t size = workers; size > 0; --size) {
    Group order = all;
    do rows.add(Group(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(size)));
    while (std::ranges::next_permutation(order).found);
  }
  return rows.take();
}

std::vector<std::vector<Group>> every_split(const Group& row, std::size_t most) {
  std::vector<std::vector<Group>> result;
  for (std::uint32_t gaps = 0; gaps < (1U << (row.size() - 1)); ++gaps) {
    std::vector<Group> groups = {{row[0]}};
    for (std::size_t i = 1; i < row.size(); ++i) {
      if (gaps >> (i - 1) & 1) groups.emplace_back();
      groups.back().push_back(row[i]);
    }
    if (groups.size() <= most) result.push_back(std::move(groups));
  }
  return result;
}

}  // namespace

Group near_row(const PlacementCost& cost) {
  const std::size_t square = cost.worker_count() * cost.worker_count();
  const std::size_t starts = std::clamp<std::size_t>(kMostRowSteps / square, 1, cost.worker_count());
  Group best;
  for (std::size_t start = 0; start < starts; ++start) {
    Group row = nearest_row(cost, static_cast<WorkerIndex>(start));
    if (best.empty() || length(cost, row) < length(cost, best)) best = std::move(row);
  }
  for (std::size_t i = 0; i * square < kMostRowSteps && shorten(cost, best); ++i) {}
  return best;
}

std::vector<Group> rows_to_try(const PlacementCost& cost, const Demand& demand, const Group& near) {
  const std::size_t workers = cost.worker_count();
  if (workers <= kFew) return every_row(workers);
  Rows rows;
  rows.add(near);

  std::vector<double> slow(workers), small(workers), far(workers);
  for (std::size_t w = 0; w < workers; ++w) {
    slow[w] = -demand.workers[w].rate.value();
    small[w] = -static_cast<double>(demand.workers[w].memory.value());
    for (std::size_t other = 0; other < workers; ++other)
      far[w] += cost.distance(static_cast<WorkerIndex>(w), static_cast<WorkerIndex>(other)).value();
  }
  std::vector<std::pair<double, std::size_t>> gaps;  // widest first
  for (std::size_t i = 0; i + 1 < workers; ++i) gaps.push_back({-cost.distance(near[i], near[i + 1]).value(), i + 1});
  std::ranges::sort(gaps);
  const auto part = [&](std::size_t begin, std::size_t end) {
    rows.add(Group(near.begin() + static_cast<std::ptrdiff_t>(begin), near.begin() + static_cast<std::ptrdiff_t>(end)));
  };
  for (std::size_t i = 0; i < std::min(kGaps, gaps.size()); ++i) {
    part(0, gaps[i].second);
    part(gaps[i].second, workers);
  }
  for (std::size_t dropped = 1; dropped < workers; dropped *= 2)
    for (const std::vector<double>* key : {&slow, &far, &small}) rows.add_kept(near, ranked(workers, *key), workers - dropped);
  rows.add({ranked(workers, slow).front()});
  for (std::size_t dropped = 1; dropped < workers; dropped *= 2) {
    part(0, workers - dropped);
    part(dropped, workers);
  }
  std::vector<Group> result = rows.take();
  const std::size_t forward = result.size();
  for (std::size_t i = 0; i < forward; ++i) result.emplace_back(result[i].rbegin(), result[i].rend());
  return result;
}

std::vector<std::vector<Group>> splits(const Group& row, const Demand& demand, std::size_t most) {
  if (row.size() <= kFew) return every_split(row, most);
  const std::size_t workers = row.size(), count = std::min(most, workers);
  std::vector<double> rate = {0};  // sums of those before i
  for (WorkerIndex worker : row) rate.push_back(rate.back() + demand.workers[index(worker)].rate.value());
  // least[g][end]: the sum of squares of g groups over the first `end` workers; from: where the last of them begins.
  std::vector<std::vector<double>> least(count + 1, std::vector<double>(workers + 1, std::numeric_limits<double>::infinity()));
  std::vector<std::vector<std::size_t>> from(count + 1, std::vector<std::size_t>(workers + 1));
  least[0][0] = 0;
  for (std::size_t g = 1; g <= count; ++g) {
    for (std::size_t end = g; end <= workers; ++end) {
      for (std::size_t begin = g - 1; begin < end; ++begin) {
        const double sum = rate[end] - rate[begin], square = least[g - 1][begin] + sum * sum;
        if (square >= least[g][end]) continue;
        least[g][end] = square;
        from[g][end] = begin;
      }
    }
  }
  std::vector<std::vector<Group>> result;
  for (std::size_t groups = 1; groups <= count; groups += groups < 16 || demand.stages != 0 ? 1 : groups / 4) {
    if (demand.stages != 0 && groups != demand.stages) continue;
    std::vector<Group> split(groups);
    for (std::size_t g = groups, end = workers; g > 0; --g) {
      const std::size_t begin = from[g][end];
      split[g - 1] = Group(row.begin() + static_cast<std::ptrdiff_t>(begin), row.begin() + static_cast<std::ptrdiff_t>(end));
      end = begin;
    }
    result.push_back(std::move(split));
  }
  return result;
}

}  // namespace suanli::route
