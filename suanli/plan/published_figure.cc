#include "suanli/plan/published_figure.h"

#include <algorithm>
#include <cctype>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

constexpr double kPercent = 100, kTera = 1e12, kGibi = 1024.0 * 1024 * 1024;
constexpr double kHour = 3600, kDay = 86'400;

struct Quantity {
  std::string_view name;
  Level level;
  bool is_rate;
};
constexpr Quantity kQuantities[] = {
    {"mfu", Level::step, true},
    {"hfu", Level::step, true},
    {"tokens_per_s_per_gpu", Level::step, true},
    {"tokens_per_s", Level::step, true},
    {"iteration_time", Level::step, false},
    {"hw_tflops_per_gpu", Level::step, true},
    {"model_tflops_per_gpu", Level::step, true},
    {"days", Level::run, false},
    {"gpu_hours", Level::run, false},
    {"days_per_trillion_tokens", Level::run, false},
    {"gpu_hours_per_trillion_tokens", Level::run, false},
    {"mem_params_grads_opt_per_gpu", Level::memory, false},
    {"mem_activations_per_gpu", Level::memory, false},
    {"total_flops", Level::flops, false},
};

const Quantity* find(std::string_view name) {
  const auto* found = std::find_if(std::begin(kQuantities), std::end(kQuantities),
                                   [&](const Quantity& each) { return each.name == name; });
  return found == std::end(kQuantities) ? nullptr : found;
}

// Published rows that are known to say nothing, whatever file they come in (docs/decisions/0009-step-time-model.md).
struct Unusable {
  // The name begins so and the source holds these words, in lower case; the quantity is any if empty.
  std::string_view name, source, quantity, reason;
};
constexpr Unusable kUnusable[] = {
    {"", "", "cost", "circular: published costs are hours times an assumed price"},
    {"gpt-3", "2005.14165", "days", "circular: 10,000 devices are assumed"},
    {"ptd-p", "2104.04473", "days", "circular: projected from the measured rate"},
    {"zero-3", "2104.04473", "days", "circular: projected from the measured rate"},
    {"llama 3 8b", "llama 3", "gpu_hours", "the hours cover more than the stated tokens: 14 to 16 % MFU"},
    {"llama 3.1 8b", "llama 3", "gpu_hours", "the hours cover more than the stated tokens: 14 to 16 % MFU"},
    {"llama 3 70b", "llama 3", "gpu_hours", "the hours cover more than the stated tokens: 26 to 28 % MFU"},
    {"llama 3.1 70b", "llama 3", "gpu_hours", "the hours cover more than the stated tokens: 26 to 28 % MFU"},
};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return lower;
}

AttentionCount convention(const PublishedRun& run) { return run.counts_causal ? AttentionCount::causal : AttentionCount::full; }

double tokens_per_step(const TrainingSetup& setup) { return setup.global_batch * static_cast<double>(setup.model.context); }

Result<double> step_figure(const PublishedRun& run, const TrainingSetup& setup, double seconds) {
  if (run.quantity == "iteration_time") return seconds;
  const double rate = tokens_per_step(setup) / seconds / setup.devices();
  if (run.quantity == "tokens_per_s_per_gpu") return rate;
  if (run.quantity == "tokens_per_s") return rate * setup.devices();
  const bool is_hardware = run.quantity == "hfu" || run.quantity == "hw_tflops_per_gpu";
  const double flops = rate * (is_hardware ? hardware_flops_per_token(setup.model, setup.recomputation, convention(run))
                                           : flops_per_token(setup.model, convention(run)));
  if (run.quantity == "hw_tflops_per_gpu" || run.quantity == "model_tflops_per_gpu") return flops / kTera;
  SUANLI_ASSIGN_OR_RETURN(const FlopsPerSecond peak, reference_peak(setup.device));
  return in_unit_of(run, flops / peak.value());
}

double run_figure(const PublishedRun& run, const TrainingSetup& setup, double seconds) {
  constexpr double kTrillion = 1e12;
  const double tokens = run.quantity.ends_with("per_trillion_tokens") ? kTrillion : run.tokens;
  const double time = tokens / tokens_per_step(setup) * seconds;
  return run.quantity.starts_with("days") ? time / kDay : time / kHour * setup.devices();
}

