#include "suanli/pool/message_channel.h"

#include <algorithm>
#include <utility>

namespace suanli::pool {

Status send_text(net::Link& link, TextKind kind, std::string_view text) {
  if (text.size() > kMostTextBytes)
    return fail(ErrorCode::usage, "a message of " + std::to_string(text.size()) + " bytes is larger than 16 MiB", "link",
                "make the job smaller");
  const auto last = static_cast<std::uint32_t>(kind);
  while (text.size() > net::kMostMessageBytes) {
    SUANLI_RETURN_IF_ERROR(link.send_message(last + 1, std::as_bytes(std::span(text.substr(0, net::kMostMessageBytes)))));
    text.remove_prefix(net::kMostMessageBytes);
  }
  return link.send_message(last, std::as_bytes(std::span(text)));
}

Result<std::optional<TextReader::Text>> TextReader::add(std::uint32_t kind, std::span<const std::byte> payload) {
  if (!is_text_kind(kind)) return std::nullopt;
  std::string& text = parts_[(kind - 1) / 2];
  if (text.size() + payload.size() > kMostTextBytes)
    return fail(ErrorCode::protocol, "a message is larger than 16 MiB", "link", "check the peer's version");
  text.append(reinterpret_cast<const char*>(payload.data()), payload.size());
  if (kind % 2 == 0) return std::nullopt;
  return Text{static_cast<TextKind>(kind), std::exchange(text, {})};
}

}  // namespace suanli::pool
