#include "suanli/model/gpt.h"

#include <cmath>

#include "suanli/base/text.h"
#include "suanli/graph/autodiff.h"

namespace suanli::model {

using graph::Builder;
using graph::f32;
using graph::Graph;
using graph::i32;
using graph::NodeId;
using graph::Phase;

namespace {

// The value of a key of the job file must lie in [1, high].
Status check_range(std::int64_t value, std::int64_t high, const char* key) {
  if (value >= 1 && value <= high) return {};
  return fail(ErrorCode::config,
              std::to_string(value) + " is not between 1 and " + std::to_string(high), key,
              "choose a value in that range");
}

// Names of one GPT-2 block's parameters and the nodes between them. C = width.
class Block {
 public:
  Block(Builder& b, const GptConfig& config, std::int64_t layer)
      : b_(b), config_(config), prefix_("h." + std::to_string(layer) + ".") {}

  // x [N, C] -> [N, C]
  NodeId apply(NodeId x) {
    const std::int64_t width = config_.width;
    const double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(config_.layers));
    NodeId h = norm(x, "ln_1");
    h = linear(h, "attn.c_attn", width, 3 * width, 0.02);
    h = b_.apply("attention", {h}, {{"heads", config_.heads}, {"seq", config_.context}});
    h = linear(h, "attn.c_proj", width, width, residual);
    x = b_.add(x, h);
    h = norm(x, "ln_2");
    h = linear(h, "mlp.c_fc", width, 4 * width, 0.02);
    h = linear(b_.gelu(h), "mlp.c_proj", 4 * width, width, residual);
    return b_.add(x, h);
  }

 private:
  NodeId norm(NodeId x, const std::string& name) {
    const NodeId gain = b_.param(prefix_ + name + ".weight", f32({config_.width}), "ones");
    const NodeId bias = b_.param(prefix_ + name + ".bias", f32({config_.width}), "zeros");
    return b_.apply("layer_norm", {x, gain, bias}, {{"eps", config_.norm_eps}});
  }

  NodeId linear(NodeId x, const std::string& name, std::int64_t in, std::int64_t out,
                double deviation) {
    const NodeId weight =
        b_.param(prefix_ + name + ".weight", f32({in, out}), "normal", deviation, true);
    const NodeId bias = b_.param(prefix_ + name + ".bias", f32({out}), "zeros");
    return b_.add(b_.matmul(x, weight), bias);
  }

  Builder& b_;
  const GptConfig& config_;
  std::string prefix_;
};

// Of one batch.
struct Losses {
  NodeId sum;     // f32 [], over the counted targets
  NodeId tokens;  // f32 [], their number
};

Losses gpt_losses(Builder& b, const GptConfig& config, std::int64_t batch) {
  const NodeId logits = gpt_logits(b, config, batch);
  const NodeId targets = b.input("targets", i32({batch * config.context}));
  const NodeId losses = b.apply("softmax_cross_entropy", {logits, targets});
  return {b.reduce_to(losses, {}), b.apply("count_tokens", {targets})};
}

Status check_batch(const GptConfig& config, std::int64_t batch) {
  SUANLI_RETURN_IF_ERROR(config.check());
  return check_range(batch, 1 << 20, "train.batch");
}

}  // namespace

Status GptConfig::check() const {
  SUANLI_RETURN_IF_ERROR(check_range(layers, 1000, "model.layers"));
  SUANLI_RETURN_IF_ERROR(check_range(heads, 1024, "model.heads"));
  SUANLI_RETURN_IF_ERROR(check_range(width, 1 << 16, "model.width"));
  SUANLI_RETURN_IF_ERROR(check_range(context, 1 << 20, "model.context"));
  SUANLI_RETURN_IF_ERROR(check_range(vocab, 1 << 22, "model.vocab"));
  if (width % heads != 0)
    return fail(
        ErrorCode::config,
        "width " + std::to_string(width) + " is not a multiple of heads " + std::to_string(heads),
        "model.width", "try width " + std::to_string((width + heads - 1) / heads * heads));
  if (!(norm_eps > 0 && norm_eps < 1))
    return fail(ErrorCode::config, format("%g is not between 0 and 1", norm_eps), "model.norm_eps",
                "1e-5 is the usual value");
  return {};
}

