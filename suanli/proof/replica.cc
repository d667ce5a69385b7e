#include "suanli/proof/replica.h"

#include <algorithm>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/engine/compile.h"
#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/graph/digest.h"
#include "suanli/proof/output_watch.h"
#include "suanli/train/initial_weights.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/snapshots.h"
#include "suanli/train/state_digest.h"

namespace suanli::proof {
namespace {

Status check_same(const train::Setup& setup, const train::RunInfo& run, const std::string& folder) {
  if (setup.dataset.digest() != run.dataset)
    return fail(ErrorCode::mismatch,
                "the dataset's digest is " + setup.dataset.digest().hex().substr(0, 12) + " but the run was trained on " +
                    run.dataset.hex().substr(0, 12),
                setup.dataset.folder(), "name a copy of the run's dataset with --data");
  const Digest graph = graph::digest(setup.graph);
  if (graph == run.graph) return {};
  return fail(ErrorCode::mismatch,
              "this build makes another graph of the job (digest " + graph.hex().substr(0, 12) + ", the run's is " +
                  run.graph.hex().substr(0, 12) + ")",
              folder, "use suanli " + printable(run.suanli) + ", which began the run");
}

std::string list_of(const std::vector<checkpoint::SnapshotInfo>& infos) {
  std::string steps = "0";
  for (const checkpoint::SnapshotInfo& info : infos)
    if (!info.damage) steps += ", " + std::to_string(info.step);
  return steps;
}

}  // namespace

Replica::Replica(std::string folder, RunJob run, std::unique_ptr<train::Setup> setup, std::unique_ptr<checkpoint::Tier> tier)
    : folder_(std::move(folder)),
      run_(std::move(run)),
      setup_(std::move(setup)),
      tier_(std::move(tier)),
      batch_(setup_->job.train.batch, setup_->job.model.context) {}

Result<std::unique_ptr<Replica>> Replica::create(const std::string& run_folder, const ReplicaOptions& options) {
  SUANLI_ASSIGN_OR_RETURN(train::RunDescription run, train::describe_run(run_folder));
  SUANLI_ASSIGN_OR_RETURN(const auto records, records_of(run_folder));
  RunJob recorded(run, records);
  train::JobConfig job = std::move(run.job);
  if (options.threads > 0) job.run.threads = options.threads;
  if (!options.data.empty()) job.data.path = options.data;
  job.run.cap = 0;
  job.sample.every = 0;
  SUANLI_ASSIGN_OR_RETURN(data::Dataset dataset, data::Dataset::open(job.data.path));
  SUANLI_RETURN_IF_ERROR(train::check_dataset(dataset, train::model_of(job), run.info.tokenizer));
  SUANLI_RETURN_IF_ERROR(dataset.verify(options.stop));
  SUANLI_ASSIGN_OR_RETURN(auto setup, train::Setup::create(std::move(job), std::move(dataset), real_clock()));
  SUANLI_RETURN_IF_ERROR(check_same(*setup, run.info, run_folder));
  SUANLI_ASSIGN_OR_RETURN(auto tier, checkpoint::LocalTier::open(run_folder, checkpoint::LocalTier::Access::reader));
  return std::unique_ptr<Replica>(new Replica(run_folder, std::move(recorded), std::move(setup), std::move(tier)));
}

Status Replica::restore(std::int64_t step) {
  figures_.reset();
  if (step < run_.info().size_since)
    return fail(ErrorCode::mismatch,
                "the run's model took on its size after step " + std::to_string(run_.info().size_since), folder_,
                "begin with a checkpoint of that step or later");
  if (step == 0) {
    SUANLI_RETURN_IF_ERROR(setup_->state->reinitialize(setup_->graph, static_cast<std::uint64_t>(setup_->job.train.seed)));
    SUANLI_RETURN_IF_ERROR(
        train::load_initial_weights(setup_->job, setup_->graph, setup_->dataset.info().tokenizer, *setup_->state));
    if (engine::State::Tensor* exponents = setup_->state->find(engine::kExponents)) {
      const std::vector<std::int32_t> none(static_cast<std::size_t>(exponents->type.elements()), engine::exact::kNoExponent);
      SUANLI_RETURN_IF_ERROR(setup_->state->write(engine::kExponents, std::as_bytes(std::span(none))));
    }
    step_ = 0;
    return {};
  }
  auto snapshot = tier_->load(step, {});
  if (!snapshot && snapshot.error().code == ErrorCode::not_found) {
    SUANLI_ASSIGN_OR_RETURN(const auto infos, tier_->list());
    return fail(ErrorCode::not_found, "the run keeps no checkpoint of step " + std::to_string(step), folder_,
                "begin with one of steps " + list_of(infos) + "; 'checkpoint.keep' says how many a run keeps");
  }
  if (!snapshot) return tl::unexpected(std::move(snapshot).error());
  SUANLI_RETURN_IF_ERROR(train::write_state(*snapshot, *setup_->state, folder_ + ": snapshot of step " + std::to_string(step)));
  step_ = step;
  return {};
}

Result<std::int64_t> Replica::nearest(std::int64_t step) const {
  SUANLI_ASSIGN_OR_RETURN(const auto infos, tier_->list());
  std::int64_t best = 0;
  for (const checkpoint::SnapshotInfo& info : infos)
    if (!info.damage && info.step <= step) best = info.step;
  return best;
}

Result<engine::Executor*> Replica::unfused() {
  if (!unfused_) {
    const engine::Target target{.arithmetic = setup_->arithmetic, .recompute = {}, .fuse = false};
    SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(setup_->graph, target));
    SUANLI_ASSIGN_OR_RETURN(unfused_, engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)),
                                                               *setup_->device, *setup_->state));
  }
  return unfused_.get();
}

