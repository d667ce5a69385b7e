#include "suanli/graph/edit.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "suanli/base/philox.h"
#include "suanli/base/sha256.h"
#include "suanli/base/text.h"
#include "suanli/graph/interpreter.h"

namespace suanli::graph {
namespace {

using Kind = StateRule::Kind;

bool is_state(const Node& node) { return node.op->name == "param" || node.op->name == "state"; }

std::vector<std::string> state_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes())
    if (is_state(node)) names.push_back(node.name);
  return names;
}

// The param or state of this name, or null.
const Node* find_state(const Graph& graph, const std::string& name) {
  const NodeId id = graph.find(name);
  return id != kNoNode && is_state(graph.node(id)) ? &graph.node(id) : nullptr;
}

const std::string& source_of(const StateRule& rule) {
  return rule.from.empty() ? rule.to : rule.from;
}

double rounded(double value, DType dtype) {
  if (dtype == DType::f32) return static_cast<double>(static_cast<float>(value));
  return dtype == DType::bf16 ? round_to_bf16(value) : value;
}

bool holds(DType dtype, double value) {
  if (!std::isfinite(value)) return false;
  if (is_float(dtype)) return true;
  const double end = dtype == DType::u8 ? 256.0 : std::ldexp(1.0, dtype == DType::i32 ? 31 : 63);
  return value == std::trunc(value) && value < end && value >= (dtype == DType::u8 ? 0.0 : -end);
}

// Checks one rule against both graphs.
class RuleCheck {
 public:
  RuleCheck(const StateRule& rule, const Graph& before, const Node& to)
      : rule_(rule), before_(before), to_(to) {}

  Status run() const {
    if (rule_.kind != Kind::blend && !rule_.pieces.empty())
      return wrong("it has pieces, which only a blend may have");
    if (rule_.kind != Kind::keep && !rule_.from.empty())
      return wrong("it has from = '" + printable(rule_.from) + "', which only a keep may have");
    switch (rule_.kind) {
      case Kind::keep:
        return check_keep();
      case Kind::fill:
        return check_fill();
      case Kind::init:
        return check_init();
      case Kind::blend:
        break;
    }
    SUANLI_RETURN_IF_ERROR(check_fill());
    for (std::size_t i = 0; i < rule_.pieces.size(); ++i)
      SUANLI_RETURN_IF_ERROR(check_piece(rule_.pieces[i], "piece " + std::to_string(i) + ": "));
    return {};
  }

 private:
  tl::unexpected<Error> wrong(std::string message, std::string next_step = {}) const {
    return fail(ErrorCode::graph, std::move(message), "rule for " + rule_.to, std::move(next_step));
  }

  Status missing(const std::string& name, const std::string& prefix) const {
    return wrong(prefix + "the graph before the edit has no param or state '" + printable(name) +
                 "'" + did_you_mean(name, state_names(before_)));
  }

  Status check_keep() const {
    const Node* from = find_state(before_, source_of(rule_));
    if (from == nullptr) return missing(source_of(rule_), "");
    if (from->type != to_.type)
      return wrong("'" + from->name + "' is " + from->type.to_string() + ", but " +
                       to_.type.to_string() + " is needed",
                   "use a blend to change the shape");
    return {};
  }

  Status check_fill() const {
    if (!holds(to_.type.dtype, rule_.fill))
      return wrong(format("fill = %g is not a value of ", rule_.fill) + to_.type.to_string());
    return {};
  }

  Status check_init() const {
    const std::string* word = to_.attrs.find_word("init");
    if (word == nullptr || (*word != "zeros" && *word != "ones" && *word != "normal"))
      return wrong("init '" + (word ? printable(*word) : std::string()) +
                   "' is not zeros, ones or normal");
    return {};
  }

  Status check_piece(const Piece& piece, const std::string& prefix) const {
    const Node* from = find_state(before_, piece.from);
    if (from == nullptr) return missing(piece.from, prefix);
    if (from->type.dtype != to_.type.dtype)
      return wrong(prefix + "'" + from->name + "' is " + from->type.to_string() + ", but " +
                   to_.type.to_string() + " has another element type");
    if (!std::isfinite(piece.scale) || (!is_float(to_.type.dtype) && piece.scale != 1))
      return wrong(prefix + format("scale = %g is not allowed for ", piece.scale) +
                   to_.type.to_string());
    SUANLI_RETURN_IF_ERROR(
        check_box(piece.from_offset, piece.extent, *from, prefix + "from_offset"));
    return check_box(piece.to_offset, piece.extent, to_, prefix + "to_offset");
  }

  Status check_box(const Shape& offset, const Shape& extent, const Node& tensor,
                   const std::string& what) const {
    const Shape& shape = tensor.type.shape;
    const std::string box =
        what + " [" + to_string(offset) + "] with extent [" + to_string(extent) + "]";
    const std::string in = " '" + tensor.name + "' " + tensor.type.to_string();
    if (offset.size() != shape.size() || extent.size() != shape.size())
      return wrong(box + " has not the rank of" + in);
    for (std::size_t d = 0; d < shape.size(); ++d)
      if (offset[d] < 0 || extent[d] < 1 || extent[d] > shape[d] ||
          offset[d] > shape[d] - extent[d])
        return wrong(box + " does not lie inside" + in + " in dimension " + std::to_string(d));
    return {};
  }

  const StateRule& rule_;
  const Graph& before_;
  const Node& to_;
};

std::int64_t flat_index(const Shape& shape, const Shape& offset, const Shape& within) {
  std::int64_t index = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) index = index * shape[d] + offset[d] + within[d];
  return index;
}

