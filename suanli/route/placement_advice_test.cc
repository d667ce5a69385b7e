#include "suanli/route/placement_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "suanli/route/random_placement_for_test.h"

namespace suanli::route {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kKiB = 1 << 10;

// A demand with or without codecs, lanes, wishes and a split, of workers that may have too little memory.
Demand random_demand(std::uint64_t seed) {
  RandomDraw draw(seed);
  const auto kibibytes = [&](std::int64_t low, std::int64_t high) { return Bytes(draw.whole(low * kKiB, high * kKiB)); };
  const auto blocks = static_cast<std::size_t>(draw.whole(1, 8));
  Demand demand;
  demand.lanes = draw.whole(0, 2) == 0;
  const bool has_buffers = draw.whole(0, 2) == 0, packs = demand.lanes || draw.whole(0, 2) == 0;
  for (std::size_t i = 0; i < blocks; ++i) {
    BlockCost block{Flops(draw.real(1e8, 3e9)), Flops(draw.real(1e8, 6e9)), kibibytes(50, 5000), kibibytes(0, 300),
                    kibibytes(1, 200),          kibibytes(1, 200)};
    if (has_buffers) {
      block.first_out = kibibytes(1, 900);
      block.codec = kibibytes(1, 900);
      block.noted = kibibytes(1, 300);
    }
    if (packs) {
      block.replica_own = kibibytes(1, 2000);
      block.replica_packed = kibibytes(1, 300);
    }
    demand.blocks.push_back(block);
  }
  if (packs) demand.replica_work.push_back({std::vector<bool>(blocks, true), kibibytes(0, 2000), kibibytes(0, 300)});
  if (has_buffers) demand.kept = kibibytes(0, 4000);
  for (std::size_t i = 0; i + 1 < blocks; ++i) demand.legal_cut.push_back(draw.whole(0, 5) > 0);
  demand.micro_batches = draw.whole(1, 8);
  const std::int64_t most = draw.whole(500, 20'000);
  for (std::int64_t left = draw.whole(1, 7); left > 0; --left)
    demand.workers.push_back({FlopsPerSecond(draw.real(1e9, 4e10)), kibibytes(100, most)});
  demand.stages = static_cast<std::size_t>(draw.whole(0, 1) * draw.whole(1, 4));
  demand.replicas = static_cast<std::size_t>(draw.whole(0, 1) * draw.whole(1, 4));
  if (blocks > 1 && draw.whole(0, 4) == 0) {
    demand.stages = 1;
    for (std::size_t i = 0; i + 1 < blocks; ++i) {
      demand.wanted_cut.push_back(draw.whole(0, 3) == 0);
      demand.stages += demand.wanted_cut.back();
    }
  }
  return demand;
}

Bytes bytes_of(const std::string& number, const std::string& unit) {
  const std::map<std::string, double> units = {{"B", 1}, {"KiB", 1024}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  return Bytes(static_cast<std::int64_t>(std::stod(number) * units.at(unit)));
}

// The demand with one of the ways that an error offers. Nothing: it says nothing that a test could do.
std::optional<Demand> followed(Demand demand, const std::string& way) {
  std::smatch found;
  const auto says = [&](const char* pattern) { return std::regex_search(way, found, std::regex(pattern)); };
  if (says("give every worker ([0-9.]+) ([KMG]?i?B)")) {
    for (WorkerPower& worker : demand.workers) worker.memory = std::max(worker.memory, bytes_of(found[1], found[2]));
  } else if (says("add ([0-9]+) workers? of ([0-9.]+) ([KMG]?i?B)")) {
    WorkerPower more = std::ranges::max(demand.workers, {}, &WorkerPower::memory);
    more.memory = bytes_of(found[2], found[3]);
    demand.workers.resize(demand.workers.size() + std::stoul(found[1]), more);
  } else if (says("leave pool.stages, pool.replicas and pool.split to the placer")) {
    demand.stages = demand.replicas = 0;
    demand.wanted_cut.clear();
  } else if (says("ask for ([0-9]+) stages")) {
    demand.stages = std::stoul(found[1]);
  } else if (says("set pool.replicas to 0")) {
    demand.replicas = 0;
  } else {
    return {};
  }
  return demand;
}

std::vector<std::string> ways_of(const std::string& text) {
  std::vector<std::string> ways;
  std::size_t at = 0;
  for (std::size_t end = text.find(", or "); end != std::string::npos; at = end + 5, end = text.find(", or ", at))
    ways.push_back(text.substr(at, end - at));
  ways.push_back(text.substr(at));
  return ways;
}

TEST(PlacementAdvice, EveryWayOutOfTooLittleMemoryIsOne) {
  std::map<std::string, int> seen;  // by the way's first word
  int refused = 0, without = 0;
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    const Demand demand = random_demand(seed);
    const auto placed = BalancedPlacer().place(demand);
    if (placed || placed.error().code != ErrorCode::no_memory) continue;
    ++refused;
    for (const std::string& way : ways_of(placed.error().next_step)) {
      const auto other = followed(demand, way);
      without += !other.has_value();
      if (!other) continue;
      ++seen[way.substr(0, way.find(' '))];
      const auto again = BalancedPlacer().place(*other);
      EXPECT_TRUE(again) << "seed " << seed << ": " << placed.error().to_string() << "\n'" << way
                         << "' leads to: " << again.error().to_string();
    }
  }
  EXPECT_GT(refused, 200);
  EXPECT_LT(without, refused / 10);
  for (const char* word : {"give", "add", "leave", "ask"}) EXPECT_GT(seen[word], 5) << word;
}

// Wishes that no memory fulfils: what the error asks for is not refused as a wish again, and with memory it is placed.
TEST(PlacementAdvice, WishesAreCorrectedAtOnce) {
  int corrected = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    Demand demand = random_demand(seed);
    for (WorkerPower& worker : demand.workers) worker = {FlopsPerSecond(1e10), Bytes(std::int64_t{1} << 40)};
    const auto placed = BalancedPlacer().place(demand);
    if (placed) continue;
    ASSERT_EQ(placed.error().code, ErrorCode::config) << seed << ": " << placed.error().to_string();
    const std::string& next = placed.error().next_step;
    std::smatch found;
    ++corrected;
    if (next.find("leave pool.split and pool.stages out") != std::string::npos) {
      demand.wanted_cut.clear();
      demand.stages = 0;
    }
    if (std::regex_search(next, found, std::regex("set pool.stages to at most ([0-9]+)"))) demand.stages = std::stoul(found[1]);
    if (std::regex_search(next, found, std::regex("set pool.replicas to at most ([0-9]+)")))
      demand.replicas = std::stoul(found[1]);
    const auto again = BalancedPlacer().place(demand);
    EXPECT_TRUE(again) << "seed " << seed << ": " << placed.error().to_string() << "\nleads to: " << again.error().to_string();
  }
  EXPECT_GT(corrected, 50);
}

// A worker so slow that none of four micro-batches is its share: no memory would help.
TEST(PlacementAdvice, AReplicaWithoutAMicroBatchIsNotAMatterOfMemory) {
  Demand demand;
  demand.blocks.assign(1, {Flops(1e9), Flops(2e9), Bytes(kKiB), Bytes(kKiB), Bytes(0), Bytes(0)});
  demand.micro_batches = 4;
  demand.workers = {{FlopsPerSecond(1e12), Bytes(1 << 30)}, {FlopsPerSecond(1e6), Bytes(1 << 30)}};
  demand.replicas = 2;
  const auto placed = BalancedPlacer().place(demand);
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().code, ErrorCode::config);
  EXPECT_THAT(placed.error().message, HasSubstr("too slow"));
  EXPECT_THAT(placed.error().next_step, HasSubstr("set pool.replicas to 0"));
  demand.lanes = true;  // a lane has one in any case
  EXPECT_TRUE(BalancedPlacer().place(demand));
}

