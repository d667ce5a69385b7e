#include "suanli/pool/state_layout.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "suanli/graph/op.h"
#include "suanli/pool/local_training.h"
#include "suanli/train/codecs.h"
#include "suanli/train/snapshots.h"

namespace suanli::pool {
namespace {

constexpr std::size_t kExponentBytes = sizeof(std::int32_t);
constexpr std::string_view kReplica = "replica/";

std::string prefix() { return std::string(engine::kExponents) + "/"; }

// "replica/R/NAME" without what stands before NAME, and that; others as they are.
struct Split {
  std::string_view replica, name;
};
Split split(std::string_view name) {
  const std::size_t slash = name.starts_with(kReplica) ? name.find('/', kReplica.size()) : std::string_view::npos;
  if (slash == std::string_view::npos) return {"", name};
  return {name.substr(0, slash + 1), name.substr(slash + 1)};
}

// The tensor in the state of one machine that a stage's exponents are a part of.
std::string table_of(std::string_view name) { return std::string(split(name).replica) + std::string(engine::kExponents); }

}  // namespace

std::string replica_name(std::size_t rank, std::string_view name) {
  return std::string(kReplica) + std::to_string(rank) + "/" + std::string(name);
}

bool is_of_replicas(std::string_view name) { return train::is_of_replicas(name); }
bool is_of_one_replica(std::string_view name) { return name.starts_with(kReplica); }

std::string lane_tensor(const std::string& name, std::size_t rank, const graph::Graph& stage) {
  if (const std::string own = replica_name(rank, ""); name.starts_with(own)) return name.substr(own.size());
  const graph::NodeId source = stage.find(name);
  return source != graph::kNoNode && stage.node(source).op->name == "param" ? "outer.global/" + name : name;
}

ReplicaState replica_state(const train::JobConfig& job, const route::Placement& placement) {
  ReplicaState state;
  for (const auto& replicas : placement.stages) state.replicas.push_back(replicas.size());
  if (job.local.inner_steps > 0) {
    state.local = train::local_steps_of(job);
  } else if (job.codec.weights != "none") {
    state.weights = WeightCodec{.codec = train::codecs_of(job).weights};
  }
  return state;
}

std::vector<graph::NodeId> live_sums(const graph::Graph& graph) {
  const std::vector<bool> live = graph.live();
  std::vector<graph::NodeId> sums = graph.nodes_of("micro_sum");
  std::erase_if(sums, [&](graph::NodeId id) { return !live[static_cast<std::size_t>(id)]; });
  return sums;
}

Result<StateLayout> StateLayout::create(const graph::Graph& graph, const graph::Cut& cut, bool is_exact,
                                        const ReplicaState& replicas) {
  SUANLI_ASSIGN_OR_RETURN(const std::vector<graph::StageNodes> stages, graph::stages(graph, cut));
  const std::vector<graph::NodeId> sums = live_sums(graph);
  StateLayout layout;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const graph::StageNodes& stage = stages[s];
    std::vector<std::string> owned, held;
    for (const graph::NodeId id : stage.sources) {
      const graph::Node& node = graph.node(id);
      if (node.op->name != "param" && node.op->name != "state") continue;
      held.push_back(node.name);
      const bool is_own =
          node.block == graph::kWholeJob ? s == 0 : node.block >= stage.first_block && node.block <= stage.last_block;
      if (is_own) owned.push_back(node.name);
    }
    std::vector<std::size_t> places;
    if (is_exact) {
      for (std::size_t i = 0; i < sums.size(); ++i)
        if (std::ranges::binary_search(stage.nodes, sums[i])) places.push_back(i);
      held.push_back(exponents_name(s));
      owned.push_back(exponents_name(s));
    }
    const std::size_t ranks = s < replicas.replicas.size() ? replicas.replicas[s] : 1;
    layout.owned_.emplace_back(ranks, owned);
    layout.held_.emplace_back(ranks, held);
    layout.sums_.push_back(std::move(places));
  }
  if (replicas.weights) layout.add_errors(graph, stages, replicas);
  layout.has_lanes_ = replicas.local.has_value();
  if (replicas.local) layout.add_lanes(graph, replicas, is_exact ? sums.size() : 0);
  return layout;
}

