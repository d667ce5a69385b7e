#include "suanli/train/growth.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/engine/cpu/exact/token_sum.h"
#include "suanli/engine/compile.h"
#include "suanli/graph/digest.h"
#include "suanli/model/gpt_growth.h"
#include "suanli/train/metrics.h"
#include "suanli/train/setup.h"

namespace suanli::train {
namespace {

tl::unexpected<Error> wrong(const char* key, const std::string& value, const std::string& what, std::string next_step) {
  return fail(ErrorCode::config, "'" + std::string(key) + "' is '" + printable(value) + "', " + what, key, std::move(next_step));
}

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; !text.empty() && at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 1) return {};
  return value;
}

model::GptConfig sized(model::GptConfig config, const GrowthPlan::Size& size) {
  config.heads = size.width % config.width == 0 ? config.heads * (size.width / config.width) : config.heads;
  config.layers = size.layers;
  config.width = size.width;
  return config;
}

// How many of the sizes the run has taken on.
std::size_t taken(const JobConfig& job, const GrowthPlan& plan) {
  const GrowthPlan::Size now{job.model.layers, job.model.width};
  return static_cast<std::size_t>(std::ranges::find(plan.to, now) - plan.to.begin() + 1) % (plan.to.size() + 1);
}

void set_model(JobConfig& job, const model::GptConfig& model) {
  job.model.layers = model.layers;
  job.model.heads = model.heads;
  job.model.width = model.width;
}

// f32 tensors alone: parameters and moments.
Result<graph::StateMap> as_reference(const checkpoint::Snapshot& snapshot, const std::string& place) {
  graph::StateMap state;
  for (const checkpoint::NamedTensor& tensor : snapshot.tensors) {
    if (tensor.name == engine::kExponents) continue;
    if (tensor.type.dtype != graph::DType::f32)
      return fail(ErrorCode::mismatch, "tensor '" + printable(tensor.name) + "' is " + tensor.type.to_string(), place,
                  "state that grows is f32");
    graph::RefTensor& values = state[tensor.name];
    values.type = tensor.type;
    const auto* data = reinterpret_cast<const float*>(tensor.bytes().data());
    values.data.assign(data, data + tensor.type.elements());
  }
  return state;
}

checkpoint::NamedTensor as_named(const std::string& name, const graph::RefTensor& tensor) {
  checkpoint::NamedTensor named{name, tensor.type, {}};
  std::vector<float> values(tensor.data.begin(), tensor.data.end());
  named.data.resize(values.size() * sizeof(float));
  std::memcpy(named.data.data(), values.data(), named.data.size());
  return named;
}

// In exact arithmetic the exponents of the new graph's sums are found anew.
Status add_exponents(const JobConfig& job, const graph::Graph& graph, checkpoint::Snapshot& snapshot) {
  SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, arithmetic_of(job));
  if (arithmetic != engine::Arithmetic::exact) return {};
  engine::Target target;
  target.arithmetic = arithmetic;
  SUANLI_ASSIGN_OR_RETURN(const engine::Program program, engine::compile(graph, target));
  const graph::TensorType& type = program.values[static_cast<std::size_t>(program.exponents)].type;
  const std::vector<std::int32_t> none(static_cast<std::size_t>(type.elements()), engine::exact::kNoExponent);
  checkpoint::NamedTensor named{std::string(engine::kExponents), type, {}};
  named.data.resize(none.size() * sizeof(std::int32_t));
  std::memcpy(named.data.data(), none.data(), named.data.size());
  snapshot.tensors.push_back(std::move(named));
  return {};
}

}  // namespace

Result<GrowthPlan> growth_plan_of(const JobConfig& job) {
  GrowthPlan plan;
  for (const std::string_view text : parts_of(job.grow.to)) {
    const std::size_t x = text.find('x');
    const auto layers = whole(text.substr(0, std::min(x, text.size())));
    const auto width = x == std::string_view::npos ? std::nullopt : whole(text.substr(x + 1));
    if (!layers || !width)
      return wrong("train.grow.to", job.grow.to, "but should be sizes such as \"4x192,8x384\"",
                   "write LAYERSxWIDTH, one after another, with commas between them");
    plan.to.push_back({*layers, *width});
  }
  for (const std::string_view text : parts_of(job.grow.at)) {
    const auto step = whole(text);
    if (!step || *step >= job.train.steps || (!plan.at.empty() && *step <= plan.at.back()))
      return wrong("train.grow.at", job.grow.at, "but should be rising steps below 'train.steps'",
                   "write for example \"400,900\"");
    plan.at.push_back(*step);
  }
  if (!plan.at.empty() && plan.at.size() != plan.to.size())
    return wrong("train.grow.at", job.grow.at,
                 "which are " + std::to_string(plan.at.size()) + " steps for " + std::to_string(plan.to.size()) + " sizes",
                 "name a step for each size of 'train.grow.to', or none");
  model::GptConfig now = model_of(job);
  if (now.vocab == 0) now.vocab = 1;
  for (std::size_t i = taken(job, plan); i < plan.to.size(); ++i) {
    const model::GptConfig next = sized(now, plan.to[i]);
    if (next.layers == now.layers && next.width == now.width)
      return wrong("train.grow.to", job.grow.to, "which names a size twice", "name each size once, the smaller first");
    if (Status status = model::check_growth(now, next); !status)
      return tl::unexpected(std::move(status).error().within("train.grow.to"));
    now = next;
  }
  return plan;
}

