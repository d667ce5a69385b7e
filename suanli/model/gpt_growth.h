// A GPT that grows while it trains: deeper, wider or both, without changing what it computes, optimizer state carried along
// (graph/edit.h). Chen, Goodfellow, Shlens, "Net2Net", arXiv 1511.05641; Chen et al., "bert2BERT", arXiv 2110.07143.
//
// Deeper: each new layer is a copy of the old layer before it whose two projections into the residual stream are zero, so that
// it adds nothing until it has learnt. Second moments are those of the original, first moments zero.
// Wider by a whole factor k: every channel of the residual stream, every head and every hidden unit stands k times. What reads
// them takes shares that add up to 1 and differ from copy to copy, so that the copies do not stay alike; norms see the same mean
// and variance. The head is tied to the embedding, whose columns are alike, so the last norm's gain and bias hold its shares. Of
// a copy's gradient a k-th is expected: first moments are divided by k, second ones by k squared.
#pragma once

#include <cstdint>

#include "suanli/base/error.h"
#include "suanli/graph/edit.h"
#include "suanli/model/gpt.h"

namespace suanli::model {

// Whether `to` can be grown from `from`: at least as many layers, width and heads `k` times as large for one whole k from 1 to
// 16, the rest equal. Errors (config) name the key.
Status check_growth(const GptConfig& from, const GptConfig& to);

// The edit from gpt_training_graph(from, ...) to that of `to`, with the same optimizer. Errors: those of check_growth() and of
// gpt_training_graph(). The loss of a batch is the same before and after within rounding.
Result<graph::GraphEdit> grow_gpt(const GptConfig& from, const GptConfig& to, std::int64_t batch, std::int64_t micro_batches,
                                  const AdamWOptions& optimizer);

}  // namespace suanli::model
