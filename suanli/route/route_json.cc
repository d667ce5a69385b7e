#include "suanli/route/route_json.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "suanli/base/text.h"

namespace suanli::route {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "suanli route table";
constexpr int kMaxDepth = 3;

// The reader's only way out; caught in parse_route_table().
struct Refused : std::runtime_error {
  Refused(std::string where_inside, const std::string& what, ErrorCode error_code = ErrorCode::corrupt)
      : std::runtime_error(what), where(std::move(where_inside)), code(error_code) {}
  std::string where;
  ErrorCode code;
};

// The library keeps the last of two equal keys and takes any depth; both are refused here while it reads.
json parse_strict(std::string_view text) {
  std::vector<std::set<std::string>> keys;  // of the open objects, outermost first
  return json::parse(text, [&keys](int depth, json::parse_event_t event, json& value) {
    const bool object = event == json::parse_event_t::object_start;
    if ((object || event == json::parse_event_t::array_start) && depth >= kMaxDepth)
      throw Refused("", "it is nested deeper than " + std::to_string(kMaxDepth) + " levels");
    if (object) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      throw Refused("", "the key '" + printable(value.get<std::string>()) + "' stands twice in one object");
    return true;
  });
}

[[noreturn]] void refuse(const std::string& where, const json& found, const std::string& expected) {
  throw Refused(where, "it is " + printable(found.is_structured() ? found.type_name() : found.dump(), 60) + " where " + expected +
                           " belongs");
}

std::string at(const std::string& where, std::size_t index) { return where + "[" + std::to_string(index) + "]"; }

const json& field(const json& object, const std::string& where, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) throw Refused(where, "the key '" + std::string(key) + "' is missing");
  return *found;
}

void check_object(const json& value, const std::string& where, std::initializer_list<std::string_view> keys) {
  if (!value.is_object()) refuse(where, value, "an object");
  for (const auto& [key, ignored] : value.items())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      throw Refused(where, "the key '" + printable(key) + "' is unknown");
}

std::uint64_t whole(const json& value, const std::string& where, std::uint64_t least, std::uint64_t most) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > most)
    refuse(where, value, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return value.get<std::uint64_t>();
}

const json& list(const json& value, const std::string& where, std::size_t most) {
  if (!value.is_array()) refuse(where, value, "a list");
  if (value.size() > most)
    throw Refused(where, std::to_string(value.size()) + " entries; at most " + std::to_string(most) + " are possible");
  return value;
}

template <typename Number>
std::vector<Number> numbers(const json& value, const std::string& where, std::size_t most_entries, std::uint64_t most) {
  std::vector<Number> result;
  result.reserve(list(value, where, most_entries).size());
  for (const json& each : value) result.push_back(static_cast<Number>(whole(each, at(where, result.size()), 0, most)));
  return result;
}

std::vector<std::vector<WorkerIndex>> workers(const json& value, const std::string& where, std::size_t most,
                                              std::size_t most_each, std::size_t most_together) {
  std::vector<std::vector<WorkerIndex>> result;
  std::size_t together = 0;
  for (const json& each : list(value, where, most)) {
    result.push_back(numbers<WorkerIndex>(each, at(where, result.size()), most_each, kMostWorkers - 1));
    if ((together += result.back().size()) > most_together)
      throw Refused(where, "it has more than " + std::to_string(most_together) + " entries together");
  }
  return result;
}

// "F0 F1 B0": one space between two, no leading zeros, so that each order has one spelling.
std::vector<Work> works(std::string_view text, const std::string& where) {
  std::vector<Work> result;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    Work work;
    const char* const last = word.data() + word.size();
    const auto read = word.size() < 2 ? std::from_chars_result{word.data(), std::errc::invalid_argument}
                                      : std::from_chars(word.data() + 1, last, work.micro_batch);
    if (read.ec != std::errc() || read.ptr != last || (word[0] != 'F' && word[0] != 'B') || work.micro_batch < 0 ||
        work.micro_batch >= kMostMicroBatches || (word[1] == '0' && word.size() > 2) || end + 1 == text.size())
      throw Refused(where, "'" + printable(word, 40) + "' at " + std::to_string(begin) +
                               " is no work such as F3 or B3, with one space between two");
    work.phase = word[0] == 'F' ? graph::Phase::forward : graph::Phase::backward;
    result.push_back(work);
    if (result.size() > 2 * static_cast<std::size_t>(kMostMicroBatches)) throw Refused(where, "it has too many works");
    begin = end + 1;
  }
  return result;
}

