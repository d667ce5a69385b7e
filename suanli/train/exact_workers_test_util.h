// For tests of exact arithmetic: a job's steps shared by simulated workers, as a pool of machines would share them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/checkpoint/manifest.h"
#include "suanli/engine/cpu/exact/isa.h"
#include "suanli/train/batch.h"
#include "suanli/train/schedule.h"
#include "suanli/train/setup.h"

namespace suanli::train {

using engine::exact::Isa;

// While it lives, exact kernels use nothing above `limit`. One at a time.
class IsaLimit {
 public:
  explicit IsaLimit(Isa limit) { engine::exact::set_isa_limit(limit); }
  ~IsaLimit() { engine::exact::clear_isa_limit(); }
  IsaLimit(const IsaLimit&) = delete;
  IsaLimit& operator=(const IsaLimit&) = delete;
};

struct WorkerMachine {
  Isa isa;
  int threads = 1;
};

// A device, a state and an executor of its own, made by the pieces that train() is made of.
class Worker {
 public:
  static Result<std::unique_ptr<Worker>> create(JobConfig job, const WorkerMachine& machine) {
    const IsaLimit limit(machine.isa);
    job.run.threads = machine.threads;
    SUANLI_ASSIGN_OR_RETURN(data::Dataset dataset, data::Dataset::open(job.data.path));
    SUANLI_ASSIGN_OR_RETURN(job, settle(job, dataset));
    SUANLI_ASSIGN_OR_RETURN(auto setup, Setup::create(job, std::move(dataset), real_clock()));
    return std::unique_ptr<Worker>(new Worker(machine, std::move(setup)));
  }

  // Looks at micro-batch 0 of `step`, if it is the first.
  Status find_exponents(std::int64_t step) {
    const IsaLimit limit(machine_.isa);
    SUANLI_ASSIGN_OR_RETURN(const bool lacks, executor().lacks_exponents());
    if (!lacks) return {};
    SUANLI_RETURN_IF_ERROR(fill(step, 0));
    return executor().find_exponents(batch_.inputs());
  }
  // Begins `step` and runs these micro-batches of it, in this order.
  Status accumulate(std::int64_t step, std::span<const std::int64_t> micro_batches) {
    const IsaLimit limit(machine_.isa);
    executor().begin_step();
    for (const std::int64_t micro_batch : micro_batches) {
      SUANLI_RETURN_IF_ERROR(fill(step, micro_batch));
      SUANLI_RETURN_IF_ERROR(executor().forward(0, batch_.inputs()));
      SUANLI_RETURN_IF_ERROR(executor().backward(0));
    }
    return {};
  }
  Status update(std::int64_t step) {
    const IsaLimit limit(machine_.isa);
    const JobConfig::Train& train = setup_->job.train;
    const Schedule schedule{.lr = train.lr, .min_ratio = train.min_lr_ratio, .warmup_steps = train.warmup_steps,
                            .steps = train.steps, .decay = decay_from_name(train.schedule).value()};
    const float lr = static_cast<float>(schedule.at(step));
    const engine::HostTensor input{"lr", &lr, Bytes(sizeof lr)};
    return executor().update({&input, 1});
  }
  engine::Executor& executor() { return *setup_->executor; }
  engine::State& state() { return *setup_->state; }

  // Of all tensors, or of all that the graph names.
  Digest root(bool with_exponents = true) {
    std::vector<checkpoint::TensorEntry> entries;
    for (const engine::State::Tensor& tensor : state().tensors()) {
      if (!with_exponents && tensor.name == engine::kExponents) continue;
      std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.type.bytes().value()));
      SUANLI_CHECK(state().read(tensor.name, bytes).has_value());
      entries.push_back({tensor.name, tensor.type, sha256(bytes)});
    }
    return checkpoint::state_root(entries);
  }

 private:
  Worker(const WorkerMachine& machine, std::unique_ptr<Setup> setup)
      : machine_(machine), setup_(std::move(setup)), batch_(setup_->job.train.batch, setup_->job.model.context) {}

  Status fill(std::int64_t step, std::int64_t micro_batch) {
    for (std::int64_t row = 0; row < batch_.rows(); ++row) {
      const auto index = static_cast<std::uint64_t>(micro_batch * batch_.rows() + row);
      const data::WindowId window = setup_->sampler.at(static_cast<std::uint64_t>(step), index);
      SUANLI_RETURN_IF_ERROR(batch_.fill(row, setup_->train_windows, window));
    }
    return {};
  }

  WorkerMachine machine_;
  std::unique_ptr<Setup> setup_;
  Batch batch_;
};

