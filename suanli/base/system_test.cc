#include "suanli/base/system.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "suanli/base/thread_pool.h"

namespace suanli {
namespace {

#if defined(__x86_64__)
// The kernel's list of features, or empty.
std::string kernel_flags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) == 0) return line.substr(line.find(':') + 1) + " ";
  }
  return "";
}

TEST(System, CpuFeaturesAgreeWithTheKernel) {
  const std::string flags = kernel_flags();
  if (flags.empty()) GTEST_SKIP() << "the kernel lists no CPU flags";
  const auto listed = [&](const std::string& name) {
    return flags.find(" " + name + " ") != std::string::npos;
  };
  const CpuInfo cpu = cpu_info();
  EXPECT_EQ(cpu.avx2, listed("avx2"));
  EXPECT_EQ(cpu.fma, listed("fma"));
  EXPECT_EQ(cpu.avx512f, listed("avx512f"));
  EXPECT_EQ(cpu.avx512_vnni, listed("avx512_vnni"));
  EXPECT_EQ(cpu.avx512_bf16, listed("avx512_bf16"));
  EXPECT_EQ(cpu.sha, listed("sha_ni"));
  if (listed("amx_tile")) {  // kernels before 5.16 do not know the name
    EXPECT_TRUE(cpu.amx_tile);
    EXPECT_EQ(cpu.amx_bf16, listed("amx_bf16"));
    EXPECT_EQ(cpu.amx_int8, listed("amx_int8"));
  }
}

TEST(System, CpuHasAName) {
  const CpuInfo cpu = cpu_info();
  EXPECT_EQ(cpu.vendor.size(), 12u);
  EXPECT_FALSE(cpu.model.empty());
  EXPECT_NE(cpu.model.front(), ' ');
  EXPECT_NE(cpu.model.back(), ' ');
  EXPECT_GT(cpu.family, 0);
}
#endif

TEST(System, CpuCoresAndCaches) {
  const CpuInfo cpu = cpu_info();
  EXPECT_EQ(cpu.cores, available_cores());
  if (cpu.l1d > Bytes(0)) {
    EXPECT_GE(cpu.l1d, Bytes(4096));
    EXPECT_LT(cpu.l1d, Bytes(1 << 24));
  }
  EXPECT_GE(cpu.l2, Bytes(0));
  EXPECT_GE(cpu.l3, Bytes(0));
}

TEST(System, TilesArePermittedOnlyWhereTheyAre) {
  const CpuInfo cpu = cpu_info();
  EXPECT_TRUE(cpu.amx_tile || !cpu.amx_permitted);
  EXPECT_EQ(cpu_info().amx_permitted, cpu.amx_permitted) << "asking twice changed the answer";
}

TEST(System, MemoryIsPlausible) {
  const MemoryInfo memory = memory_info();
  EXPECT_GT(memory.total, Bytes(1 << 24));
  EXPECT_GT(memory.available, Bytes(0));
  EXPECT_LE(memory.available, memory.total);
}

TEST(System, DiskFree) {
  EXPECT_GT(disk_free("."), Bytes(0));
  EXPECT_EQ(disk_free("/no/such/folder"), Bytes(0));
}

TEST(System, PeakResidentGrowsWithUse) {
  constexpr std::int64_t kSize = 64 << 20;
  const Bytes before = peak_resident();
  EXPECT_GT(before, Bytes(0));
  {
    std::vector<char> block(static_cast<std::size_t>(before.value() + kSize));
    for (std::size_t i = 0; i < block.size(); i += 4096) {
      reinterpret_cast<volatile char&>(block[i]) = 1;
    }
  }
  EXPECT_GE(peak_resident(), before + Bytes(kSize));
}

TEST(System, CpuTimeGrowsWithWork) {
  const Seconds start = process_cpu_time();
  volatile double sum = 0;
  for (int i = 0; process_cpu_time() <= start && i < 1'000'000'000; ++i) sum = sum + i;
  EXPECT_GT(process_cpu_time(), start);
}

}  // namespace
}  // namespace suanli
