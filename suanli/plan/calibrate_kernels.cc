#include "suanli/plan/calibrate_kernels.h"

#include <algorithm>
#include <array>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/philox.h"
#include "suanli/engine/compile.h"
#include "suanli/model/gpt.h"
#include "suanli/plan/core_wait.h"

namespace suanli::plan {
namespace {

constexpr std::array kPhases = {graph::Phase::forward, graph::Phase::backward, graph::Phase::update};
// So wide that four of five calibrations within an hour of a shared virtual machine agree (docs/benchmarks.md, "Calibration").
constexpr double kFloorF32 = 0.20, kFloorTiles = 0.26, kFloorOther = 0.20;
constexpr int kMostSteps = 40;  // of a visit

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab, std::uint64_t step) {
  const Philox random(1, suanli::Stream::sampling, step);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(vocab), i));
  return tokens;
}

Result<graph::Graph> graph_of(const CalibrationModel& model) {
  return model::gpt_training_graph(model.model, model.batch, model.micro_batches, {});
}

}  // namespace

Result<Flops> calibration_flops(const CalibrationModel& model) {
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, graph_of(model));
  return Flops(graph::step_cost(graph).flops);
}

ModelSampler::ModelSampler(const CalibrationModel& model, engine::Arithmetic arithmetic, engine::Device& device)
    : model_(model), arithmetic_(arithmetic), device_(device) {}

Result<std::unique_ptr<ModelSampler>> ModelSampler::create(const CalibrationModel& model, engine::Arithmetic arithmetic,
                                                           engine::Device& device) {
  std::unique_ptr<ModelSampler> sampler(new ModelSampler(model, arithmetic, device));
  SUANLI_RETURN_IF_ERROR(sampler->prepare());
  return sampler;
}

Status ModelSampler::prepare() {
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, graph_of(model_));
  SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(graph, {.arithmetic = arithmetic_}));
  state_ = std::make_unique<engine::State>(device_);
  SUANLI_RETURN_IF_ERROR(state_->initialize(graph, 1));
  SUANLI_ASSIGN_OR_RETURN(executor_, engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)),
                                                             device_, *state_));
  executor_->set_timing(true);
  const std::int64_t tokens = model_.batch * model_.model.context;
  tokens_ = random_tokens(tokens, model_.model.vocab, 0);
  targets_ = random_tokens(tokens, model_.model.vocab, 1);
  for (const graph::Phase phase : kPhases) {
    const double runs = phase == graph::Phase::update ? 1 : static_cast<double>(model_.micro_batches);
    for (const engine::KernelCall& call : calls_of(executor_->program(), phase)) {
      CallClass found = classify(call);
      const auto same = std::ranges::find_if(groups_, [&](const Group& group) {
        return group.call.kind == found.kind && group.call.sizes == found.sizes && group.call.flops == found.flops &&
               group.call.bytes == found.bytes;
      });
      timed_.push_back({.group = static_cast<std::size_t>(same - groups_.begin())});
      if (same == groups_.end()) groups_.push_back({.call = std::move(found), .runs = 0, .visit = {}, .samples = {}});
      groups_[timed_.back().group].runs += runs;
    }
  }
  return {};
}

Status ModelSampler::step() {
  const Bytes size(static_cast<std::int64_t>(tokens_.size() * sizeof(std::int32_t)));
  const engine::HostTensor inputs[] = {{"tokens", tokens_.data(), size}, {"targets", targets_.data(), size}};
  const float lr = 1e-5F;
  const engine::HostTensor step_input{"lr", &lr, Bytes(sizeof lr)};
  const Seconds begin = real_clock().now();
  executor_->begin_step();
  for (std::int64_t i = 0; i < model_.micro_batches; ++i) {
    SUANLI_RETURN_IF_ERROR(executor_->forward(0, inputs));
    SUANLI_RETURN_IF_ERROR(executor_->backward(0));
  }
  SUANLI_RETURN_IF_ERROR(executor_->update({&step_input, 1}));
  SUANLI_RETURN_IF_ERROR(executor_->read_scalar("loss"));
  const Seconds took = real_clock().now() - begin;
  visit_steps_.push_back(took.value());
  take_call_times();
  return {};
}

void ModelSampler::take_call_times() {
  auto timed = timed_.begin();
  for (const graph::Phase phase : kPhases)
    for (const engine::CallTime& time : executor_->call_times(phase)) {
      const auto calls = static_cast<double>(time.calls);
      groups_[timed->group].visit.push_back((time.seconds - timed->seconds) / (calls - timed->calls));
      timed->seconds = time.seconds;
      (timed++)->calls = calls;
    }
}

Status ModelSampler::sample(Seconds least) {
  Disturbance others;
  const Seconds begin = real_clock().now();
  visit_steps_.clear();
  for (Group& group : groups_) group.visit.clear();
  SUANLI_RETURN_IF_ERROR(step());
  if (real_clock().now() - begin < least) {  // a short one: what came before had pushed it out of the caches
    visit_steps_.clear();
    for (Group& group : groups_) group.visit.clear();
    do SUANLI_RETURN_IF_ERROR(step());
    while (real_clock().now() - begin < least && visit_steps_.size() < kMostSteps);
  }
  const bool disturbed = others.was_disturbed();
  for (Group& group : groups_) group.samples.add(meter::median(group.visit), disturbed);
  steps_.add(meter::median(visit_steps_), disturbed);
  return {};
}

double ModelSampler::call_seconds() const {
  double seconds = 0;
  for (const Group& group : groups_) seconds += group.runs * group.samples.median();
  return seconds;
}

std::vector<double> ModelSampler::overheads() const {
  std::vector<double> found;
  const double calls = call_seconds();
  for (const double each : steps_.values()) found.push_back(each / calls);
  return found;
}

std::vector<KernelRate> ModelSampler::rates() const {
  std::vector<KernelRate> found;
  for (const Group& group : groups_) {
    const double floor = arithmetic_ == engine::Arithmetic::bf16 && group.call.is_product ? kFloorTiles
                         : group.call.is_product                                          ? kFloorF32
                                                                                          : kFloorOther;
    found.push_back({.kind = group.call.kind,
                     .arithmetic = arithmetic_,
                     .sizes = group.call.sizes,
                     .flops = group.call.flops,
                     .bytes = group.call.bytes,
                     .seconds = group.samples.interval(floor)});
  }
  return found;
}

}  // namespace suanli::plan
