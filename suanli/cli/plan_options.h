// Flags that `suanli plan llm`, `solve`, `sweep` and `cluster` share, and how they become what plan/ asks for.
#pragma once

#include <string>

#include "suanli/cli/verb.h"
#include "suanli/plan/large_run.h"
#include "suanli/plan/quantity.h"

namespace suanli::cli {

// The preset of faults that is taken where none is stated.
inline constexpr const char* kUsualFaults = "typical";
inline constexpr const char* kFaultPresetHelp = "Published rate of faults; unless given, typical";
// Error usage if both a mean time between faults and a preset are stated.
Status check_faults(const std::string& mtbf, const std::string& fault_preset);

struct ClusterOptions {
  std::string device, devices_file, count, dtype = "bf16", peak;
  std::string price, surroundings_price, power, surroundings_power, pue, electricity, lifetime;
};
struct LargeRunOptions {
  ClusterOptions cluster;
  std::string params, active_params, tokens, mfu;
  std::string layers, width, heads, context, vocab;
  std::string tp, pp, dp, interleave, shard, batch, micro_batch, recompute, stack = "unknown";
  bool no_flash = false, no_attention = false, no_faults = false;
  std::string mtbf, fault_preset, price_per_hour;  // no preset: kUsualFaults
};

void add_cluster_flags(Verb& verb, ClusterOptions& options);
void add_large_run_flags(Verb& verb, LargeRunOptions& options);

// Empty flags stay unset. Errors (usage, config) name the flag or the file. `needs_count`: a device and a count are required.
Result<plan::ClusterSetup> cluster_of(const ClusterOptions& options, bool needs_count);
Result<plan::LargeRun> large_run_of(const LargeRunOptions& options, bool needs_count);

// All devices that are known: of the library and of --devices-file.
Result<plan::AcceleratorTable> devices_of(const ClusterOptions& options);
// A whole number above 0 such as "16384" or "100k".
Result<std::int64_t> count_of(const std::string& text, plan::QuantityKind kind, const std::string& flag);
// Nothing where the text is empty.
Result<std::optional<double>> quantity_of(const std::string& text, plan::QuantityKind kind, const std::string& flag);

// A price of electricity as an assumption "usd_per_kwh": a number of USD/kWh, or the name of a price in data/prices.toml. Empty:
// the usual one (plan::kUsualElectricity). Errors (usage) name --electricity.
Result<plan::Assumption> electricity_price(const std::string& text);

}  // namespace suanli::cli
