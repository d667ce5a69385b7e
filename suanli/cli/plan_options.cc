#include "suanli/cli/plan_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/plan/fault_rates.h"
#include "suanli/plan/prices.h"

namespace suanli::cli {
namespace {

using plan::QuantityKind;

tl::unexpected<Error> at(Error error, const std::string& flag) {
  error.place = flag;
  return tl::unexpected(std::move(error));
}

// Into an optional or a plain number; an empty text leaves it.
template <typename Target, typename Make>
Status read(const std::string& text, QuantityKind kind, const std::string& flag, Target& target, Make make) {
  SUANLI_ASSIGN_OR_RETURN(const std::optional<double> value, quantity_of(text, kind, flag));
  if (value) target = make(*value);
  return {};
}

Status read(const std::string& text, QuantityKind kind, const std::string& flag, std::optional<double>& target) {
  return read(text, kind, flag, target, [](double value) { return value; });
}

Status read_count(const std::string& text, const std::string& flag, std::int64_t& target,
                  QuantityKind kind = QuantityKind::devices) {
  if (text.empty()) return {};
  SUANLI_ASSIGN_OR_RETURN(target, count_of(text, kind, flag));
  return {};
}

Status read_count(const std::string& text, const std::string& flag, int& target) {
  std::int64_t value = 0;
  SUANLI_RETURN_IF_ERROR(read_count(text, flag, value));
  if (value > 1'000'000'000)
    return fail(ErrorCode::usage, "'" + printable(text) + "' is more than a billion", flag, "give a smaller number");
  if (!text.empty()) target = static_cast<int>(value);
  return {};
}

// A number without a unit that may be zero, such as a share.
Status read_share(const std::string& text, const std::string& flag, std::optional<double>& target) {
  if (text == "0") {
    target = 0;
    return {};
  }
  return read(text, QuantityKind::number, flag, target);
}

// A price or an overhead as a number, or the name of one in data/prices.toml.
template <typename Find>
Status read_preset(const std::string& text, QuantityKind kind, const std::string& unit, const std::string& flag,
                   std::optional<plan::Assumption>& target, Find find) {
  if (text.empty()) return {};
  if (text.find_first_of("0123456789-+$.") == 0) {
    SUANLI_ASSIGN_OR_RETURN(const double value, plan::parse_quantity(text, kind, flag));
    target = plan::given(value, unit);
    return {};
  }
  Result<plan::PricePreset> preset = find(text);
  if (!preset) return at(std::move(preset).error(), flag);
  target = preset->assumption("");
  return {};
}

Result<std::optional<plan::Recomputation>> recomputation_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  for (const auto each : {plan::Recomputation::none, plan::Recomputation::selective, plan::Recomputation::full})
    if (text == plan::name_of(each)) return each;
  const std::vector<std::string> names = {"none", "selective", "full"};
  return fail(ErrorCode::usage, "there is no recomputation '" + printable(text) + "'" + did_you_mean(text, names), "--recompute",
              "none, selective or full");
}

Status read_model(const LargeRunOptions& options, plan::LargeRun& run) {
  const auto number = [](double value) { return value; };
  SUANLI_RETURN_IF_ERROR(read(options.params, QuantityKind::parameters, "--params", run.model.parameters, number));
  SUANLI_RETURN_IF_ERROR(
      read(options.active_params, QuantityKind::parameters, "--active-params", run.model.active_parameters, number));
  SUANLI_RETURN_IF_ERROR(read(options.tokens, QuantityKind::tokens, "--tokens", run.tokens, number));
  SUANLI_RETURN_IF_ERROR(read_count(options.layers, "--layers", run.model.layers));
  SUANLI_RETURN_IF_ERROR(read_count(options.width, "--width", run.model.width));
  SUANLI_RETURN_IF_ERROR(read_count(options.heads, "--heads", run.model.heads));
  SUANLI_RETURN_IF_ERROR(read_count(options.context, "--context", run.model.context, QuantityKind::tokens));
  return read_count(options.vocab, "--vocab", run.model.vocab, QuantityKind::tokens);
}

Status read_layout(const LargeRunOptions& options, plan::LargeRun& run) {
  SUANLI_RETURN_IF_ERROR(read_count(options.tp, "--tp", run.tensor));
  SUANLI_RETURN_IF_ERROR(read_count(options.pp, "--pp", run.pipeline));
  SUANLI_RETURN_IF_ERROR(read_count(options.dp, "--dp", run.data));
  SUANLI_RETURN_IF_ERROR(read_count(options.interleave, "--interleave", run.interleave));
  if (!options.shard.empty()) {
    if (options.shard.size() != 1 || options.shard[0] < '0' || options.shard[0] > '3')
      return fail(ErrorCode::usage, "'" + printable(options.shard) + "' is no sharding", "--shard",
                  "0: nothing, 1: optimizer, 2: and gradients, 3: and weights");
    run.shard = options.shard[0] - '0';
  }
  std::int64_t batch = 0;
  SUANLI_RETURN_IF_ERROR(read_count(options.batch, "--batch", batch));
  run.global_batch = static_cast<double>(batch);
  SUANLI_RETURN_IF_ERROR(read_count(options.micro_batch, "--micro-batch", run.micro_batch));
  SUANLI_ASSIGN_OR_RETURN(run.recomputation, recomputation_of(options.recompute));
  auto stack = plan::stack_from_name(options.stack);
  if (!stack) return at(std::move(stack).error(), "--stack");
  run.stack = *stack;
  return {};
}

}  // namespace

Status check_faults(const std::string& mtbf, const std::string& fault_preset) {
  if (mtbf.empty() || fault_preset.empty()) return {};
  return fail(ErrorCode::usage, "--mtbf and --fault-preset contradict each other: both say how often faults come", "--mtbf",
              "leave one of them out");
}

Result<plan::Assumption> electricity_price(const std::string& text) {
  std::optional<plan::Assumption> price;
  SUANLI_RETURN_IF_ERROR(read_preset(text.empty() ? plan::kUsualElectricity : text, QuantityKind::dollars_per_kwh, "USD/kWh",
                                     "--electricity", price,
                                     [](const std::string& name) { return plan::prices().electricity(name); }));
  price->key = "usd_per_kwh";
  if (price->text.empty()) price->text = "price of electricity";
  return *std::move(price);
}

Result<std::optional<double>> quantity_of(const std::string& text, QuantityKind kind, const std::string& flag) {
  if (text.empty()) return std::nullopt;
  SUANLI_ASSIGN_OR_RETURN(const double value, plan::parse_quantity(text, kind, flag));
  return value;
}

Result<std::int64_t> count_of(const std::string& text, QuantityKind kind, const std::string& flag) {
  SUANLI_ASSIGN_OR_RETURN(const double value, plan::parse_quantity(text, kind, flag));
  if (value != std::floor(value))
    return fail(ErrorCode::usage, "'" + printable(text) + "' is not a whole number", flag, "write for example 16384 or 100k");
  return static_cast<std::int64_t>(value);
}

Result<plan::AcceleratorTable> devices_of(const ClusterOptions& options) {
  plan::AcceleratorTable table = plan::AcceleratorTable::built_in();
  if (options.devices_file.empty()) return table;
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(options.devices_file, Bytes(1 << 20)));
  SUANLI_RETURN_IF_ERROR(table.add(text, options.devices_file));
  return table;
}

