// One training step as a trace for chrome://tracing or ui.perfetto.dev: the Trace Event Format's JSON object form (Google,
// "Trace Event Format"). docs/formats/trace.md describes the file.
#pragma once

#include <string>

#include "suanli/base/error.h"
#include "suanli/cli/output.h"
#include "suanli/train/bench_step_runner.h"

namespace suanli::cli {

// "bf16[8x32] bf16[32x16] -> f32[8x16]"
std::string operands_of(const engine::KernelCall& call);

// One complete event (ph "X", ts and dur in microseconds since the step began) for each kernel call of the last step; of
// several micro-batches those of the last. name: kernel; cat: phase; args: call (index in its phase), block, bytes (its inputs
// once and its outputs once: the least it can move), flops, implementation, operands, and region, the code of the elementwise
// region that the kernel carries, if any.
Json chrome_trace(const train::StepRunner& runner);

// Can a trace be written there? Asked before a long measurement, so that a wrong path is told at once. Nothing is left behind.
// Errors: usage (a folder, or another thing than a file); what creating a file there says.
[[nodiscard]] Status check_trace_path(const std::string& path);
// Atomically; `runner` has run a step.
[[nodiscard]] Status write_trace(const train::StepRunner& runner, const std::string& path);

}  // namespace suanli::cli
