// What a published row says of its setup: by its columns, and where it has none by its own words.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "suanli/base/text.h"
#include "suanli/plan/published_runs.h"

namespace suanli::plan {
namespace {

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return lower;
}

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

// Of the arXiv number, else of the first year in the text.
double year_of(std::string_view source) {
  constexpr double kUnknown = 2024;
  constexpr std::string_view kArxiv = "arXiv:";
  if (const std::size_t at = source.find(kArxiv); at != source.npos) {
    const std::string_view number = source.substr(at + kArxiv.size());
    if (number.size() >= 5 && std::all_of(number.begin(), number.begin() + 4, is_digit) && number[4] == '.') {
      const int month = (number[2] - '0') * 10 + number[3] - '0';
      return 2000 + (number[0] - '0') * 10 + (number[1] - '0') + (std::clamp(month, 1, 12) - 1) / 12.0;
    }
  }
  for (std::size_t at = 0; at + 4 <= source.size(); ++at) {
    const bool is_year = source[at] == '2' && source[at + 1] == '0' && is_digit(source[at + 2]) && is_digit(source[at + 3]);
    const bool stands_alone = (at == 0 || !is_digit(source[at - 1])) && (at + 4 == source.size() || !is_digit(source[at + 4]));
    if (is_year && stands_alone && source[at + 2] >= '1' && source[at + 2] <= '3')
      return 2000 + (source[at + 2] - '0') * 10 + (source[at + 3] - '0');
  }
  return kUnknown;
}

std::optional<Stack> stack_of(const std::string& name, const std::string& source, double year) {
  constexpr double kGatherRingsYear = 2022.5;  // as settle.cc
  const auto has = [](const std::string& text, const char* word) { return text.find(word) != text.npos; };
  if (has(name, "megascale")) return Stack::megascale;
  if (has(name, "zero-3")) return year < kGatherRingsYear ? Stack::zero3 : Stack::fsdp;
  if (has(name, "megatron")) return Stack::megatron;
  if (has(name, "fsdp") || has(source, "fsdp") || has(source, "zero-3")) return Stack::fsdp;
  return std::nullopt;
}

std::optional<Recomputation> recomputation_of(const std::string& name, const std::string& source) {
  for (const std::string* text : {&name, &source}) {
    if (text->find("no recompute") != text->npos || text->find("without recompute") != text->npos) return Recomputation::none;
    if (text->find("selective") != text->npos) return Recomputation::selective;
    if (text->find("recompute") != text->npos) return Recomputation::full;
  }
  return std::nullopt;
}

// "(671B total / 37B active, MoE)" -> 37e9; 0 if the words say no such thing.
double active_parameters_of(const std::string& name) {
  const std::size_t end = name.find("b active");
  if (end == name.npos) return 0;
  std::size_t begin = end;
  while (begin > 0 && (is_digit(name[begin - 1]) || name[begin - 1] == '.')) --begin;
  double number = 0;
  const auto [stop, error] = std::from_chars(name.data() + begin, name.data() + end, number);
  return error == std::errc() && stop == name.data() + end ? number * 1e9 : 0;
}

// The device of the longest name or alias that `name` begins with: "H100-96GB 500W" is an H100.
std::optional<Accelerator> of_the_family(const std::string& name, const AcceleratorTable& table) {
  std::optional<Accelerator> best;
  std::size_t longest = 0;
  const std::string lower = lower_case(name);
  for (const Accelerator& device : table.all()) {
    std::vector<std::string> names = device.aliases;
    names.push_back(device.name);
    for (const std::string& each : names) {
      const std::string alias = lower_case(each);
      const bool ends_a_word = alias.size() < lower.size() && !std::isalnum(static_cast<unsigned char>(lower[alias.size()]));
      if (alias.size() <= longest || !lower.starts_with(alias) || !ends_a_word) continue;
      longest = alias.size();
      best = device;
    }
  }
  return best;
}

// "H100-96GB 500W" -> 500; 0 if the name states no power.
double watts_of(const std::string& device) {
  const std::size_t end = device.find_last_of("Ww");
  if (end == device.npos || end + 1 != device.size()) return 0;
  std::size_t begin = end;
  while (begin > 0 && is_digit(device[begin - 1])) --begin;
  double watts = 0;
  const auto [stop, error] = std::from_chars(device.data() + begin, device.data() + end, watts);
  return error == std::errc() && stop == device.data() + end ? watts : 0;
}

// A device below its design power runs at a lower clock: dynamic power grows with about the clock's 2.5th power.
void limit_power(Accelerator& device, double watts) {
  constexpr double kClockOfPower = 0.4;
  if (watts <= 0 || !device.power || !device.measured_matmul || watts >= device.power->value.value()) return;
  device.measured_matmul->value = device.measured_matmul->value * std::pow(watts / device.power->value.value(), kClockOfPower);
}

Result<Accelerator> device_of(const PublishedRun& run, const AcceleratorTable& table, const std::string& place) {
  const FlopsPerSecond given(run.peak_tflops * 1e12);
  const Sourced<FlopsPerSecond> stated{given, "the row"};
  auto found = table.find(run.device);
  if (!found) {
    if (auto relative = of_the_family(run.device, table)) found = *std::move(relative);
  }
  if (found) {
    // A published MFU is a fraction of the peak that its row states; what the device reaches does not change with that.
    const auto peak = reference_peak(*found);
    if (run.peak_tflops > 0 && peak) {
      const bool is_tpu = found->name.starts_with("TPU");
      const double share = is_tpu ? kSystolicMatmulShare : kUnmeasuredMatmulShare;
      if (!found->measured_matmul) found->measured_matmul = Sourced<FlopsPerSecond>{*peak * share, "assumed"};
      found->dense_peak.insert_or_assign("bf16", stated);
    }
    limit_power(*found, watts_of(run.device));
    return *std::move(found);
  }
  if (run.peak_tflops > 0) {
    Accelerator device;
    device.name = run.device;
    device.dense_peak.emplace("bf16", stated);
    if (run.dtype == "fp8") device.dense_peak.emplace("fp8", Sourced<FlopsPerSecond>{given * 2.0, "twice bf16: assumed"});
    return device;
  }
  Error error = found.error();
  error.place = place + ":" + std::to_string(run.line) + ", column gpu_type";
  if (error.next_step.empty()) error.next_step = "use a known device, or state its dense peak in column peak_tflops";
  return tl::unexpected(std::move(error));
}

// Publications round their device counts, or state a layout of another moment: the layout is believed.
void agree(SetupFacts& facts) {
  if (!(stated_devices(facts) <= kMostDevices)) return;  // settle() says so
  const int model_devices = std::max(1, facts.tensor) * std::max(1, facts.pipeline);
  if (facts.devices == 0 || facts.devices % model_devices == 0) return;
  if (facts.tensor > 0 && facts.pipeline > 0 && facts.data > 0)
    facts.devices = model_devices * facts.data * std::max(1, facts.context_parallel);
  else
    facts.devices = std::max(1, facts.devices / model_devices) * model_devices;
}

}  // namespace