Result<plan::ClusterSetup> cluster_of(const ClusterOptions& options, bool needs_count) {
  plan::ClusterSetup setup;
  SUANLI_ASSIGN_OR_RETURN(const plan::AcceleratorTable table, devices_of(options));
  if (options.device.empty()) return fail(ErrorCode::usage, "no device is named", "--device", "state one, such as --device H100");
  auto device = table.find(options.device);
  if (!device) return at(std::move(device).error(), "--device");
  setup.device = *std::move(device);
  if (needs_count && options.count.empty())
    return fail(ErrorCode::usage, "the number of devices is missing", "--count", "state it, such as --count 16384");
  SUANLI_RETURN_IF_ERROR(read_count(options.count, "--count", setup.devices));
  setup.dtype = options.dtype;
  SUANLI_RETURN_IF_ERROR(read(options.peak, QuantityKind::flops_per_second, "--peak", setup.peak,
                              [](double value) { return FlopsPerSecond(value); }));
  SUANLI_RETURN_IF_ERROR(
      read(options.price, QuantityKind::dollars, "--price-per-device", setup.price, [](double value) { return Dollars(value); }));
  SUANLI_RETURN_IF_ERROR(
      read(options.power, QuantityKind::watts, "--power", setup.power, [](double value) { return Watts(value); }));
  SUANLI_RETURN_IF_ERROR(read_share(options.surroundings_price, "--network-price", setup.surroundings_price));
  SUANLI_RETURN_IF_ERROR(read_share(options.surroundings_power, "--surroundings-power", setup.surroundings_power));
  SUANLI_RETURN_IF_ERROR(read_preset(options.pue, QuantityKind::number, "1", "--pue", setup.overhead,
                                     [](const std::string& name) { return plan::prices().overhead(name); }));
  SUANLI_RETURN_IF_ERROR(read_preset(options.electricity, QuantityKind::dollars_per_kwh, "USD/kWh", "--electricity",
                                     setup.electricity,
                                     [](const std::string& name) { return plan::prices().electricity(name); }));
  if (!options.lifetime.empty()) {
    SUANLI_ASSIGN_OR_RETURN(const double years, plan::parse_quantity(options.lifetime, QuantityKind::number, "--lifetime"));
    setup.lifetime_years = years;
  }
  return setup;
}

