#include "suanli/plan/step_model.h"

#include <algorithm>
#include <cmath>

namespace suanli::plan {
namespace {

constexpr double kBandwidthShare = 0.85;      // of the data sheet's, by streaming kernels
constexpr double kPlainAttentionShare = 0.6;  // of what large products reach, by the batched products of plain attention
constexpr double kRingShare = 0.7;            // of a port, by rings inside a machine and over machines
constexpr double kOwnPortShare = 0.9;         // of a port that a device uses for itself
constexpr double kReduceShare = 0.8;          // of a port, by a few large reductions
constexpr double kOverlappedReduce = 0.4;     // of what would be exposed, by software that reduces while backward runs
constexpr double kUpdateShare = 0.7;          // of memory bandwidth, by AdamW
constexpr double kLaunchPerLayer = 120e-6;    // seconds per layer, forward and backward: some twenty kernels each way
constexpr double kLogitBytes = 16;            // per token and vocabulary entry: logits in bf16, their softmax in f32, both ways
constexpr double kLeastBlockShare = 0.3;      // of the parameters, in blocks, whatever the vocabulary

constexpr StepPart kParts[] = {{"products", &StepSeconds::products},
                               {"attention", &StepSeconds::attention},
                               {"memory-bound", &StepSeconds::traffic},
                               {"launches", &StepSeconds::launches},
                               {"tensor parallel", &StepSeconds::tensor_parallel},
                               {"sharded weights", &StepSeconds::gathering},
                               {"pipeline bubble", &StepSeconds::bubble},
                               {"data parallel", &StepSeconds::exchange},
                               {"update", &StepSeconds::update}};

// Times of one micro-batch on one stage.
class Pass {
 public:
  Pass(const StepInputs& in, const StepConstants& constants)
      : in_(in),
        constants_(constants),
        tokens_(in.micro_batch * in.context / in.context_parallel),
        stage_layers_(in.layers / in.pipeline),
        sweeps_(in.recomputation == Recomputation::full ? 4 : 3),
        attention_sweeps_(recomputes_attention() ? 4 : 3) {
    balance_ = in.matmul_rate / in.bandwidth / kReferenceBalance;
    const double size = 1 + constants.size_penalty * (in.tensor / in.width + 1 / tokens_);
    const double balanced = in.is_systolic ? 1 : std::pow(balance_, -constants.balance_exponent);
    efficiency_ = std::min(1.0, constants.product_efficiency * balanced / size);
    vocabulary_ = in.vocab * in.width;
    blocks_ = std::max(in.active - vocabulary_, kLeastBlockShare * in.active);
  }

  StepSeconds seconds() const {
    StepSeconds all;
    all.products = product_seconds();
    all.attention = attention_seconds();
    all.traffic = traffic_seconds();
    all.launches = stage_layers_ * sweeps_ / 3 * kLaunchPerLayer;
    all.tensor_parallel = tensor_seconds();
    all.gathering = gather_seconds(all.total());
    return all;
  }

 private:
  bool recomputes_attention() const {
    if (in_.recomputation == Recomputation::full) return true;
    // A flash attention keeps no scores, so that there is nothing for selective recomputation to make again.
    return in_.recomputation == Recomputation::selective && !in_.flash;
  }

  double product_seconds() const {
    const double mixture = in_.active < in_.parameters ? kMixtureEfficiency : 1;
    const double rate = in_.matmul_rate * efficiency_;
    const double per_device = tokens_ / in_.tensor / in_.pipeline;
    const double in_blocks = 2 * sweeps_ * blocks_ * per_device / (rate * mixture * (in_.is_fp8 ? constants_.fp8_gain : 1));
    return in_blocks + 2 * 3 * vocabulary_ * per_device / rate;
  }

  double attention_seconds() const {
    // Forward over the full square: two products of 2 s h per token.
    const double square = 4 * in_.width * in_.context * tokens_ * stage_layers_ / in_.tensor;
    if (!in_.flash) return square * attention_sweeps_ / (in_.matmul_rate * efficiency_ * kPlainAttentionShare);
    // Only the causal half; backward makes the scores again, half a sweep more (Dao et al., 2022, appendix B).
    const double share = std::min(1.0, constants_.attention_efficiency * std::pow(balance_, -constants_.attention_balance));
    return square / 2 * (attention_sweeps_ + 0.5) / (in_.matmul_rate * share);
  }

