// The GPT-2 family as graphs: learned positions, pre-norm blocks, GELU (tanh form), head tied to
// the token embedding. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
// Parameter names and shapes are those of Hugging Face's GPT-2 (wte.weight [V,C], wpe.weight [T,C],
// h.I.ln_1.weight [C], h.I.attn.c_attn.weight [C,3C], ..., ln_f.bias [C]); matrices are stored [in,
// out].
#pragma once

#include <cstdint>

#include "suanli/base/error.h"
#include "suanli/graph/builder.h"
#include "suanli/graph/graph.h"
#include "suanli/model/optimizer.h"

namespace suanli::model {

struct GptConfig {
  std::int64_t layers = 6;
  std::int64_t heads = 6;
  std::int64_t width = 384;    // C, a multiple of heads
  std::int64_t context = 256;  // T: tokens per sequence
  std::int64_t vocab = 256;    // V
  double norm_eps = 1e-5;

  // Every value in range, width divisible by heads: error config, naming the key.
  Status check() const;
  std::int64_t parameters() const;
};

// Forward nodes from tokens to logits [batch * context, vocab]: inputs "tokens" i32 [batch *
// context]; block 0 the embedding, 1..layers, layers + 1 the head. Initial values as in GPT-2:
// normal 0.02, residual projections scaled by 1/sqrt(2 * layers), biases 0, norms 1.
graph::NodeId gpt_logits(graph::Builder& b, const GptConfig& config, std::int64_t batch);

// Inputs "tokens" and "targets" i32 [batch * context] per micro-batch (target -1: not counted);
// step input "lr" f32 []. Outputs: "loss" (mean over the step's counted tokens, f32 []), "tokens"
// (their number), "grad_norm" (global norm of the mean gradient before clipping), and everything
// AdamW updates. A step in which no target counts has no mean: the loss is NaN, and the engine
// refuses the update.
Result<graph::Graph> gpt_training_graph(const GptConfig& config, std::int64_t batch,
                                        std::int64_t micro_batches, const AdamWOptions& optimizer);

// Outputs "loss_sum" and "tokens" of one batch, forward only.
Result<graph::Graph> gpt_eval_graph(const GptConfig& config, std::int64_t batch);

// Output "logits" [batch * context, vocab], forward only.
Result<graph::Graph> gpt_logits_graph(const GptConfig& config, std::int64_t batch);

}  // namespace suanli::model
