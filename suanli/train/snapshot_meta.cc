// The JSON of a snapshot's meta data (docs/formats/run-folder.md).
#include <cmath>
#include <nlohmann/json.hpp>

#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"
#include "suanli/train/snapshots.h"

namespace suanli::train {
namespace {

using nlohmann::json;

json print_usage(const meter::Usage& usage) {
  json seconds = json::object(), by_op = json::object(), runs = json::object();
  for (const meter::Part part : meter::kParts) runs[std::string(name_of(part))] = usage.runs_of(part);
  for (const meter::Cause cause : meter::kCauses)
    seconds[std::string(name_of(cause))] = usage.of(cause).value();
  for (const auto& [op, flops] : usage.work.by_op) by_op[op] = flops.value();
  return {{"flops", usage.work.total.value()},
          {"flops_by_op", std::move(by_op)},
          {"tokens", usage.tokens.value()},
          {"steps", usage.steps},
          {"seconds", std::move(seconds)},
          {"bytes", usage.work.moved.value()},
          {"runs", std::move(runs)},
          {"cpu_seconds", usage.cpu.value()},
          {"joules", usage.joules.value()},
          {"joules_seconds", usage.joules_over.value()},
          {"peak_rss_bytes", usage.peak_resident.value()}};
}

// Reads fields of one object; the first that is missing or wrong is remembered, and later ones read
// as defaults.
class Reader {
 public:
  Reader(const json& object, std::string place) : object_(object), place_(std::move(place)) {}

  double number(const char* key) {
    const json* found =
        find(key, [](const json& v) { return v.is_number() && v.get<double>() >= 0; });
    return found ? found->get<double>() : 0;
  }
  std::optional<double> optional_number(const char* key) {
    const json* found = find(key, [](const json& v) { return v.is_number() || v.is_null(); });
    return found && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
  }
  std::int64_t whole(const char* key, std::int64_t least = 0) {
    const json* found = find(key, [&](const json& v) {
      return v.is_number_integer() && v.get<std::int64_t>() >= least;
    });
    return found ? found->get<std::int64_t>() : 0;
  }
  std::string text(const char* key) {
    const json* found = find(key, [](const json& v) { return v.is_string(); });
    return found ? found->get<std::string>() : std::string();
  }
  Digest digest(const char* key) {
    const auto digest = Digest::from_hex(text(key));
    if (!digest && status_) status_ = wrong(key, "no SHA-256");
    return digest ? *digest : Digest();
  }
  const json& object(const char* key) {
    static const json none = json::object();
    const json* found = find(key, [](const json& v) { return v.is_object(); });
    return found ? *found : none;
  }
  bool has(std::string_view key) const { return object_.contains(key); }
  const Status& status() const { return status_; }

 private:
  template <typename Test>
  const json* find(const char* key, const Test& suits) {
    const auto found = object_.find(key);
    if (found != object_.end() && suits(*found)) return &*found;
    if (status_)
      status_ = wrong(key, found == object_.end() ? "missing" : printable(found->dump(), 60));
    return nullptr;
  }
  tl::unexpected<Error> wrong(const char* key, const std::string& value) const {
    return fail(ErrorCode::corrupt,
                "'" + std::string(key) + "' of the snapshot's meta data is " + value, place_,
                "go back to an older snapshot");
  }

  const json& object_;
  const std::string place_;
  Status status_;
};

Result<meter::Usage> parse_usage(const json& object, const std::string& place) {
  Reader reader(object, place);
  meter::Usage usage;
  usage.work.total = Flops(reader.number("flops"));
  usage.tokens = Tokens(reader.whole("tokens"));
  usage.steps = reader.whole("steps");
  Reader seconds(reader.object("seconds"), place);
  for (const meter::Cause cause : meter::kCauses) {
    // Older versions booked these two on `other`.
    const bool is_new = cause == meter::Cause::communication || cause == meter::Cause::metering;
    if (is_new && !seconds.has(name_of(cause))) continue;
    usage.of(cause) = Seconds(seconds.number(std::string(name_of(cause)).c_str()));
  }
  const json& by_op = reader.object("flops_by_op");
  Reader flops(by_op, place);
  for (const auto& [op, value] : by_op.items())
    usage.work.by_op[op] = Flops(flops.number(op.c_str()));
  Reader runs(reader.has("runs") ? reader.object("runs") : by_op, place);
  if (reader.has("runs")) {  // older versions wrote none of these
    for (const meter::Part part : meter::kParts)
      usage.runs_of(part) = runs.whole(std::string(name_of(part)).c_str());
    usage.work.moved = Bytes(reader.whole("bytes"));
    usage.cpu = Seconds(reader.number("cpu_seconds"));
    usage.joules = Joules(reader.number("joules"));
    usage.joules_over = Seconds(reader.number("joules_seconds"));
    usage.peak_resident = Bytes(reader.whole("peak_rss_bytes"));
  }
  for (const Reader* part : {&reader, &seconds, &flops, &runs}) SUANLI_RETURN_IF_ERROR(part->status());
  return usage;
}

json number_or_null(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

}  // namespace

std::string print_meta(const SnapshotMeta& meta) {
  json document = {{"step", meta.step},
              {"seed", meta.seed},
              {"graph_sha256", meta.graph.hex()},
              {"dataset_sha256", meta.dataset.hex()},
              {"job", meta.job},
              {"usage", print_usage(meta.usage)},
              {"loss", meta.loss},
              {"valid_loss", number_or_null(meta.valid_loss)},
              {"best_valid_loss", number_or_null(meta.best_valid_loss)},
              {"evaluated_step", meta.evaluated_step}};
  if (meta.growth != GrowthState())
    document["growth"] = {{"since", meta.growth.since},
                          {"sum", meta.growth.sum},
                          {"count", meta.growth.count},
                          {"before", number_or_null(meta.growth.before)},
                          {"is_due", meta.growth.is_due ? 1 : 0}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<SnapshotMeta> parse_meta(std::string_view text, const std::string& place) {
  constexpr int kMaxDepth = 8;
  SUANLI_ASSIGN_OR_RETURN(const json document, model::parse_strict_json(text, place, kMaxDepth));
  if (!document.is_object())
    return fail(ErrorCode::corrupt, "the snapshot's meta data are no JSON object", place,
                "go back to an older snapshot");
  Reader reader(document, place);
  SnapshotMeta meta;
  meta.step = reader.whole("step");
  meta.seed = static_cast<std::uint64_t>(reader.whole("seed"));
  meta.graph = reader.digest("graph_sha256");
  meta.dataset = reader.digest("dataset_sha256");
  meta.job = reader.text("job");
  meta.loss = reader.optional_number("loss").value_or(0);
  meta.valid_loss = reader.optional_number("valid_loss");
  meta.best_valid_loss = reader.optional_number("best_valid_loss");
  meta.evaluated_step = reader.whole("evaluated_step", -1);
  if (reader.has("growth")) {
    Reader growth(reader.object("growth"), place);
    meta.growth.since = growth.whole("since");
    meta.growth.sum = growth.optional_number("sum").value_or(0);
    meta.growth.count = growth.whole("count");
    meta.growth.before = growth.optional_number("before");
    meta.growth.is_due = growth.whole("is_due") != 0;
    SUANLI_RETURN_IF_ERROR(growth.status());
  }
  const json& usage = reader.object("usage");
  SUANLI_RETURN_IF_ERROR(reader.status());
  SUANLI_ASSIGN_OR_RETURN(meta.usage, parse_usage(usage, place));
  return meta;
}

}  // namespace suanli::train
