// suanli doctor: what this machine has, and which code the libraries really choose on it.
#include <thread>
#include <vector>

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/base/thread_pool.h"
#include "suanli/cli/output.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/engine/device.h"
#include "suanli/engine/libraries.h"
#include "suanli/meter/peak.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  bool measure = false;
};

struct Gemm {
  engine::Arithmetic arithmetic;
  std::string implementation;
  std::optional<FlopsPerSecond> rate;
};

struct Warning {
  std::string message, next_step;
};

struct Findings {
  CpuInfo cpu;
  MemoryInfo memory;
  Bytes disk;
  engine::Libraries libraries;
  std::vector<Gemm> gemms;
  std::vector<Warning> warnings;
};

// A product of the shape that training spends its time in.
Result<std::string> implementation_of(engine::Device& device, graph::DType dtype) {
  const graph::TensorType operand{dtype, {1024, 1024}};
  engine::KernelSpec spec{.name = "matmul",
                          .inputs = {operand, operand},
                          .outputs = {graph::f32({1024, 1024})},
                          .attrs = {{"ta", std::int64_t{0}}, {"tb", std::int64_t{0}}}};
  SUANLI_ASSIGN_OR_RETURN(const auto kernel, device.make_kernel(spec));
  return kernel->implementation();
}

Result<std::vector<Gemm>> gemms(const Options& options) {
  const auto device = engine::make_cpu_device(available_cores());
  std::vector<Gemm> found;
  for (const auto arithmetic : {engine::Arithmetic::f32, engine::Arithmetic::bf16}) {
    const bool is_f32 = arithmetic == engine::Arithmetic::f32;
    SUANLI_ASSIGN_OR_RETURN(
        const std::string implementation,
        implementation_of(*device, is_f32 ? graph::DType::f32 : graph::DType::bf16));
    Gemm gemm{arithmetic, implementation, std::nullopt};
    if (options.measure) {
      SUANLI_ASSIGN_OR_RETURN(gemm.rate, meter::measure_peak(*device, arithmetic, real_clock()));
    }
    found.push_back(std::move(gemm));
  }
  return found;
}

std::vector<Warning> warnings_of(const Findings& found) {
  std::vector<Warning> warnings;
  const CpuInfo& cpu = found.cpu;
  if (!cpu.avx2 || !cpu.fma)
    warnings.push_back({"the CPU has no AVX2 with FMA: training will be slow",
                        "use a machine made after 2015 if you can"});
  if (cpu.amx_bf16 && !cpu.amx_permitted)
    warnings.push_back(
        {"the CPU has AMX tiles but the kernel does not grant them: bf16 will be slow",
         "use Linux 5.16 or newer; in a container or VM, allow arch_prctl and XSAVE "
         "of tile data"});
  const std::string& bf16 = found.gemms.back().implementation;
  if (cpu.amx_bf16 && cpu.amx_permitted && bf16.find("amx") == std::string::npos)
    warnings.push_back({"oneDNN does not use the CPU's AMX tiles for bf16 but '" + bf16 + "'",
                        "unset ONEDNN_MAX_CPU_ISA and DNNL_MAX_CPU_ISA"});
  const int hardware = static_cast<int>(std::thread::hardware_concurrency());
  if (cpu.cores < hardware)
    warnings.push_back({"this process may use " + std::to_string(cpu.cores) + " of " +
                            std::to_string(hardware) + " cores",
                        "check the CPU quota of the container, or taskset"});
  constexpr Bytes kLittle{std::int64_t{1} << 30};
  if (found.memory.available.value() > 0 && found.memory.available < kLittle)
    warnings.push_back({"only " + format_bytes(found.memory.available) + " of memory are free",
                        "end other programs, or keep models small"});
  if (found.disk < kLittle)
    warnings.push_back({"only " + format_bytes(found.disk) + " are free on this disk",
                        "free some space: checkpoints need three times the parameters' bytes"});
  return warnings;
}

std::vector<std::string> isa_of(const CpuInfo& cpu) {
  std::vector<std::string> names;
  const auto add = [&](bool has, const char* name) {
    if (has) names.emplace_back(name);
  };
  add(cpu.avx2, "AVX2");
  add(cpu.fma, "FMA");
  add(cpu.avx512f, "AVX-512F");
  add(cpu.avx512_vnni, "AVX-512-VNNI");
  add(cpu.avx512_bf16, "AVX-512-BF16");
  add(cpu.amx_bf16, "AMX-BF16");
  add(cpu.amx_int8, "AMX-INT8");
  add(cpu.sha, "SHA");
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text.empty() ? "none of those that matter here" : text;
}

