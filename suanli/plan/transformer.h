// Closed forms of what a decoder-only transformer costs, where there is no graph to count. With a graph, count the graph.
//
// FLOPs per token: 6 N + 12 L h s (Chowdhery et al., "PaLM", 2022, appendix B): N parameters, L layers, h width, s context, the
// full attention square counted. That is the convention of published MFU ("full"); "causal" counts the half of the square that
// a causal kernel executes, 6 N + 6 L h s.
// Memory: Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022, equations 1 to 6.
#pragma once

#include <cstdint>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::plan {

struct Transformer {
  double parameters = 0;         // N, all that are stored; never 0
  double active_parameters = 0;  // that a token meets, of a mixture of experts; 0: all
  std::int64_t layers = 0, width = 0, heads = 0, context = 0, vocab = 0;  // 0: unknown

  double active() const { return active_parameters > 0 ? active_parameters : parameters; }
  bool has_shape() const { return layers > 0 && width > 0 && context > 0; }
};

// A shape as usually chosen for so many parameters, for estimates that are given nothing else: 4h MLP, width 128 x layers up to
// what published models use. Stated as an assumption wherever it is used.
Transformer usual_shape(double parameters);
// 12 L h^2 (1 + 13 / 12 h + (V + s) / 12 L h).
double parameters_of_shape(std::int64_t layers, std::int64_t width, std::int64_t vocab, std::int64_t context);

enum class AttentionCount : std::uint8_t { full, causal };
enum class Recomputation : std::uint8_t { none, selective, full };  // of activations in backward
const char* name_of(Recomputation recomputation);

// Forward and backward, what MFU counts; without a shape the attention term is left out.
double flops_per_token(const Transformer& model, AttentionCount count = AttentionCount::full);
// What is executed, recomputed operations included: what HFU counts.
double hardware_flops_per_token(const Transformer& model, Recomputation recomputation,
                                AttentionCount count = AttentionCount::full);

struct Layout {
  int tensor = 1, pipeline = 1, data = 1;  // parallel degrees; their product is the number of devices
  int interleave = 1;                      // virtual stages per device (1: plain 1F1B)
  bool sequence_parallel = false;          // norms and dropout split along the sequence too
  int shard = 0;                           // of the data-parallel group: 0 nothing, 1 optimizer, 2 and gradients, 3 and weights
  int devices() const { return tensor * pipeline * data; }
};

// Per device, in bytes, of mixed-precision training: bf16 weights 2, f32 gradients 4, f32 master weights and two moments 12 per
// parameter (18 in all), divided by tensor and pipeline degree and by what is sharded.
struct StateMemory {
  double weights = 0, gradients = 0, optimizer = 0;
  double total() const { return weights + gradients + optimizer; }
};
StateMemory state_memory(const Transformer& model, const Layout& layout);
// Activations of the first stage (which holds the most), bytes per device; `micro_batch` in sequences. `flash`: scores are never
// stored (Dao et al., 2022), which drops the 5as/h term.
double activation_memory(const Transformer& model, const Layout& layout, std::int64_t micro_batch,
                         Recomputation recomputation, bool flash);

}  // namespace suanli::plan
