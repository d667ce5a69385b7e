// Three training steps of a small GPT through the library: graph, program, executor.
#include <cstdio>
#include <memory>
#include <vector>

#include "suanli/engine/compile.h"
#include "suanli/engine/executor.h"
#include "suanli/model/gpt.h"

namespace {

suanli::Status train() {
  const suanli::model::GptConfig config{.layers = 2, .heads = 2, .width = 32, .context = 16, .vocab = 64};
  SUANLI_ASSIGN_OR_RETURN(const auto graph, suanli::model::gpt_training_graph(config, 4, 1, {}));
  SUANLI_ASSIGN_OR_RETURN(auto program, suanli::engine::compile(graph, {}));

  const auto device = suanli::engine::make_cpu_device(2);
  suanli::engine::State state(*device);
  SUANLI_RETURN_IF_ERROR(state.initialize(graph, 1));
  SUANLI_ASSIGN_OR_RETURN(
      const auto executor,
      suanli::engine::Executor::create(
          std::make_shared<const suanli::engine::Program>(std::move(program)), *device, state));

  // 4 sequences of 16 tokens that count upwards; each target is the next token.
  std::vector<std::int32_t> tokens(64), targets(64);
  for (int i = 0; i < 64; ++i) {
    tokens[i] = i;
    targets[i] = (i + 1) % 64;
  }
  const float lr = 0.01F;
  const suanli::engine::HostTensor inputs[] = {{"tokens", tokens.data(), suanli::Bytes(256)},
                                               {"targets", targets.data(), suanli::Bytes(256)}};
  const suanli::engine::HostTensor step_inputs[] = {{"lr", &lr, suanli::Bytes(4)}};
  for (int step = 1; step <= 3; ++step) {
    executor->begin_step();
    SUANLI_RETURN_IF_ERROR(executor->forward(0, inputs));
    SUANLI_RETURN_IF_ERROR(executor->backward(0));
    SUANLI_RETURN_IF_ERROR(executor->update(step_inputs));
    SUANLI_ASSIGN_OR_RETURN(const double loss, executor->read_scalar("loss"));
    std::printf("step %d loss %.4f\n", step, loss);
  }
  return {};
}

}  // namespace

int main() {
  const suanli::Status status = train();
  if (!status) std::fprintf(stderr, "error: %s\n", status.error().to_string().c_str());
  return status ? 0 : suanli::exit_code_of(status.error().code);
}
