#include "suanli/plan/run_layouts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/plan/large_run_setup.h"

namespace suanli::plan {
namespace {

constexpr std::int64_t kMostStages = 1024;  // published runs have up to 64

constexpr std::int64_t kMostVirtualStages = 8;

using Degrees = std::vector<int>;

Degrees divisors(std::int64_t number, std::int64_t most) {
  Degrees found;
  for (std::int64_t i = 1; i <= std::min(number, most); ++i)
    if (number % i == 0) found.push_back(static_cast<int>(i));
  return found;
}

// Of attention heads and hidden units both.
bool can_split(const Transformer& model, int tensor) { return model.heads % tensor == 0 || model.width % tensor == 0; }

std::vector<Recomputation> recomputations(const LargeRun& run) {
  if (run.recomputation) return {*run.recomputation};
  return {Recomputation::none, Recomputation::selective, Recomputation::full};
}

std::vector<int> shards(const LargeRun& run, const Layout& layout) {
  if (run.shard) return {*run.shard};
  if (layout.data == 1) return {0};
  // Beside a pipeline weights are not sharded: each micro-batch would gather them again.
  return layout.pipeline > 1 ? std::vector<int>{1, 2} : std::vector<int>{1, 2, 3};
}

std::vector<int> interleaves(const LargeRun& run, const Transformer& model, int pipeline) {
  if (pipeline == 1) return {1};
  if (run.interleave > 0) return {run.interleave};
  const std::int64_t most = std::min<std::int64_t>(kMostVirtualStages, model.layers / pipeline);
  std::vector<int> all;
  for (int each = 1; each < most; each *= 2) all.push_back(each);
  all.push_back(static_cast<int>(std::max<std::int64_t>(1, most)));
  return all;
}

std::vector<std::int64_t> micro_batches(const LargeRun& run) {
  if (run.micro_batch > 0) return {run.micro_batch};
  return {1, 2, 4, 8};
}

// Whether backward makes norms and activation functions again is decided last: only where it is needed.
void add(LaidOutRun run, std::vector<LaidOutRun>& all) {
  const TrainingSetup& setup = run.setup;
  const bool can_trim =
      setup.recomputation == Recomputation::selective || (setup.recomputation == Recomputation::none && setup.flash);
  run.trims = can_trim && !fits(run);
  all.push_back(run);
}

void add_variants(const LargeRun& run, const TrainingSetup& base, const Layout& degrees, std::vector<LaidOutRun>& all) {
  TrainingSetup setup = base;
  setup.layout = degrees;
  setup.layout.sequence_parallel = run.sequence_parallel.value_or(degrees.tensor > 1);
  for (const std::int64_t micro_batch : micro_batches(run)) {
    setup.micro_batch = micro_batch;
    const double least_batch = static_cast<double>(degrees.data) * static_cast<double>(micro_batch);
    const bool is_first = micro_batch == micro_batches(run).front();
    if (least_batch > base.global_batch && (run.global_batch > 0 || !is_first)) continue;
    // Whole micro-batches: a batch that is given must divide, one that is assumed is rounded.
    if (run.global_batch > 0 && std::fmod(base.global_batch, least_batch) != 0) continue;
    setup.global_batch = least_batch * std::max(1.0, std::round(base.global_batch / least_batch));
    for (const int interleave : interleaves(run, setup.model, degrees.pipeline)) {
      setup.layout.interleave = interleave;
      for (const Recomputation recomputation : recomputations(run)) {
        setup.recomputation = recomputation;
        for (const int shard : shards(run, degrees)) {
          setup.layout.shard = shard;
          add({setup}, all);
        }
      }
    }
  }
}

}  // namespace

Status check_layout(const LargeRun& run) {
  const std::int64_t devices = run.cluster.devices;
  const auto wrong = [&](std::string message, const char* place) {
    return fail(ErrorCode::usage, std::move(message), place,
                "their product is the number of devices; one left out is chosen to fit");
  };
  if (devices > std::numeric_limits<int>::max())
    return fail(ErrorCode::usage, "more than 2^31 devices", "--count", "ask for fewer");
  std::int64_t product = 1;
  for (const int degree : {run.tensor, run.pipeline, run.data})
    if (degree > 0) product *= degree;
  const std::string text = format("%d tensor x %d pipeline x %d data parallel", std::max(1, run.tensor),
                                  std::max(1, run.pipeline), std::max(1, run.data));
  if (run.tensor > 0 && run.pipeline > 0 && run.data > 0 && product != devices)
    return wrong(text + format(" is %lld devices, not %lld", static_cast<long long>(product), static_cast<long long>(devices)),
                 "--tp --pp --dp");
  if (devices % product != 0)
    return wrong(text + format(" do not divide %lld devices", static_cast<long long>(devices)), "--tp --pp --dp");
  if (run.model.layers > 0 && run.pipeline > run.model.layers)
    return wrong(format("%d stages for %lld layers", run.pipeline, static_cast<long long>(run.model.layers)), "--pp");
  // Llama 3 405B (126 layers, 16 stages) counts its embedding and its head as a layer each.
  const std::int64_t chunks = std::int64_t{std::max(1, run.pipeline)} * std::max(1, run.interleave);
  const std::int64_t layers = run.model.layers;
  if (run.pipeline > 0 && layers > 0 && layers < chunks)
    return wrong(format("%lld layers do not fill %d stages of %d virtual ones", static_cast<long long>(layers), run.pipeline,
                        std::max(1, run.interleave)),
                 "--interleave");
  if (run.pipeline > 0 && layers > 0 && layers % chunks != 0 && (layers + 2) % chunks != 0)
    return wrong(format("%lld layers cannot be cut into %d stages of %d virtual ones", static_cast<long long>(layers),
                        run.pipeline, std::max(1, run.interleave)),
                 run.interleave > 1 ? "--interleave" : "--pp");
  const double passes =
      static_cast<double>(std::max(1, run.data)) * static_cast<double>(std::max<std::int64_t>(1, run.micro_batch));
  if (run.global_batch >= passes && std::fmod(run.global_batch, passes) != 0)
    return fail(ErrorCode::usage,
                format("%.0f sequences cannot be cut into micro-batches of %lld on %d replicas", run.global_batch,
                       static_cast<long long>(std::max<std::int64_t>(1, run.micro_batch)), std::max(1, run.data)),
                "--batch", format("give a multiple of %.0f", passes));
  return {};
}

std::vector<LaidOutRun> layouts_of(const LargeRun& run, const TrainingSetup& base) {
  const std::int64_t devices = run.cluster.devices;
  std::vector<LaidOutRun> all;
  for (const int tensor : run.tensor > 0 ? Degrees{run.tensor} : divisors(devices, base.device.per_node)) {
    if (devices % tensor != 0 || (run.tensor == 0 && !can_split(base.model, tensor))) continue;
    const std::int64_t rest = devices / tensor;
    const bool has_data = run.data > 0;
    const Degrees stages = run.pipeline > 0 ? Degrees{run.pipeline}
                           : has_data       ? Degrees{static_cast<int>(std::max<std::int64_t>(1, rest / run.data))}
                                            : divisors(rest, std::min(base.model.layers, kMostStages));
    for (const int pipeline : stages) {
      if (rest % pipeline != 0 || pipeline > base.model.layers) continue;
      const auto data = static_cast<int>(rest / pipeline);
      if (has_data && data != run.data) continue;
      Layout degrees;
      degrees.tensor = tensor;
      degrees.pipeline = pipeline;
      degrees.data = data;
      add_variants(run, base, degrees, all);
    }
  }
  return all;
}

bool fits(const LaidOutRun& run) {
  const double usable = usable_memory(run.setup.device);
  return usable == 0 || device_memory(run).total() <= usable;
}

const LaidOutRun* fastest(const std::vector<LaidOutRun>& candidates) {
  const LaidOutRun* best = nullptr;
  double best_rate = 0;
  for (const LaidOutRun& each : candidates) {
    if (!fits(each)) continue;
    const double batch = each.setup.global_batch;
    if (best && batch > best->setup.global_batch) continue;
    const double rate = batch / expected_step_seconds(each);
    if (best && batch == best->setup.global_batch && rate <= best_rate) continue;
    best = &each;
    best_rate = rate;
  }
  return best;
}

}  // namespace suanli::plan