void StateLayout::add_errors(const graph::Graph& graph, const std::vector<graph::StageNodes>& stages,
                             const ReplicaState& replicas) {
  if (!replicas.weights->codec.has_buffer()) return;
  for (const PackedSum& sum : packed_sums(graph, *replicas.weights))
    for (std::size_t s = 0; s < stages.size(); ++s) {
      if (owned_[s].size() == 1 || !std::ranges::binary_search(stages[s].nodes, sum.sum)) continue;
      for (std::size_t rank = 0; rank < owned_[s].size(); ++rank) {
        const std::string name = error_name(rank, sum.name);
        owned_[s][rank].push_back(name);
        held_[s][rank].push_back(name);
        extras_[name] = {sum.type, "", {}};
      }
    }
}

void StateLayout::add_lanes(const graph::Graph& graph, const ReplicaState& replicas, std::size_t sums) {
  // The lane's own tensor `name`, which the state of one machine has, if `plain`, for lane 0.
  const auto own = [&](std::size_t rank, const std::string& name, const graph::TensorType& type, bool plain) {
    if (plain && rank == 0) return name;
    extras_[replica_name(rank, name)] = {type, name, {}};
    return replica_name(rank, name);
  };
  for (auto* all : {&owned_, &held_})
    for (auto& stage : *all)
      for (std::size_t rank = 0; rank < stage.size(); ++rank) {
        const OuterTensor begun = outer_begun();
        std::vector<std::string> names = {begun.name};
        extras_[begun.name] = {begun.type, "", begun.begins};
        for (const std::string& name : stage[rank]) {
          if (exponents_of(name) != nullptr) {
            // The whole table beside that of one machine, a part of it to travel.
            if (rank > 0) own(rank, std::string(engine::kExponents), graph::i32({static_cast<std::int64_t>(sums)}), false);
            names.push_back(rank == 0 ? name : replica_name(rank, name));
            continue;
          }
          const graph::Node& node = graph.node(graph.find(name));
          const bool is_param = node.op->name == "param";
          names.push_back(own(rank, name, node.type, !is_param));
          if (!is_param) continue;
          names.push_back(name);
          for (const OuterTensor& tensor : outer_tensors({name, node.type}, *replicas.local)) {
            if (tensor.name == "outer.global/" + name) continue;
            names.push_back(tensor.is_shared ? tensor.name : replica_name(rank, tensor.name));
            extras_[names.back()] = {tensor.type, "", tensor.begins};
          }
        }
        stage[rank] = std::move(names);
      }
}

Result<std::vector<std::string>> StateLayout::fit(engine::State& whole) const {
  std::vector<std::string> gone, begun;
  for (const engine::State::Tensor& tensor : whole.tensors()) {
    const auto extra = extras_.find(tensor.name);
    if (is_of_replicas(tensor.name) && (extra == extras_.end() || extra->second.type != tensor.type)) gone.push_back(tensor.name);
  }
  for (const std::string& name : gone) whole.remove(name);
  for (const auto& [name, extra] : extras_) {
    if (whole.find(name) != nullptr) continue;
    std::vector<std::byte> bytes = extra.begins;
    bytes.resize(static_cast<std::size_t>(extra.type.bytes().value()));
    if (whole.find(extra.begins_as) != nullptr) SUANLI_RETURN_IF_ERROR(whole.read(extra.begins_as, bytes));
    SUANLI_RETURN_IF_ERROR(whole.add(name, extra.type, bytes));
    begun.push_back(name);
  }
  return begun;
}

