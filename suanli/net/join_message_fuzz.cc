// Any bytes, in pieces of any size, as each of the three messages of the joining door: read as what encodes to the same bytes, or
// refused as `protocol` or `version`. The input's first byte chooses the message and how it is cut.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "suanli/net/join_message.h"

namespace suanli::net {
namespace {

void check_refusal(const Error& error) {
  SUANLI_CHECK((error.code == ErrorCode::protocol || error.code == ErrorCode::version) && !error.next_step.empty());
}

template <typename T>
void check_again(const Result<T>& message, std::span<const std::byte> body) {
  if (!message) return check_refusal(message.error());
  const std::string again = encode(*message);
  SUANLI_CHECK(again.size() == kJoinHeaderBytes + body.size() &&
               std::memcmp(again.data() + kJoinHeaderBytes, body.data(), body.size()) == 0);
}

void read(std::span<const std::byte> input, std::size_t piece, int kind) {
  JoinReader reader(kind == 0 ? kMostOpeningBytes : kind == 1 ? kMostRequestBytes : kMostAnswerBytes);
  while (!input.empty() && !reader.is_whole()) {
    const auto space = reader.space();
    SUANLI_CHECK(!space.empty() && space.size() <= kJoinHeaderBytes + kMostAnswerBytes);
    const std::size_t count = std::min({space.size(), input.size(), piece});
    std::memcpy(space.data(), input.data(), count);
    input = input.subspan(count);
    if (const Status status = reader.advance(count); !status) return check_refusal(status.error());
  }
  if (!reader.is_whole()) return;
  SUANLI_CHECK(reader.space().empty());
  if (kind == 0) return check_again(parse_opening(reader.body()), reader.body());
  if (kind == 1) return check_again(parse_request(reader.body()), reader.body());
  const auto answer = parse_answer(reader.body());
  // A refusal is made printable, and does not come back as it was.
  if (answer && answer->refusal) {
    SUANLI_CHECK(answer->refusal->message.size() < 4096 && encode(*answer).size() <= kJoinHeaderBytes + kMostAnswerBytes);
    return;
  }
  check_again(answer, reader.body());
}

}  // namespace
}  // namespace suanli::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  if (size == 0) return 0;
  read(std::as_bytes(std::span(data, size)).subspan(1), data[0] < 128 ? std::size_t{1} << 20 : data[0] - 127u, data[0] % 3);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::net;
  const std::string opening = encode(JoinOpening{WallTime(1'800'000'000), 1, "suanli 0.1"});
  const std::string request =
      encode(JoinRequest{WallTime(1'800'000'000), 1, std::string(16, 'a'), std::string(32, 'b'), "-----BEGIN", "suanli"});
  const std::string admitted = encode(JoinAnswer{"own", "authority", {}});
  const std::string refused = encode(JoinAnswer{{}, {}, suanli::Error{suanli::ErrorCode::busy, "too many", "join", "wait"}});
  return {std::string("\x03") + opening, std::string("\x01") + request, std::string("\xA0") + request,
          std::string("\x02") + admitted, std::string("\x02") + refused};
}
