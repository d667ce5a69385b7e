#include "suanli/plan/fit_ways.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/plan/run_layouts.h"

namespace suanli::plan {
namespace {

// Device-seconds for a token.
double device_seconds(const LaidOutRun& run) {
  return expected_step_seconds(run) * run.setup.layout.devices() /
         (run.setup.global_batch * static_cast<double>(run.setup.model.context));
}

// The same in devices of equal peak: faster ones cost more.
double cost_of(const LaidOutRun& run) {
  const auto peak = reference_peak(run.setup.device);
  return device_seconds(run) * (peak ? peak->value() : 1);
}

// The best layout of `run` that fits, if any; the model of `base` stays unless `run` says otherwise.
std::optional<LaidOutRun> best_fit(const LargeRun& run, TrainingSetup base) {
  if (!check_large_run(run)) return std::nullopt;
  base.device = device_at_peak(run.cluster);
  const std::vector<LaidOutRun> candidates = layouts_of(run, base);
  const LaidOutRun* best = fastest(candidates);
  return best ? std::optional(*best) : std::nullopt;
}

constexpr int kMostDoublings = 16;  // of the number of devices

class Search {
 public:
  Search(const LargeRun& run, const LaidOutRun& nearest)
      : run_(run), nearest_(nearest.setup), cost_(cost_of(nearest)), device_seconds_(device_seconds(nearest)) {}

  using Text = std::function<std::string(const TrainingSetup&)>;

  // Adds `changed` if it fits; false if not.
  bool add(const LargeRun& changed, const Text& text) { return add(changed, nearest_, text); }
  bool add(const LargeRun& changed, const TrainingSetup& base, const Text& text) {
    const auto found = best_fit(changed, base);
    if (!found) return false;
    const bool changes_model =
        found->setup.model.parameters != nearest_.model.parameters || found->setup.model.context != nearest_.model.context;
    ways_.push_back({text(found->setup) + format(" (%.2g times the device-hours)", device_seconds(*found) / device_seconds_),
                     cost_of(*found) / cost_, changes_model, changed});
    return true;
  }

  void shard() {
    for (int level = nearest_.layout.shard + 1; level <= 3; ++level) {
      LargeRun changed = run_;
      changed.shard = level;
      if (add(changed, [&](const TrainingSetup&) { return format("--shard %d", level); })) return;
    }
  }
  void recompute() {
    for (const Recomputation each : {Recomputation::selective, Recomputation::full}) {
      LargeRun changed = run_;
      changed.recomputation = each;
      if (run_.recomputation && each > *run_.recomputation &&
          add(changed, [&](const TrainingSetup&) { return std::string("--recompute ") + name_of(each); }))
        return;
    }
  }
  void smaller_micro_batch() {
    LargeRun changed = run_;
    changed.micro_batch = 1;
    if (run_.micro_batch > 1) add(changed, [](const TrainingSetup&) { return std::string("--micro-batch 1"); });
  }
  void other_layout() {
    if (!has_given_layout()) return;
    add(free_layout(), [](const TrainingSetup& found) {
      return format("--tp %d --pp %d --dp %d --shard %d --recompute %s --micro-batch %lld", found.layout.tensor,
                    found.layout.pipeline, found.layout.data, found.layout.shard, name_of(found.recomputation),
                    static_cast<long long>(found.micro_batch));
    });
  }
  void more_devices() {
    LargeRun changed = free_layout();
    for (int doubling = 0; doubling < kMostDoublings; ++doubling) {
      changed.cluster.devices *= 2;
      if (add(changed, [&](const TrainingSetup&) {
            return format("--count %lld", static_cast<long long>(changed.cluster.devices)) + open_layout();
          }))
        return;
    }
  }
  void other_device() {
    const AcceleratorTable table = AcceleratorTable::built_in();
    std::optional<LargeRun> best;
    double best_cost = 0;
    for (const Accelerator& device : table.all()) {
      if (!is_larger(device)) continue;
      LargeRun changed = free_layout();
      changed.cluster.device = device;
      auto found = best_fit(changed, nearest_);
      for (int doubling = 0; !found && doubling < kMostDoublings; ++doubling) {
        changed.cluster.devices *= 2;
        found = best_fit(changed, nearest_);
      }
      if (!found || (best && cost_of(*found) >= best_cost)) continue;
      best = changed;
      best_cost = cost_of(*found);
    }
    if (!best) return;
    const LargeRun& other = *best;
    add(other, [&](const TrainingSetup&) {
      return "--device " + other.cluster.device.name +
             (other.cluster.devices == run_.cluster.devices
                  ? ""
                  : format(" --count %lld", static_cast<long long>(other.cluster.devices))) +
             open_layout();
    });
  }
  void shorter_context() {
    for (std::int64_t context = nearest_.model.context / 2; context >= 1024; context /= 2) {
      LargeRun changed = run_;
      changed.model.context = context;
      TrainingSetup base = nearest_;
      base.global_batch *= static_cast<double>(base.model.context) / static_cast<double>(context);
      base.model.context = context;
      if (add(changed, base, [&](const TrainingSetup&) { return format("--context %lld", static_cast<long long>(context)); }))
        return;
    }
  }
  void smaller_model() {
    double low = 1e6, high = nearest_.model.parameters;
    std::optional<LargeRun> largest;
    std::optional<TrainingSetup> shape;
    for (int i = 0; i < 24; ++i) {
      const double middle = std::sqrt(low * high);
      TrainingSetup base = nearest_;
      base.model = usual_shape(middle);
      base.model.context = nearest_.model.context;
      LargeRun changed = free_layout();
      changed.model = {};
      changed.model.parameters = middle;
      changed.model.context = run_.model.context;
      const bool is_possible = best_fit(changed, base).has_value();
      (is_possible ? low : high) = middle;
      if (is_possible) largest = changed, shape = base;
    }
    if (!largest) return;
    add(*largest, *shape,
        [&](const TrainingSetup&) { return format("a smaller model: --params %.2g", largest->model.parameters * 0.995); });
  }

