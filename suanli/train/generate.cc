#include "suanli/train/generate.h"

#include <algorithm>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/base/thread_pool.h"
#include "suanli/engine/compile.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/setup.h"
#include "suanli/train/snapshots.h"

namespace suanli::train {

Result<std::unique_ptr<Generator>> Generator::create(const model::GptConfig& model,
                                                     engine::Arithmetic arithmetic,
                                                     engine::State& state) {
  std::unique_ptr<Generator> generator(new Generator(model));
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, model::gpt_logits_graph(model, 1));
  SUANLI_ASSIGN_OR_RETURN(engine::Program program,
                          engine::compile(graph, {.arithmetic = arithmetic}));
  SUANLI_RETURN_IF_ERROR(state.initialize(graph, 0));
  generator->work_ = meter::work_of(graph, graph::Phase::forward, program);
  SUANLI_ASSIGN_OR_RETURN(
      generator->executor_,
      engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)),
                               state.device(), state));
  generator->window_.resize(static_cast<std::size_t>(model.context));
  generator->logits_.resize(static_cast<std::size_t>(model.context * model.vocab));
  return generator;
}

Status Generator::run(std::vector<std::int32_t> text, std::int64_t count,
                      const model::SamplingOptions& options, const TokenSink& sink, StopFlag stop) {
  SUANLI_RETURN_IF_ERROR(options.check());
  const auto context = static_cast<std::size_t>(model_.context),
             vocab = static_cast<std::size_t>(model_.vocab);
  if (text.empty()) text.push_back(static_cast<std::int32_t>(data::kDocumentEnd));
  const engine::HostTensor input{"tokens", window_.data(),
                                 Bytes(static_cast<std::int64_t>(context * sizeof(std::int32_t)))};
  for (std::int64_t position = 0; position < count && !is_stopped(stop); ++position) {
    // Attention looks back only, so what stands behind the text does not matter.
    const std::size_t seen = std::min(text.size(), context);
    std::ranges::fill(window_, 0);
    std::copy(text.end() - static_cast<std::ptrdiff_t>(seen), text.end(), window_.begin());
    executor_->begin_step();
    SUANLI_RETURN_IF_ERROR(executor_->forward(0, {&input, 1}));
    SUANLI_RETURN_IF_ERROR(executor_->read("logits", std::as_writable_bytes(std::span(logits_))));
    const std::span<const float> last = std::span(logits_).subspan((seen - 1) * vocab, vocab);
    if (!std::ranges::all_of(last, [](float value) { return std::isfinite(value); }))
      return fail(ErrorCode::not_finite,
                  "a logit of generated token " + std::to_string(position) + " is not finite",
                  "logits", "go back to an older checkpoint");
    const std::int32_t token = model::sample_token(last, options, position);
    text.push_back(token);
    if (!sink(token)) break;
  }
  return {};
}

struct TrainedModel::Impl {
  RunDescription run;
  model::GptConfig model;
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  StopFlag stop = nullptr;
  std::unique_ptr<engine::Device> device;
  std::unique_ptr<engine::State> state;
  std::unique_ptr<Generator> generator;
  Restored restored;
};

TrainedModel::TrainedModel() : impl_(std::make_unique<Impl>()) {}
TrainedModel::~TrainedModel() = default;
std::int64_t TrainedModel::step() const { return impl_->restored.meta.step; }
const model::GptConfig& TrainedModel::model() const { return impl_->model; }
const std::vector<Error>& TrainedModel::damages() const { return impl_->restored.damages; }

Result<std::unique_ptr<TrainedModel>> TrainedModel::load(const std::string& run_folder,
                                                         const RunOptions& options) {
  std::unique_ptr<TrainedModel> trained(new TrainedModel());
  Impl& impl = *trained->impl_;
  SUANLI_ASSIGN_OR_RETURN(impl.run, describe_run(run_folder));
  impl.model = model_of(impl.run.job);
  SUANLI_ASSIGN_OR_RETURN(impl.arithmetic, arithmetic_of(impl.run.job));
  impl.stop = options.stop;
  const std::int64_t threads = options.threads > 0 ? options.threads : impl.run.job.run.threads;
  impl.device =
      engine::make_cpu_device(threads > 0 ? static_cast<int>(threads) : available_cores());
  impl.state = std::make_unique<engine::State>(*impl.device);
  SUANLI_ASSIGN_OR_RETURN(impl.generator,
                          Generator::create(impl.model, impl.arithmetic, *impl.state));
  SUANLI_ASSIGN_OR_RETURN(
      auto tier, checkpoint::LocalTier::open(run_folder, checkpoint::LocalTier::Access::reader));
  SUANLI_ASSIGN_OR_RETURN(impl.restored,
                          restore_latest(*tier, *impl.state, run_folder, /*parameters_only=*/true));
  return trained;
}

Status TrainedModel::generate(std::string_view prompt, std::int64_t count,
                              const model::SamplingOptions& options,
                              const std::function<bool(char byte)>& sink) {
  if (impl_->run.info.tokenizer != "bytes" ||
      impl_->model.vocab > static_cast<std::int64_t>(data::kByteVocab))
    return fail(ErrorCode::unsupported,
                "the run's tokens are of tokenizer '" + printable(impl_->run.info.tokenizer) +
                    "' with " + std::to_string(impl_->model.vocab) + " tokens, not bytes",
                impl_->run.job.run.dir, "generate text with a model of bytes");
  if (count < 0)
    return fail(ErrorCode::usage, std::to_string(count) + " tokens cannot be generated", "tokens",
                "give a number of at least 0");
  std::vector<std::int32_t> tokens;
  for (const char c : prompt) tokens.push_back(static_cast<unsigned char>(c));
  for (const std::int32_t token : tokens)
    if (token >= impl_->model.vocab)
      return fail(ErrorCode::usage,
                  "byte " + std::to_string(token) +
                      " of the prompt is not in the model's vocabulary of " +
                      std::to_string(impl_->model.vocab),
                  "prompt", "leave that character out");
  return impl_->generator->run(
      std::move(tokens), count, options,
      [&](std::int32_t token) { return sink(static_cast<char>(token)); }, impl_->stop);
}

Result<TrainedModel::Score> TrainedModel::evaluate(const std::string& folder, data::Split split,
                                                   std::int64_t batches) {
  SUANLI_ASSIGN_OR_RETURN(const data::Dataset dataset, data::Dataset::open(folder));
  SUANLI_RETURN_IF_ERROR(check_dataset(dataset, impl_->model, impl_->run.info.tokenizer));
  SUANLI_RETURN_IF_ERROR(dataset.verify(impl_->stop));
  SUANLI_ASSIGN_OR_RETURN(const data::Windows windows,
                          data::Windows::create(dataset, split, impl_->model.context));
  SUANLI_ASSIGN_OR_RETURN(
      auto evaluator, Evaluator::create(impl_->model, impl_->run.job.train.batch, impl_->arithmetic,
                                        *impl_->state));
  SUANLI_ASSIGN_OR_RETURN(const auto evaluation, evaluator->run(windows, batches, impl_->stop));
  if (!evaluation)
    return fail(ErrorCode::interrupted, "the evaluation was stopped", folder, "start it again");
  return Score{*evaluation,
               impl_->run.info.tokenizer == "bytes" ? evaluation->bits_per_token() : 0};
}

}  // namespace suanli::train
