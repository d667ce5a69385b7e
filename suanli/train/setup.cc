#include "suanli/train/setup.h"

#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/base/thread_pool.h"
#include "suanli/train/memory.h"

namespace suanli::train {
namespace {

Result<std::optional<data::Windows>> valid_windows_of(const data::Dataset& dataset,
                                                      std::int64_t context) {
  auto windows = data::Windows::create(dataset, data::Split::valid, context);
  if (windows) return std::optional(std::move(*windows));
  if (windows.error().code == ErrorCode::empty) return std::nullopt;
  return tl::unexpected(std::move(windows).error());
}

// Samples are text: bytes in, bytes out.
Status check_sample(const JobConfig& job, const data::Dataset& dataset) {
  if (job.sample.every == 0) return {};
  if (dataset.info().tokenizer != "bytes" ||
      job.model.vocab > static_cast<std::int64_t>(data::kByteVocab))
    return fail(ErrorCode::config,
                "'sample.every' is " + std::to_string(job.sample.every) + " but the model's " +
                    std::to_string(job.model.vocab) + " tokens are not bytes",
                "sample.every", "set it to 0");
  for (const char c : job.sample.prompt)
    if (static_cast<unsigned char>(c) >= job.model.vocab)
      return fail(ErrorCode::config,
                  "'sample.prompt' has the byte " + std::to_string(static_cast<unsigned char>(c)) +
                      ", which is not in the vocabulary of " + std::to_string(job.model.vocab),
                  "sample.prompt", "leave that character out");
  return {};
}

}  // namespace

model::GptConfig model_of(const JobConfig& job) {
  return {.layers = job.model.layers,
          .heads = job.model.heads,
          .width = job.model.width,
          .context = job.model.context,
          .vocab = job.model.vocab};
}

Result<engine::Arithmetic> arithmetic_of(const JobConfig& job) {
  if (job.train.dtype == "auto") {
    const CpuInfo cpu = cpu_info();
    const bool has_tiles = cpu.amx_tile && cpu.amx_bf16 && cpu.amx_permitted;
    return has_tiles ? engine::Arithmetic::bf16 : engine::Arithmetic::f32;
  }
  if (const auto arithmetic = engine::arithmetic_from_name(job.train.dtype)) return *arithmetic;
  return fail(ErrorCode::config, "'train.dtype' is '" + printable(job.train.dtype) + "'",
              "train.dtype", "use f32, bf16, exact or auto");
}

Status check_dataset(const data::Dataset& dataset, const model::GptConfig& model,
                     std::string_view tokenizer) {
  const data::DatasetInfo& info = dataset.info();
  if (info.tokenizer != tokenizer)
    return fail(ErrorCode::mismatch,
                "the dataset's tokenizer is '" + printable(info.tokenizer) +
                    "' but the model's is '" + printable(tokenizer) + "'",
                dataset.folder(), "load the text with the model's tokenizer");
  if (info.vocab > static_cast<std::uint64_t>(model.vocab))
    return fail(ErrorCode::mismatch,
                "the dataset has a vocabulary of " + std::to_string(info.vocab) +
                    " but the model's is only " + std::to_string(model.vocab),
                dataset.folder(), "raise 'model.vocab', or set it to 0 to take the dataset's");
  return {};
}

Result<JobConfig> settle(JobConfig job, const data::Dataset& dataset) {
  if (job.model.vocab == 0) job.model.vocab = static_cast<std::int64_t>(dataset.info().vocab);
  SUANLI_RETURN_IF_ERROR(check_dataset(dataset, model_of(job), dataset.info().tokenizer));
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, arithmetic_of(job));
  job.train.dtype = name_of(arithmetic);
  SUANLI_RETURN_IF_ERROR(check_sample(job, dataset));
  return job;
}

Schedule schedule_of(const JobConfig& job) {
  return {.lr = job.train.lr,
          .min_ratio = job.train.min_lr_ratio,
          .warmup_steps = job.train.warmup_steps,
          .steps = job.train.steps,
          .decay = decay_from_name(job.train.schedule).value_or(Decay::cosine)};
}

model::AdamWOptions optimizer_of(const JobConfig& job) {
  return {.beta1 = job.train.beta1,
          .beta2 = job.train.beta2,
          .eps = job.train.eps,
          .weight_decay = job.train.weight_decay,
          .clip_norm = job.train.clip_norm};
}

Result<graph::Graph> training_graph(const JobConfig& job) {
  return model::gpt_training_graph(model_of(job), job.train.batch, job.train.micro_batches, optimizer_of(job));
}

Result<std::unique_ptr<Setup>> Setup::create(JobConfig job, data::Dataset dataset, Clock& clock) {
  const model::GptConfig model = model_of(job);
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, arithmetic_of(job));
  const int threads = job.run.threads > 0 ? static_cast<int>(job.run.threads) : available_cores();
  SUANLI_ASSIGN_OR_RETURN(data::Windows train_windows,
                          data::Windows::create(dataset, data::Split::train, model.context));
  SUANLI_ASSIGN_OR_RETURN(std::optional<data::Windows> valid_windows,
                          valid_windows_of(dataset, model.context));
  SUANLI_ASSIGN_OR_RETURN(
      data::Sampler sampler,
      data::Sampler::create(train_windows.count(),
                            static_cast<std::uint64_t>(job.train.batch * job.train.micro_batches),
                            static_cast<std::uint64_t>(job.train.seed)));
  SUANLI_ASSIGN_OR_RETURN(graph::Graph graph, training_graph(job));
  std::unique_ptr<Setup> setup(
      new Setup{std::move(job), model, arithmetic, threads, std::move(dataset),
                std::move(train_windows), std::move(valid_windows), std::move(sampler),
                std::move(graph), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, Bytes(0)});
  if (setup->job.run.cap > 0)
    setup->cap = std::make_unique<meter::RateCap>(FlopsPerSecond(setup->job.run.cap), clock);
  const MemoryLimit limit = MemoryLimit::of_job_or_machine(setup->job);
  setup->device = engine::make_cpu_device(threads);
  setup->state = std::make_unique<engine::State>(*setup->device);
  engine::Device& device = *setup->device;
  engine::State& state = *setup->state;

  SUANLI_ASSIGN_OR_RETURN(const Bytes evaluation, evaluation_bytes(setup->job, setup->valid_windows.has_value()));
  SUANLI_ASSIGN_OR_RETURN(TrainingPlan plan, training_plan(setup->job, setup->graph, evaluation, limit.bytes));
  SUANLI_RETURN_IF_ERROR(check_memory(plan, limit));
  setup->memory = plan.total();
  SUANLI_RETURN_IF_ERROR(
      state.initialize(setup->graph, static_cast<std::uint64_t>(setup->job.train.seed)));
  const auto shared_program = std::make_shared<const engine::Program>(std::move(plan.program));
  SUANLI_ASSIGN_OR_RETURN(setup->executor, engine::Executor::create(shared_program, device, state));
  if (setup->valid_windows) {
    SUANLI_ASSIGN_OR_RETURN(setup->evaluator,
                            Evaluator::create(model, setup->job.train.batch, arithmetic, state));
  }
  if (setup->job.sample.every > 0) {
    SUANLI_ASSIGN_OR_RETURN(setup->generator, Generator::create(model, arithmetic, state));
  }
  return setup;
}

}  // namespace suanli::train
