#include "suanli/plan/settle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/plan/device_memory.h"

namespace suanli::plan {
namespace {

// When software learned what: flash attention in training stacks, sequence parallelism and selective recomputation (Korthikanti
// et al., May 2022) and interleaved schedules in use, shared optimizer state.
constexpr double kFlashYear = 2023, kSequenceParallelYear = 2022.5, kInterleaveYear = 2023, kSharedOptimizerYear = 2022;
constexpr double kGatherRingsYear = 2022.5;
constexpr int kUsualDevices = 1024;
constexpr double kUsualBatchTokens = 4e6;     // GPT-3's 3.2 million to Llama's 4
constexpr double kStateShare = 0.6;           // that the state alone may take before a layout is cut further
constexpr double kLeastTokensPerPass = 4096;  // for which sharded stacks give up recomputation
constexpr double kMostTokensPerPass = 32'768;
constexpr double kLongContext = 32'768;       // from which spare devices are taken to share sequences
constexpr int kMostPipeline = 64;
constexpr double kDefaultMemory = 80.0 * (std::int64_t{1} << 30);

class Settler {
 public:
  explicit Settler(const SetupFacts& facts) : facts_(facts) {}

  Result<SettledSetup> run() {
    SUANLI_RETURN_IF_ERROR(check());
    set_model();
    set_software();
    SUANLI_RETURN_IF_ERROR(set_layout());
    set_recomputation_and_micro_batch();
    set_batch();
    settled_.is_known = facts_.stack && *facts_.stack != Stack::unknown && facts_.recomputation && facts_.micro_batch > 0;
    return std::move(settled_);
  }

 private:
  TrainingSetup& setup() { return settled_.setup; }
  Layout& layout() { return settled_.setup.layout; }
  bool is_sharded() const {
    const Stack stack = settled_.setup.stack;
    return stack == Stack::fsdp || stack == Stack::zero3 || stack == Stack::jax;
  }
  void assume(std::string what) { settled_.assumed.push_back(std::move(what)); }

  Status check() const {
    const int degrees[] = {facts_.devices, facts_.tensor,     facts_.pipeline,    facts_.data, facts_.context_parallel,
                           facts_.interleave, facts_.gather_group};
    if (stated_devices(facts_) > kMostDevices)
      return fail(ErrorCode::usage, format("the degrees make %g devices, more than 1e9", stated_devices(facts_)), "layout",
                  "check tensor, pipeline, data and context-parallel degree");
    const bool is_negative = std::any_of(std::begin(degrees), std::end(degrees), [](int degree) { return degree < 0; });
    if (is_negative || !(facts_.model.parameters > 0) || facts_.micro_batch < 0 || !(facts_.global_batch >= 0))
      return fail(ErrorCode::usage, "devices, degrees, parameters and batches must not be negative", "setup");
    return {};
  }

  void set_model() {
    setup().model = facts_.model;
    setup().device = facts_.device;
    setup().dtype = facts_.dtype;
    setup().cluster_link = facts_.cluster_link;
    Transformer& model = setup().model;
    if (model.layers <= 0 || model.width <= 0) {
      const Transformer usual = usual_shape(model.parameters);
      model.layers = usual.layers;
      model.width = usual.width;
      assume(format("shape %lld x %lld", static_cast<long long>(model.layers), static_cast<long long>(model.width)));
    }
    if (model.context <= 0) {
      model.context = facts_.year < 2023.5 ? 2048 : 4096;
      assume(format("context %lld", static_cast<long long>(model.context)));
    }
  }

  void set_software() {
    const bool is_tpu = facts_.device.name.starts_with("TPU");
    const bool is_volta = facts_.device.name.starts_with("V100");
    setup().flash = facts_.flash.value_or(facts_.year >= kFlashYear && !is_volta);
    if (!facts_.flash) assume(setup().flash ? "flash attention" : "plain attention");
    if (facts_.stack && *facts_.stack != Stack::unknown) {
      setup().stack = *facts_.stack;
    } else {
      const bool is_cut = facts_.tensor > 1 || facts_.pipeline > 1;
      const bool is_whole = facts_.tensor == 1 && facts_.pipeline == 1;
      if (is_tpu) setup().stack = Stack::jax;
      else if (is_cut || (!is_whole && facts_.year < kGatherRingsYear)) setup().stack = Stack::megatron;
      else setup().stack = Stack::fsdp;
      assume(std::string("software of kind ") + name_of(setup().stack));
    }
    layout().shard = facts_.shard.value_or(is_sharded() ? 3 : facts_.year >= kSharedOptimizerYear ? 1 : 0);
  }

  double memory() const {
    return facts_.device.memory ? static_cast<double>(facts_.device.memory->value.value()) : kDefaultMemory;
  }

  // Tensor parallelism inside a machine first, then a pipeline, until the state leaves room.
  void cut_model(int devices) {
    Layout& cut = layout();
    cut.tensor = std::max(1, facts_.tensor);
    cut.pipeline = std::max(1, facts_.pipeline);
    if (is_sharded()) return;
    const auto too_large = [&] {
      Layout filled = cut;
      filled.data = std::max(1, devices / (cut.tensor * cut.pipeline));
      return state_memory(setup().model, filled).total() > kStateShare * memory();
    };
    if (facts_.tensor == 0)
      while (2 * cut.tensor <= facts_.device.per_node && devices % (2 * cut.tensor * cut.pipeline) == 0 && too_large())
        cut.tensor *= 2;
    if (facts_.pipeline == 0)
      while (2 * cut.pipeline <= std::min<std::int64_t>(kMostPipeline, setup().model.layers) &&
             devices % (2 * cut.tensor * cut.pipeline) == 0 && too_large())
        cut.pipeline *= 2;
    if (facts_.tensor == 0 || facts_.pipeline == 0)
      assume(format("tensor degree %d, pipeline degree %d", cut.tensor, cut.pipeline));
  }

