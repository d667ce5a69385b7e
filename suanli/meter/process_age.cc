#include "suanli/meter/process_age.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace suanli::meter {
namespace {

// Field 22 of /proc/self/stat, in clock ticks since boot (proc(5)). The second field, the program's name in brackets, may
// hold spaces and brackets: count from the last one.
double start_ticks() {
  std::ifstream file("/proc/self/stat");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string::npos) return -1;
  std::istringstream fields(text.substr(bracket + 1));
  std::string field;
  for (int number = 3; number <= 22; ++number)
    if (!(fields >> field)) return -1;
  std::istringstream number(field);
  double ticks = -1;
  return number >> ticks ? ticks : -1;
}

}  // namespace

Seconds process_age() {
  const double ticks = start_ticks();
  const long per_second = sysconf(_SC_CLK_TCK);
  timespec now{};
  if (ticks < 0 || per_second <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return Seconds(0);
  const double since_boot = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  return Seconds(std::max(0.0, since_boot - ticks / static_cast<double>(per_second)));
}

}  // namespace suanli::meter
