#include "suanli/cli/trace.h"

#include <filesystem>
#include <system_error>

#include "suanli/base/file.h"
#include "suanli/base/text.h"

namespace suanli::cli {
namespace {

constexpr int kProcess = 1, kThread = 1;

Json name_event(const char* what, const std::string& name) {
  return {{"ph", "M"}, {"pid", kProcess}, {"tid", kThread}, {"name", what}, {"args", {{"name", name}}}};
}

}  // namespace

std::string operands_of(const engine::KernelCall& call) {
  std::string text;
  for (const graph::TensorType& type : call.spec.inputs) text += type.to_string() + " ";
  text += "->";
  for (const graph::TensorType& type : call.spec.outputs) text += " " + type.to_string();
  return text;
}

Json chrome_trace(const train::StepRunner& runner) {
  constexpr double kMicro = 1e6;
  const double begin = runner.last().begin.value();
  Json events = Json::array({name_event("process_name", "suanli, a training step"),
                             name_event("thread_name", "kernels, each on " + std::to_string(runner.options().threads) +
                                                           " threads")});
  for (const graph::Phase phase : train::kStepPhases) {
    const auto& calls = engine::calls_of(runner.program(), phase);
    const auto& times = runner.executor().call_times(phase);
    for (std::size_t i = 0; i < calls.size(); ++i) {
      events.push_back({{"ph", "X"},
                        {"pid", kProcess},
                        {"tid", kThread},
                        {"name", calls[i].spec.name},
                        {"cat", name_of(phase)},
                        {"ts", (times[i].last_start - begin) * kMicro},
                        {"dur", times[i].last_seconds * kMicro},
                        {"args",
                         {{"call", i},
                          {"block", calls[i].block},
                          {"bytes", calls[i].bytes},
                          {"flops", calls[i].flops},
                          {"implementation", runner.executor().implementation(phase, i)},
                          {"operands", operands_of(calls[i])}}}});
      if (calls[i].region) events.back()["args"]["region"] = calls[i].region->to_string();
    }
  }
  return {{"traceEvents", events}, {"displayTimeUnit", "ms"}};
}

Status check_trace_path(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return fail(ErrorCode::usage,
                "'" + printable(path) + "' is " + (std::filesystem::is_directory(status) ? "a folder" : "no regular file"),
                "--trace", "name a file, such as step.json");
  SUANLI_ASSIGN_OR_RETURN(const AtomicFile trial, AtomicFile::create(path));
  return {};
}

Status write_trace(const train::StepRunner& runner, const std::string& path) {
  return write_file_atomic(path, as_bytes(dump(chrome_trace(runner)) + "\n"));
}

}  // namespace suanli::cli
