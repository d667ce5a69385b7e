#include "suanli/proof/claims.h"

#include <cmath>
#include <limits>

#include "suanli/base/text.h"

namespace suanli::proof {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostWhole = std::int64_t{1} << 53;
constexpr std::size_t kMostDimensions = 8;

tl::unexpected<Error> refuse(ErrorCode code, const std::string& place, const std::string& message) {
  return fail(code, message, place, "make it with `suanli digest RUN --step N --ops --json`");
}

// Reads fields of one object; `where` names it in errors.
struct Fields {
  const json& object;
  const std::string &place, where;

  tl::unexpected<Error> wrong(const char* key, const char* expected) const {
    const auto found = object.find(key);
    const std::string value =
        found == object.end() ? "missing" : printable(found->dump(-1, ' ', false, json::error_handler_t::replace), 60);
    return refuse(ErrorCode::corrupt, place,
                  "'" + std::string(key) + "' of " + where + " is " + value + " where " + expected + " belongs");
  }
  Result<std::int64_t> whole(const char* key, std::int64_t least, std::int64_t most) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_integer()) return wrong(key, "a whole number");
    if (found->is_number_unsigned() && found->get<std::uint64_t>() > std::uint64_t{kMostWhole})
      return wrong(key, "a smaller number");
    const auto value = found->get<std::int64_t>();
    if (value < least || value > most) return wrong(key, "a number in range");
    return value;
  }
  Result<std::string> text(const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) return wrong(key, "text");
    return found->get<std::string>();
  }
  Result<Digest> digest(const char* key) const {
    SUANLI_ASSIGN_OR_RETURN(const std::string hex, text(key));
    const auto digest = Digest::from_hex(hex);
    if (!digest) return wrong(key, "a SHA-256 of 64 hexadecimal digits");
    return *digest;
  }
  // Nothing if it is missing or null.
  Result<std::optional<float>> figure(const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::nullopt;
    if (!found->is_number() || !(std::abs(found->get<double>()) <= std::numeric_limits<float>::max()))
      return wrong(key, "a number of f32");
    return static_cast<float>(found->get<double>());
  }
  Result<const json*> list(const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array()) return wrong(key, "a list");
    return &*found;
  }
};

Result<graph::TensorType> parse_type(const Fields& fields) {
  graph::TensorType type;
  SUANLI_ASSIGN_OR_RETURN(const std::string dtype, fields.text("dtype"));
  const auto known = graph::dtype_from_name(dtype);
  if (!known) return fields.wrong("dtype", "a type");
  type.dtype = *known;
  SUANLI_ASSIGN_OR_RETURN(const json* const shape, fields.list("shape"));
  if (shape->size() > kMostDimensions) return fields.wrong("shape", "at most 8 dimensions");
  std::int64_t elements = 1;
  for (const json& size : *shape) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > std::uint64_t{kMostWhole})
      return fields.wrong("shape", "sizes");
    type.shape.push_back(size.get<std::int64_t>());
    if (type.shape.back() > 0 && elements > kMostWhole / type.shape.back()) return fields.wrong("shape", "fewer elements");
    elements *= type.shape.back();
  }
  return type;
}

