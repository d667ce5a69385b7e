#include "suanli/cli/metrics_tail.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "suanli/base/error_name.h"
#include "suanli/base/text.h"
#include "suanli/train/metric_fields.h"

namespace suanli::cli {
namespace {

using nlohmann::json;
using train::amount_in;
using train::count_in;
using train::number_in;

constexpr std::size_t kMostAtOnce = std::size_t{4} << 20;

std::string text_in(const json& line, const char* key) {
  const auto found = line.is_object() ? line.find(key) : line.end();
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The line holds it in one text, at whose end stands the code.
Error warning_in(const json& line) {
  std::string text = text_in(line, "text");
  const std::string code = text_in(line, "code"), end = " [" + code + "]";
  if (text.ends_with(end)) text.resize(text.size() - end.size());
  return {error_code_named(code).value_or(ErrorCode::io), std::move(text), {}, {}};
}

engine::Arithmetic arithmetic_named(const std::string& name) {
  for (const engine::Arithmetic each : {engine::Arithmetic::bf16, engine::Arithmetic::exact})
    if (name == name_of(each)) return each;
  return engine::Arithmetic::f32;
}

}  // namespace

std::vector<json> MetricsTail::take() {
  std::ifstream in(path_, std::ios::binary);
  if (!in || !in.seekg(at_)) return {};
  std::string text(kMostAtOnce, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  std::vector<json> lines;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
    json line = json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin), text.begin() + static_cast<std::ptrdiff_t>(end),
                            nullptr, false);
    if (line.is_object()) lines.push_back(std::move(line));
  }
  // A line that is longer than all that is taken at once is no metric.
  if (begin == 0 && text.size() == kMostAtOnce) begin = text.size();
  at_ += static_cast<std::int64_t>(begin);
  return lines;
}

void MetricsReplay::tell(const json& line) {
  const std::string kind = text_in(line, "kind");
  const auto step = count_in(line, "step");
  if (!step) return;
  if (kind == "start") {
    info_.first_step = *step;
    info_.steps = count_in(line, "steps").value_or(0);
    info_.parameters = count_in(line, "parameters").value_or(0);
    info_.step_flops = Flops(amount_in(line, "step_flops").value_or(0));
    info_.step_tokens = Tokens(count_in(line, "step_tokens").value_or(0));
    info_.arithmetic = arithmetic_named(text_in(line, "dtype"));
    info_.threads = static_cast<int>(count_in(line, "threads").value_or(0));
    observer_.on_start(info_);
  } else if (kind == "step") {
    train::StepRecord record;
    record.step = *step;
    record.loss = number_in(line, "loss").value_or(NAN);
    record.grad_norm = number_in(line, "grad_norm").value_or(NAN);
    record.lr = number_in(line, "lr").value_or(0);
    record.tokens = Tokens(count_in(line, "tokens").value_or(0));
    record.tokens_per_second = amount_in(line, "tokens_per_s").value_or(0);
    record.mfu = number_in(line, "mfu");
    record.seconds = Seconds(amount_in(line, "seconds").value_or(0));
    record.flops_total = Flops(amount_in(line, "flops_total").value_or(0));
    pace_ = pace_.value() > 0 ? pace_ * 0.9 + record.seconds * 0.1 : record.seconds;
    record.eta = pace_ * static_cast<double>(std::max<std::int64_t>(info_.steps - *step, 0));
    observer_.on_step(record);
  } else if (kind == "eval") {
    train::EvalRecord record;
    record.step = *step;
    record.loss = number_in(line, "valid_loss").value_or(NAN);
    record.perplexity = number_in(line, "perplexity").value_or(NAN);
    record.bits_per_byte = amount_in(line, "bits_per_byte").value_or(0);
    record.tokens = Tokens(count_in(line, "tokens").value_or(0));
    observer_.on_eval(record);
  } else if (kind == "checkpoint") {
    observer_.on_checkpoint({*step});
  } else if (kind == "warning") {
    observer_.on_warning(warning_in(line));
  } else if (kind == "sample") {
    observer_.on_sample(*step, text_in(line, "text"));
  }
}

std::string metrics_text(const json& line) {
  const std::string kind = text_in(line, "kind");
  const auto step = count_in(line, "step");
  if (!step) return {};
  const std::string begin = "step " + std::to_string(*step);
  const auto figure = [&](const char* key, const char* pattern) {
    const auto value = number_in(line, key);
    return value ? format(pattern, *value) : std::string();
  };
  if (kind == "start")
    return "training begins after " + begin + " of " + std::to_string(count_in(line, "steps").value_or(0)) + ", on " +
           std::to_string(count_in(line, "threads").value_or(0)) + " threads";
  if (kind == "step")
    return begin + figure("loss", "  loss %.4f") + figure("grad_norm", "  gradient %.3f") + "  " +
           format_count(std::llround(amount_in(line, "tokens_per_s").value_or(0))) + " tok/s";
  if (kind == "eval") return begin + figure("valid_loss", "  validation loss %.4f") + figure("perplexity", "  perplexity %.2f");
  if (kind == "growth") return begin + "  " + printable(text_in(line, "reason"), 300);
  if (kind == "checkpoint") return begin + "  its state is saved";
  if (kind == "warning") return begin + "  warning: " + printable(text_in(line, "text"), 1'000);
  if (kind == "end") return begin + "  ended: " + printable(text_in(line, "outcome"), 300);
  return {};
}

}  // namespace suanli::cli
