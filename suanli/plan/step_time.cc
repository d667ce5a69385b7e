#include "suanli/plan/step_time.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

constexpr const char* kStackNames[] = {"unknown", "megatron", "megascale", "fsdp", "zero3", "jax"};

// 10th and 90th percentile of true over expected time, each source left out in turn; `suanli plan validate` prints them.
constexpr Interval kKnownError = {0.85, 1, 1.18}, kAssumedError = {0.82, 1, 1.27};

// Bandwidths of a device of which only the rate is known, as ratios that hold for A100 and H100 alike within a fifth.
constexpr double kNodeLinkOfMemory = 1.0 / 7, kClusterLinkOfNode = 1.0 / 10;

constexpr const char* kPlace = "step time";

bool is_tpu(const Accelerator& device) { return device.name.starts_with("TPU"); }

Result<double> matmul_rate(const Accelerator& device) {
  if (device.measured_matmul) return device.measured_matmul->value.value();
  SUANLI_ASSIGN_OR_RETURN(const FlopsPerSecond peak, reference_peak(device));
  return peak.value() * (is_tpu(device) ? kSystolicMatmulShare : kUnmeasuredMatmulShare);
}

Status check_positive(double value, const char* what) {
  if (std::isfinite(value) && value > 0) return {};
  return fail(ErrorCode::usage, std::string(what) + " must be positive, not " + format("%g", value), kPlace);
}

Status check(const TrainingSetup& setup) {
  SUANLI_RETURN_IF_ERROR(check_positive(setup.model.parameters, "the number of parameters"));
  const std::pair<double, const char*> degrees[] = {{setup.layout.tensor, "the tensor-parallel degree"},
                                                    {setup.layout.pipeline, "the pipeline-parallel degree"},
                                                    {setup.layout.data, "the data-parallel degree"},
                                                    {setup.layout.interleave, "the number of virtual stages"},
                                                    {setup.context_parallel, "the context-parallel degree"}};
  for (const auto& [value, what] : degrees) SUANLI_RETURN_IF_ERROR(check_positive(value, what));
  const Layout& layout = setup.layout;
  const double devices = static_cast<double>(layout.tensor) * layout.pipeline * layout.data * setup.context_parallel;
  constexpr double kMostDevices = 1e9;
  if (devices > kMostDevices)
    return fail(ErrorCode::usage, format("the layout has %g devices, more than 1e9", devices), kPlace);
  const bool is_batch = std::isfinite(setup.global_batch) && setup.global_batch >= 0;
  if (!is_batch || setup.micro_batch < 0)
    return fail(ErrorCode::usage, "the batch must not be negative", kPlace);
  if (setup.dtype != "bf16" && setup.dtype != "fp16" && setup.dtype != "fp8") {
    const std::string names[] = {"bf16", "fp16", "fp8"};
    return fail(ErrorCode::usage, "unknown dtype '" + printable(setup.dtype) + "'" + did_you_mean(setup.dtype, names), kPlace,
                "use bf16, fp16 or fp8");
  }
  if (setup.dtype == "fp8" && !setup.device.dense_peak.contains("fp8"))
    return fail(ErrorCode::usage, setup.device.name + " has no fp8 products", kPlace, "use bf16");
  return {};
}

Transformer shaped(Transformer model) {
  if (model.has_shape()) return model;
  const Transformer usual = usual_shape(model.parameters);
  if (model.layers <= 0 || model.width <= 0) {
    model.layers = usual.layers;
    model.width = usual.width;
  }
  if (model.context <= 0) model.context = usual.context;
  return model;
}

void set_device(StepInputs& in, const TrainingSetup& setup, double rate) {
  const Accelerator& device = setup.device;
  in.matmul_rate = rate;
  in.is_fp8 = setup.dtype == "fp8";
  in.is_systolic = is_tpu(device);
  in.bandwidth = device.bandwidth ? device.bandwidth->value.value() : rate / kReferenceBalance;
  in.node_link = device.node_link ? device.node_link->value.value() : in.bandwidth * kNodeLinkOfMemory;
  in.cluster_link = device.cluster_link ? device.cluster_link->value.value() : in.node_link * kClusterLinkOfNode;
  if (setup.cluster_link) in.cluster_link = setup.cluster_link->value();
  in.per_node = std::max(1, device.per_node);
}

