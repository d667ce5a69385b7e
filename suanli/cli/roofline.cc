#include "suanli/cli/roofline.h"

#include <algorithm>
#include <map>

#include "suanli/cli/svg.h"

namespace suanli::cli {
namespace {

// Operations per byte where the picture begins and ends.
constexpr double kLeft = 0.05, kRight = 2000;

Series limit_line(const plan::Profile& profile, const plan::Profile::Peak& peak) {
  const double memory = std::max(profile.read.expected, profile.copy.expected), flat = peak.flops_per_second.expected;
  return {.name = std::string(engine::name_of(peak.arithmetic)) + " limit",
          .points = {{kLeft, kLeft * memory}, {flat / memory, flat}, {kRight, flat}}};
}

Series kernel_points(const plan::Profile& profile, engine::Arithmetic arithmetic) {
  Series series{.name = std::string(engine::name_of(arithmetic)) + " kernels", .points = {}, .markers = true, .line = false};
  for (const plan::KernelRate& rate : profile.kernels) {
    if (rate.arithmetic != arithmetic || rate.flops <= 0 || rate.bytes <= 0) continue;
    const double intensity = rate.flops / rate.bytes;
    if (intensity >= kLeft && intensity <= kRight) series.points.push_back({intensity, rate.flops / rate.seconds.expected});
  }
  std::ranges::sort(series.points, {}, &Point::x);
  return series;
}

}  // namespace

std::string roofline_svg(const plan::Profile& profile) {
  Chart chart{.title = "Roofline: " + profile.machine + ", " + std::to_string(profile.threads) +
                       (profile.threads == 1 ? " thread" : " threads"),
              .x_label = "operations per byte",
              .y_label = "FLOP/s",
              .series = {},
              .log_x = true,
              .log_y = true};
  for (const plan::Profile::Peak& peak : profile.peaks) {
    chart.series.push_back(limit_line(profile, peak));
    chart.series.push_back(kernel_points(profile, peak.arithmetic));
  }
  return line_chart_svg(chart);
}

}  // namespace suanli::cli
