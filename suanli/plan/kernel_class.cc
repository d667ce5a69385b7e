#include "suanli/plan/kernel_class.h"

#include <algorithm>
#include <array>

#include "suanli/graph/types.h"

namespace suanli::plan {
namespace {

using engine::RegionOp;
using graph::TensorType;

constexpr std::array<std::string_view, 3> kMatmuls = {"matmul forward", "matmul input gradient", "matmul weight gradient"};
constexpr std::array<std::string_view, 3> kEpilogues = {"", " map", " curve"};

bool is_curve(RegionOp op) {
  switch (op) {
    case RegionOp::exp:
    case RegionOp::log:
    case RegionOp::tanh:
    case RegionOp::gelu:
    case RegionOp::gelu_grad:
      return true;
    default:
      return false;
  }
}

std::string_view effort_of(const engine::Region* region) {
  if (region == nullptr || region->code.empty()) return kEpilogues[0];
  const bool curve = std::ranges::any_of(region->code, [](const auto& each) { return is_curve(each.op); });
  return kEpilogues[curve ? 2 : 1];
}

double size(std::int64_t count) { return static_cast<double>(std::max<std::int64_t>(count, 1)); }
double elements(const TensorType& type) { return size(type.elements()); }
double bytes(const TensorType& type) { return static_cast<double>(type.bytes().value()); }

double dimension(const TensorType& type, std::size_t from_last) {
  const std::size_t count = type.shape.size();
  return count > from_last ? size(type.shape[count - 1 - from_last]) : 1;
}

CallClass matmul_class(const engine::KernelCall& call) {
  const engine::KernelSpec& spec = call.spec;
  const bool ta = spec.attrs.integer("ta", 0) != 0, tb = spec.attrs.integer("tb", 0) != 0;
  const TensorType &a = spec.inputs.at(0), &b = spec.inputs.at(1);
  const double batch = elements(a) / dimension(a, 0) / dimension(a, 1);
  CallClass found;
  found.kind = std::string(kMatmuls[ta ? 2 : tb ? 1 : 0]) + std::string(effort_of(spec.region));
  found.sizes = {batch * dimension(a, ta ? 0 : 1), dimension(b, tb ? 1 : 0), dimension(a, ta ? 1 : 0)};
  return found;
}

CallClass attention_class(const engine::KernelCall& call) {
  const TensorType& qkv = call.spec.inputs.at(0);
  const double heads = size(call.spec.attrs.integer("heads", 1)), sequence = size(call.spec.attrs.integer("seq", 1));
  CallClass found;
  found.kind = call.spec.name;
  found.sizes = {std::max(1.0, dimension(qkv, 1) / sequence * heads), sequence, std::max(1.0, dimension(qkv, 0) / (3 * heads))};
  return found;
}

// Of the first tensor among inputs and outputs with the most elements.
const TensorType* largest(const engine::KernelSpec& spec) {
  const TensorType* found = nullptr;
  for (const auto* list : {&spec.inputs, &spec.outputs})
    for (const TensorType& type : *list)
      if (found == nullptr || type.elements() > found->elements()) found = &type;
  return found;
}

bool works_by_rows(std::string_view name) {
  return name.starts_with("layer_norm") || name.starts_with("softmax") || name == "log_sum_exp";
}

}  // namespace

CallClass classify(const engine::KernelCall& call) {
  const std::string& name = call.spec.name;
  CallClass found{.kind = name, .sizes = {}, .flops = call.flops, .bytes = call.bytes};
  const auto as = [&](CallClass other) {
    found.kind = std::move(other.kind);
    found.sizes = std::move(other.sizes);
    found.is_product = true;
    return found;
  };
  if (name == "matmul") return as(matmul_class(call));
  if (name.starts_with("attention")) return as(attention_class(call));
  if (name.starts_with("vocabulary_loss")) {
    const TensorType &x = call.spec.inputs.at(0), &w = call.spec.inputs.at(1);
    return as({.kind = name, .sizes = {dimension(x, 1), dimension(x, 0), dimension(w, 1)}});
  }
  if (name == "embedding" && !call.spec.outputs.empty()) found.bytes = 2 * bytes(call.spec.outputs[0]);
  if (name == "embedding_grad" && call.spec.inputs.size() > 2) {  // added to what earlier micro-batches gave, row by row
    found.kind += kEpilogues[1];
    found.bytes = 3 * bytes(call.spec.inputs[1]);
  }
  if (works_by_rows(name) || name == "region") found.kind += effort_of(call.spec.region);
  if (works_by_rows(name)) {
    if (const TensorType* rows = largest(call.spec)) found.sizes = {elements(*rows) / dimension(*rows, 0), dimension(*rows, 0)};
    return found;
  }
  found.sizes = {std::max(found.bytes, 1.0)};
  return found;
}

std::vector<std::string> related_kinds(std::string_view kind) {
  std::vector<std::string> kinds;
  const auto add = [&](const std::string& each) {
    if (each != kind && std::ranges::find(kinds, each) == kinds.end()) kinds.push_back(each);
  };
  const bool curve = kind.ends_with(kEpilogues[2]), map = kind.ends_with(kEpilogues[1]);
  const std::string base(kind.substr(0, kind.size() - (curve ? kEpilogues[2].size() : map ? kEpilogues[1].size() : 0)));
  for (const std::string_view each : kEpilogues) add(base + std::string(each));
  if (kind.starts_with("matmul") || kind.starts_with("vocabulary"))
    for (const std::string_view matmul : kMatmuls)
      for (const std::string_view each : kEpilogues) add(std::string(matmul) + std::string(each));
  if (!is_product_kind(kind)) add("region map"), add("adamw");
  return kinds;
}

bool is_product_kind(std::string_view kind) {
  return kind.starts_with("matmul") || kind.starts_with("attention") || kind.starts_with("vocabulary_loss");
}

}  // namespace suanli::plan