void set_model(StepInputs& in, const Transformer& model) {
  constexpr double kHeadWidth = 128;
  constexpr double kUsualVocab = 50'000;
  in.layers = static_cast<double>(model.layers);
  in.width = static_cast<double>(model.width);
  in.heads = model.heads > 0 ? static_cast<double>(model.heads) : std::max(1.0, in.width / kHeadWidth);
  in.context = static_cast<double>(model.context);
  in.vocab = model.vocab > 0 ? static_cast<double>(model.vocab) : kUsualVocab;
  in.parameters = model.parameters;
  in.active = std::min(model.active(), model.parameters);
}

void set_layout(StepInputs& in, const TrainingSetup& setup) {
  in.tensor = setup.layout.tensor;
  in.pipeline = setup.layout.pipeline;
  in.data = setup.layout.data;
  in.context_parallel = setup.context_parallel;
  in.interleave = setup.layout.interleave;
  in.shard = setup.layout.shard;
  const double replicas = in.data * in.context_parallel;
  in.gather_group = setup.gather_group > 0 ? std::min<double>(setup.gather_group, replicas) : replicas;
  in.sequence_parallel = setup.layout.sequence_parallel;
}

// A batch that is not known fills the devices: one sequence per pass, and enough passes to hide the pipeline's ends.
void set_batch(StepInputs& in, const TrainingSetup& setup) {
  constexpr double kPassesPerStage = 4;
  const double per_replica = setup.global_batch > 0 ? setup.global_batch / in.data : 0;
  in.micro_batch = setup.micro_batch > 0 ? static_cast<double>(setup.micro_batch) : 1;
  if (per_replica > 0) in.micro_batch = std::min(in.micro_batch, per_replica);
  in.passes = per_replica > 0 ? per_replica / in.micro_batch : in.pipeline > 1 ? kPassesPerStage * in.pipeline : 1;
}

}  // namespace

const char* name_of(Stack stack) { return kStackNames[static_cast<std::size_t>(stack)]; }

Result<Stack> stack_from_name(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kStackNames); ++i)
    if (name == kStackNames[i]) return static_cast<Stack>(i);
  const std::vector<std::string> names(std::begin(kStackNames), std::end(kStackNames));
  return fail(ErrorCode::usage, "unknown software stack '" + printable(name) + "'" + did_you_mean(name, names), {},
              "use megatron, megascale, fsdp, zero3, jax or unknown");
}

Result<FlopsPerSecond> reference_peak(const Accelerator& device) {
  for (const char* dtype : {"bf16", "fp16", "tf32", "fp8"})
    if (const auto peak = device.dense_peak.find(dtype); peak != device.dense_peak.end()) return peak->second.value;
  return fail(ErrorCode::usage, "no peak of '" + printable(device.name) + "' is known", kPlace, "state its dense peak");
}

Result<StepInputs> step_inputs(const TrainingSetup& setup) {
  SUANLI_RETURN_IF_ERROR(check(setup));
  SUANLI_ASSIGN_OR_RETURN(const double rate, matmul_rate(setup.device));
  SUANLI_RETURN_IF_ERROR(check_positive(rate, "the device's rate"));
  StepInputs in;
  set_device(in, setup, rate);
  set_model(in, shaped(setup.model));
  set_layout(in, setup);
  set_batch(in, setup);
  in.recomputation = setup.recomputation;
  in.flash = setup.flash;
  in.overlaps = setup.stack == Stack::megascale || setup.stack == Stack::jax;
  in.gathers_over_own_port = setup.stack == Stack::zero3;
  return in;
}

Interval step_time_error(bool is_known) { return is_known ? kKnownError : kAssumedError; }

Result<StepTime> predict_step_time(const TrainingSetup& setup, const StepConstants& constants) {
  SUANLI_ASSIGN_OR_RETURN(const StepInputs in, step_inputs(setup));
  SUANLI_ASSIGN_OR_RETURN(const FlopsPerSecond peak, reference_peak(setup.device));
  const StepSeconds seconds = step_seconds(in, constants);
  const Transformer model = shaped(setup.model);
  StepTime time;
  time.step = Seconds(seconds.total());
  time.tokens = in.data * in.micro_batch * in.passes * in.context;
  const double possible = time.step.value() * setup.devices() * peak.value();
  time.mfu = flops_per_token(model) * time.tokens / possible;
  time.hfu = hardware_flops_per_token(model, setup.recomputation) * time.tokens / possible;
  time.relative = step_time_error(setup.stack != Stack::unknown && setup.micro_batch > 0 && setup.model.has_shape());
  for (const StepPart& part : step_parts())
    if (seconds.*part.seconds > 0) time.parts.push_back({part.name, Seconds(seconds.*part.seconds)});
  return time;
}

}  // namespace suanli::plan
