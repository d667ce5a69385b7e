#include "suanli/graph/op.h"

#include <algorithm>
#include <memory>

namespace suanli::graph {

#define SUANLI_OP_FILE(stem) void register_##stem(Registry& registry);
#include "op_files.inc"
#undef SUANLI_OP_FILE

void Registry::add(OpDef op) {
  SUANLI_CHECK(find(op.name) == nullptr);
  SUANLI_CHECK(op.infer != nullptr && op.flops != nullptr);
  SUANLI_CHECK(op.op_class == OpClass::source || op.reference != nullptr);
  order_.push_back(new OpDef(std::move(op)));
}

const OpDef* Registry::find(std::string_view name) const {
  const auto found = std::find_if(order_.begin(), order_.end(),
                                  [&](const OpDef* op) { return op->name == name; });
  return found == order_.end() ? nullptr : *found;
}

const Registry& ops() {
  // Never destroyed: graphs in static objects may outlive it.
  static const Registry& registry = *[] {
    auto all = std::make_unique<Registry>();
#define SUANLI_OP_FILE(stem) register_##stem(*all);
#include "op_files.inc"
#undef SUANLI_OP_FILE
    return all.release();
  }();
  return registry;
}

const OpDef& op(std::string_view name) {
  const OpDef* found = ops().find(name);
  SUANLI_CHECK(found != nullptr);
  return *found;
}

bool is_source(const Node& node) { return node.op->op_class == OpClass::source; }

}  // namespace suanli::graph
