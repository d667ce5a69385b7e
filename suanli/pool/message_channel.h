// Texts of up to 16 MiB over a link's messages, which hold 64 KiB: a text travels in parts, in order, the last one marked. Who
// speaks on a link shares it with others by the kinds of its messages.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/net/link.h"

namespace suanli::pool {

// What a text is; each kind has two numbers, for its last part and for those before.
enum class TextKind : std::uint32_t {
  control = 1,  // between coordinator and worker (docs/protocols/pool-control.md)
  request = 3,  // of a submitter, and what a coordinator asks of a worker beside the state machines
  response = 5,
};
inline constexpr std::size_t kMostTextBytes = std::size_t{16} << 20;
// Kinds of messages that are parts of texts.
inline constexpr bool is_text_kind(std::uint32_t kind) { return kind >= 1 && kind <= 6; }

// Errors are those of Link::send_message; usage if the text is too large.
[[nodiscard]] Status send_text(net::Link& link, TextKind kind, std::string_view text);

// Puts the parts of one peer's texts together. One thread.
class TextReader {
 public:
  struct Text {
    TextKind kind;
    std::string text;
  };
  // A text that is whole with this message; nothing if it is not, or if the message is of none of these kinds. Error: protocol.
  Result<std::optional<Text>> add(std::uint32_t kind, std::span<const std::byte> payload);

 private:
  std::string parts_[3];
};

}  // namespace suanli::pool
