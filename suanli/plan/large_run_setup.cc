#include "suanli/plan/large_run_setup.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "suanli/base/text.h"
#include "suanli/plan/fit_ways.h"
#include "suanli/plan/run_layouts.h"
#include "suanli/plan/run_traffic.h"

namespace suanli::plan {
namespace {

tl::unexpected<Error> wrong(std::string message, std::string place, std::string next_step) {
  return fail(ErrorCode::usage, std::move(message), std::move(place), std::move(next_step));
}

bool is_number(double value) { return std::isfinite(value) && value > 0; }

// Tokens of a step where none are given: Llama 3 405B ended at 16 million, GPT-3 and Llama 2 took 3.2 and 4 million.
// Large fleets need larger batches: PaLM, MegaScale and Llama 3 gave each device 700 to 1,000 tokens of a step.
double usual_batch_tokens(double parameters, double devices) {
  return std::max(parameters >= 3e11 ? 0x1p24 : 0x1p22, 1024 * devices);
}

Result<Transformer> settled_model(const LargeRun& run, SettledRun& settled) {
  Transformer model = run.model;
  const bool has_layers = model.layers > 0, has_width = model.width > 0;
  const Transformer usual = usual_shape(model.parameters > 0 ? model.parameters : 1e9);
  settled.has_given_shape = has_layers && has_width;
  settled.has_given_context = model.context > 0;
  if (model.context == 0) model.context = usual.context;
  if (model.vocab == 0) model.vocab = usual.vocab;
  if (settled.has_given_shape && model.parameters <= 0) {
    model.parameters = parameters_of_shape(model.layers, model.width, model.vocab, run.model.context);
    settled.notes.push_back("parameters from the shape, by 12 L h^2 (1 + 13 / 12 h + (V + s) / 12 L h)");
  }
  if (!(model.parameters > 0))
    return wrong(run.tokens > 0 ? "there are tokens but no parameters" : "there are no parameters", "--params",
                 "state --params, such as 405e9, or --layers and --width");
  if (has_layers && !has_width)
    model.width = std::max<std::int64_t>(
        64, std::llround(std::sqrt(model.parameters / (12 * static_cast<double>(model.layers))) / 64) * 64);
  if (!has_layers && has_width)
    model.layers =
        std::max<std::int64_t>(1, std::llround(model.parameters / (12 * std::pow(static_cast<double>(model.width), 2))));
  if (!has_layers && !has_width) {
    model.layers = usual.layers;
    model.width = usual.width;
  }
  if (model.heads == 0) model.heads = std::max<std::int64_t>(1, model.width / 128);
  if (!settled.has_given_shape)
    settled.notes.push_back(
        format("shape assumed as usual for so many parameters: %lld layers of width %lld; --layers and --width say otherwise",
               static_cast<long long>(model.layers), static_cast<long long>(model.width)));
  const double by_shape = parameters_of_shape(model.layers, model.width, run.model.vocab, 0);
  if (settled.has_given_shape && run.model.parameters > 0 && model.active_parameters == 0 &&
      std::abs(std::log(by_shape / model.parameters)) > 0.5)
    settled.warnings.push_back(
        {ErrorCode::usage,
         format("%lld layers of width %lld hold about %.3g parameters, but %.3g are given", static_cast<long long>(model.layers),
                static_cast<long long>(model.width), by_shape, model.parameters),
         "--params", "correct one of them; for a mixture of experts give --active-params too"});
  return model;
}

Status settle_batch(const LargeRun& run, TrainingSetup& setup, SettledRun& settled) {
  settled.has_given_batch = run.global_batch > 0;
  setup.global_batch = run.global_batch;
  if (run.global_batch > 0) return {};
  const double sequences = usual_batch_tokens(setup.model.parameters, static_cast<double>(run.cluster.devices)) /
                           static_cast<double>(setup.model.context);
  setup.global_batch = std::max(1.0, std::round(sequences));
  settled.notes.push_back(format(
      "%.0f sequences per step assumed (%.3g tokens, as published runs of this size); more where the layout has more replicas",
      setup.global_batch, setup.global_batch * static_cast<double>(setup.model.context)));
  return {};
}

std::string layout_text(const LaidOutRun& run) {
  const TrainingSetup& setup = run.setup;
  const Layout& layout = setup.layout;
  static constexpr const char* kSharded[] = {"nothing", "the optimizer", "optimizer and gradients",
                                             "optimizer, gradients and weights"};
  return format(
      "%d-way tensor, %d-way pipeline (%d virtual stages each), %d-way data parallel, %s sharded over replicas, micro-batches of "
      "%lld, %s recomputation%s",
      layout.tensor, layout.pipeline, layout.interleave, layout.data, kSharded[layout.shard],
      static_cast<long long>(setup.micro_batch), name_of(setup.recomputation),
      run.trims ? ", norms and activation functions made again" : "");
}

Status check_sizes(const LargeRun& run) {
  const struct {
    double value;
    const char* flag;
    const char* what;
  } amounts[] = {{run.model.parameters, "--params", "parameters"},
                 {run.model.active_parameters, "--active-params", "active parameters"},
                 {run.tokens, "--tokens", "tokens"},
                 {run.global_batch, "--batch", "sequences per step"}};
  for (const auto& each : amounts)
    if (each.value != 0 && !is_number(each.value))
      return wrong(format("%g %s cannot be", each.value, each.what), each.flag, "give a number above 0");
  const struct {
    std::int64_t value;
    const char* flag;
  } counts[] = {{run.model.layers, "--layers"},
                {run.model.width, "--width"},
                {run.model.heads, "--heads"},
                {run.model.context, "--context"},
                {run.model.vocab, "--vocab"},
                {run.micro_batch, "--micro-batch"},
                {run.tensor, "--tp"},
                {run.pipeline, "--pp"},
                {run.data, "--dp"}};
  for (const auto& each : counts)
    if (each.value < 0)
      return wrong(format("%lld is negative", static_cast<long long>(each.value)), each.flag, "give a number above 0");
  if (run.model.active_parameters > run.model.parameters && run.model.parameters > 0)
    return wrong("more parameters are active than there are", "--active-params", "give at most --params");
  if (run.model.heads > 0 && run.model.width > 0 && run.model.width % run.model.heads != 0)
    return wrong(format("%lld heads do not divide a width of %lld", static_cast<long long>(run.model.heads),
                        static_cast<long long>(run.model.width)),
                 "--heads", "choose a divisor of the width");
  return {};
}

}  // namespace

Status check_large_run(const LargeRun& run) {
  SUANLI_RETURN_IF_ERROR(check_cluster(run.cluster));
  SUANLI_RETURN_IF_ERROR(check_sizes(run));
  if (run.mfu && !(*run.mfu > 0 && *run.mfu <= 1))
    return wrong(format("an MFU of %g cannot be: it is a fraction of what the devices can do", *run.mfu), "--mfu",
                 "give a number above 0 and up to 1");
  if (run.interleave > 1 && run.pipeline == 1)
    return wrong("one stage has nothing to interleave", "--interleave", "leave it out, or use --pp above 1");
  if (run.shard && (*run.shard < 0 || *run.shard > 3))
    return wrong(format("sharding level %d does not exist", *run.shard), "--shard", "0, 1, 2 or 3");
  if (run.mean_time_between_faults && !is_number(run.mean_time_between_faults->value()))
    return wrong("the mean time between faults should be above 0", "--mtbf", "write for example 3h");
  if (run.price_per_hour && !is_number(*run.price_per_hour))
    return wrong("a price should be above 0", "--price-per-hour", "write for example 2.5");
  return check_layout(run);
}

DeviceMemory device_memory(const LaidOutRun& run) { return device_memory(run.setup, run.trims); }

double expected_step_seconds(const LaidOutRun& run) {
  const TrainingSetup& setup = run.setup;
  constexpr double kMadeAgain = 1.01;  // norms and activation functions: bandwidth for a few more passes over activations
  const double factor = run.trims ? kMadeAgain : 1;
  if (const auto predicted = predict_step_time(setup)) return factor * predicted->step.value();
  constexpr double kProducts = 0.6;  // of the dense peak, before all that is counted below
  constexpr double kLinks = 0.75, kExposed = 0.5;
  const auto peak = setup.device.dense_peak.empty() ? FlopsPerSecond(1) : setup.device.dense_peak.begin()->second.value;
  const double flops =
      setup.global_batch * static_cast<double>(setup.model.context) * hardware_flops_per_token(setup.model, setup.recomputation);
  const double computing = flops / (setup.layout.devices() * peak.value() * kProducts);
  Traffic traffic = traffic_of(setup);
  traffic.data *= kExposed;
  return factor * (computing / (1 - pipeline_bubble(setup)) + traffic.seconds(setup.device, setup.layout, kLinks));
}

Result<SettledRun> settle_run(const LargeRun& run) {
  SUANLI_RETURN_IF_ERROR(check_large_run(run));
  SettledRun settled;
  TrainingSetup& setup = settled.setup;
  SUANLI_ASSIGN_OR_RETURN(setup.model, settled_model(run, settled));
  setup.device = device_at_peak(run.cluster);
  setup.flash = run.flash;
  setup.dtype = run.cluster.dtype;
  setup.stack = run.stack;
  SUANLI_RETURN_IF_ERROR(settle_batch(run, setup, settled));
  settled.has_given_layout =
      run.tensor > 0 && run.pipeline > 0 && (run.data > 0 || run.cluster.devices == std::int64_t{run.tensor} * run.pipeline);
  const std::vector<LaidOutRun> candidates = layouts_of(run, setup);
  if (candidates.empty())
    return wrong(format("%lld devices cannot be laid out so", static_cast<long long>(run.cluster.devices)), "--batch",
                 "each replica needs at least one micro-batch: raise --batch, or lower --micro-batch or --dp");
  const LaidOutRun* best = fastest(candidates);
  if (!best) return does_not_fit(run, candidates);
  setup = best->setup;
  settled.trims = best->trims;
  if (!settled.has_given_layout || !run.shard || !run.recomputation)
    settled.notes.push_back("layout, the fastest of those that fit, as step times are predicted: " + layout_text(*best));
  if (!setup.device.memory)
    settled.warnings.push_back({ErrorCode::usage,
                                "the memory of " + setup.device.name + " is not known: whether the run fits is not checked",
                                "--device", "give memory_gib in a --devices-file"});
  return settled;
}

}  // namespace suanli::plan
