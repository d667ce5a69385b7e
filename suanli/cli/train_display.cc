#include "suanli/cli/train_display.h"

#include <cmath>
#include <utility>

#include "suanli/base/text.h"
#include "suanli/cli/memory_text.h"

namespace suanli::cli {
namespace {

template <typename Number>
Json or_null(const std::optional<Number>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json positive_or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

}  // namespace

TrainDisplay::TrainDisplay(const Terminal& terminal, bool quiet)
    : terminal_(terminal), quiet_(quiet), progress_(terminal, write_stderr) {}

void TrainDisplay::on_start(const train::StartInfo& info) {
  info_ = info;
  if (quiet_) return;
  if (!std::exchange(has_grown_, false))
    progress_.note(info.first_step > 0 ? "resuming after step " + format_count(info.first_step) +
                                           " in " + info.run_folder
                                     : "training in " + info.run_folder);
  progress_.note("  " + format_count(info.parameters) + " parameters, " +
                 std::string(name_of(info.arithmetic)) + ", " + std::to_string(info.threads) +
                 " threads; a step is " + format_count(info.step_tokens.value()) + " tokens and " +
                 format_flops(info.step_flops) +
                 (info.memory > Bytes(0) ? "; plan " + format_bytes(info.memory) : "") + "; data " +
                 format_count(info.train_tokens.value()) + " + " +
                 format_count(info.valid_tokens.value()) + " tokens");
  if (const std::string again = recomputed_text(info.recompute); !again.empty())
    progress_.note("  recomputed in backward: " + again);
}

// Fits into 80 columns.
std::string step_text(const train::StepRecord& record, const train::StartInfo& info) {
  std::string text = "step " + std::to_string(record.step) + "/" + std::to_string(info.steps) +
                     format("  loss %.3f  ", record.loss) +
                     format_count(std::llround(record.tokens_per_second)) + " tok/s";
  if (record.mfu) text += format("  MFU %.0f %%", 100 * *record.mfu);
  return text + "  " + format_flops(record.flops_total) + "  ETA " + format_duration(record.eta);
}

void TrainDisplay::on_step(const train::StepRecord& record) {
  if (!quiet_) progress_.show([&] { return step_text(record, info_); });
}

void TrainDisplay::on_eval(const train::EvalRecord& record) {
  if (quiet_) return;
  const std::string bits =
      record.bits_per_byte > 0 ? format(", %.3f bits/byte", record.bits_per_byte) : "";
  progress_.note(format("step %s: validation loss %.4f (perplexity %.2f%s)",
                        format_count(record.step).c_str(), record.loss, record.perplexity,
                        bits.c_str()));
}

void TrainDisplay::on_growth(const train::GrowthRecord& record) {
  has_grown_ = true;
  if (!quiet_) progress_.note("step " + format_count(record.step) + ": " + record.reason);
}

void TrainDisplay::on_sample(std::int64_t step, std::string_view text) {
  if (quiet_) return;
  progress_.note("step " + format_count(step) +
                 " writes: " + paint(terminal_, Paint::faint, printable(text, 400)));
}

void TrainDisplay::on_warning(const Error& warning) {
  progress_.note(paint(terminal_, Paint::yellow, warning_text(warning)));
}

void TrainEvents::on_start(const train::StartInfo& info) {
  emit("train/start", {{"event", "start"},
                       {"run", info.run_folder},
                       {"step", info.first_step},
                       {"steps", info.steps},
                       {"parameters", info.parameters},
                       {"step_flops", info.step_flops.value()},
                       {"step_tokens", info.step_tokens.value()},
                       {"train_tokens", info.train_tokens.value()},
                       {"valid_tokens", info.valid_tokens.value()},
                       {"dtype", name_of(info.arithmetic)},
                       {"threads", info.threads},
                       {"memory_bytes", info.memory.value()},
                       {"recomputed", info.recompute.cheap},
                       {"recomputed_blocks", info.recompute.blocks},
                       {"peak_flops_per_s", positive_or_null(info.peak.value())},
                       {"mfu_base", name_of(info.mfu_base)}});
}

void TrainEvents::on_step(const train::StepRecord& record) {
  emit("train/step", {{"event", "step"},
                      {"step", record.step},
                      {"loss", record.loss},
                      {"grad_norm", record.grad_norm},
                      {"lr", record.lr},
                      {"tokens", record.tokens.value()},
                      {"tokens_per_s", record.tokens_per_second},
                      {"mfu", or_null(record.mfu)},
                      {"flops_total", record.flops_total.value()},
                      {"seconds", record.seconds.value()},
                      {"eta_seconds", record.eta.value()}});
}

void TrainEvents::on_eval(const train::EvalRecord& record) {
  emit("train/eval", {{"event", "eval"},
                      {"step", record.step},
                      {"valid_loss", record.loss},
                      {"perplexity", record.perplexity},
                      {"bits_per_byte", positive_or_null(record.bits_per_byte)},
                      {"tokens", record.tokens.value()}});
}

void TrainEvents::on_checkpoint(const train::CheckpointRecord& record) {
  emit("train/checkpoint", {{"event", "checkpoint"}, {"step", record.step}});
}

void TrainEvents::on_growth(const train::GrowthRecord& record) {
  emit("train/growth", {{"event", "growth"},
                        {"step", record.step},
                        {"reason", record.reason},
                        {"parameters_before", record.parameters_before},
                        {"parameters", record.parameters}});
}

void TrainEvents::on_sample(std::int64_t step, std::string_view text) {
  emit("train/sample", {{"event", "sample"}, {"step", step}, {"text", text}});
}

void TrainEvents::on_warning(const Error& warning) {
  write_stderr(warning_text(warning) + "\n");
  emit("train/warning", {{"event", "warning"},
                         {"code", name_of(warning.code)},
                         {"message", warning.message},
                         {"place", warning.place},
                         {"next_step", warning.next_step}});
}

void emit_end(const train::TrainReport& report, int exit_code, const std::string& svg) {
  Json seconds = Json::object();
  for (const meter::Cause cause : meter::kCauses)
    seconds[name_of(cause)] = report.usage.of(cause).value();
  emit("train/end", {{"event", "end"},
                     {"outcome", name_of(report.outcome)},
                     {"exit_code", exit_code},
                     {"run", report.run_folder},
                     {"step", report.step},
                     {"steps", report.steps},
                     {"loss", or_null(report.loss)},
                     {"valid_loss", or_null(report.valid_loss)},
                     {"best_valid_loss", or_null(report.best_valid_loss)},
                     {"flops", report.usage.work.total.value()},
                     {"tokens", report.usage.tokens.value()},
                     {"seconds", seconds},
                     {"session_steps", report.session_steps},
                     {"session_seconds", report.session_seconds.value()},
                     {"svg", svg.empty() ? Json(nullptr) : Json(svg)}});
}

}  // namespace suanli::cli
