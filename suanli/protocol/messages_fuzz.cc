// Any text is refused as `protocol` with its place, or is a message that comes back the same.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/protocol/messages.h"
#include "suanli/protocol/samples_for_test.h"

namespace {

template <typename Message>
void round_trip(const suanli::Result<Message>& message, suanli::Result<Message> (*parse)(std::string_view, const std::string&)) {
  using namespace suanli;
  if (!message) {
    SUANLI_CHECK(message.error().code == ErrorCode::protocol);
    SUANLI_CHECK(message.error().place == "peer" && !message.error().message.empty());
    return;
  }
  const Result<std::string> text = protocol::encode(*message);
  SUANLI_CHECK(text.has_value());
  const Result<Message> again = parse(*text, "again");
  SUANLI_CHECK(again.has_value() && again->index() == message->index());
  SUANLI_CHECK(protocol::encode(*again).value() == *text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::protocol;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  round_trip(parse_to_coordinator(text, "peer"), parse_to_coordinator);
  round_trip(parse_to_worker(text, "peer"), parse_to_worker);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const auto& each : suanli::protocol::samples_to_coordinator()) seeds.push_back(encode(each).value());
  for (const auto& each : suanli::protocol::samples_to_worker()) seeds.push_back(encode(each).value());
  return seeds;
}
