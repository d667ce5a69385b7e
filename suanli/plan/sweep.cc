#include "suanli/plan/sweep.h"

#include <algorithm>
#include <set>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

struct Planned {
  SweepPoint point;
  std::optional<Interval> renting, owning;
};

std::optional<Interval> figure_of(const Report& report, std::string_view key) {
  const Figure* figure = report.find(key);
  return figure ? std::optional(figure->value) : std::nullopt;
}

Planned planned_of(const LargeRun& run, const Report& report) {
  Planned planned;
  planned.point.device = run.cluster.device.name;
  planned.point.count = run.cluster.devices;
  planned.point.time_s = report.find("time_s")->value;
  planned.point.mfu = report.find("mfu")->value;
  planned.renting = figure_of(report, "renting_usd");
  planned.owning = figure_of(report, "owning_usd");
  return planned;
}

// One kind of money for all, so that they can be compared.
Result<bool> is_rented(const LargeRun& run, const std::vector<Planned>& all) {
  const bool can_rent = std::ranges::all_of(all, [](const Planned& each) { return each.renting.has_value(); });
  const bool can_own = std::ranges::all_of(all, [](const Planned& each) { return each.owning.has_value(); });
  if (can_own && (run.cluster.price || !can_rent) && !run.price_per_hour) return false;
  if (can_rent) return true;
  const auto without = std::ranges::find_if(all, [](const Planned& each) { return !each.renting || !each.owning; });
  return fail(ErrorCode::usage, "no rent and no price are known for all devices, such as " + without->point.device,
              "--price-per-hour", "state --price-per-hour, or --price-per-device and --power");
}

}  // namespace

void mark_frontier(std::vector<SweepPoint>& points) {
  for (SweepPoint& point : points)
    point.is_on_frontier = std::ranges::none_of(points, [&](const SweepPoint& other) {
      const bool is_no_worse =
          other.time_s.expected <= point.time_s.expected && other.money_usd.expected <= point.money_usd.expected;
      const bool is_better = other.time_s.expected < point.time_s.expected || other.money_usd.expected < point.money_usd.expected;
      return is_no_worse && is_better;
    });
}

Result<Sweep> sweep(const SweepQuestion& question) {
  Sweep found;
  std::vector<Planned> all;
  std::set<std::pair<std::string, std::int64_t>> seen;
  for (const Accelerator& device : question.devices) {
    for (const std::int64_t count : question.counts) {
      if (!seen.insert({device.name, count}).second) continue;
      LargeRun run = question.run;
      run.cluster.device = device;
      run.cluster.devices = count;
      auto plan = plan_large_run(run);
      if (plan) {
        all.push_back(planned_of(run, plan->report));
        for (Error& warning : plan->report.warnings) {
          warning.message = format("%lld %s: ", static_cast<long long>(count), device.name.c_str()) + warning.message;
          found.warnings.push_back(std::move(warning));
        }
      } else {
        found.left_out.push_back({device.name, count, std::move(plan).error()});
      }
    }
  }
  if (question.run.cluster.peak && std::ranges::any_of(question.devices, [&](const Accelerator& each) {
        return each.name != question.devices.front().name;
      }))
    return fail(ErrorCode::usage, "one peak cannot be that of several devices", "--peak",
                "leave it out, or sweep over one device");
  if (all.empty()) {
    if (found.left_out.empty())
      return fail(ErrorCode::usage, "there is nothing to sweep over", "", "name devices and numbers of them");
    return tl::unexpected(found.left_out.back().reason);
  }
  SUANLI_ASSIGN_OR_RETURN(found.is_rented, is_rented(question.run, all));
  for (Planned& each : all) {
    each.point.money_usd = found.is_rented ? *each.renting : *each.owning;
    found.points.push_back(std::move(each.point));
  }
  mark_frontier(found.points);
  return found;
}

}  // namespace suanli::plan
