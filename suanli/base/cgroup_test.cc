#include "suanli/base/cgroup.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "suanli/base/test_folder.h"

namespace suanli {
namespace {

// A made-up /proc and /sys.
class Cgroup : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  CgroupLimits limits() const { return cgroup_limits(root_.path()); }
  TestFolder root_;
};

TEST_F(Cgroup, NothingToReadLimitsNothing) {
  EXPECT_EQ(limits().cores, 0);
  EXPECT_EQ(limits().memory, Bytes(0));
}

TEST_F(Cgroup, Version2TakesTheTightestOfAllLevels) {
  put("/proc/self/cgroup", "0::/a/b");
  put("/sys/fs/cgroup/a/b/cpu.max", "400000 100000");
  put("/sys/fs/cgroup/a/cpu.max", "150000 100000");
  put("/sys/fs/cgroup/a/b/memory.max", "1000000");
  put("/sys/fs/cgroup/a/b/memory.current", "300000");
  put("/sys/fs/cgroup/a/memory.max", "2000000");
  put("/sys/fs/cgroup/a/memory.current", "1900000");
  put("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 100000\nslab 7");
  EXPECT_EQ(limits().cores, 1.5);
  EXPECT_EQ(limits().memory, Bytes(1'000'000));
  EXPECT_EQ(limits().memory_available, Bytes(200'000));
}

TEST_F(Cgroup, Version2WithoutLimits) {
  put("/proc/self/cgroup", "0::/");
  put("/sys/fs/cgroup/cpu.max", "max 100000");
  put("/sys/fs/cgroup/memory.max", "max");
  EXPECT_EQ(limits().cores, 0);
  EXPECT_EQ(limits().memory, Bytes(0));
}

TEST_F(Cgroup, PathOfTheHostFallsBackToTheMountsRoot) {
  put("/proc/self/cgroup", "0::/host/only/path");
  put("/sys/fs/cgroup/cpu.max", "50000 100000");
  EXPECT_EQ(limits().cores, 0.5);
}

TEST_F(Cgroup, Version1) {
  put("/proc/self/cgroup", "5:memory:/m\n4:cpuacct,cpu:/c\n1:name=systemd:/\n0::/");
  put("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "300000");
  put("/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000");
  put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4000");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5000");
  EXPECT_EQ(limits().cores, 3);
  EXPECT_EQ(limits().memory, Bytes(4000));
  EXPECT_EQ(limits().memory_available, Bytes(0)) << "over the limit leaves nothing, not less";
}

TEST_F(Cgroup, NonsenseLimitsNothing) {
  put("/proc/self/cgroup", "nonsense\n::\n0::/a\n3:cpu:relative");
  put("/sys/fs/cgroup/a/cpu.max", "-5 0");
  put("/sys/fs/cgroup/a/memory.max", "many");
  EXPECT_EQ(limits().cores, 0);
  EXPECT_EQ(limits().memory, Bytes(0));
}

}  // namespace
}  // namespace suanli
