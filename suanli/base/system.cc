#include "suanli/base/system.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>

#include "suanli/base/cgroup.h"
#include "suanli/base/thread_pool.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace suanli {
namespace {

// "key:   123 kB" lines, as in /proc/meminfo and /proc/self/status.
Bytes kilobyte_field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, key.size() + 1, key + ":") != 0) continue;
    std::int64_t kilobytes = 0;
    std::istringstream(line.substr(key.size() + 1)) >> kilobytes;
    return Bytes(kilobytes * 1024);
  }
  return Bytes(0);
}

std::string first_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// "48K", "2048K", "33M".
Bytes cache_size(const std::string& text) {
  std::istringstream stream(text);
  std::int64_t size = 0;
  char unit = 0;
  stream >> size >> unit;
  if (unit == 'K') size <<= 10;
  if (unit == 'M') size <<= 20;
  return Bytes(std::max<std::int64_t>(size, 0));
}

Bytes or_sysconf(Bytes size, int name) {
  if (size > Bytes(0)) return size;
  return Bytes(std::max<std::int64_t>(0, sysconf(name)));
}

void read_caches(CpuInfo& info) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string level = first_word(folder + "level");
    const Bytes size = cache_size(first_word(folder + "size"));
    if (first_word(folder + "type") == "Instruction") continue;
    if (level == "1") info.l1d = size;
    if (level == "2") info.l2 = size;
    if (level == "3") info.l3 = size;
  }
  info.l1d = or_sysconf(info.l1d, _SC_LEVEL1_DCACHE_SIZE);
  info.l2 = or_sysconf(info.l2, _SC_LEVEL2_CACHE_SIZE);
  info.l3 = or_sysconf(info.l3, _SC_LEVEL3_CACHE_SIZE);
}

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero where the CPU does not know the leaf.
Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

bool bit(unsigned word, int index) { return (word >> index & 1) != 0; }

// Which register states the operating system saves at a context switch (XCR0).
unsigned saved_states() {
  if (!bit(cpuid(1).ecx, 27)) return 0;  // OSXSAVE
  unsigned eax, edx;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return eax;
}

// Linux hands out the tile registers on request, per process (Documentation/arch/x86/xstate.rst).
bool request_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::string brand() {
  std::array<char, 49> text{};
  for (unsigned i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002 + i);
    std::memcpy(text.data() + 16 * i, &r, 16);
  }
  std::string name = text.data();
  name.erase(0, name.find_first_not_of(' '));
  name.erase(name.find_last_not_of(' ') + 1);
  return name;
}

std::string vendor() {
  const Registers r = cpuid(0);
  std::string name(12, '\0');
  std::memcpy(name.data(), &r.ebx, 4);
  std::memcpy(name.data() + 4, &r.edx, 4);
  std::memcpy(name.data() + 8, &r.ecx, 4);
  return name;
}

void read_cpu(CpuInfo& info) {
  info.model = brand();
  info.vendor = vendor();
  const Registers basic = cpuid(1), extended = cpuid(7), more = cpuid(7, 1);
  const int base_family = static_cast<int>(basic.eax >> 8 & 15);
  info.family = base_family;
  info.model_number = static_cast<int>(basic.eax >> 4 & 15);
  if (base_family == 15) info.family += static_cast<int>(basic.eax >> 20 & 255);
  if (base_family == 6 || base_family == 15) {
    info.model_number += static_cast<int>(basic.eax >> 16 & 15) << 4;
  }
  constexpr unsigned kAvx = 0x6, kAvx512 = 0xE6, kTiles = 0x60000;  // bits of XCR0
  const unsigned saved = saved_states();
  const bool avx = (saved & kAvx) == kAvx, avx512 = (saved & kAvx512) == kAvx512;
  const bool tiles = (saved & kTiles) == kTiles;
  info.sha = bit(extended.ebx, 29);
  info.avx2 = avx && bit(extended.ebx, 5);
  info.fma = avx && bit(basic.ecx, 12);
  info.avx512f = avx512 && bit(extended.ebx, 16);
  info.avx512_vnni = avx512 && bit(extended.ecx, 11);
  info.avx512_bf16 = avx512 && bit(more.eax, 5);
  info.amx_bf16 = tiles && bit(extended.edx, 22);
  info.amx_tile = tiles && bit(extended.edx, 24);
  info.amx_int8 = tiles && bit(extended.edx, 25);
  info.amx_permitted = info.amx_tile && request_tiles();
}

#else

void read_cpu(CpuInfo&) {}

#endif

}  // namespace

CpuInfo cpu_info() {
  CpuInfo info;
  read_cpu(info);
  read_caches(info);
  info.cores = available_cores();
  return info;
}

MemoryInfo memory_info() {
  MemoryInfo info{kilobyte_field("/proc/meminfo", "MemTotal"),
                  kilobyte_field("/proc/meminfo", "MemAvailable")};
  const CgroupLimits limits = cgroup_limits();
  if (limits.memory > Bytes(0)) {
    info.total = info.total > Bytes(0) ? std::min(info.total, limits.memory) : limits.memory;
    info.available = std::min(info.available, limits.memory_available);
  }
  return info;
}

Bytes disk_free(const std::string& path) {
  struct statvfs stats;
  if (statvfs(path.c_str(), &stats) != 0) return Bytes(0);
  return Bytes(static_cast<std::int64_t>(stats.f_bavail * stats.f_frsize));
}

// The kernel's own peak of this program; getrusage would include what ran before exec.
Bytes peak_resident() {
  const Bytes peak = kilobyte_field("/proc/self/status", "VmHWM");
  if (peak > Bytes(0)) return peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return Bytes(std::int64_t{usage.ru_maxrss} * 1024);
}

Seconds process_cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return Seconds(static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec));
}

}  // namespace suanli