std::optional<model::GptConfig> next_size(const JobConfig& job, const GrowthPlan& plan) {
  const std::size_t index = taken(job, plan);
  if (index >= plan.to.size()) return std::nullopt;
  return sized(model_of(job), plan.to[index]);
}

GrowthClock::GrowthClock(const JobConfig& job) : window_(job.grow.window), gain_(job.grow.gain) {
  const auto plan = growth_plan_of(job);
  if (!plan || !next_size(job, *plan)) return;
  grows_ = true;
  if (!plan->at.empty()) at_ = plan->at[taken(job, *plan)];
}

void GrowthClock::note(std::int64_t step, double loss, GrowthState& state) const {
  if (!grows_ || at_) return;
  state.sum += loss;
  ++state.count;
  if (step % window_ != 0) return;
  const bool is_whole = state.count == window_;
  const double mean = state.sum / static_cast<double>(state.count);
  state.is_due = is_whole && state.before && mean > *state.before * (1 - gain_);
  state.before = is_whole ? std::optional(mean) : std::nullopt;
  state.sum = 0;
  state.count = 0;
}

bool GrowthClock::is_due(std::int64_t step, const GrowthState& state) const {
  return grows_ && (at_ ? step >= *at_ : state.is_due);
}

Result<GrowthRecord> grow_run(const std::string& run_folder) {
  SUANLI_ASSIGN_OR_RETURN(RunFolder folder, RunFolder::resume(run_folder));
  SUANLI_ASSIGN_OR_RETURN(const auto tier, checkpoint::LocalTier::open(run_folder, checkpoint::LocalTier::Access::owner));
  SUANLI_ASSIGN_OR_RETURN(checkpoint::LoadedSnapshot loaded, checkpoint::load_latest(*tier, {}));
  const std::string place = run_folder + ": snapshot of step " + std::to_string(loaded.snapshot.step);
  SUANLI_ASSIGN_OR_RETURN(SnapshotMeta meta, parse_meta(loaded.snapshot.meta_json, place));
  SUANLI_ASSIGN_OR_RETURN(JobConfig job, parse_job(meta.job, place));
  SUANLI_ASSIGN_OR_RETURN(const GrowthPlan plan, growth_plan_of(job));
  const auto next = next_size(job, plan);
  if (!next) return fail(ErrorCode::config, "the model is as large as 'train.grow.to' says", place, "add a size to it");
  const model::AdamWOptions optimizer = optimizer_of(job);
  SUANLI_ASSIGN_OR_RETURN(
      graph::GraphEdit edit, model::grow_gpt(model_of(job), *next, job.train.batch, job.train.micro_batches, optimizer));
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph before, training_graph(job));
  SUANLI_ASSIGN_OR_RETURN(graph::StateMap state, as_reference(loaded.snapshot, place));
  loaded.snapshot.tensors.clear();
  SUANLI_ASSIGN_OR_RETURN(const graph::StateMap grown, graph::apply(edit, before, state));
  state.clear();
  GrowthRecord result{loaded.snapshot.step, edit.reason, graph::parameter_count(before), graph::parameter_count(edit.after)};

  set_model(job, *next);
  Flops copied(0);
  for (const auto& [name, tensor] : grown) {
    copied += Flops(static_cast<double>(tensor.data.size()));  // each is scaled once
    loaded.snapshot.tensors.push_back(as_named(name, tensor));
  }
  SUANLI_RETURN_IF_ERROR(add_exponents(job, edit.after, loaded.snapshot));
  meta.usage.work.by_op["grow"] += copied;
  meta.usage.work.total += copied;
  meta.graph = graph::digest(edit.after);
  meta.job = print_job(job);
  meta.growth = GrowthState{.since = result.step};
  loaded.snapshot.meta_json = print_meta(meta);
  SUANLI_RETURN_IF_ERROR(tier->save(loaded.snapshot));
  SUANLI_RETURN_IF_ERROR(align_size(folder));
  return result;
}

Status align_size(RunFolder& folder) {
  JobConfig job = folder.description().job;
  if (job.grow.to.empty()) return {};
  const std::string& place = folder.paths().folder;
  SUANLI_ASSIGN_OR_RETURN(const auto tier, checkpoint::LocalTier::open(place, checkpoint::LocalTier::Access::owner));
  // All of it, so that a damaged one is passed over here as it will be when it is restored.
  auto loaded = checkpoint::load_latest(*tier, {});
  if (!loaded && loaded.error().code == ErrorCode::not_found) return {};
  if (!loaded) return tl::unexpected(std::move(loaded).error());
  const std::string from = place + ": snapshot of step " + std::to_string(loaded->snapshot.step);
  SUANLI_ASSIGN_OR_RETURN(const SnapshotMeta meta, parse_meta(loaded->snapshot.meta_json, from));
  SUANLI_ASSIGN_OR_RETURN(const JobConfig saved, parse_job(meta.job, place));
  RunInfo info = folder.description().info;
  if (saved.model == job.model && info.graph == meta.graph) return {};
  job.model = saved.model;
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, training_graph(job));
  info.graph = meta.graph;
  info.parameters = graph::parameter_count(graph);
  info.size_since = meta.growth.since;
  return folder.establish(job, info);
}

}  // namespace suanli::train