std::string to_text(const Findings& found, const Terminal& terminal) {
  const CpuInfo& cpu = found.cpu;
  Table table({{"", Align::left}, {"", Align::left}});
  table.add_row({"suanli", std::string(train::suanli_version())});
  table.add_row({"cpu", cpu.model});
  table.add_row({"cores", std::to_string(cpu.cores)});
  table.add_row({"caches", format_bytes(cpu.l1d) + " L1d, " + format_bytes(cpu.l2) + " L2, " +
                               format_bytes(cpu.l3) + " L3"});
  table.add_row({"instructions", joined(isa_of(cpu))});
  table.add_row({"AMX tiles", !cpu.amx_tile       ? "not in this CPU"
                              : cpu.amx_permitted ? "granted by the kernel"
                                                  : "not granted by the kernel"});
  table.add_row({"memory", format_bytes(found.memory.available) + " free of " +
                               format_bytes(found.memory.total)});
  table.add_row({"disk", format_bytes(found.disk) + " free here"});
  table.add_row({"oneDNN", found.libraries.onednn});
  for (const Gemm& gemm : found.gemms)
    table.add_row(
        {std::string(name_of(gemm.arithmetic)) + " GEMM",
         gemm.implementation + (gemm.rate ? ", " + format_si(gemm.rate->value(), "FLOP/s") : "")});
  table.add_row({"Highway", found.libraries.highway + ", target " + found.libraries.simd});
  std::string text = table.to_string();
  for (const Warning& warning : found.warnings)
    text += paint(terminal, Paint::yellow, "warning: ") + warning.message +
            "\n  next: " + warning.next_step + "\n";
  if (found.warnings.empty()) text += paint(terminal, Paint::green, "nothing is amiss") + "\n";
  return text;
}

Json to_json(const Findings& found) {
  Json gemms = Json::array(), warnings = Json::array();
  for (const Gemm& gemm : found.gemms)
    gemms.push_back({{"dtype", name_of(gemm.arithmetic)},
                     {"implementation", gemm.implementation},
                     {"flops_per_s", gemm.rate ? Json(gemm.rate->value()) : Json(nullptr)}});
  for (const Warning& warning : found.warnings)
    warnings.push_back({{"message", warning.message}, {"next_step", warning.next_step}});
  return {{"suanli", train::suanli_version()},
          {"cpu", found.cpu.model},
          {"cores", found.cpu.cores},
          {"isa", isa_of(found.cpu)},
          {"amx_permitted", found.cpu.amx_permitted},
          {"memory_total_bytes", found.memory.total.value()},
          {"memory_available_bytes", found.memory.available.value()},
          {"disk_free_bytes", found.disk.value()},
          {"onednn", found.libraries.onednn},
          {"highway", found.libraries.highway},
          {"simd", found.libraries.simd},
          {"gemm", gemms},
          {"warnings", warnings}};
}

Result<int> run_doctor(const Options& options, const Context& context) {
  Findings found;
  found.cpu = cpu_info();
  found.memory = memory_info();
  found.disk = disk_free(".");
  found.libraries = engine::libraries();
  SUANLI_ASSIGN_OR_RETURN(found.gemms, gemms(options));
  found.warnings = warnings_of(found);
  if (options.json)
    emit("doctor", to_json(found));
  else
    write_stdout(to_text(found, context.out));
  return 0;
}

}  // namespace

void add_doctor(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb(
      "doctor", "What this machine has, and what suanli makes of it",
      "Shows cores, instruction sets, memory, disk and libraries, and which code oneDNN and "
      "Highway really choose for matrix products and everything else. Warns, with a next step, "
      "where the machine is slower than it could be.",
      {{"doctor", "a table, and warnings if there are any"},
       {"doctor --measure", "also how fast matrix products are, in about a second"},
       {"doctor --json", "the same for programs"}});
  verb.flag("--measure", options->measure, "Measure the rate of matrix products");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_doctor);
}

}  // namespace suanli::cli
