#include "suanli/cli/plan_fit.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "suanli/base/text.h"
#include "suanli/cli/plan_report.h"
#include "suanli/model/gpt.h"
#include "suanli/train/setup.h"

namespace suanli::cli {
namespace {

constexpr std::size_t kWays = 3;
constexpr Bytes kCopiesOfState{3};  // the state itself and two snapshots

// A job with some keys changed, and how that is told.
struct Variant {
  SettledJob settled;
  std::vector<std::string> sets;
};
using Variants = std::vector<Variant>;

void set(Variant& variant, const std::string& key, std::int64_t& field, std::int64_t value) {
  field = value;
  std::erase_if(variant.sets, [&](const std::string& each) { return each.starts_with(key + "="); });
  variant.sets.push_back(key + "=" + std::to_string(value));
}

// The functions below list what a job could be changed into, the least change first.

// The same sequences of a step in smaller micro-batches.
Variants smaller_batches(const Variant& given) {
  Variants variants;
  const std::int64_t batch = given.settled.job.train.batch, micro_batches = given.settled.job.train.micro_batches;
  for (std::int64_t smaller = batch / 2; smaller >= 1; --smaller) {
    if (batch % smaller != 0) continue;
    Variant variant = given;
    set(variant, "train.batch", variant.settled.job.train.batch, smaller);
    set(variant, "train.micro_batches", variant.settled.job.train.micro_batches, micro_batches * (batch / smaller));
    variants.push_back(std::move(variant));
  }
  return variants;
}

Variants without_samples(const Variant& given) {
  if (given.settled.job.sample.every == 0) return {};
  Variant variant = given;
  set(variant, "sample.every", variant.settled.job.sample.every, 0);
  return {variant};
}

// Of the same tokens: half as long, twice as many.
Variants shorter_contexts(const Variant& given) {
  Variants variants;
  Variant variant = given;
  train::JobConfig& job = variant.settled.job;
  while (job.model.context > 1 && job.model.context % 2 == 0) {
    set(variant, "model.context", job.model.context, job.model.context / 2);
    set(variant, "train.micro_batches", job.train.micro_batches, job.train.micro_batches * 2);
    variants.push_back(variant);
  }
  return variants;
}

Variants fewer_layers(const Variant& given) {
  Variants variants;
  for (std::int64_t layers = given.settled.job.model.layers - 1; layers >= 1; --layers) {
    Variant variant = given;
    set(variant, "model.layers", variant.settled.job.model.layers, layers);
    variants.push_back(std::move(variant));
  }
  return variants;
}

// Fewer heads of the same width; then one that gets narrower.
Variants narrower(const Variant& given) {
  Variants variants;
  const auto& model = given.settled.job.model;
  const auto add = [&](std::int64_t heads, std::int64_t width) {
    Variant variant = given;
    if (heads != model.heads) set(variant, "model.heads", variant.settled.job.model.heads, heads);
    set(variant, "model.width", variant.settled.job.model.width, width);
    variants.push_back(std::move(variant));
  };
  const std::int64_t head = model.width / model.heads;
  for (std::int64_t heads = model.heads - 1; heads >= 1; --heads) add(heads, heads * head);
  for (std::int64_t width = head; width % 2 == 0 && width > 2; width /= 2) add(1, width / 2);
  return variants;
}

class Search {
 public:
  explicit Search(const FitQuestion& question) : question_(question) {}