Result<plan::LargeRun> large_run_of(const LargeRunOptions& options, bool needs_count) {
  plan::LargeRun run;
  SUANLI_ASSIGN_OR_RETURN(run.cluster, cluster_of(options.cluster, needs_count));
  SUANLI_RETURN_IF_ERROR(read_model(options, run));
  SUANLI_RETURN_IF_ERROR(read_layout(options, run));
  SUANLI_RETURN_IF_ERROR(read(options.mfu, QuantityKind::fraction, "--mfu", run.mfu));
  SUANLI_RETURN_IF_ERROR(read(options.mtbf, QuantityKind::duration, "--mtbf", run.mean_time_between_faults,
                              [](double value) { return Seconds(value); }));
  SUANLI_RETURN_IF_ERROR(check_faults(options.mtbf, options.fault_preset));
  run.fault_preset = options.fault_preset.empty() ? kUsualFaults : options.fault_preset;
  if (auto preset = plan::fault_preset(run.fault_preset); !preset) return at(std::move(preset).error(), "--fault-preset");
  SUANLI_RETURN_IF_ERROR(read(options.price_per_hour, QuantityKind::dollars_per_hour, "--price-per-hour", run.price_per_hour));
  run.flash = !options.no_flash;
  run.counts_attention = !options.no_attention;
  run.counts_faults = !options.no_faults;
  for (const char* flag : {options.mtbf.empty() ? "" : "--mtbf", options.fault_preset.empty() ? "" : "--fault-preset"})
    if (options.no_faults && *flag != 0)
      return fail(ErrorCode::usage, std::string("--no-faults and ") + flag + " contradict each other", flag,
                  "leave one of them out");
  return run;
}

void add_cluster_flags(Verb& verb, ClusterOptions& options) {
  verb.option("--device", options.device, "Accelerator by name, such as H100, A100 or \"TPU v5p\"", "NAME");
  verb.option("--devices-file", options.devices_file, "More accelerators, in the form of the library's own table", "FILE.toml");
  verb.option("--count", options.count, "How many", "N");
  verb.choice("--dtype", options.dtype, {"bf16", "fp16", "fp8", "tf32"}, "Of the matrix products: whose dense peak counts");
  verb.option("--peak", options.peak, "FLOP/s of one device instead of the dense peak that the table has", "RATE");
  verb.option("--price-per-device,--price", options.price, "Price of one device, to buy", "USD");
  verb.option("--network-price", options.surroundings_price,
              "Machines, network, storage and building, over the price of the devices: 1 is as much again", "SHARE");
  verb.option("--power", options.power, "Design power of one device", "W");
  verb.option("--surroundings-power", options.surroundings_power,
              "Power of a device with its share of machine and network, over its design power: 2 is as much again", "FACTOR");
  verb.option("--pue", options.pue, "Overhead of the building, at least 1, or the name of one: hyperscale, average, none",
              "FACTOR");
  verb.option("--electricity", options.electricity, "Price of electricity, or the name of one, such as us-industrial", "USD/kWh");
  verb.option("--lifetime", options.lifetime, "Years over which capital is written off", "YEARS");
}

void add_large_run_flags(Verb& verb, LargeRunOptions& options) {
  verb.option("--params", options.params, "Parameters, such as 405e9 or 405B", "N");
  verb.option("--active-params", options.active_params, "Of a mixture of experts, those that a token meets", "N");
  verb.option("--tokens", options.tokens, "Tokens to train on, such as 15.6e12 or 15.6T", "N");
  add_cluster_flags(verb, options.cluster);
  verb.option("--mfu", options.mfu, "Model FLOPs utilisation, of the dense peak; else it is predicted", "FRACTION");
  verb.option("--layers", options.layers, "Of the model; else as usual for so many parameters", "N");
  verb.option("--width", options.width, "Of the model's hidden state", "N");
  verb.option("--heads", options.heads, "Of attention", "N");
  verb.option("--context", options.context, "Sequence length in tokens", "N");
  verb.option("--vocab", options.vocab, "Of the tokenizer", "N");
  verb.option("--tp", options.tp, "Tensor-parallel degree; degrees that are left out are chosen to fit", "N");
  verb.option("--pp", options.pp, "Pipeline-parallel degree", "N");
  verb.option("--dp", options.dp, "Data-parallel degree", "N");
  verb.option("--interleave", options.interleave, "Virtual pipeline stages on each device", "N");
  verb.option("--shard", options.shard, "Over data-parallel replicas: 0 nothing, 1 optimizer, 2 and gradients, 3 and weights",
              "0-3");
  verb.option("--batch", options.batch, "Sequences per step, of all replicas", "N");
  verb.option("--micro-batch", options.micro_batch, "Sequences per pass and replica", "N");
  verb.option("--recompute", options.recompute, "Activations made again in backward: none, selective or full", "WHICH");
  verb.option("--stack", options.stack, "Software: megatron, megascale, fsdp, zero3, jax or unknown", "NAME");
  verb.flag("--no-flash", options.no_flash, "Attention stores its scores");
  verb.flag("--no-attention", options.no_attention, "Count 6 N FLOPs for a token, without attention");
  verb.flag("--no-faults", options.no_faults, "As if nothing ever interrupted the run");
  verb.option("--mtbf", options.mtbf, "Mean time between faults of the whole run, such as 3h; instead of a preset", "TIME");
  verb.option("--fault-preset", options.fault_preset, kFaultPresetHelp, "NAME");
  verb.option("--price-per-hour", options.price_per_hour, "Rent of one device", "USD/h");
}

}  // namespace suanli::cli
