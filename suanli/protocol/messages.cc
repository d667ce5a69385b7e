#include "suanli/protocol/messages.h"

#include "suanli/model/strict_json.h"
#include "suanli/protocol/message_walkers.h"

namespace suanli::protocol {
namespace {

constexpr int kMostDepth = 6;  // a list of peers in an assignment has three
constexpr const char* kNextStep = "use the same version of suanli on both machines";

// Of each message of a variant, in its order.
template <typename Message>
struct Types;
template <>
struct Types<ToCoordinator> {
  static constexpr std::array<std::string_view, 9> kNames = {"hello",    "heartbeat", "line_measures", "ready", "failed",
                                                             "prepared", "committed", "state_part",    "left"};
};
template <>
struct Types<ToWorker> {
  static constexpr std::array<std::string_view, 9> kNames = {"welcome", "refused", "peers",  "assign", "begin",
                                                             "commit",  "repeat",  "settle", "stop"};
};

std::string sentence_of(const Refusal& refusal, std::string_view type) {
  std::string sentence = "the message";
  if (!type.empty()) sentence += " '" + std::string(type) + "'";
  if (!refusal.path.empty()) sentence += ": '" + refusal.path + "'";
  return sentence + " " + refusal.what;
}

template <typename Message>
Result<std::string> encoded(const Message& message) {
  static_assert(Types<Message>::kNames.size() == std::variant_size_v<Message>);
  const std::string_view type = Types<Message>::kNames[message.index()];
  try {
    Writer writer;
    std::visit([&](const auto& each) { fields(writer, each); }, message);
    Json json = writer.take();
    json["type"] = type;
    std::string text = json.dump();
    if (text.size() > kMostMessageBytes) throw Refusal{{}, "has " + format_bytes(Bytes(static_cast<std::int64_t>(text.size())))};
    return text;
  } catch (const Refusal& refusal) {
    return fail(ErrorCode::usage, sentence_of(refusal, type), {}, "report this as a defect of suanli");
  }
}

// Reads the message if `type` is that of alternative I or of a later one.
template <typename Message, std::size_t I = 0>
Message read_message(const Json& json, std::string_view type) {
  if constexpr (I == std::variant_size_v<Message>) {
    throw Refusal{"type", "is '" + printable(type) + "', which is not known here"};
  } else {
    if (type != Types<Message>::kNames[I]) return read_message<Message, I + 1>(json, type);
    std::variant_alternative_t<I, Message> message;
    Reader reader(json);
    fields(reader, message);
    reader.finish("type");
    return message;
  }
}

template <typename Message>
Result<Message> parsed(std::string_view text, const std::string& place) {
  if (text.size() > kMostMessageBytes)
    return fail(ErrorCode::protocol, "a message of " + format_bytes(Bytes(static_cast<std::int64_t>(text.size()))) + " came",
                place, kNextStep);
  Result<Json> json = model::parse_strict_json(text, place, kMostDepth);
  if (!json) return fail(ErrorCode::protocol, "the message is refused: " + json.error().message, place, kNextStep);
  std::string type;
  try {
    if (!json->is_object() || !json->contains("type") || !(*json)["type"].is_string())
      throw Refusal{"type", "is missing or no text"};
    const auto& name = (*json)["type"].get_ref<const std::string&>();
    type = printable(name, 40);
    return read_message<Message>(*json, name);
  } catch (const Refusal& refusal) {
    return fail(ErrorCode::protocol, sentence_of(refusal, type), place, kNextStep);
  }
}

}  // namespace

Result<std::string> encode(const ToCoordinator& message) { return encoded(message); }
Result<std::string> encode(const ToWorker& message) { return encoded(message); }
Result<ToCoordinator> parse_to_coordinator(std::string_view text, const std::string& place) {
  return parsed<ToCoordinator>(text, place);
}
Result<ToWorker> parse_to_worker(std::string_view text, const std::string& place) { return parsed<ToWorker>(text, place); }

std::string_view type_of(const ToCoordinator& message) { return Types<ToCoordinator>::kNames[message.index()]; }
std::string_view type_of(const ToWorker& message) { return Types<ToWorker>::kNames[message.index()]; }

Error cut_to_fit(const Error& error) {
  // Each byte becomes at most four characters, "\x00", and printable() marks a cut with a few of its own.
  constexpr std::size_t kMost = kMostErrorText - 100;
  const auto cut = [](const std::string& text) {
    std::string clean = printable(text, kMost);
    return clean.size() <= kMostErrorText ? clean : printable(text, kMost / 4);
  };
  return Error{error.code, cut(error.message), cut(error.place), cut(error.next_step)};
}

}  // namespace suanli::protocol