// What a worker holds, term by term, by the formula of the header.
TEST(StageMemory, IsTheFormulaOfItsHeader) {
  Demand demand;
  demand.blocks.assign(3, BlockCost{Flops(0), Flops(0), Bytes(1000), Bytes(100), Bytes(7), Bytes(9)});
  for (BlockCost& block : demand.blocks) {
    block.first_out = Bytes(30);
    block.codec = Bytes(50);
    block.noted = Bytes(30);
    block.replica_own = Bytes(400);
    block.replica_packed = Bytes(40);
  }
  demand.legal_cut = {true, true};
  demand.replica_work = {{{true, true, false}, Bytes(6000), Bytes(60)}, {{false, false, true}, Bytes(90'000), Bytes(900)}};
  demand.kept = Bytes(500);
  const StageMemory memory(demand);
  const StageLoad middle{1, 2, 2, 4, 5, 1};
  EXPECT_EQ(memory.program(middle), Bytes(1000 + 2 * (100 + 2 * 50)));
  EXPECT_EQ(memory.beside(middle), Bytes(2 * 4 * 30 + (5 + 2) * 2 * 30));
  const StageLoad pair{0, 2, 1, 2, 5, 3};  // one end, three replicas
  EXPECT_EQ(memory.program(pair), Bytes(2000 + 200 + 50));
  EXPECT_EQ(memory.beside(pair), Bytes(2 * 2 * 30 + 7 * 30 + 2 * 400 + 3 * 2 * 40 + 6000 + 3 * 60));
  EXPECT_EQ(memory.usable(Bytes(1000)), Bytes(750));
  EXPECT_EQ(memory.usable(Bytes(10'000)), Bytes(9500));
}

}  // namespace
}  // namespace suanli::route