  Result<std::vector<WayToFit>> run() {
    SUANLI_ASSIGN_OR_RETURN(const CompiledJob own, compile_job(question_.settled, question_.limit));
    SUANLI_ASSIGN_OR_RETURN(own_seconds_per_token_, seconds_per_token(own));
    const Variant as_it_is{question_.settled, {}};
    const Variants smaller = smaller_batches(as_it_is);
    // Where no batch helps, a smaller model beside the smallest batch.
    const Variant single = smaller.empty() ? as_it_is : smaller.back();
    SUANLI_RETURN_IF_ERROR(try_kind("smaller micro-batches, more of them", false, smaller));
    SUANLI_RETURN_IF_ERROR(try_kind("bf16 instead of f32", false, other_arithmetic(as_it_is)));
    SUANLI_RETURN_IF_ERROR(try_kind("no samples on the way", false, without_samples(as_it_is)));
    add_device(own);
    SUANLI_RETURN_IF_ERROR(try_kind("a shorter context", true, shorter_contexts(as_it_is)));
    SUANLI_RETURN_IF_ERROR(try_kind("fewer layers", true, fewer_layers(as_it_is)));
    SUANLI_RETURN_IF_ERROR(try_kind("a narrower model", true, narrower(as_it_is)));
    if (ways_.size() < kWays && !single.sets.empty()) {
      SUANLI_RETURN_IF_ERROR(try_kind("fewer layers and single sequences", true, fewer_layers(single)));
      SUANLI_RETURN_IF_ERROR(try_kind("a narrower model and single sequences", true, narrower(single)));
    }
    if (ways_.size() < kWays && question_.settled.job.model.layers > 1) {
      Variant shallow = as_it_is;
      set(shallow, "model.layers", shallow.settled.job.model.layers, shallow.settled.job.model.layers / 2);
      SUANLI_RETURN_IF_ERROR(try_kind("half the layers, narrower", true, narrower(shallow)));
    }
    // Of those that train another model the largest model first.
    std::ranges::stable_sort(ways_, [](const WayToFit& a, const WayToFit& b) {
      if (a.changes_model != b.changes_model) return b.changes_model;
      return a.changes_model ? a.parameters > b.parameters : a.time_ratio < b.time_ratio;
    });
    if (ways_.size() > kWays) ways_.resize(kWays);
    return std::move(ways_);
  }

 private:
  Variants other_arithmetic(Variant variant) const {
    const bool is_bf16_there = usual_arithmetic(question_.target) == engine::Arithmetic::bf16;
    if (variant.settled.job.train.dtype != "f32" || !is_bf16_there) return {};
    variant.settled.job.train.dtype = "bf16";
    variant.sets.push_back("train.dtype=bf16");
    return {variant};
  }

  // The least change that fits becomes a way: by bisection, since more change needs less memory.
  Status try_kind(const std::string& what, bool changes_model, const Variants& variants) {
    std::optional<CompiledJob> best;
    std::size_t best_at = 0, begin = 0, end = variants.size();
    while (begin < end) {
      const std::size_t middle = begin + (end - begin) / 2;
      SUANLI_ASSIGN_OR_RETURN(std::optional<CompiledJob> fitting, compiled_if_it_fits(variants[middle].settled));
      if (fitting) {
        best = std::move(fitting);
        best_at = end = middle;
      } else {
        begin = middle + 1;
      }
    }
    if (!best) return {};
    const std::int64_t parameters = graph::parameter_count(best->graph);
    // A second change beside that keeps no more of the model is none that is worth it.
    for (const WayToFit& way : ways_)
      if (changes_model && way.changes_model && way.parameters == parameters) return {};
    SUANLI_ASSIGN_OR_RETURN(const double seconds, seconds_per_token(*best));
    ways_.push_back({what, variants[best_at].sets, "", best->plan.total(), seconds / own_seconds_per_token_, changes_model,
                     parameters});
    return {};
  }

  // What a job file would refuse: counts beyond their range.
  static bool is_allowed(const train::JobConfig& job) {
    return train::parse_job(train::print_job(job), "variant").has_value() && train::check_job(job, "variant").has_value();
  }

