// The step time of a transformer on many accelerators, from device, layout, software stack, recomputation and model, without
// being told its MFU.
//
// The form is physical (step_model.h); its few constants are fitted over published runs, all at once and none by row
// (docs/decisions/0009-step-time-model.md, data/published-runs.csv). Leaving each source out in turn gives the errors that the
// interval is made of.
//
//   SetupFacts facts{.model = model, .device = *table.find("H100"), .devices = 512};
//   SUANLI_ASSIGN_OR_RETURN(const SettledSetup settled, settle(facts));      // settle.h: what is not known is assumed, and said
//   SUANLI_ASSIGN_OR_RETURN(const StepTime time, predict_step_time(settled.setup));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/plan/accelerators.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/step_constants.h"
#include "suanli/plan/step_model.h"
#include "suanli/plan/transformer.h"

namespace suanli::plan {

// How well software of a kind uses the device; published stacks are mapped to these.
enum class Stack : std::uint8_t {
  unknown,
  megatron,   // tensor and pipeline parallel with fused kernels
  megascale,  // the same with communication overlapped
  fsdp,       // sharded data parallel, rings over all ports of a machine
  zero3,      // sharded data parallel as of 2021, each device through its own port
  jax,        // XLA-compiled, on TPUs
};
const char* name_of(Stack stack);
// Error usage with the nearest names.
Result<Stack> stack_from_name(std::string_view name);

struct TrainingSetup {
  Transformer model;
  Accelerator device;
  Layout layout;
  double global_batch = 0;       // sequences per step; 0: unknown, one that fills the devices is assumed
  std::int64_t micro_batch = 0;  // sequences per pass and replica; 0: unknown
  Recomputation recomputation = Recomputation::selective;
  bool flash = true;             // attention that never stores its scores
  std::string dtype = "bf16";    // of the products: "bf16", "fp16", "fp8"
  Stack stack = Stack::unknown;
  int context_parallel = 1;      // devices that share a sequence; they come on top of Layout::devices()
  int gather_group = 0;          // devices that share one copy of sharded weights; 0: all data-parallel ones
  std::optional<BytesPerSecond> cluster_link;  // between machines, where it is not the usual one of the device

  double devices() const { return static_cast<double>(layout.devices()) * context_parallel; }
};

struct StepTime {
  Seconds step;                  // expected
  double tokens = 0;             // of a step
  double mfu = 0, hfu = 0;       // expected, of the dense peak of bf16 (fp16 where there is no bf16)
  Interval relative;             // of the true step time to the expected one: {0.85, 1, 1.2}
  struct Part {
    std::string name;            // "products", "attention", "memory-bound", "tensor parallel", "pipeline bubble", ...
    Seconds seconds;
  };
  std::vector<Part> parts;       // that add up to `step`
};

// Errors: usage (degrees or sizes that are not positive, a batch smaller than its replicas' number, a dtype that the device has
// not, nothing known of the device's rate).
Result<StepTime> predict_step_time(const TrainingSetup& setup, const StepConstants& constants = fitted_constants());

// The dense peak that MFU is a fraction of. Error usage if there is none.
Result<FlopsPerSecond> reference_peak(const Accelerator& device);

// What the model is computed from; for fitting, where it is computed many times.
Result<StepInputs> step_inputs(const TrainingSetup& setup);

// Of a true step time to the expected one (80 %): how the runs that leaving their source out predicts turned out. `is_known`:
// stack, recomputation and micro-batch are stated, not assumed.
Interval step_time_error(bool is_known);

}  // namespace suanli::plan
