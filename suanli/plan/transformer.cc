#include "suanli/plan/transformer.h"

#include <algorithm>
#include <cmath>

namespace suanli::plan {
namespace {

constexpr std::int64_t kMostLayers = 128;  // of published dense models: Megatron's 1T; Llama 3 405B has 126
constexpr double kHeadWidth = 128;         // of published models from 7B on
constexpr std::int64_t kUsualContext = 8192, kUsualVocab = 128'256;  // Llama 3, arXiv:2407.21783, Table 3

std::int64_t rounded_to(double value, double step) {
  constexpr double kLargest = 1e15;  // far from the end of 64 bits
  return static_cast<std::int64_t>(std::clamp(std::round(value / step) * step, step, kLargest));
}

double shape_product(const Transformer& model) {  // L h s
  return static_cast<double>(model.layers) * static_cast<double>(model.width) * static_cast<double>(model.context);
}

}  // namespace

Transformer usual_shape(double parameters) {
  SUANLI_CHECK(parameters > 0);
  // 12 L h^2 = N with h = 128 L.
  const double layers = std::cbrt(parameters / (12 * 128 * 128));
  Transformer model;
  model.parameters = parameters;
  // In eights from 16 on, so that stages of a pipeline come out even.
  model.layers = std::clamp(rounded_to(layers, layers < 16 ? 1 : 8), std::int64_t{1}, kMostLayers);
  const double width = std::sqrt(parameters / (12 * static_cast<double>(model.layers)));
  model.width = rounded_to(width, width < 1024 ? 64 : kHeadWidth);
  model.heads = std::max(std::int64_t{1}, model.width / static_cast<std::int64_t>(kHeadWidth));
  model.context = kUsualContext;
  model.vocab = kUsualVocab;
  return model;
}

double parameters_of_shape(std::int64_t layers, std::int64_t width, std::int64_t vocab, std::int64_t context) {
  const auto L = static_cast<double>(layers), h = static_cast<double>(width);
  const double tables = static_cast<double>(vocab) + static_cast<double>(context);
  return 12 * L * h * h * (1 + 13 / (12 * h) + tables / (12 * L * h));
}

const char* name_of(Recomputation recomputation) {
  switch (recomputation) {
    case Recomputation::none: return "none";
    case Recomputation::selective: return "selective";
    case Recomputation::full: return "full";
  }
  return "";
}

double flops_per_token(const Transformer& model, AttentionCount count) {
  const double products = 6 * model.active();
  if (!model.has_shape()) return products;
  return products + (count == AttentionCount::full ? 12 : 6) * shape_product(model);
}

double hardware_flops_per_token(const Transformer& model, Recomputation recomputation, AttentionCount count) {
  const double counted = flops_per_token(model, count);
  const double attention = counted - 6 * model.active();
  switch (recomputation) {
    case Recomputation::none: return counted;
    // Korthikanti et al., 2022, appendix A, count the recomputed attention with another 12 L h s, as published HFU does. Its two
    // forward products alone are a third of that.
    case Recomputation::selective: return counted + attention;
    case Recomputation::full: {
      // A second forward pass of all but the vocabulary's product (Narayanan et al., 2021, appendix: 96 B s L h^2 (1 + s / 6h +
      // V / 16 L h)).
      const double vocabulary = static_cast<double>(model.vocab) * static_cast<double>(model.width);
      return counted + 2 * std::max(0.0, model.active() - vocabulary) + attention / 3;
    }
  }
  return counted;
}

StateMemory state_memory(const Transformer& model, const Layout& layout) {
  const double held = model.parameters / (static_cast<double>(layout.tensor) * layout.pipeline);
  const double data = layout.data;
  StateMemory memory{.weights = 2 * held, .gradients = 4 * held, .optimizer = 12 * held};
  if (layout.shard >= 1) memory.optimizer /= data;
  if (layout.shard >= 2) memory.gradients /= data;
  if (layout.shard >= 3) memory.weights /= data;
  return memory;
}

double activation_memory(const Transformer& model, const Layout& layout, std::int64_t micro_batch,
                         Recomputation recomputation, bool flash) {
  const auto L = static_cast<double>(model.layers), h = static_cast<double>(model.width);
  const auto s = static_cast<double>(model.context), b = static_cast<double>(micro_batch);
  const double heads = model.heads > 0 ? static_cast<double>(model.heads) : std::max(1.0, h / kHeadWidth);
  const double t = layout.tensor, p = layout.pipeline, v = layout.interleave;
  // Scores, their softmax and its dropout mask: what flash attention and selective recomputation do not keep.
  const double scores = flash || recomputation == Recomputation::selective ? 0 : 5 * heads * s / h;
  double factor = layout.sequence_parallel ? (34 + scores) / t : 10 + (24 + scores) / t;
  if (recomputation == Recomputation::full) factor = 2;
  // 1F1B keeps p micro-batches of L / p layers on the first stage, interleaving a little more (their section 4.2.3).
  const double in_flight = p > 1 && v > 1 ? 1 + (p - 1) / (p * v) : 1;
  return s * b * h * factor * L * in_flight;
}

}  // namespace suanli::plan
