// Shared by the tests of the room: small GPTs, random batches, and steps of the engine.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/engine/engine_test_support.h"
#include "suanli/graph/interpreter.h"
#include "suanli/model/gpt.h"

namespace suanli::model::test {

using engine::test::Bench;

inline GptConfig small_gpt() {
  return {.layers = 2, .heads = 2, .width = 16, .context = 8, .vocab = 11};
}

// One micro-batch, [batch * context] each.
struct TokenBatch {
  std::vector<std::int32_t> tokens, targets;
};

// Uniform tokens; each target is -1 with probability `ignored`.
inline TokenBatch random_batch(const GptConfig& config, std::int64_t batch, std::uint64_t seed,
                               double ignored = 0) {
  const Philox random(seed, Stream::test);
  TokenBatch result;
  const auto vocab = static_cast<std::uint64_t>(config.vocab);
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(batch * config.context); ++i) {
    result.tokens.push_back(static_cast<std::int32_t>(random.below(vocab, 3 * i)));
    const auto target = static_cast<std::int32_t>(random.below(vocab, 3 * i + 1));
    result.targets.push_back(random.uniform(3 * i + 2) < ignored ? -1 : target);
  }
  return result;
}

// Forward and backward of all micro-batches on slot 0, then update. `lr` is left out of graphs
// without an optimizer.
inline Status run_step(engine::Executor& executor, std::span<const TokenBatch> micro_batches,
                       std::span<const float> lr) {
  for (bool again = true; again;) {
    executor.begin_step();
    for (const TokenBatch& batch : micro_batches) {
      const engine::HostTensor inputs[] = {engine::test::host("tokens", batch.tokens),
                                           engine::test::host("targets", batch.targets)};
      SUANLI_RETURN_IF_ERROR(executor.forward(0, inputs));
      SUANLI_RETURN_IF_ERROR(executor.backward(0));
    }
    SUANLI_ASSIGN_OR_RETURN(again, executor.must_repeat_step());
  }
  const engine::HostTensor rate[] = {{"lr", lr.data(), Bytes(4)}};
  return executor.update(std::span(rate).first(lr.empty() ? 0 : 1));
}

// The loss of a training step at learning rate `lr`.
inline Result<double> train_step(engine::Executor& executor,
                                 std::span<const TokenBatch> micro_batches, float lr) {
  SUANLI_RETURN_IF_ERROR(run_step(executor, micro_batches, std::span(&lr, 1)));
  return executor.read_scalar("loss");
}

// The same batches for the interpreter.
inline std::vector<graph::Values> reference_inputs(std::span<const TokenBatch> micro_batches) {
  std::vector<graph::Values> values;
  for (const TokenBatch& batch : micro_batches) {
    const graph::TensorType type = graph::i32({static_cast<std::int64_t>(batch.tokens.size())});
    values.push_back({{"tokens", engine::test::ref(type, batch.tokens)},
                      {"targets", engine::test::ref(type, batch.targets)}});
  }
  return values;
}

}  // namespace suanli::model::test
