#include "suanli/graph/text_form.h"

#include <charconv>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/graph/op.h"
#include "suanli/graph/text_line.h"

namespace suanli::graph {
namespace {

constexpr std::string_view kFamily = "suanli-graph/";
constexpr std::string_view kHeader = "suanli-graph/1";

std::string reference(NodeId id) { return "%" + std::to_string(id); }

// The shortest digits (at most 17) that read back to the same double, always marked as a real.
std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  std::string text(buffer, end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string quoted(std::string_view word) {
  std::string text = "\"";
  for (unsigned char c : word) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      text += format("\\x%02x", c);
    } else {
      text += static_cast<char>(c);
    }
  }
  return text + "\"";
}

std::string list_text(const std::vector<std::int64_t>& list) {
  std::string text = "[";
  for (std::size_t i = 0; i < list.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(list[i]);
  return text + "]";
}

std::string value_text(const AttrValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  if (const auto* real = std::get_if<double>(&value)) return real_text(*real);
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value)) return list_text(*list);
  return quoted(std::get<std::string>(value));
}

std::string node_text(const Node& node) {
  std::string text(node.op->name);
  if (is_source(node)) {
    text += " " + node.name;
  } else {
    text += "(";
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      text += (i == 0 ? "" : ", ") + reference(node.inputs[i]);
    text += ")";
  }
  if (!node.attrs.entries().empty()) {
    std::string separator = " {";
    for (const auto& [name, value] : node.attrs.entries()) {
      text += separator + name + "=" + value_text(value);
      separator = ", ";
    }
    text += "}";
  }
  text += " : " + node.type.to_string() + " @" + std::string(name_of(node.phase)) + " block ";
  return text + (node.block == kWholeJob ? "all" : std::to_string(node.block));
}

class Parser {
 public:
  // One line after the first; blank lines and comments (#) mean nothing.
  Status read(TextLine& line) {
    if (line.at_end() || line.accept("#")) return {};
    if (line.next() == '%') return read_node(line);
    const std::string_view keyword = line.name("a node (%), output, update or micro_batches");
    SUANLI_RETURN_IF_ERROR(line.status());
    if (keyword == "output") return read_output(line);
    if (keyword == "update") return read_update(line);
    if (keyword == "micro_batches") return read_micro_batches(line);
    return line.error("'" + printable(keyword) + "' is not %, output, update or micro_batches");
  }

  Graph take() && { return std::move(graph_); }

 private:
  Status read_micro_batches(TextLine& line) {
    if (micro_batches_seen_) return line.error("micro_batches is written twice");
    micro_batches_seen_ = true;
    const std::int64_t count = line.integer("a number of micro-batches");
    SUANLI_RETURN_IF_ERROR(line.end());
    return line.located(graph_.set_micro_batches(count));
  }

  Status read_output(TextLine& line) {
    const std::string name(line.name("the output's name"));
    const NodeId node = line.reference();
    SUANLI_RETURN_IF_ERROR(line.end());
    if (graph_.outputs().size() >= kMaxTextOutputs)
      return line.error("more than " + std::to_string(kMaxTextOutputs) + " outputs");
    return line.located(graph_.add_output(name, node));
  }

  Status read_update(TextLine& line) {
    const NodeId state = line.reference();
    line.expect("<-");
    const NodeId value = line.reference();
    SUANLI_RETURN_IF_ERROR(line.end());
    return line.located(graph_.add_update(state, value));
  }

  Status read_node(TextLine& line) {
    const NodeId id = line.reference();
    line.expect("=");
    const std::string_view op_name = line.name("an op");
    SUANLI_RETURN_IF_ERROR(line.status());
    if (id != graph_.size())
      return line.error("expected " + reference(graph_.size()) +
                        " (nodes are numbered in order from %0), got " + reference(id));
    if (id >= kMaxTextNodes)
      return line.error("more than " + std::to_string(kMaxTextNodes) + " nodes");

    Node node;
    node.op = ops().find(op_name);
    if (node.op == nullptr) return unknown_op(line, op_name);
    if (is_source(node)) {
      if (++sources_ > kMaxTextSources)
        return line.error("more than " + std::to_string(kMaxTextSources) + " sources");
      node.name = line.name("the name of the " + std::string(op_name));
    } else {
      read_inputs(line, node);
    }
    read_attrs(line, node);
    line.expect(":");
    const TensorType type = line.type();
    node.type = type;
    read_place(line, node);
    SUANLI_RETURN_IF_ERROR(line.end());

    Result<NodeId> added = graph_.add(std::move(node));
    if (!added) return line.located(tl::unexpected(std::move(added).error()));
    const Node& inferred = graph_.node(*added);
    if (inferred.type != type)
      return line.error("type " + type.to_string() + " is written, but this " +
                        std::string(op_name) + " gives " + inferred.type.to_string());
    return {};
  }