  double traffic_seconds() const {
    const double t = in_.tensor;
    const double kept = in_.sequence_parallel ? 34 / t : 10 + 24 / t;
    const double scores = in_.flash ? 0 : 5 * in_.heads * in_.context / in_.width / t;
    const double activations = tokens_ * in_.width * stage_layers_ * constants_.traffic *
                               (kept * sweeps_ / 3 + scores * attention_sweeps_ / 3);
    const double logits = tokens_ * in_.vocab / t / in_.pipeline * kLogitBytes;
    // Operands and results of the products: weights once per sweep, activations h in and (4 + 3) h / t out, both ways.
    const double operands = sweeps_ * stage_layers_ * (2 * blocks_ / in_.layers / t + tokens_ * in_.width * (8 + 14 / t));
    return (activations + logits + operands) / (kBandwidthShare * in_.bandwidth);
  }

  double tensor_seconds() const {
    if (in_.tensor <= 1) return 0;
    // All-reduces of 2 bytes per value: two forward, two backward, two more where forward runs again.
    const double reductions = in_.recomputation == Recomputation::full ? 6 : 4;
    const double bytes = reductions * stage_layers_ * 2 * (in_.tensor - 1) / in_.tensor * 2 * tokens_ * in_.width;
    const double link = in_.tensor <= in_.per_node ? in_.node_link : std::min(in_.node_link, in_.cluster_link);
    return bytes / (link * kRingShare) * (in_.overlaps ? constants_.overlapped_exposed : 1);
  }

  // Sharded weights are gathered for forward and for backward, their gradients scattered. Behind a pipeline they stay gathered
  // for the whole step (step_exchange).
  double gather_seconds(double computing) const {
    if (in_.shard < 3 || in_.pipeline > 1 || in_.gather_group <= 1) return 0;
    const double n = in_.gather_group;
    // Of a mixture of experts each device keeps its own experts; what is gathered is what every token meets.
    double bytes = gathered_bytes(in_.active, in_.tensor, n);
    double link = ring_link(in_.node_link, in_.cluster_link, in_.per_node, in_.tensor, n) * kRingShare;
    if (n > std::max(1.0, in_.per_node / in_.tensor) && in_.gathers_over_own_port) {
      link = in_.cluster_link * kOwnPortShare;
      bytes *= 4.0 / 3;  // full recomputation gathers for its second forward too
    }
    const double gather = bytes / link;
    return std::max(0.0, gather - computing) + constants_.gather_exposed * std::min(gather, computing);
  }

  const StepInputs& in_;
  const StepConstants& constants_;
  double tokens_, stage_layers_, sweeps_, attention_sweeps_, balance_ = 1, efficiency_ = 0, vocabulary_ = 0, blocks_ = 0;
};

// Once per step: gradients reduced in f32, weights gathered in bf16.
double exchange_seconds(const StepInputs& in, const StepConstants& constants) {
  const double held = in.parameters / (in.tensor * in.pipeline);
  // Weights gathered in every pass leave only the replicas of the gather group to agree.
  const double group = in.shard >= 3 && in.pipeline <= 1 ? in.gather_group : 1;
  // Devices that share a sequence hold the same weights as other replicas do.
  const double all = in.data * in.context_parallel, replicas = all / group;
  if (replicas <= 1) return 0;
  const double link = ring_link(in.node_link, in.cluster_link, in.per_node, in.tensor, all);
  const double bytes = exchanged_bytes(held / group, replicas);
  return bytes / (link * kReduceShare) * constants.reduce_exposed * (in.overlaps ? kOverlappedReduce : 1);
}

// AdamW reads 16 bytes per parameter and writes 14.
double update_seconds(const StepInputs& in) {
  const double held = in.parameters / (in.tensor * in.pipeline) / (in.shard >= 1 ? in.data : 1);
  return 30 * held / (kUpdateShare * in.bandwidth);
}

}  // namespace

double gathered_bytes(double active, double tensor, double group) { return 3 * 2 * active / tensor * (group - 1) / group; }

double exchanged_bytes(double held, double replicas) { return (4 + 2) * held * (replicas - 1) / replicas; }

double ring_link(double node_link, double cluster_link, double per_node, double tensor, double members) {
  const double ports = std::max(1.0, per_node / tensor);
  return members <= ports ? node_link : std::min(node_link, cluster_link * ports);
}

std::span<const StepPart> step_parts() { return kParts; }

double StepSeconds::total() const {
  double sum = 0;
  for (const StepPart& part : kParts) sum += this->*part.seconds;
  return sum;
}

StepSeconds step_seconds(const StepInputs& in, const StepConstants& constants) {
  const StepSeconds pass = Pass(in, constants).seconds();
  StepSeconds step;
  for (const StepPart& part : kParts) step.*part.seconds = pass.*part.seconds * in.passes;
  step.bubble = pass.total() * (in.pipeline - 1) / in.interleave;
  step.exchange = exchange_seconds(in, constants);
  step.update = update_seconds(in);
  return step;
}

}  // namespace suanli::plan