// The next row of a box (all dimensions but the last); false after the last one.
bool next_row(const Shape& extent, Shape& within) {
  for (std::size_t d = extent.size() - 1; d-- > 0;) {
    if (++within[d] < extent[d]) return true;
    within[d] = 0;
  }
  return false;
}

void copy_piece(const Piece& piece, const RefTensor& from, RefTensor& to) {
  const std::int64_t row = piece.extent.empty() ? 1 : piece.extent.back();
  Shape within(piece.extent.size(), 0);
  do {
    const double* source =
        from.data.data() + flat_index(from.type.shape, piece.from_offset, within);
    double* target = to.data.data() + flat_index(to.type.shape, piece.to_offset, within);
    for (std::int64_t i = 0; i < row; ++i) {
      const double value = piece.scale * source[i] + (piece.add ? target[i] : 0.0);
      target[i] = to.type.dtype == DType::bf16 ? round_to_bf16(value) : value;
    }
  } while (!piece.extent.empty() && next_row(piece.extent, within));
}

Result<const RefTensor*> read(const StateMap& state, const Graph& before, const std::string& name) {
  const TensorType& type = find_state(before, name)->type;
  const auto found = state.find(name);
  if (found == state.end())
    return fail(ErrorCode::mismatch, "the state has no tensor of this name", name);
  const RefTensor& tensor = found->second;
  if (tensor.type != type || static_cast<std::int64_t>(tensor.data.size()) != type.elements())
    return fail(ErrorCode::mismatch,
                "the state holds " + tensor.type.to_string() + " with " +
                    std::to_string(tensor.data.size()) + " elements, the graph says " +
                    type.to_string(),
                name);
  return &tensor;
}

Result<RefTensor> make(const StateRule& rule, const GraphEdit& edit, const Graph& before,
                       const StateMap& state) {
  const Node& node = *find_state(edit.after, rule.to);
  if (rule.kind == Kind::init) return initial_value(node, edit.seed);
  if (rule.kind == Kind::keep) {
    SUANLI_ASSIGN_OR_RETURN(const RefTensor* from, read(state, before, source_of(rule)));
    return *from;
  }
  RefTensor tensor{node.type, std::vector<double>(static_cast<std::size_t>(node.type.elements()),
                                                  rounded(rule.fill, node.type.dtype))};
  for (const Piece& piece : rule.pieces) {
    SUANLI_ASSIGN_OR_RETURN(const RefTensor* from, read(state, before, piece.from));
    copy_piece(piece, *from, tensor);
  }
  return tensor;
}

// Any bits of the name, so that tensors draw from streams of their own.
std::uint64_t stream_step(std::string_view name) {
  const Digest digest = sha256(name);
  std::uint64_t step = 0;
  for (int i = 0; i < 8; ++i) step |= std::to_integer<std::uint64_t>(digest.bytes[i]) << (8 * i);
  return step;
}

}  // namespace

Status validate(const GraphEdit& edit, const Graph& before) {
  std::set<std::string> covered;
  for (const StateRule& rule : edit.rules) {
    const Node* to = find_state(edit.after, rule.to);
    const std::string place = "rule for " + printable(rule.to);
    if (to == nullptr)
      return fail(ErrorCode::graph,
                  "the graph after the edit has no param or state '" + printable(rule.to) + "'" +
                      did_you_mean(rule.to, state_names(edit.after)),
                  place);
    if (!covered.insert(rule.to).second)
      return fail(ErrorCode::graph, "there are two rules for one tensor", place);
    SUANLI_RETURN_IF_ERROR(RuleCheck(rule, before, *to).run());
  }
  for (const Node& node : edit.after.nodes())
    if (is_state(node) && !covered.contains(node.name))
      return fail(ErrorCode::graph,
                  "no rule says where the " +
                      std::string(node.op->name == "param" ? "param" : "optimizer state") + " '" +
                      node.name + "' comes from",
                  "edit", "add a keep, fill, init or blend rule for it");
  return {};
}

Result<StateMap> apply(const GraphEdit& edit, const Graph& before, const StateMap& state) {
  SUANLI_RETURN_IF_ERROR(validate(edit, before));
  StateMap result;
  for (const StateRule& rule : edit.rules) {
    SUANLI_ASSIGN_OR_RETURN(result[rule.to], make(rule, edit, before, state));
  }
  return result;
}

Result<InitialRule> initial_rule(const Node& node) {
  SUANLI_CHECK(is_state(node));
  const std::string* init = node.attrs.find_word("init");
  if (init != nullptr && *init == "zeros") return InitialRule{};
  if (init != nullptr && *init == "ones") return InitialRule{.constant = 1};
  if (init != nullptr && *init == "normal")
    return InitialRule{.deviation = node.attrs.real("std", 0.0),
                       .stream_step = stream_step(node.name)};
  return fail(
      ErrorCode::graph,
      "init '" + (init ? printable(*init) : std::string()) + "' is not zeros, ones or normal",
      node.name);
}

Result<RefTensor> initial_value(const Node& node, std::uint64_t seed) {
  SUANLI_ASSIGN_OR_RETURN(const InitialRule rule, initial_rule(node));
  RefTensor tensor{node.type, std::vector<double>(static_cast<std::size_t>(node.type.elements()),
                                                  rounded(rule.constant, node.type.dtype))};
  if (rule.deviation == 0) return tensor;
  const Philox random(seed, Stream::init, rule.stream_step);
  for (std::size_t i = 0; i < tensor.data.size(); ++i)
    tensor.data[i] = rounded(rule.constant + rule.deviation * random.normal(i), node.type.dtype);
  return tensor;
}

}  // namespace suanli::graph
