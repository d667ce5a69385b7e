// The three messages of the joining door, as bytes (docs/formats/joining.md). The door speaks first, so that a machine whose
// version or clock does not fit says no secret; then the joiner says its one thing, and the door answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"
#include "suanli/net/frame.h"
#include "suanli/net/wall_time.h"

namespace suanli::net {

inline constexpr std::uint32_t kJoinVersion = 1;
inline constexpr std::size_t kJoinHeaderBytes = 12;
inline constexpr std::size_t kMostOpeningBytes = 128, kMostRequestBytes = 8192, kMostAnswerBytes = 16384;  // of the bodies

struct JoinOpening {
  WallTime time;                              // the door's clock
  std::uint32_t protocol = kProtocolVersion;  // of frames between machines
  std::string software;                       // name and version, for people; at most 64 bytes
};

struct JoinRequest {
  WallTime time;  // the joiner's clock
  std::uint32_t protocol = kProtocolVersion;
  std::string token_id, secret;  // 16 and 32 hexadecimal digits
  std::string request;           // PKCS #10 in PEM
  std::string software;
};

// Admitted with both certificates, or refused with why.
struct JoinAnswer {
  std::string certificate, authority;  // PEM
  std::optional<Error> refusal;        // code, sentence, next step
};

// Whole messages, header and body. Texts that do not fit are cut (software, refusal) or a promise broken (the others).
std::string encode(const JoinOpening& opening);
std::string encode(const JoinRequest& request);
std::string encode(const JoinAnswer& answer);

// The length of the body, at most `most`. Errors: protocol (not a joining door), version (both named).
Result<std::size_t> parse_join_header(std::span<const std::byte, kJoinHeaderBytes> header, std::size_t most);
Result<JoinOpening> parse_opening(std::span<const std::byte> body);
Result<JoinRequest> parse_request(std::span<const std::byte> body);
Result<JoinAnswer> parse_answer(std::span<const std::byte> body);

// Takes the bytes of one message as they come, and no more than it may have.
class JoinReader {
 public:
  explicit JoinReader(std::size_t most) : most_(most) {}
  // Where the next bytes go; empty once the message is whole.
  std::span<std::byte> space();
  [[nodiscard]] Status advance(std::size_t count);
  bool is_whole() const { return has_header_ && filled_ == bytes_.size(); }
  std::span<const std::byte> body() const { return std::as_bytes(std::span(bytes_)).subspan(kJoinHeaderBytes); }

 private:
  std::size_t most_;
  std::string bytes_ = std::string(kJoinHeaderBytes, '\0');
  std::size_t filled_ = 0;
  bool has_header_ = false;
};

// Do the clocks of both sides agree well enough for certificates to hold? If not (unauthorised), by how much the joiner's
// differs.
[[nodiscard]] Status check_clocks(WallTime joiner, WallTime door);
// Do both speak the same version of the protocol between machines? If not (version), both are named.
[[nodiscard]] Status check_protocol(std::uint32_t joiner, std::uint32_t door);

}  // namespace suanli::net