  Status set_layout() {
    int devices = facts_.devices;
    if (devices == 0 && facts_.tensor > 0 && facts_.pipeline > 0 && facts_.data > 0)
      devices = facts_.tensor * facts_.pipeline * facts_.data * std::max(1, facts_.context_parallel);
    if (devices == 0) {
      devices = kUsualDevices;
      assume(format("%d devices", devices));
    }
    cut_model(devices);
    const int model_devices = layout().tensor * layout().pipeline;
    if (devices % model_devices != 0)
      return fail(ErrorCode::usage,
                  format("%d devices cannot be cut into tensor degree %d times pipeline degree %d", devices, layout().tensor,
                         layout().pipeline),
                  "layout", "choose degrees whose product divides the number of devices");
    share_sequences(devices / model_devices);
    layout().interleave = std::max(1, facts_.interleave);
    if (facts_.interleave == 0 && layout().pipeline > 1) assume_interleave();
    layout().sequence_parallel = facts_.sequence_parallel.value_or(layout().tensor > 1 && facts_.year >= kSequenceParallelYear);
    return {};
  }

  // Devices beyond tensor, pipeline and data degree share sequences where these are long, and shard weights where they are not.
  void share_sequences(int replicas) {
    const int spare = facts_.data > 0 && replicas % facts_.data == 0 ? replicas / facts_.data : 1;
    int shared = std::max(1, facts_.context_parallel);
    if (facts_.context_parallel == 0 && spare > 1 && static_cast<double>(setup().model.context) >= kLongContext) {
      shared = spare;
      assume(format("context-parallel degree %d", shared));
    }
    if (replicas % shared != 0) shared = 1;
    setup().context_parallel = shared;
    layout().data = replicas / shared;
    setup().gather_group = facts_.gather_group;
    if (setup().gather_group == 0 && shared == 1 && spare > 1 && facts_.data > 1) {
      setup().gather_group = spare;
      assume(format("weights sharded over groups of %d", spare));
    }
  }

  void assume_interleave() {
    const auto per_stage = static_cast<int>(setup().model.layers / layout().pipeline);
    constexpr int kMostSingleLayers = 8;  // virtual stages of one layer up to here, of two beyond
    const int stages = per_stage <= kMostSingleLayers ? per_stage : per_stage / 2;
    layout().interleave = std::max(1, facts_.year < kInterleaveYear ? 1 : stages);
    assume(format("%d virtual stages per device", layout().interleave));
  }

  bool fits(std::int64_t micro_batch, Recomputation recomputation) const {
    TrainingSetup tried = settled_.setup;
    tried.micro_batch = micro_batch;
    tried.recomputation = recomputation;
    return device_memory(tried).total() <= kUsableShare * memory();
  }

  double sequences_per_replica() const {
    return facts_.global_batch > 0 ? facts_.global_batch / settled_.setup.layout.data : std::numeric_limits<double>::infinity();
  }

  void set_recomputation_and_micro_batch() {
    const auto context = static_cast<double>(setup().model.context);
    if (facts_.recomputation) {
      setup().recomputation = *facts_.recomputation;
    } else {
      setup().recomputation = assumed_recomputation(context);
      assume(std::string("recomputation ") + plan::name_of(setup().recomputation));
    }
    if (facts_.micro_batch > 0) {
      setup().micro_batch = facts_.micro_batch;
      return;
    }
    double most = sequences_per_replica();
    if (layout().pipeline > 1) most = std::min(most, facts_.year < kInterleaveYear ? 2.0 : 1.0);
    if (!is_sharded()) most = std::min(most, 16.0);
    std::int64_t micro_batch = 1;
    while (2.0 * static_cast<double>(micro_batch) <= most &&
           2.0 * static_cast<double>(micro_batch) * context <= kMostTokensPerPass && fits(2 * micro_batch, setup().recomputation))
      micro_batch *= 2;
    setup().micro_batch = micro_batch;
    assume(format("micro-batches of %lld", static_cast<long long>(micro_batch)));
  }

  Recomputation assumed_recomputation(double context) const {
    if (!is_sharded()) return settled_.setup.flash ? Recomputation::selective : Recomputation::full;
    const double least = std::max(1.0, std::floor(kLeastTokensPerPass / context));
    const double wanted = std::min(least, std::max(1.0, sequences_per_replica()));
    return fits(static_cast<std::int64_t>(wanted), Recomputation::none) ? Recomputation::none : Recomputation::full;
  }

  void set_batch() {
    setup().global_batch = facts_.global_batch;
    if (facts_.global_batch > 0) return;
    constexpr double kPassesPerStage = 4;
    const double per_pass = static_cast<double>(layout().data) * static_cast<double>(setup().micro_batch);
    const double passes = std::floor(kUsualBatchTokens / static_cast<double>(setup().model.context) / per_pass);
    setup().global_batch = per_pass * std::max(passes, layout().pipeline > 1 ? kPassesPerStage * layout().pipeline : 1.0);
    assume(format("a batch of %.0f sequences", setup().global_batch));
  }

  const SetupFacts& facts_;
  SettledSetup settled_;
};

}  // namespace

double stated_devices(const SetupFacts& facts) {
  double product = 1;
  for (const int degree : {facts.tensor, facts.pipeline, facts.data, facts.context_parallel}) product *= std::max(1, degree);
  return product;
}

Result<SettledSetup> settle(const SetupFacts& facts) { return Settler(facts).run(); }

}  // namespace suanli::plan
