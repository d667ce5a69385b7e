#include "suanli/pool/control_requests.h"

#include <array>
#include <limits>
#include <utility>

#include "suanli/base/error_name.h"
#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"

namespace suanli::pool {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int kRequestDepth = 4, kAnswerDepth = 32;
constexpr std::size_t kMostName = 300, kMostJobFile = std::size_t{1} << 20;
constexpr std::int64_t kMostCount = std::int64_t{1} << 53;
constexpr double kMostLifetime = 3650.0 * 86'400;

constexpr std::array<std::pair<Ask, std::string_view>, 10> kNames = {{{Ask::status, "status"},
                                                                      {Ask::peers, "peers"},
                                                                      {Ask::links, "links"},
                                                                      {Ask::events, "events"},
                                                                      {Ask::jobs, "jobs"},
                                                                      {Ask::job, "job"},
                                                                      {Ask::token, "token"},
                                                                      {Ask::revoke, "revoke"},
                                                                      {Ask::submit, "submit"},
                                                                      {Ask::cancel, "cancel"}}};

// Every field of every request, once: writer and reader both walk this list.
template <typename Request, typename Walk>
void fields(Request& request, Walk& walk) {
  switch (request.ask) {
    case Ask::job:
    case Ask::cancel:
    case Ask::revoke:
      return walk.text("name", request.name, 1, kMostName);
    case Ask::events:
      walk.count("after", request.after, 0);
      return walk.text("subject", request.subject, 0, kMostName);
    case Ask::token:
      walk.seconds("lifetime_seconds", request.lifetime);
      return walk.count("uses", request.uses, 1);
    case Ask::submit:
      walk.text("job_file", request.job_file, 1, kMostJobFile);
      return walk.flag("resume", request.resume);
    case Ask::status:
    case Ask::peers:
    case Ask::links:
    case Ask::jobs:
      return;
  }
}

struct Writer {
  ordered_json object;
  void text(const char* key, const std::string& value, std::size_t, std::size_t) { object[key] = value; }
  void count(const char* key, std::int64_t value, std::int64_t) { object[key] = value; }
  void seconds(const char* key, Seconds value) { object[key] = value.value(); }
  void flag(const char* key, bool value) { object[key] = value; }
};

class Reader {
 public:
  Reader(const json& object, std::string place) : object_(object), place_(std::move(place)) {}
  void text(const char* key, std::string& value, std::size_t least, std::size_t most) {
    const json* given = take(key);
    if (!given) return;
    if (!given->is_string()) return wrong(key, "is no text");
    value = given->get<std::string>();
    if (value.size() < least || value.size() > most)
      wrong(key, "has " + std::to_string(value.size()) + " bytes, which is not from " + std::to_string(least) + " to " +
                     std::to_string(most));
  }
  void count(const char* key, std::int64_t& value, std::int64_t least) {
    const json* given = take(key);
    if (!given) return;
    if (!given->is_number_integer()) return wrong(key, "is no whole number");
    // Beyond 2^63 the library keeps it unsigned.
    value = given->is_number_unsigned() && given->get<std::uint64_t>() > static_cast<std::uint64_t>(kMostCount)
                ? kMostCount + 1
                : given->get<std::int64_t>();
    if (value < least || value > kMostCount) wrong(key, "is out of range");
  }
  void seconds(const char* key, Seconds& value) {
    const json* given = take(key);
    if (!given) return;
    if (!given->is_number()) return wrong(key, "is no number");
    value = Seconds(given->get<double>());
    if (!(value.value() >= 1 && value.value() <= kMostLifetime)) wrong(key, "is not from a second to ten years");
  }
  void flag(const char* key, bool& value) {
    const json* given = take(key);
    if (!given) return;
    if (!given->is_boolean()) return wrong(key, "is neither true nor false");
    value = given->get<bool>();
  }
  Status end() {
    if (!error_ && object_.size() != taken_ + 1) error_ = tell("it has a key that is not of this request");
    return error_ ? Status(tl::unexpected(*error_)) : Status();
  }

 private:
  const json* take(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end()) {
      wrong(key, "is missing");
      return nullptr;
    }
    ++taken_;
    return &*found;
  }
  Error tell(std::string message) const {
    return {ErrorCode::protocol, std::move(message), place_, "use the command of the coordinator's version"};
  }
  void wrong(const char* key, const std::string& what) {
    if (!error_) error_ = tell("'" + std::string(key) + "' " + what);
  }

  const json& object_;
  std::string place_;
  std::size_t taken_ = 0;
  std::optional<Error> error_;
};

tl::unexpected<Error> unreadable(const std::string& what, const std::string& place) {
  return fail(ErrorCode::protocol, what, place, "use the command of the coordinator's version");
}

std::string dump(const ordered_json& object) { return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace); }

}  // namespace

std::string_view name_of(Ask ask) {
  for (const auto& [each, name] : kNames)
    if (each == ask) return name;
  return "";
}

std::string print_request(const ControlRequest& request) {
  Writer writer;
  writer.object["request"] = name_of(request.ask);
  fields(request, writer);
  return dump(writer.object);
}

Result<ControlRequest> parse_request(std::string_view line, const std::string& place) {
  auto parsed = model::parse_strict_json(line, place, kRequestDepth);
  if (!parsed) return unreadable(parsed.error().message, place);
  const json& object = *parsed;
  if (!object.is_object() || !object.contains("request") || !object["request"].is_string())
    return unreadable("it is no object with a 'request'", place);
  const auto name = object["request"].get<std::string>();
  ControlRequest request;
  bool is_known = false;
  for (const auto& [ask, each] : kNames)
    if (each == name) {
      request.ask = ask;
      is_known = true;
    }
  if (!is_known) return unreadable("there is no request '" + printable(name) + "'", place);
  Reader reader(object, place);
  fields(request, reader);
  SUANLI_RETURN_IF_ERROR(reader.end());
  return request;
}

ordered_json json_of(const Error& error) {
  return {
      {"code", suanli::name_of(error.code)}, {"message", error.message}, {"place", error.place}, {"next_step", error.next_step}};
}

Error error_of(const json& object) {
  return {error_code_named(object.at("code").get<std::string>()).value_or(ErrorCode::protocol),
          object.at("message").get<std::string>(), object.at("place").get<std::string>(),
          object.at("next_step").get<std::string>()};
}

std::string print_answer(const Result<ordered_json>& answer) {
  ordered_json object;
  if (answer)
    object["answer"] = *answer;
  else
    object["error"] = json_of(answer.error());
  return dump(object);
}

Result<json> parse_answer(std::string_view line, const std::string& place) {
  auto parsed = model::parse_strict_json(line, place, kAnswerDepth);
  if (!parsed) return unreadable(parsed.error().message, place);
  if (!parsed->is_object() || parsed->size() != 1) return unreadable("it is no answer", place);
  if (parsed->contains("answer")) return std::move((*parsed)["answer"]);
  try {
    return tl::unexpected(error_of(parsed->at("error")));
  } catch (const json::exception&) {
    return unreadable("it is no answer", place);
  }
}

}  // namespace suanli::pool