double memory_figure(const PublishedRun& run, const TrainingSetup& setup) {
  if (run.quantity == "mem_activations_per_gpu")
    return activation_memory(setup.model, setup.layout, setup.micro_batch, setup.recomputation, setup.flash) / kGibi;
  // Of the blocks alone, 12 L h^2, as the publications count where the shape is known: `params` is rounded.
  Transformer blocks = setup.model;
  const auto width = static_cast<double>(blocks.width);
  if (run.layers > 0 && run.width > 0) blocks.parameters = 12 * static_cast<double>(blocks.layers) * width * width;
  return state_memory(blocks, setup.layout).total() / kGibi;
}

}  // namespace

const char* name_of(Level level) {
  switch (level) {
    case Level::step: return "step";
    case Level::run: return "run";
    case Level::memory: return "memory";
    case Level::flops: return "flops";
  }
  return "";
}

std::optional<Level> level_of(std::string_view quantity) {
  const Quantity* found = find(quantity);
  return found ? std::optional(found->level) : std::nullopt;
}

bool is_rate(std::string_view quantity) {
  const Quantity* found = find(quantity);
  return found && found->is_rate;
}

std::string why_left_out(const PublishedRun& run) {
  if (!run.left_out.empty()) return run.left_out;
  const std::string name = lower_case(run.name), source = lower_case(run.source);
  for (const Unusable& each : kUnusable)
    if (name.starts_with(each.name) && source.find(each.source) != source.npos &&
        (each.quantity.empty() || each.quantity == run.quantity))
      return std::string(each.reason);
  const auto level = level_of(run.quantity);
  if (!level) {
    std::vector<std::string> names;
    for (const Quantity& each : kQuantities) names.emplace_back(each.name);
    return "no quantity that is predicted" + did_you_mean(run.quantity, names);
  }
  const bool needs_tokens = *level == Level::flops || run.quantity == "days" || run.quantity == "gpu_hours";
  if (needs_tokens && run.tokens <= 0) return "its tokens are not stated";
  if (run.quantity.starts_with("days") && run.devices <= 0) return "its devices are not stated";
  if (*level == Level::memory && (run.layers <= 0 || run.width <= 0 || run.context <= 0)) return "its shape is not stated";
  return {};
}

Result<double> figure_of(const PublishedRun& run, const SettledSetup& settled, double seconds) {
  const TrainingSetup& setup = settled.setup;
  switch (level_of(run.quantity).value_or(Level::step)) {
    case Level::step: return step_figure(run, setup, seconds);
    case Level::run: return run_figure(run, setup, seconds);
    case Level::memory: return memory_figure(run, setup);
    case Level::flops: return 6 * setup.model.active() * run.tokens;
  }
  return 0.0;
}

double in_unit_of(const PublishedRun& run, double fraction) {
  const bool is_fraction = run.unit == "1" || run.unit == "fraction" || (run.unit.empty() && run.value <= 1);
  return is_fraction ? fraction : fraction * kPercent;
}

std::optional<double> mfu_of_throughput(const PublishedRun& run) {
  if (run.peak_tflops <= 0) return std::nullopt;
  if (run.layers <= 0 || run.width <= 0 || run.context <= 0) return std::nullopt;
  double rate = run.value;
  if (run.quantity == "iteration_time") {
    if (run.devices <= 0 || run.global_batch <= 0) return std::nullopt;
    rate = run.global_batch * run.context / run.value / run.devices;
  } else if (run.quantity == "tokens_per_s") {
    if (run.devices <= 0) return std::nullopt;
    rate = run.value / run.devices;
  } else if (run.quantity != "tokens_per_s_per_gpu") {
    return std::nullopt;
  }
  const Transformer model{.parameters = run.parameters,
                          .active_parameters = run.active_parameters,
                          .layers = static_cast<std::int64_t>(run.layers),
                          .width = static_cast<std::int64_t>(run.width),
                          .context = static_cast<std::int64_t>(run.context)};
  return rate * flops_per_token(model, convention(run)) / (run.peak_tflops * kTera);
}

}  // namespace suanli::plan