Result<OpDigest> parse_op(const Fields& fields) {
  OpDigest op;
  SUANLI_ASSIGN_OR_RETURN(op.output.micro_batch, fields.whole("micro_batch", OpOutput::kNoMicroBatch, kMostWhole));
  SUANLI_ASSIGN_OR_RETURN(const std::int64_t node, fields.whole("node", graph::kNoNode, INT32_MAX));
  op.output.node = static_cast<graph::NodeId>(node);
  SUANLI_ASSIGN_OR_RETURN(op.output.op, fields.text("op"));
  SUANLI_ASSIGN_OR_RETURN(op.output.value, fields.text("value"));
  SUANLI_ASSIGN_OR_RETURN(const std::string phase, fields.text("phase"));
  bool has_phase = false;
  for (const graph::Phase known : {graph::Phase::forward, graph::Phase::backward, graph::Phase::update})
    if (phase == graph::name_of(known)) op.output.phase = known, has_phase = true;
  if (!has_phase) return fields.wrong("phase", "forward, backward or update");
  SUANLI_ASSIGN_OR_RETURN(const std::int64_t block, fields.whole("block", graph::kWholeJob, INT32_MAX));
  op.output.block = static_cast<int>(block);
  SUANLI_ASSIGN_OR_RETURN(op.output.type, parse_type(fields));
  SUANLI_ASSIGN_OR_RETURN(const json* const leaves, fields.list("leaves"));
  for (const json& leaf : *leaves) {
    const auto digest =
        leaf.is_string() ? Digest::from_hex(leaf.get<std::string>()) : refuse(ErrorCode::corrupt, fields.place, "");
    if (!digest) return fields.wrong("leaves", "a list of SHA-256 digests");
    op.leaves.push_back(*digest);
  }
  const std::int64_t pieces = (op.output.type.elements() + kLeafElements - 1) / kLeafElements;
  if (static_cast<std::int64_t>(op.leaves.size()) != pieces) return fields.wrong("leaves", "a digest for each 1,024 elements");
  return op;
}

}  // namespace

nlohmann::ordered_json json_of(const OpOutput& output) {
  return {{"micro_batch", output.micro_batch},
          {"node", output.node},
          {"op", output.op},
          {"value", output.value},
          {"phase", graph::name_of(output.phase)},
          {"block", output.block},
          {"dtype", graph::name_of(output.type.dtype)},
          {"shape", output.type.shape}};
}

nlohmann::ordered_json json_of(const OpDigest& digest) {
  nlohmann::ordered_json object = json_of(digest.output), leaves = nlohmann::ordered_json::array();
  for (const Digest& leaf : digest.leaves) leaves.push_back(leaf.hex());
  object["root"] = digest.root().hex();
  object["leaves"] = std::move(leaves);
  return object;
}

Result<Claims> parse_claims(std::string_view text, const std::string& place) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return refuse(ErrorCode::foreign, place, "the file does not hold one JSON object");
  static const std::string kWhole = "the object";
  const Fields fields{object, place, kWhole};
  Claims claims;
  SUANLI_ASSIGN_OR_RETURN(claims.run, fields.text("run"));
  SUANLI_ASSIGN_OR_RETURN(claims.step, fields.whole("step", 0, kMostWhole));
  SUANLI_ASSIGN_OR_RETURN(claims.root, fields.digest("root"));
  SUANLI_ASSIGN_OR_RETURN(claims.job, fields.digest("job"));
  SUANLI_ASSIGN_OR_RETURN(const std::optional<float> loss, fields.figure("loss"));
  SUANLI_ASSIGN_OR_RETURN(const std::optional<float> norm, fields.figure("grad_norm"));
  if (loss && norm) claims.figures = StepFigures{*loss, *norm};
  if (const auto node = object.find("only_node"); node != object.end() && !node->is_null())
    return refuse(ErrorCode::unsupported, place, "the file holds the digests of one node alone");
  const auto ops = object.find("ops");
  if (ops == object.end() || ops->is_null()) return claims;
  if (!ops->is_array()) return fields.wrong("ops", "a list");
  for (const json& op : *ops) {
    const std::string where = "ops[" + std::to_string(claims.ops.size()) + "]";
    if (!op.is_object()) return refuse(ErrorCode::corrupt, place, where + " is no object");
    SUANLI_ASSIGN_OR_RETURN(OpDigest digest, parse_op({op, place, where}));
    claims.ops.push_back(std::move(digest));
  }
  return claims;
}

Result<std::vector<Digest>> ClaimWitness::roots(std::int64_t step) {
  return step == claims_.step ? std::vector{claims_.root} : std::vector<Digest>();
}

Result<std::optional<StepFigures>> ClaimWitness::figures(std::int64_t step) {
  return step == claims_.step ? claims_.figures : std::nullopt;
}

Result<std::vector<OpDigest>> ClaimWitness::ops(std::int64_t step) {
  return step == claims_.step ? claims_.ops : std::vector<OpDigest>();
}

}  // namespace suanli::proof
