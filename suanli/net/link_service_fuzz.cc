// Any bytes as a question, an answer or a probe's round: read as what encodes to the same bytes, or refused as `protocol`.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "suanli/net/line_probe.h"
#include "suanli/net/link_service.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto bytes = std::as_bytes(std::span(text));
  const auto check_refusal = [](const suanli::Error& error) {
    SUANLI_CHECK(error.code == suanli::ErrorCode::protocol && !error.next_step.empty());
  };
  if (const auto question = parse_question(bytes)) {
    SUANLI_CHECK(encode(*question) == text);
    if (const auto round = parse_probe_round(question->text)) {
      SUANLI_CHECK(encode(*round) == question->text && round->piece_bytes <= ProbeRound::kMostPieceBytes);
    } else {
      check_refusal(round.error());
    }
  } else {
    check_refusal(question.error());
  }
  if (const auto answer = parse_answer_to_question(bytes)) {
    // A refusal is made printable, and does not come back as it was.
    if (answer->text) SUANLI_CHECK(encode(*answer) == text);
    if (!answer->text) SUANLI_CHECK(answer->text.error().message.size() < 4096);
  } else {
    check_refusal(answer.error());
  }
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::net;
  return {encode(Question{2, 7, encode(ProbeRound{true, 12, 8, 4096})}), encode(Question{1, 1, {}}),
          encode(Answer{7, std::string("text")}),
          encode(Answer{8, suanli::fail(suanli::ErrorCode::busy, "another probe", {}, "wait")})};
}
