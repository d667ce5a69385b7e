#include "suanli/train/initial_weights.h"

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/train/run_folder.h"

namespace suanli::train {
namespace {

constexpr const char* kSameModel = "name a run whose [model] is this job's, or leave 'train.init' empty";

Status unlike(std::string message, const std::string& place) {
  return fail(ErrorCode::mismatch, std::move(message), place, kSameModel);
}

}  // namespace

Status load_initial_weights(const JobConfig& job, const graph::Graph& graph, std::string_view tokenizer, engine::State& state) {
  if (job.train.init.empty()) return {};
  const std::string place = "train.init: " + job.train.init;
  auto run = describe_run(job.train.init);
  if (!run) return tl::unexpected(std::move(run).error().within("train.init"));
  if (run->info.tokenizer != tokenizer)
    return unlike("the run's tokenizer is '" + printable(run->info.tokenizer) + "' but this job's dataset has '" +
                      printable(tokenizer) + "'",
                  place);
  SUANLI_ASSIGN_OR_RETURN(const auto tier, checkpoint::LocalTier::open(job.train.init, checkpoint::LocalTier::Access::reader));
  std::set<std::string, std::less<>> parameters;
  for (const graph::NodeId id : graph.nodes_of("param")) parameters.insert(graph.node(id).name);
  auto loaded = checkpoint::load_latest(*tier, [&](std::string_view name) { return parameters.contains(name); });
  if (!loaded && loaded.error().code == ErrorCode::not_found)
    return fail(ErrorCode::not_found, "the run has no checkpoint yet", place, "train it first, or name another run");
  if (!loaded) return tl::unexpected(std::move(loaded).error().within("train.init"));
  for (const checkpoint::NamedTensor& tensor : loaded->snapshot.tensors) {
    const engine::State::Tensor& known = *state.find(tensor.name);
    if (known.type != tensor.type)
      return unlike("its '" + printable(tensor.name) + "' is " + tensor.type.to_string() + " but this job's is " +
                        known.type.to_string(),
                    place);
  }
  for (const std::string& name : parameters) {
    const auto has_name = [&](const checkpoint::NamedTensor& tensor) { return tensor.name == name; };
    if (std::ranges::none_of(loaded->snapshot.tensors, has_name)) return unlike("it has no parameter '" + name + "'", place);
  }
  for (const checkpoint::NamedTensor& tensor : loaded->snapshot.tensors)
    SUANLI_RETURN_IF_ERROR(state.write(tensor.name, tensor.bytes()));
  return {};
}

}  // namespace suanli::train