std::vector<std::size_t> StateLayout::whole_lanes(const std::set<std::string>& names) const {
  std::vector<std::size_t> whole;
  for (std::size_t rank = 0; has_lanes_ && rank < owned_.front().size(); ++rank)
    if (std::ranges::all_of(owned_, [&](const auto& stage) {
          return std::ranges::all_of(stage.at(rank), [&](const std::string& name) { return names.contains(name); });
        }))
      whole.push_back(rank);
  return whole;
}

std::string StateLayout::lane_name(const std::string& name, std::size_t from, std::size_t to) const {
  const std::string own = replica_name(from, "");
  if (from == to || !name.starts_with(own)) return name;
  const std::string rest = name.substr(own.size());
  const bool is_plain = to == 0 && !extras_.contains(replica_name(0, rest));
  return is_plain ? rest : replica_name(to, rest);
}

std::vector<std::string> StateLayout::names_of_lanes_from(std::size_t first) const {
  std::vector<std::string> names;
  for (std::size_t rank = first; has_lanes_ && rank < owned_.front().size(); ++rank)
    for (const auto& [name, extra] : extras_)
      if (name.starts_with(replica_name(rank, ""))) names.push_back(name);
  return names;
}

std::string exponents_name(std::size_t stage) { return prefix() + std::to_string(stage); }

const std::vector<std::size_t>* StateLayout::exponents_of(std::string_view name) const {
  name = split(name).name;
  if (!name.starts_with(prefix())) return nullptr;
  name.remove_prefix(prefix().size());
  std::size_t stage = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), stage);
  if (error != std::errc() || end != name.data() + name.size() || stage >= sums_.size()) return nullptr;
  return &sums_[stage];
}

Result<Bytes> StateLayout::size_of(std::string_view name, engine::State& whole) const {
  if (const std::vector<std::size_t>* places = exponents_of(name))
    return Bytes(static_cast<std::int64_t>(places->size() * kExponentBytes));
  engine::State::Tensor* tensor = whole.find(name);
  if (tensor == nullptr) return fail(ErrorCode::mismatch, "the job's state has no tensor of this name", std::string(name));
  return tensor->type.bytes();
}

Status StateLayout::write(std::string_view name, std::span<const std::byte> bytes, engine::State& whole) const {
  const std::vector<std::size_t>* places = exponents_of(name);
  if (places == nullptr) return whole.write(name, bytes);
  if (bytes.size() != places->size() * kExponentBytes)
    return fail(ErrorCode::mismatch,
                std::to_string(bytes.size()) + " bytes do not make " + std::to_string(places->size()) + " exponents",
                std::string(name));
  engine::State::Tensor* table = whole.find(table_of(name));
  if (table == nullptr) return fail(ErrorCode::mismatch, "the job's state has no tensor of this name", std::string(name));
  std::vector<std::byte> all(static_cast<std::size_t>(table->type.bytes().value()));
  SUANLI_RETURN_IF_ERROR(whole.read(table->name, all));
  for (std::size_t i = 0; i < places->size(); ++i)
    std::memcpy(all.data() + (*places)[i] * kExponentBytes, bytes.data() + i * kExponentBytes, kExponentBytes);
  return whole.write(table->name, all);
}

Result<std::vector<std::byte>> StateLayout::read(std::string_view name, engine::State& whole) const {
  const std::vector<std::size_t>* places = exponents_of(name);
  const std::string own = places == nullptr ? std::string(name) : table_of(name);
  engine::State::Tensor* tensor = whole.find(own);
  if (tensor == nullptr) return fail(ErrorCode::mismatch, "the job's state has no tensor of this name", std::string(name));
  std::vector<std::byte> all(static_cast<std::size_t>(tensor->type.bytes().value()));
  SUANLI_RETURN_IF_ERROR(whole.read(own, all));
  if (places == nullptr) return all;
  std::vector<std::byte> part(places->size() * kExponentBytes);
  for (std::size_t i = 0; i < places->size(); ++i)
    std::memcpy(part.data() + i * kExponentBytes, all.data() + (*places)[i] * kExponentBytes, kExponentBytes);
  return part;
}

}  // namespace suanli::pool
