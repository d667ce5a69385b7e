#include "suanli/engine/memory_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "suanli/base/error.h"

namespace suanli::engine {
namespace {

std::int64_t aligned(std::int64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

std::int64_t most_alive(const std::vector<Lifetime>& buffers) {
  std::map<int, std::int64_t> change;
  for (const Lifetime& buffer : buffers) {
    change[buffer.first] += aligned(buffer.size);
    change[buffer.last + 1] -= aligned(buffer.size);
  }
  std::int64_t alive = 0, most = 0;
  for (const auto& [position, delta] : change) most = std::max(most, alive += delta);
  return most;
}

}  // namespace

ArenaPlan plan_arena(std::vector<Lifetime>& buffers) {
  std::vector<std::size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), 0);
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](std::size_t a, std::size_t b) { return buffers[a].size > buffers[b].size; });
  std::vector<std::size_t> placed;  // ascending by offset
  std::int64_t end = 0;
  for (std::size_t index : by_size) {
    Lifetime& buffer = buffers[index];
    SUANLI_CHECK(buffer.first <= buffer.last && buffer.size >= 0);
    const std::int64_t size = aligned(buffer.size);
    std::int64_t offset = 0;
    for (std::size_t other_index : placed) {
      const Lifetime& other = buffers[other_index];
      if (other.last < buffer.first || other.first > buffer.last) continue;
      if (other.offset >= offset + size) break;
      offset = std::max(offset, other.offset + aligned(other.size));
    }
    buffer.offset = offset;
    end = std::max(end, offset + size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), index,
                                   [&](std::size_t a, std::size_t b) {
                                     return buffers[a].offset < buffers[b].offset;
                                   }),
                  index);
  }
  return {Bytes(end), Bytes(most_alive(buffers))};
}

}  // namespace suanli::engine
