#include "suanli/meter/energy.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "suanli/base/test_folder.h"
#include "suanli/meter/gauges.h"

namespace suanli::meter {
namespace {

using testing::HasSubstr;

// A folder as the kernel shows it.
class Energy : public testing::Test {
 protected:
  void put(const std::string& zone, const std::string& file, const std::string& text) {
    std::filesystem::create_directories(folder_ / zone);
    std::ofstream(folder_ / (zone + "/" + file)) << text << "\n";
  }
  void zone(const std::string& zone, const std::string& name, std::int64_t energy, std::int64_t range = 1'000'000'000) {
    put(zone, "name", name);
    put(zone, "energy_uj", std::to_string(energy));
    put(zone, "max_energy_range_uj", std::to_string(range));
  }
  Result<EnergyCounter> open() { return EnergyCounter::open(folder_.path()); }

  TestFolder folder_;
};

TEST_F(Energy, AddsPackagesAndTheirMemoryOnce) {
  zone("intel-rapl:0", "package-0", 5'000'000);
  zone("intel-rapl:0:0", "core", 1'000'000);   // a part of the package
  zone("intel-rapl:0:1", "dram", 2'000'000);
  zone("intel-rapl:1", "package-1", 7'000'000);
  zone("intel-rapl:2", "psys", 90'000'000);    // all of them
  zone("intel-rapl-mmio:0", "package-0", 5'000'000);
  put("dtpm", "name", "package-9");
  auto counter = open();
  ASSERT_TRUE(counter) << counter.error().to_string();
  EXPECT_EQ(counter->read(), Joules(0)) << "it counts from its opening";
  zone("intel-rapl:0", "package-0", 6'500'000);
  zone("intel-rapl:0:0", "core", 2'000'000);
  zone("intel-rapl:0:1", "dram", 2'250'000);
  zone("intel-rapl:2", "psys", 99'000'000);
  EXPECT_NEAR(counter->read().value(), 1.75, 1e-9);
  zone("intel-rapl:1", "package-1", 8'000'000);
  EXPECT_NEAR(counter->read().value(), 2.75, 1e-9) << "reading adds up";
}

TEST_F(Energy, ACounterThatWrapsGoesOn) {
  zone("intel-rapl:0", "package-0", 262'000'000'000, 262'143'328'850);
  auto counter = open();
  ASSERT_TRUE(counter);
  zone("intel-rapl:0", "package-0", 500'000, 262'143'328'850);
  EXPECT_NEAR(counter->read().value(), 143.32885 + 0.5, 1e-6);
  zone("intel-rapl:0", "package-0", 1'500'000, 262'143'328'850);
  EXPECT_NEAR(counter->read().value(), 143.32885 + 1.5, 1e-6);
}

TEST_F(Energy, ACounterThatBeganAgainOrIsGoneNeverCountsBackwards) {
  put("intel-rapl:0", "name", "package-0");
  put("intel-rapl:0", "energy_uj", "9000000");  // of unknown range
  auto counter = open();
  ASSERT_TRUE(counter);
  put("intel-rapl:0", "energy_uj", "1000000");
  EXPECT_NEAR(counter->read().value(), 1, 1e-9);
  put("intel-rapl:0", "energy_uj", "garbage");
  EXPECT_NEAR(counter->read().value(), 1, 1e-9);
  std::filesystem::remove_all(folder_ / "intel-rapl:0");
  EXPECT_NEAR(counter->read().value(), 1, 1e-9);
}

TEST_F(Energy, SaysWhyThereIsNone) {
  const auto none = EnergyCounter::open(folder_ / "missing");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::unsupported);
  EXPECT_THAT(none.error().next_step, HasSubstr("--watts"));

  const auto empty = open();
  ASSERT_FALSE(empty);
  EXPECT_THAT(empty.error().message, HasSubstr("no processor package"));

  for (const std::string text : {"", "-5", "12x", "99999999999999999999999"}) {
    put("intel-rapl:0", "name", "package-0");
    put("intel-rapl:0", "energy_uj", text);
    const auto unreadable = open();
    ASSERT_FALSE(unreadable) << text;
    EXPECT_THAT(unreadable.error().message, HasSubstr("cannot be read")) << text;
  }
}

TEST_F(Energy, GaugesAddUpOverSessions) {
  zone("intel-rapl:0", "package-0", 1'000'000);
  ManualClock clock;
  Gauges gauges(clock, folder_.path());
  Totals totals;
  totals.joules = Joules(10);
  totals.joules_over = Seconds(2);
  totals.peak_resident = Bytes(std::int64_t{1} << 50);  // of an earlier session on a larger machine
  zone("intel-rapl:0", "package-0", 4'000'000);
  gauges.read(totals);
  EXPECT_EQ(totals.joules, Joules(10)) << "too soon to look again";
  clock.advance(Seconds(3));
  gauges.read(totals);
  EXPECT_NEAR(totals.joules.value(), 13, 1e-9);
  EXPECT_NEAR(totals.joules_over.value(), 5, 1e-9);
  zone("intel-rapl:0", "package-0", 5'000'000);
  gauges.read_now(totals);
  EXPECT_NEAR(totals.joules.value(), 14, 1e-9);
  EXPECT_EQ(totals.peak_resident, Bytes(std::int64_t{1} << 50));
  EXPECT_GE(totals.cpu, Seconds(0));

  // A step longer than a wrap (here of 1000 J): what was read in between is not lost.
  clock.advance(Seconds(10));
  zone("intel-rapl:0", "package-0", 900'000'000);
  gauges.read_energy(totals);
  EXPECT_NEAR(totals.joules.value(), 909, 1e-6);
  clock.advance(Seconds(0.001));
  zone("intel-rapl:0", "package-0", 901'000'000);
  gauges.read_energy(totals);
  EXPECT_NEAR(totals.joules.value(), 909, 1e-6) << "too soon to look again";
  clock.advance(Seconds(10));
  zone("intel-rapl:0", "package-0", 5'000'000);
  gauges.read(totals);
  EXPECT_NEAR(totals.joules.value(), 909 + 105, 1e-6) << "wrapped once, between two readings";
  EXPECT_NEAR(totals.joules_over.value(), 25.001, 1e-6);

  Totals without;
  Gauges blind(clock, folder_ / "missing");
  clock.advance(Seconds(3));
  blind.read(without);
  EXPECT_EQ(without.joules_over, Seconds(0)) << "not known";
  EXPECT_GT(without.peak_resident, Bytes(0));
}

}  // namespace
}  // namespace suanli::meter