WorkerOrder order(const json& value, const std::string& where) {
  check_object(value, where, {"slots", "work"});
  WorkerOrder result;
  result.slots = static_cast<int>(whole(field(value, where, "slots"), where + ".slots", 1, kMostMicroBatches));
  const json& text = field(value, where, "work");
  if (!text.is_string()) refuse(where + ".work", text, "text");
  result.work = works(text.get_ref<const std::string&>(), where + ".work");
  return result;
}

RouteTable read(const json& document) {
  if (!document.is_object() || !document.contains("format") || document["format"] != kFormat)
    throw Refused("", "it is no route table: 'format' is not '" + std::string(kFormat) + "'", ErrorCode::foreign);
  if (const std::uint64_t version = whole(field(document, "", "version"), "version", 1, std::numeric_limits<int>::max());
      version != kRouteTableVersion)
    throw Refused("version", "it is of version " + std::to_string(version) + ", and this build knows " +
                                 std::to_string(kRouteTableVersion), ErrorCode::version);
  check_object(document, "", {"format", "version", "epoch", "credits", "cuts", "stages", "routes", "orders"});
  RouteTable table;
  table.epoch = whole(field(document, "", "epoch"), "epoch", 1, std::numeric_limits<std::uint64_t>::max());
  table.credits = static_cast<int>(whole(field(document, "", "credits"), "credits", 1, kMostCredits));
  table.placement.cut.after_blocks =
      numbers<int>(field(document, "", "cuts"), "cuts", kMostStages - 1, std::numeric_limits<int>::max());
  table.placement.stages = workers(field(document, "", "stages"), "stages", kMostStages, kMostWorkers, kMostWorkers);
  table.routes = workers(field(document, "", "routes"), "routes", kMostMicroBatches, kMostStages, kMostWork);
  for (const json& each : list(field(document, "", "orders"), "orders", kMostWorkers))
    table.orders.push_back(order(each, at("orders", table.orders.size())));
  return table;
}

void append_numbers(std::string& text, const auto& values) {
  text += '[';
  for (std::size_t i = 0; i < values.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  text += ']';
}

void append_rows(std::string& text, const char* key, const std::vector<std::vector<WorkerIndex>>& rows) {
  text += std::string(",\n  \"") + key + "\": [";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += i == 0 ? "\n    " : ",\n    ";
    append_numbers(text, rows[i]);
  }
  text += rows.empty() ? "]" : "\n  ]";
}

}  // namespace

std::string print_route_table(const RouteTable& table) {
  std::string text = "{\n  \"format\": \"" + std::string(kFormat) + "\",\n  \"version\": " + std::to_string(kRouteTableVersion) +
                     ",\n  \"epoch\": " + std::to_string(table.epoch) + ",\n  \"credits\": " + std::to_string(table.credits) +
                     ",\n  \"cuts\": ";
  append_numbers(text, table.placement.cut.after_blocks);
  append_rows(text, "stages", table.placement.stages);
  append_rows(text, "routes", table.routes);
  text += ",\n  \"orders\": [";
  for (std::size_t w = 0; w < table.orders.size(); ++w) {
    text += (w == 0 ? "\n" : ",\n") + ("    {\"slots\": " + std::to_string(table.orders[w].slots)) + ", \"work\": \"";
    const std::vector<Work>& work = table.orders[w].work;
    for (std::size_t i = 0; i < work.size(); ++i) text += (i == 0 ? "" : " ") + to_string(work[i]);
    text += "\"}";
  }
  return text + (table.orders.empty() ? "]\n}\n" : "\n  ]\n}\n");
}

Result<RouteTable> parse_route_table(std::string_view text, std::string_view place) {
  const std::string next = "take the table as the coordinator wrote it";
  if (text.size() > static_cast<std::size_t>(kMostRouteText.value()))
    return fail(ErrorCode::corrupt, "it has " + std::to_string(text.size()) + " bytes; at most " + format_bytes(kMostRouteText) +
                                        " are possible", std::string(place), next);
  try {
    return read(parse_strict(text));
  } catch (const Refused& refused) {
    return fail(refused.code, refused.what(), std::string(place) + (refused.where.empty() ? "" : ": " + refused.where),
                refused.code == ErrorCode::version ? "use the same suanli on all machines" : next);
  } catch (const json::exception& error) {
    return fail(ErrorCode::corrupt, "it is no JSON: " + printable(error.what(), 200), std::string(place), next);
  }
}

}  // namespace suanli::route