  Result<std::optional<CompiledJob>> compiled_if_it_fits(const SettledJob& settled) const {
    if (!is_allowed(settled.job)) return std::nullopt;
    const model::GptConfig model = train::model_of(settled.job);
    // State alone may be too much already: parameters and two moments, and two copies of them.
    constexpr std::int64_t kBytesOfState = 12;
    if (question_.limit > Bytes(0) && Bytes(model.parameters() * kBytesOfState) * kCopiesOfState.value() > question_.limit)
      return std::nullopt;
    SUANLI_ASSIGN_OR_RETURN(CompiledJob compiled, compile_job(settled, question_.limit));
    if (!compiled.fits(question_.limit)) return std::nullopt;
    return std::optional(std::move(compiled));
  }

  static std::int64_t tokens_of_step(const train::JobConfig& job) {
    return job.train.batch * job.train.micro_batches * job.model.context;
  }

  Result<double> seconds_per_token(const CompiledJob& compiled) const {
    SUANLI_ASSIGN_OR_RETURN(const plan::FleetHost host, host_of(question_.target, {question_.member}, compiled.programs()));
    return host.host.compute.expected / static_cast<double>(tokens_of_step(compiled.settled.job));
  }

  // Of a job for one accelerator, another on which it fits as it is: of the same family if there is one, then the smallest.
  void add_device(const CompiledJob& own) {
    if (!question_.member.device || question_.settled.job.run.memory_limit > 0) return;
    const std::string& name = question_.member.device->name;
    const std::string family = name.substr(0, name.find('-'));
    std::vector<plan::Accelerator> larger;
    for (const plan::Accelerator& each : question_.target.devices.all())
      if (each.memory && each.memory->value >= own.plan.total()) larger.push_back(each);
    std::ranges::stable_sort(larger, [&](const plan::Accelerator& a, const plan::Accelerator& b) {
      const auto rank = [&](const plan::Accelerator& device) {
        return std::pair(!device.name.starts_with(family), device.memory->value);
      };
      return rank(a) < rank(b);
    });
    const double tokens = static_cast<double>(tokens_of_step(own.settled.job));
    for (const plan::Accelerator& each : larger) {
      const auto host = plan::device_host(each, own.programs(), std::nullopt);
      if (!host) continue;
      ways_.push_back({"a device with more memory", {}, each.name, own.plan.total(),
                       host->compute.expected / tokens / own_seconds_per_token_, false, graph::parameter_count(own.graph)});
      return;
    }
  }

  const FitQuestion& question_;
  double own_seconds_per_token_ = 1;
  std::vector<WayToFit> ways_;
};

std::string time_text(double ratio) {
  const double percent = 100 * (ratio - 1);
  if (std::abs(percent) < 0.5) return "no longer";
  return percent > 0 ? format("%.0f %% longer", percent) : format("%.0f %% shorter", -percent);
}

}  // namespace

Result<std::vector<WayToFit>> ways_to_fit(const FitQuestion& question) { return Search(question).run(); }

std::string text_of(const WayToFit& way) {
  std::string text = way.on.empty() ? "" : "--on '" + way.on + "'";
  for (const std::string& each : way.sets) text += (text.empty() ? "--set " : " --set ") + each;
  return text + " (" + way.what + ": " + format_bytes(way.memory) + ", " + time_text(way.time_ratio) + " for the same tokens" +
         (way.changes_model ? ", another model of " + value_text(static_cast<double>(way.parameters), "1") + " parameters" : "") +
         ")";
}

Error does_not_fit(const CompiledJob& compiled, const train::MemoryLimit& limit, const std::vector<WayToFit>& ways) {
  const Bytes need = compiled.plan.total();
  std::string next_step;
  for (std::size_t i = 0; i < ways.size(); ++i)
    next_step += (i == 0 ? "fastest first, the same model before smaller ones: " : "; or ") + text_of(ways[i]);
  if (ways.empty()) next_step = "raise the limit: no smaller variant of this job fits";
  return {ErrorCode::no_memory,
          "the job needs " + format_bytes(need) + " even with everything recomputed that can be, but " + limit.source +
              format_bytes(limit.bytes) + ": " + format_bytes(need - limit.bytes) + " too much",
          "memory", next_step};
}

}  // namespace suanli::cli