Status Replica::make_step(engine::Executor& executor, OutputWatch* watch) {
  const auto fill = [&](std::int64_t micro_batch) {
    return batch_.fill(setup_->train_windows, setup_->sampler, step_, micro_batch);
  };
  SUANLI_ASSIGN_OR_RETURN(const bool lacks, executor.lacks_exponents());
  if (lacks) {
    SUANLI_RETURN_IF_ERROR(fill(0));
    SUANLI_RETURN_IF_ERROR(executor.find_exponents(batch_.inputs()));
  }
  for (bool again = true; again;) {
    executor.begin_step();
    if (watch) watch->begin_pass(*setup_->state);
    for (std::int64_t i = 0; i < setup_->job.train.micro_batches; ++i) {
      SUANLI_RETURN_IF_ERROR(fill(i));
      if (watch) watch->begin_micro_batch(i, batch_.inputs());
      SUANLI_RETURN_IF_ERROR(executor.forward(0, batch_.inputs()));
      SUANLI_RETURN_IF_ERROR(executor.backward(0));
    }
    SUANLI_ASSIGN_OR_RETURN(again, executor.must_repeat_step());
  }
  const float lr = learning_rate();
  const engine::HostTensor input{"lr", &lr, Bytes(sizeof lr)};
  if (watch) watch->begin_micro_batch(OpOutput::kNoMicroBatch, {&input, 1});
  SUANLI_RETURN_IF_ERROR(executor.update({&input, 1}));
  setup_->device->synchronize(setup_->device->compute());
  SUANLI_ASSIGN_OR_RETURN(const double loss, executor.read_scalar("loss"));
  SUANLI_ASSIGN_OR_RETURN(const double grad_norm, executor.read_scalar("grad_norm"));
  figures_ = StepFigures{static_cast<float>(loss), static_cast<float>(grad_norm)};
  ++step_;
  return {};
}

float Replica::learning_rate() const {
  train::Schedule schedule = train::schedule_of(setup_->job);
  schedule.steps = run_.length_at(step_ + 1);
  return static_cast<float>(schedule.at(step_));
}

Status Replica::advance() {
  if (tamper_) return advance({});
  return make_step(*setup_->executor, nullptr);
}

Status Replica::advance(const OutputVisitor& visit) {
  SUANLI_ASSIGN_OR_RETURN(engine::Executor* const executor, unfused());
  OutputWatch watch(*executor, setup_->graph, tamper_, visit);
  return make_step(*executor, &watch);
}

Digest Replica::root() { return train::state_root(*setup_->state); }

Result<std::vector<checkpoint::NamedTensor>> Replica::state() {
  std::vector<checkpoint::NamedTensor> tensors;
  for (const engine::State::Tensor& tensor : setup_->state->tensors()) {
    SUANLI_ASSIGN_OR_RETURN(std::vector<std::byte> bytes, read(tensor.name));
    tensors.push_back({tensor.name, tensor.type, std::move(bytes)});
  }
  return tensors;
}

Result<std::vector<std::byte>> Replica::read(const std::string& tensor) {
  const engine::State::Tensor* found = setup_->state->find(tensor);
  if (found == nullptr)
    return fail(ErrorCode::not_found, "the state has no tensor '" + printable(tensor) + "'", folder_,
                "`suanli digest " + folder_ + " --tensors` lists all");
  std::vector<std::byte> bytes(static_cast<std::size_t>(found->type.bytes().value()));
  SUANLI_RETURN_IF_ERROR(setup_->state->read(tensor, bytes));
  return bytes;
}

}  // namespace suanli::proof