std::int64_t GptConfig::parameters() const {
  return vocab * width + context * width + layers * (12 * width * width + 13 * width) + 2 * width;
}

NodeId gpt_logits(Builder& b, const GptConfig& config, std::int64_t batch) {
  const std::int64_t count = batch * config.context, width = config.width;
  b.set_phase(Phase::forward);
  b.set_block(0);
  const NodeId tokens = b.input("tokens", i32({count}));
  const NodeId embedding = b.param("wte.weight", f32({config.vocab, width}), "normal", 0.02, true);
  const NodeId positions =
      b.param("wpe.weight", f32({config.context, width}), "normal", 0.02, true);
  NodeId x = b.apply("embedding", {embedding, tokens});
  // The same positions for every sequence of the batch.
  x = b.reshape(x, {batch, config.context, width});
  x = b.reshape(b.add(x, positions), {count, width});
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    b.set_block(static_cast<int>(layer) + 1);
    x = Block(b, config, layer).apply(x);
  }
  b.set_block(static_cast<int>(config.layers) + 1);
  const NodeId gain = b.param("ln_f.weight", f32({width}), "ones");
  const NodeId bias = b.param("ln_f.bias", f32({width}), "zeros");
  x = b.apply("layer_norm", {x, gain, bias}, {{"eps", config.norm_eps}});
  return b.matmul(x, embedding, false, true);
}

Result<Graph> gpt_training_graph(const GptConfig& config, std::int64_t batch,
                                 std::int64_t micro_batches, const AdamWOptions& optimizer) {
  SUANLI_RETURN_IF_ERROR(check_batch(config, batch));
  SUANLI_RETURN_IF_ERROR(check_range(micro_batches, 1 << 20, "train.micro_batches"));
  Graph graph;
  SUANLI_RETURN_IF_ERROR(graph.set_micro_batches(micro_batches));
  Builder b(graph);
  const Losses losses = gpt_losses(b, config, batch);
  const NodeId loss_sum = b.micro_sum(losses.sum);
  const NodeId token_sum = b.micro_sum(losses.tokens);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_ASSIGN_OR_RETURN(const auto gradients, graph::differentiate(graph, losses.sum));

  b.set_phase(Phase::update);
  b.set_block(graph::kWholeJob);
  const NodeId lr = b.step_input("lr", f32({}));
  SUANLI_ASSIGN_OR_RETURN(const OptimizerNodes nodes,
                          add_adamw(b, gradients, token_sum, lr, optimizer));
  b.set_block(graph::kWholeJob);
  const NodeId loss = b.div(loss_sum, token_sum);
  const NodeId tokens = b.scale(token_sum, 1.0);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("loss", loss));
  SUANLI_RETURN_IF_ERROR(graph.add_output("tokens", tokens));
  SUANLI_RETURN_IF_ERROR(graph.add_output("grad_norm", nodes.grad_norm));
  return graph;
}

Result<Graph> gpt_eval_graph(const GptConfig& config, std::int64_t batch) {
  SUANLI_RETURN_IF_ERROR(check_batch(config, batch));
  Graph graph;
  Builder b(graph);
  const Losses losses = gpt_losses(b, config, batch);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("loss_sum", losses.sum));
  SUANLI_RETURN_IF_ERROR(graph.add_output("tokens", losses.tokens));
  return graph;
}

Result<Graph> gpt_logits_graph(const GptConfig& config, std::int64_t batch) {
  SUANLI_RETURN_IF_ERROR(check_batch(config, batch));
  Graph graph;
  Builder b(graph);
  const NodeId logits = gpt_logits(b, config, batch);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("logits", logits));
  return graph;
}

}  // namespace suanli::model
