#include "suanli/train/evaluation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "suanli/base/text.h"
#include "suanli/engine/compile.h"

namespace suanli::train {
namespace {

// floor(i * windows / samples), without overflow: the window of sample i.
data::WindowId spread(std::uint64_t i, std::uint64_t windows, std::uint64_t samples) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<data::WindowId>(static_cast<Wide>(i) * windows / samples);
}

}  // namespace

double Evaluation::perplexity() const { return std::exp(loss); }
double Evaluation::bits_per_token() const { return loss / std::numbers::ln2; }

Result<std::unique_ptr<Evaluator>> Evaluator::create(const model::GptConfig& model,
                                                     std::int64_t rows,
                                                     engine::Arithmetic arithmetic,
                                                     engine::State& state) {
  std::unique_ptr<Evaluator> evaluator(new Evaluator(model, rows));
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, model::gpt_eval_graph(model, rows));
  SUANLI_ASSIGN_OR_RETURN(engine::Program program,
                          engine::compile(graph, {.arithmetic = arithmetic}));
  SUANLI_RETURN_IF_ERROR(state.initialize(graph, 0));
  evaluator->work_ = meter::work_of(graph, graph::Phase::forward, program);
  SUANLI_ASSIGN_OR_RETURN(
      evaluator->executor_,
      engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)),
                               state.device(), state));
  return evaluator;
}

std::int64_t Evaluator::batch_count(const data::Windows& windows, std::int64_t batches) const {
  const auto all = (static_cast<std::int64_t>(windows.count()) + batch_.rows() - 1) / batch_.rows();
  return batches == 0 ? all : std::min(batches, all);
}

Result<std::optional<Evaluation>> Evaluator::run(const data::Windows& windows, std::int64_t batches,
                                                 StopFlag stop, const std::function<void()>& after_batch) {
  const std::int64_t count = batch_count(windows, batches);
  const std::uint64_t samples =
      std::min(windows.count(), static_cast<std::uint64_t>(count * batch_.rows()));
  double loss_sum = 0, tokens = 0;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(count * batch_.rows());) {
    for (std::int64_t row = 0; row < batch_.rows(); ++row, ++i) {
      if (i < samples) {
        SUANLI_RETURN_IF_ERROR(batch_.fill(row, windows, spread(i, windows.count(), samples)));
      } else {
        batch_.leave_out(row);
      }
    }
    executor_->begin_step();
    SUANLI_RETURN_IF_ERROR(executor_->forward(0, batch_.inputs()));
    if (after_batch) after_batch();
    SUANLI_ASSIGN_OR_RETURN(const double batch_sum, executor_->read_scalar("loss_sum"));
    SUANLI_ASSIGN_OR_RETURN(const double batch_tokens, executor_->read_scalar("tokens"));
    loss_sum += batch_sum;
    tokens += batch_tokens;
    if (is_stopped(stop)) return std::nullopt;
  }
  if (!std::isfinite(loss_sum))
    return fail(ErrorCode::not_finite, "the loss of the evaluation is " + format("%g", loss_sum),
                "loss_sum", "go back to an older checkpoint, or lower 'train.lr'");
  return Evaluation{loss_sum / tokens, Tokens(static_cast<std::int64_t>(tokens))};
}

}  // namespace suanli::train