// Who runs which micro-batches of a step, in which order: one list for each worker.
using Shares = std::vector<std::vector<std::int64_t>>;

// The micro-batches in an order, and given to workers, as drawn for each step anew. A worker may get none.
inline Shares shuffled_shares(std::int64_t micro_batches, std::size_t workers, std::int64_t step) {
  const Philox random(workers, Stream::test, static_cast<std::uint64_t>(step));
  std::vector<std::int64_t> order(static_cast<std::size_t>(micro_batches));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t j = random.below(i + 1, i);
    order[i] = order[j];
    order[j] = static_cast<std::int64_t>(i);
  }
  Shares shares(workers);
  for (const std::int64_t micro_batch : order)
    shares[random.below(workers, 1000 + static_cast<std::uint64_t>(micro_batch))].push_back(micro_batch);
  return shares;
}

// Workers that make the steps of a job together. They meet only in their token sums.
class Workers {
 public:
  static Result<Workers> create(const JobConfig& job, std::span<const WorkerMachine> machines) {
    Workers workers(job);
    for (const WorkerMachine& machine : machines) {
      SUANLI_ASSIGN_OR_RETURN(workers.workers_.emplace_back(), Worker::create(job, machine));
    }
    return workers;
  }

  // All steps of the job.
  Status train() {
    for (std::int64_t step = 0; step < job_.train.steps; ++step) {
      const Shares shares = shuffled_shares(job_.train.micro_batches, workers_.size(), step);
      for (const auto& worker : workers_) SUANLI_RETURN_IF_ERROR(worker->find_exponents(step));
      for (bool again = true; again; repeats_ += again) {
        for (std::size_t i = 0; i < workers_.size(); ++i)
          SUANLI_RETURN_IF_ERROR(workers_[i]->accumulate(step, shares[i]));
        SUANLI_RETURN_IF_ERROR(exchange(step));
        SUANLI_ASSIGN_OR_RETURN(again, agreed_on_repeating());
      }
      for (const auto& worker : workers_) SUANLI_RETURN_IF_ERROR(worker->update(step));
    }
    return {};
  }
  std::int64_t repeats() const { return repeats_; }  // of steps whose terms did not fit

  Worker& operator[](std::size_t i) { return *workers_[i]; }
  std::size_t size() const { return workers_.size(); }

 private:
  explicit Workers(JobConfig job) : job_(std::move(job)) {}

  // Everybody adds everybody else's sums, each in an order of its own that changes from step to step.
  Status exchange(std::int64_t step) {
    std::vector<engine::TokenSums> own;
    for (const auto& worker : workers_) {
      SUANLI_ASSIGN_OR_RETURN(own.emplace_back(), worker->executor().read_token_sums());
    }
    const std::size_t count = workers_.size();
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t j = 1; j < count; ++j) {
        const std::size_t distance = (step + static_cast<std::int64_t>(i)) % 2 == 0 ? j : count - j;
        SUANLI_RETURN_IF_ERROR(workers_[i]->executor().add_token_sums(own[(i + distance) % count]));
      }
    return {};
  }

  Result<bool> agreed_on_repeating() {
    std::optional<bool> agreed;
    for (const auto& worker : workers_) {
      SUANLI_ASSIGN_OR_RETURN(const bool again, worker->executor().must_repeat_step());
      EXPECT_EQ(agreed.value_or(again), again);
      agreed = again;
    }
    return *agreed;
  }

  JobConfig job_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::int64_t repeats_ = 0;
};

}  // namespace suanli::train