Result<SetupFacts> facts_of(const PublishedRun& run, const AcceleratorTable& table, const std::string& place) {
  const std::string name = lower_case(run.name), source = lower_case(run.source);
  const auto count = [](double number) { return static_cast<std::int64_t>(number); };
  const auto degree = [](double number) { return static_cast<int>(number); };
  PublishedRun stated = run;
  if (stated.dtype.empty()) stated.dtype = name.find("fp8") != name.npos ? "fp8" : "bf16";
  SetupFacts facts;
  SUANLI_ASSIGN_OR_RETURN(facts.device, device_of(stated, table, place));
  facts.dtype = stated.dtype;
  if (facts.dtype == "fp8" && !facts.device.dense_peak.contains("fp8")) facts.dtype = "bf16";
  facts.model = {.parameters = run.parameters,
                 .active_parameters = run.active_parameters > 0 ? run.active_parameters
                                                                : std::min(active_parameters_of(name), run.parameters),
                 .layers = count(run.layers),
                 .width = count(run.width),
                 .heads = count(run.heads),
                 .context = count(run.context),
                 .vocab = count(run.vocab)};
  facts.devices = degree(run.devices);
  facts.tensor = degree(run.tensor);
  facts.pipeline = degree(run.pipeline);
  facts.data = degree(run.data);
  facts.context_parallel = degree(run.context_parallel);
  agree(facts);
  facts.interleave = degree(run.interleave);
  facts.gather_group = degree(run.gather_group);
  facts.global_batch = run.global_batch;
  facts.micro_batch = count(run.micro_batch);
  // A published figure of memory without a pipeline is of a batch that passes at once, whether it fits or not.
  const bool passes_at_once = run.quantity.starts_with("mem_") && run.pipeline == 1 && run.data >= 1;
  if (facts.micro_batch == 0 && passes_at_once) facts.micro_batch = count(run.global_batch / run.data);
  facts.year = run.year > 0 ? run.year : year_of(run.source);
  facts.shard = run.shard;
  facts.sequence_parallel = run.sequence_parallel;
  facts.flash = run.flash;
  if (!facts.sequence_parallel && name.find("sequence-parallel") != name.npos) facts.sequence_parallel = true;
  if (!facts.flash && name.find("flash") != name.npos) facts.flash = true;
  facts.stack = run.stack ? run.stack : stack_of(name, source, facts.year);
  if (facts.device.name.starts_with("TPU") && !run.stack) facts.stack = std::nullopt;
  facts.recomputation = run.recomputation ? run.recomputation : recomputation_of(name, source);
  if (facts.interleave == 0 && name.find("1f1b") != name.npos) facts.interleave = name.find("interleaved") != name.npos ? 2 : 1;
  if (run.link_gbps > 0) facts.cluster_link = BytesPerSecond(run.link_gbps * 1e9 / 8);
  return facts;
}

}  // namespace suanli::plan
