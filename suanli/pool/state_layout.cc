#include "suanli/pool/state_layout.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "suanli/graph/op.h"

namespace suanli::pool {
namespace {

constexpr std::size_t kExponentBytes = sizeof(std::int32_t);

std::string prefix() { return std::string(engine::kExponents) + "/"; }

}  // namespace

std::vector<graph::NodeId> live_sums(const graph::Graph& graph) {
  const std::vector<bool> live = graph.live();
  std::vector<graph::NodeId> sums = graph.nodes_of("micro_sum");
  std::erase_if(sums, [&](graph::NodeId id) { return !live[static_cast<std::size_t>(id)]; });
  return sums;
}

Result<StateLayout> StateLayout::create(const graph::Graph& graph, const graph::Cut& cut, bool is_exact) {
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
    layout.owned_.push_back(std::move(owned));
    layout.held_.push_back(std::move(held));
    layout.sums_.push_back(std::move(places));
  }
  return layout;
}

std::string exponents_name(std::size_t stage) { return prefix() + std::to_string(stage); }

const std::vector<std::size_t>* StateLayout::exponents_of(std::string_view name) const {
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
  engine::State::Tensor* table = whole.find(engine::kExponents);
  SUANLI_CHECK(table != nullptr);
  std::vector<std::byte> all(static_cast<std::size_t>(table->type.bytes().value()));
  SUANLI_RETURN_IF_ERROR(whole.read(engine::kExponents, all));
  for (std::size_t i = 0; i < places->size(); ++i)
    std::memcpy(all.data() + (*places)[i] * kExponentBytes, bytes.data() + i * kExponentBytes, kExponentBytes);
  return whole.write(engine::kExponents, all);
}

Result<std::vector<std::byte>> StateLayout::read(std::string_view name, engine::State& whole) const {
  const std::vector<std::size_t>* places = exponents_of(name);
  const std::string own(places == nullptr ? name : engine::kExponents);
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
