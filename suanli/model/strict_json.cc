#include "suanli/model/strict_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "suanli/base/text.h"

namespace suanli::model {
namespace {

using nlohmann::json;

constexpr std::size_t kMessageLimit = 200;

// Thrown through the parser to stop it at once; never leaves this file.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Watcher {
 public:
  explicit Watcher(int max_depth) : max_depth_(max_depth) {}

  void see(int depth, json::parse_event_t event, const json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= max_depth_)
          throw Refused("is nested deeper than " + std::to_string(max_depth_) + " levels");
        if (event == json::parse_event_t::object_start) keys_.emplace_back();
        break;
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto& key = value.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second)
          throw Refused("has the key '" + printable(key) + "' twice in one object");
        break;
      }
      default:
        break;
    }
  }

 private:
  int max_depth_;
  std::vector<std::set<std::string>> keys_;  // of the open objects, outermost first
};

// The library's text without its "[json.exception...]" prefix.
std::string reason_of(const json::exception& error) {
  const std::string_view text = error.what();
  const std::size_t start = text.find("] ");
  return printable(start == text.npos ? text : text.substr(start + 2), kMessageLimit);
}

}  // namespace

Result<json> parse_strict_json(std::string_view text, std::string_view place, int max_depth) {
  Watcher watcher(max_depth);
  const auto callback = [&](int depth, json::parse_event_t event, json& value) {
    watcher.see(depth, event, value);
    return true;
  };
  try {
    return json::parse(text, callback);
  } catch (const Refused& refused) {
    return fail(ErrorCode::corrupt, std::string("the JSON ") + refused.what(), std::string(place),
                "restore the file from a copy");
  } catch (const json::exception& error) {
    return fail(ErrorCode::corrupt, "the JSON cannot be read: " + reason_of(error),
                std::string(place), "restore the file from a copy");
  }
}

}  // namespace suanli::model
