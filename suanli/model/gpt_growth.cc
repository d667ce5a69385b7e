#include "suanli/model/gpt_growth.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/text.h"

namespace suanli::model {
namespace {

using graph::Piece;
using graph::Shape;
using graph::StateRule;

constexpr std::int64_t kMostTimes = 16;
constexpr double kUnevenness = 0.2;  // of the shares of neighbouring copies, as a part of their mean

// How the copies of a tensor's two last dimensions come about.
enum class Axis { whole, copied, shared };  // shared: its reader's shares add up to 1
struct Kind {
  Axis first = Axis::whole, last = Axis::whole;  // a vector has `last` only
  std::int64_t parts = 1;                        // side by side in the last dimension, each copied by itself: q, k, v
};

Kind kind_of(std::string_view tensor) {
  if (tensor == "wte.weight" || tensor == "wpe.weight") return {Axis::whole, Axis::copied};
  if (tensor.starts_with("ln_f.")) return {Axis::whole, Axis::shared};
  if (tensor.ends_with("attn.c_attn.weight")) return {Axis::shared, Axis::copied, 3};
  if (tensor.ends_with("attn.c_attn.bias")) return {Axis::whole, Axis::copied, 3};
  if (tensor.ends_with(".weight") && tensor.find(".ln_") == std::string_view::npos) return {Axis::shared, Axis::copied};
  return {Axis::whole, Axis::copied};  // norms and biases
}

// Copy `a` as the copies `b` of the next layer read it. Of one reader they add up to 1.
double share(std::int64_t a, std::int64_t b, std::int64_t times) {
  if (times == 1) return 1;
  // Evenly spaced around 1, turned by one place from reader to reader.
  const double place = static_cast<double>((a + b) % times) / static_cast<double>(times - 1) - 0.5;
  return (1 + 2 * kUnevenness * place) / static_cast<double>(times);
}

// Of the tensor of one layer, or of none.
struct Place {
  std::string old_name;
  bool is_new_layer = false;
};

class Growth {
 public:
  Growth(const GptConfig& from, const GptConfig& to) : from_(from), to_(to), times_(to.width / from.width) {}

  StateRule rule(const graph::Graph& before, const graph::Node& node) const {
    std::string_view parameter = node.name;
    std::optional<int> moment;
    for (const auto& [suffix, order] : {std::pair(std::string_view(".adam_m"), 1), {std::string_view(".adam_v"), 2}})
      if (parameter.ends_with(suffix)) {
        parameter.remove_suffix(suffix.size());
        moment = order;
      }
    const Place place = place_of(node.name);
    StateRule rule{.to = node.name};
    if (place.is_new_layer && (moment == 1 || (!moment && parameter.find("c_proj.") != std::string_view::npos))) {
      rule.kind = StateRule::Kind::fill;
      return rule;
    }
    if (times_ == 1 || node.type.shape.empty()) {
      rule.from = place.old_name;
      return rule;
    }
    rule.kind = StateRule::Kind::blend;
    const Shape old = before.node(before.find(place.old_name)).type.shape;
    add_pieces(place.old_name, old, kind_of(parameter), moment, rule.pieces);
    return rule;
  }

 private:
  // Old layers lie evenly among the new ones, each before its copies.
  Place place_of(const std::string& name) const {
    if (!name.starts_with("h.")) return {name};
    const std::size_t dot = name.find('.', 2);
    const std::int64_t layer = std::stoll(name.substr(2, dot - 2));
    const auto old_of = [&](std::int64_t l) { return l * from_.layers / to_.layers; };
    const std::int64_t old = old_of(layer);
    return {"h." + std::to_string(old) + name.substr(dot), layer > 0 && old_of(layer - 1) == old};
  }

  void add_pieces(const std::string& old_name, const Shape& old, const Kind& kind, std::optional<int> moment,
                  std::vector<Piece>& pieces) const {
    const bool is_matrix = old.size() == 2;
    const std::int64_t rows = is_matrix && kind.first != Axis::whole ? times_ : 1;
    const std::int64_t part = old.back() / kind.parts;
    for (std::int64_t a = 0; a < rows; ++a)
      for (std::int64_t b = 0; b < times_; ++b)
        for (std::int64_t p = 0; p < kind.parts; ++p) {
          Piece piece{.from = old_name, .from_offset = Shape(old.size(), 0), .to_offset = Shape(old.size(), 0), .extent = old};
          piece.from_offset.back() = p * part;
          piece.to_offset.back() = (p * times_ + b) * part;
          piece.extent.back() = part;
          if (is_matrix) piece.to_offset.front() = a * old.front();
          piece.scale = moment ? (*moment == 1 ? 1.0 : 1.0 / static_cast<double>(times_)) / static_cast<double>(times_)
                        : kind.first == Axis::shared ? share(a, b, times_)
                        : kind.last == Axis::shared  ? share(b, 0, times_)
                                                     : 1;
          pieces.push_back(std::move(piece));
        }
  }

  const GptConfig& from_;
  const GptConfig& to_;
  std::int64_t times_;
};

}  // namespace

Status check_growth(const GptConfig& from, const GptConfig& to) {
  SUANLI_RETURN_IF_ERROR(from.check());
  SUANLI_RETURN_IF_ERROR(to.check());
  const auto no = [](std::string message, const char* key, std::string next_step) {
    return fail(ErrorCode::config, std::move(message), key, std::move(next_step));
  };
  const std::string from_width = std::to_string(from.width), from_heads = std::to_string(from.heads);
  if (to.layers < from.layers)
    return no(std::to_string(to.layers) + " layers are fewer than the " + std::to_string(from.layers) + " there are",
              "model.layers", "layers can only be added");
  if (to.width % from.width != 0 || to.width / from.width > kMostTimes)
    return no("a width of " + std::to_string(to.width) + " is not 1 to " + std::to_string(kMostTimes) + " times that of " +
                  from_width,
              "model.width", "try " + std::to_string(2 * from.width));
  if (to.heads != from.heads * (to.width / from.width))
    return no(std::to_string(to.heads) + " heads: with a width of " + std::to_string(to.width) + " instead of " + from_width +
                  ", " + from_heads + " heads become " + std::to_string(from.heads * (to.width / from.width)),
              "model.heads", "heads keep their size");
  if (to.context != from.context || to.vocab != from.vocab || to.norm_eps != from.norm_eps)
    return no("context, vocabulary and norm_eps cannot grow", "model", "leave them as they are");
  return {};
}

Result<graph::GraphEdit> grow_gpt(const GptConfig& from, const GptConfig& to, std::int64_t batch, std::int64_t micro_batches,
                                  const AdamWOptions& optimizer) {
  SUANLI_RETURN_IF_ERROR(check_growth(from, to));
  SUANLI_ASSIGN_OR_RETURN(const graph::Graph before, gpt_training_graph(from, batch, micro_batches, optimizer));
  SUANLI_ASSIGN_OR_RETURN(graph::Graph after, gpt_training_graph(to, batch, micro_batches, optimizer));
  graph::GraphEdit edit{.reason = std::to_string(from.layers) + " layers of width " + std::to_string(from.width) + " become " +
                                  std::to_string(to.layers) + " of " + std::to_string(to.width),
                        .after = std::move(after),
                        .rules = {}};
  const Growth growth(from, to);
  for (const char* kind : {"param", "state"})
    for (const graph::NodeId id : edit.after.nodes_of(kind)) edit.rules.push_back(growth.rule(before, edit.after.node(id)));
  return edit;
}

}  // namespace suanli::model
