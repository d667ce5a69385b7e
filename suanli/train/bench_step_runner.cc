#include "suanli/train/bench_step_runner.h"

#include <string_view>
#include <utility>

#include "suanli/base/philox.h"
#include "suanli/base/system.h"
#include "suanli/engine/compile.h"
#include "suanli/engine/device.h"

namespace suanli::train {
namespace {

std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab, std::uint64_t seed, std::uint64_t stream) {
  const Philox random(seed, suanli::Stream::sampling, stream);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(vocab), i));
  return tokens;
}

// Books the time since the last look.
class Stopwatch {
 public:
  explicit Stopwatch(const Clock& clock) : clock_(clock), since_(clock.now()) {}
  Seconds lap() {
    const Seconds now = clock_.now();
    return now - std::exchange(since_, now);
  }

 private:
  const Clock& clock_;
  Seconds since_;
};

}  // namespace

namespace {

// The name that the kernel has in other arithmetics.
std::string_view plain_name(const engine::KernelCall& call) {
  constexpr std::string_view kExact = "exact_";
  std::string_view name = call.spec.name;
  if (name.starts_with(kExact)) name.remove_prefix(kExact.size());
  return name;
}

}  // namespace

bool is_gemm(const engine::KernelCall& call) {
  return plain_name(call).starts_with("matmul") || plain_name(call).starts_with("vocabulary_loss");
}
bool is_product(const engine::KernelCall& call) { return is_gemm(call) || plain_name(call).starts_with("attention"); }

Result<std::unique_ptr<StepRunner>> StepRunner::create(const StepShape& shape, const StepRunnerOptions& options) {
  Stopwatch watch(*options.clock);
  SUANLI_ASSIGN_OR_RETURN(
      const graph::Graph graph,
      model::gpt_training_graph(shape.model, shape.batch, shape.micro_batches, shape.optimizer));
  const Seconds graph_took = watch.lap();
  const engine::Target target{.arithmetic = options.arithmetic, .memory_limit = options.memory_limit};
  SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(graph, target));
  const Seconds compile_took = watch.lap();
  SUANLI_ASSIGN_OR_RETURN(auto runner, create(shape, graph, std::move(program), options));
  runner->start_.graph = graph_took;
  runner->start_.compile = compile_took;
  return runner;
}

Result<std::unique_ptr<StepRunner>> StepRunner::create(const StepShape& shape, const graph::Graph& graph,
                                                       engine::Program program, const StepRunnerOptions& options) {
  SUANLI_CHECK(program.target.arithmetic == options.arithmetic && program.micro_batches == shape.micro_batches);
  std::unique_ptr<StepRunner> runner(new StepRunner(shape, options));
  SUANLI_RETURN_IF_ERROR(runner->prepare(graph, std::move(program)));
  return runner;
}

Status StepRunner::prepare(const graph::Graph& graph, engine::Program program) {
  start_.launch = options_.launch;
  Stopwatch watch(*options_.clock);
  device_ = engine::make_cpu_device(options_.threads);
  state_ = std::make_unique<engine::State>(*device_);
  SUANLI_RETURN_IF_ERROR(state_->initialize(graph, options_.seed));
  start_.state = watch.lap();
  SUANLI_ASSIGN_OR_RETURN(
      executor_, engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)), *device_, *state_));
  executor_->set_timing(true);
  start_.executor = watch.lap();
  parameters_ = graph::parameter_count(graph);
  for (std::size_t p = 0; p < kStepPhases.size(); ++p) {
    const std::size_t calls = calls_of(executor_->program(), kStepPhases[p]).size();
    call_totals_[p].assign(calls, 0);
    last_.call_seconds[p].assign(calls, 0);
  }
  const std::int64_t tokens = shape_.batch * shape_.model.context;
  tokens_ = random_tokens(tokens, shape_.model.vocab, options_.seed, 0);
  targets_ = random_tokens(tokens, shape_.model.vocab, options_.seed, 1);
  start_.first_step = watch.lap();  // the tokens; the step is added when it has run
  return {};
}

Status StepRunner::step() {
  const Bytes size(static_cast<std::int64_t>(tokens_.size() * sizeof(std::int32_t)));
  const engine::HostTensor inputs[] = {{"tokens", tokens_.data(), size}, {"targets", targets_.data(), size}};
  const auto lr = static_cast<float>(options_.lr);
  const engine::HostTensor step_input{"lr", &lr, Bytes(sizeof lr)};
  last_.begin = real_clock().now();
  const Seconds begin = options_.clock->now(), cpu = process_cpu_time();
  for (bool again = true; again;) {
    executor_->begin_step();
    for (std::int64_t i = 0; i < shape_.micro_batches; ++i) {
      SUANLI_RETURN_IF_ERROR(executor_->forward(0, inputs));
      SUANLI_RETURN_IF_ERROR(executor_->backward(0));
    }
    SUANLI_ASSIGN_OR_RETURN(again, executor_->must_repeat_step());
  }
  SUANLI_RETURN_IF_ERROR(executor_->update({&step_input, 1}));
  SUANLI_ASSIGN_OR_RETURN(loss_, executor_->read_scalar("loss"));
  last_.seconds = options_.clock->now() - begin;
  last_.cpu = process_cpu_time() - cpu;
  if (steps_++ == 0) start_.first_step += last_.seconds;
  take_call_times();
  return {};
}

void StepRunner::take_call_times() {
  for (std::size_t p = 0; p < kStepPhases.size(); ++p) {
    const std::vector<engine::CallTime>& times = executor_->call_times(kStepPhases[p]);
    for (std::size_t i = 0; i < times.size(); ++i)
      last_.call_seconds[p][i] = times[i].seconds - std::exchange(call_totals_[p][i], times[i].seconds);
  }
}

}  // namespace suanli::train