  std::vector<WayToFit> cheapest() {
    std::ranges::stable_sort(ways_, [](const WayToFit& a, const WayToFit& b) {
      return std::pair(a.changes_model, a.cost) < std::pair(b.changes_model, b.cost);
    });
    if (ways_.size() > 3) ways_.resize(3);
    return ways_;
  }
  std::size_t size() const { return ways_.size(); }

 private:
  // More memory, no slower, and of the same world.
  bool is_larger(const Accelerator& other) const {
    const Accelerator& own = run_.cluster.device;
    const auto peak = reference_peak(own), other_peak = reference_peak(other);
    const auto is_tpu = [](const Accelerator& device) { return device.name.starts_with("TPU"); };
    return other.memory && own.memory && other.memory->value > own.memory->value && peak && other_peak && *other_peak >= *peak &&
           is_tpu(other) == is_tpu(own);
  }
  LargeRun free_layout() const {
    LargeRun changed = run_;
    changed.tensor = changed.pipeline = changed.data = 0;
    changed.interleave = 0;
    changed.micro_batch = 0;
    changed.shard = std::nullopt;
    changed.recomputation = std::nullopt;
    return changed;
  }
  bool has_given_layout() const {
    return run_.tensor > 0 || run_.pipeline > 0 || run_.data > 0 || run_.interleave > 0 || run_.micro_batch > 0 || run_.shard ||
           run_.recomputation;
  }
  std::string open_layout() const { return has_given_layout() ? " and the layout left open" : ""; }

  const LargeRun& run_;
  TrainingSetup nearest_;
  double cost_, device_seconds_;
  std::vector<WayToFit> ways_;
};

// The one that needs the least memory.
const LaidOutRun& nearest_of(const std::vector<LaidOutRun>& candidates) {
  return *std::ranges::min_element(candidates, {}, [](const LaidOutRun& each) { return device_memory(each).total(); });
}

std::string gib(double bytes) { return format_bytes(Bytes(std::llround(std::min(bytes, 9e18)))); }

}  // namespace

std::vector<WayToFit> ways_to_fit(const LargeRun& run, const std::vector<LaidOutRun>& candidates) {
  Search search(run, nearest_of(candidates));
  search.shard();
  search.recompute();
  search.smaller_micro_batch();
  search.other_layout();
  search.more_devices();
  search.other_device();
  // What changes the model comes only where nothing else is left.
  if (search.size() < 3) search.shorter_context();
  if (search.size() < 3) search.smaller_model();
  return search.cheapest();
}

tl::unexpected<Error> does_not_fit(const LargeRun& run, const std::vector<LaidOutRun>& candidates) {
  const DeviceMemory memory = device_memory(nearest_of(candidates));
  const TrainingSetup& nearest = nearest_of(candidates).setup;
  const double usable = usable_memory(nearest.device);
  std::string ways;
  int number = 0;
  for (const WayToFit& way : ways_to_fit(run, candidates)) {
    ways += format("%s(%d) ", number == 0 ? "" : "; ", number + 1) + way.text;
    ++number;
  }
  return fail(ErrorCode::no_memory,
              format("%.3g parameters on %lld %s need at least ", nearest.model.parameters,
                     static_cast<long long>(run.cluster.devices), nearest.device.name.c_str()) +
                  gib(memory.total()) + " on each (weights, gradients and optimizer " + gib(memory.state.total()) +
                  ", activations " + gib(DeviceMemory::kOverhead * memory.activations) + "), " + gib(memory.total() - usable) +
                  " more than the " + gib(usable) + " to be had",
              "", ways.empty() ? "use more or larger devices" : "the cheapest ways that fit: " + ways);
}

}  // namespace suanli::plan
