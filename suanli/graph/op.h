// An op is defined once, in one file of graph/ops/: names, shape rule, cost, gradient, reference kernel, where it may be
// cut, and cases for the op table test. To add an op, add graph/ops/STEM.cc with
//
//   void register_STEM(Registry& registry) { registry.add({.name = "...", ...}); }
//
// and, for the engine, its kernel (engine/cpu). The table test then checks every case against the reference on every
// device, and the gradient against central differences in float64.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/attrs.h"
#include "suanli/graph/graph.h"
#include "suanli/graph/types.h"

namespace suanli::graph {

class Builder;

// A tensor of the reference: every element as float64, integers exactly.
struct RefTensor {
  TensorType type;
  std::vector<double> data;
};

using InputTypes = std::span<const TensorType>;

struct ReferenceCall {
  std::span<const RefTensor* const> inputs;
  const Attrs& attrs;
  RefTensor& out;  // type set, data sized; to be filled
};

struct GradientCall {
  Builder& b;                         // adds backward nodes in the block of `node`
  NodeId node;                        // the node being differentiated (its value may be read)
  std::vector<NodeId> inputs;         // its inputs
  std::vector<TensorType> types;      // their types
  TensorType type;                    // its own type
  const Attrs& attrs;
  NodeId dy;                          // gradient of the loss with respect to the node
  const std::vector<bool>& wanted;    // per input: is its gradient needed?
};

enum class AttrKind { integer, real, list, word };
struct AttrSpec {
  std::string_view name;
  AttrKind kind;
  bool required = true;
};

// May a value of this op travel between stages of a pipeline?
enum class CutRule {
  crosses,  // an activation or its gradient
  stays,    // sources, integer data, per-stage helpers
};

// How the engine may treat the op.
enum class OpClass {
  source,       // no inputs; value comes from outside
  elementwise,  // out[i] depends on inputs at i (second input broadcast): may be fused into a region
  view,         // same bytes, other shape
  other,
};

// One input of a table case: values uniform in [low, high), integers floored.
struct CaseInput {
  TensorType type;
  double low = -2;
  double high = 2;
};
struct OpCase {
  std::vector<CaseInput> inputs;
  Attrs attrs = {};
  double tolerance = 1e-5;        // of a f32 kernel against the reference, relative to max(1, |reference|)
  bool check_gradient = true;
};

struct OpDef {
  std::string_view name;
  std::string_view summary;  // one line, with the formula
  int inputs = 0;            // exact number of inputs
  std::vector<AttrSpec> attrs = {};
  OpClass op_class = OpClass::other;
  CutRule cut = CutRule::crosses;
  // The output's type, or what is wrong with the inputs.
  Result<TensorType> (*infer)(InputTypes, const Attrs&) = nullptr;
  // Multiplications and additions (and one per transcendental) of one execution.
  double (*flops)(InputTypes, const Attrs&, const TensorType& out) = nullptr;
  // Least bytes moved; null: all inputs read once and the output written once.
  double (*bytes)(InputTypes, const Attrs&, const TensorType& out) = nullptr;
  // Gradients with respect to each input, kNoNode where none flows. Null: the op stops gradients.
  std::vector<NodeId> (*gradient)(const GradientCall&) = nullptr;
  void (*reference)(const ReferenceCall&) = nullptr;
  // For fused ops: the same value from simpler ops. A test holds both equal.
  NodeId (*decompose)(Builder&, std::span<const NodeId> inputs, const Attrs&) = nullptr;
  // Cases for the table; sources have none.
  std::vector<OpCase> (*cases)() = nullptr;
};

class Registry {
 public:
  // The name must be new and infer, flops, reference must be set (reference may be null for sources).
  void add(OpDef op);
  const OpDef* find(std::string_view name) const;
  const std::vector<const OpDef*>& all() const { return order_; }

 private:
  std::vector<const OpDef*> order_;  // owned for the life of the process
};

// All ops, built on first use. Any thread.
const Registry& ops();
// The op of this name, which must exist.
const OpDef& op(std::string_view name);

bool is_source(const Node& node);

}  // namespace suanli::graph
