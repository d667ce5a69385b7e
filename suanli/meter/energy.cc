#include "suanli/meter/energy.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>

#include "suanli/base/file.h"

namespace suanli::meter {
namespace {

namespace fs = std::filesystem;

// A small text of one line, without its newline. Plain calls: this is read between steps.
Result<std::string> line_of(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return tl::unexpected(system_error(errno, "opening", path));
  char buffer[64];
  const ssize_t size = ::read(descriptor, buffer, sizeof buffer);
  const int error = errno;
  ::close(descriptor);
  if (size < 0) return tl::unexpected(system_error(error, "reading", path));
  const std::string_view text(buffer, static_cast<std::size_t>(size));
  return std::string(text.substr(0, text.find('\n')));
}

std::optional<std::int64_t> count_in(const std::string& path) {
  const auto text = line_of(path);
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 0) return std::nullopt;
  return value;
}

// Packages, and the memory beside them. "core" and "uncore" lie within a package, "psys" holds all of them: each would be
// counted twice.
bool is_counted(std::string_view name) { return name.starts_with("package") || name == "dram"; }

tl::unexpected<Error> no_counter(std::string why, const std::string& folder, std::string next_step) {
  return fail(ErrorCode::unsupported, "no energy counter: " + std::move(why), folder, std::move(next_step));
}

}  // namespace

Result<EnergyCounter> EnergyCounter::open(const std::string& folder) {
  constexpr const char* kState = "state the power with --watts";
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  if (error) return no_counter("the machine shows none (virtual machines seldom do)", folder, kState);
  EnergyCounter counter;
  bool is_forbidden = false;
  std::vector<fs::path> zones;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) zones.push_back(entry->path());
  std::ranges::sort(zones);
  for (const fs::path& zone : zones) {
    // "intel-rapl-mmio" counts the same packages again.
    if (!zone.filename().string().starts_with("intel-rapl:")) continue;
    const auto name = line_of(zone / "name");
    if (!name || !is_counted(*name)) continue;
    const std::string file = zone / "energy_uj";
    const auto now = count_in(file);
    if (!now) {
      is_forbidden = true;
      continue;
    }
    counter.domains_.push_back({file, count_in(zone / "max_energy_range_uj").value_or(0), *now});
  }
  if (!counter.domains_.empty()) return counter;
  if (is_forbidden)
    return no_counter("it cannot be read by this user", folder,
                      "let it be read (chmod o+r " + folder + "/intel-rapl:*/energy_uj, as root), or " + kState);
  return no_counter("no processor package is listed", folder, kState);
}

Joules EnergyCounter::read() {
  for (Domain& domain : domains_) {
    const auto now = count_in(domain.file);
    if (!now) continue;
    std::int64_t passed = *now - domain.last;
    // Wrapped, or begun again (suspended, or its range unknown): then only what was counted since is known.
    if (passed < 0) passed = domain.range >= domain.last ? passed + domain.range : *now;
    microjoules_ += static_cast<double>(passed);
    domain.last = *now;
  }
  return Joules(1e-6 * microjoules_);
}

}  // namespace suanli::meter