  static Status unknown_op(const TextLine& line, std::string_view name) {
    std::vector<std::string> known;
    for (const OpDef* op : ops().all()) known.emplace_back(op->name);
    return line.error("no op is named '" + printable(name) + "'" + did_you_mean(name, known));
  }

  static void read_inputs(TextLine& line, Node& node) {
    line.expect("(");
    if (line.accept(")")) return;
    do {
      node.inputs.push_back(line.reference());
    } while (line.accept(","));
    line.expect(")");
  }

  static void read_attrs(TextLine& line, Node& node) {
    if (!line.accept("{")) return;
    do {
      const std::string name(line.name("an attribute's name"));
      line.expect("=");
      const std::size_t before = node.attrs.entries().size();
      node.attrs.set(name, line.value());
      if (node.attrs.entries().size() == before)
        line.set_error("attribute '" + printable(name) + "' is written twice");
    } while (line.accept(","));
    line.expect("}");
  }

  static void read_place(TextLine& line, Node& node) {
    line.expect("@");
    const std::string_view phase = line.name("forward, backward or update");
    if (phase == "forward") {
      node.phase = Phase::forward;
    } else if (phase == "backward") {
      node.phase = Phase::backward;
    } else if (phase == "update") {
      node.phase = Phase::update;
    } else {
      line.set_error("'" + printable(phase) + "' is not forward, backward or update");
    }
    line.expect("block");
    if (line.accept("all")) {
      node.block = kWholeJob;
      return;
    }
    const std::int64_t block = line.integer("a block's number or all");
    if (block < 0 || block > kMaxTextBlock)
      line.set_error("block " + std::to_string(block) + " is not between 0 and " +
                     std::to_string(kMaxTextBlock));
    node.block = static_cast<int>(block);
  }

  Graph graph_;
  bool micro_batches_seen_ = false;
  int sources_ = 0;
};

Status check_header(std::string_view first, std::string_view place) {
  const std::string where = std::string(place) + ":1";
  if (first == kHeader) return {};
  if (first.starts_with(kFamily))
    return fail(ErrorCode::version,
                "'" + printable(first, 40) + "' is not a version of the graph text known here",
                where, "expected " + std::string(kHeader));
  return fail(ErrorCode::foreign, "'" + printable(first, 40) + "' is not the text of a graph",
              where, "the first line must be " + std::string(kHeader));
}

}  // namespace

std::string to_text(const Graph& graph) {
  std::string text(kHeader);
  text += "\nmicro_batches " + std::to_string(graph.micro_batches()) + "\n";
  for (NodeId id = 0; id < graph.size(); ++id)
    text += reference(id) + " = " + node_text(graph.node(id)) + "\n";
  for (const Output& output : graph.outputs())
    text += "output " + output.name + " " + reference(output.node) + "\n";
  for (const Update& update : graph.updates())
    text += "update " + reference(update.state) + " <- " + reference(update.value) + "\n";
  return text;
}

Result<Graph> parse_text(std::string_view text, std::string_view place) {
  if (text.empty())
    return fail(ErrorCode::empty, "the text of the graph is empty", std::string(place));
  if (text.size() > static_cast<std::size_t>(kMaxGraphText.value()))
    return fail(ErrorCode::graph,
                "the text has " + format_bytes(Bytes(static_cast<std::int64_t>(text.size()))) +
                    ", more than " + format_bytes(kMaxGraphText),
                std::string(place));
  Parser parser;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t length = std::min(text.find('\n'), text.size());
    std::string_view content = text.substr(0, length);
    text.remove_prefix(std::min(length + 1, text.size()));
    if (content.ends_with('\r')) content.remove_suffix(1);
    if (number == 1) {
      SUANLI_RETURN_IF_ERROR(check_header(content, place));
      continue;
    }
    TextLine line(content, place, number);
    if (content.size() > static_cast<std::size_t>(kMaxGraphLine.value()))
      return line.error("the line is longer than " + format_bytes(kMaxGraphLine));
    SUANLI_RETURN_IF_ERROR(parser.read(line));
  }
  return std::move(parser).take();
}

}  // namespace suanli::graph
