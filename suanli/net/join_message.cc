#include "suanli/net/join_message.h"

#include <algorithm>

#include "suanli/base/error_name.h"
#include "suanli/base/text.h"
#include "suanli/net/wire.h"

namespace suanli::net {
namespace {

constexpr std::uint32_t kMagic = 0x4A4E5553;  // "SUNJ"
constexpr std::size_t kMostSoftwareBytes = 64, kMostPemBytes = 4096, kMostSentenceBytes = 1024;
constexpr std::size_t kIdDigits = 16, kSecretDigits = 32;
constexpr std::int64_t kLatest = 253'402'300'799;  // the end of the year 9999

tl::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::protocol, "the other side sent " + what, "join",
              "check that both machines run the same version of suanli");
}

std::string framed(std::string body, std::size_t most) {
  SUANLI_CHECK(body.size() <= most);
  return WireWriter().number(kMagic, 4).number(kJoinVersion, 4).number(body.size(), 4).raw(body).take();
}

std::string_view cut(std::string_view text, std::size_t most) { return text.substr(0, std::min(text.size(), most)); }

// Times beyond the calendar are no times; they would overflow in differences.
std::optional<WallTime> time_of(std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(kLatest)) return std::nullopt;
  return WallTime(static_cast<std::int64_t>(value));
}

}  // namespace

std::string encode(const JoinOpening& opening) {
  return framed(WireWriter()
                    .number(static_cast<std::uint64_t>(opening.time.value()), 8)
                    .number(opening.protocol, 4)
                    .text(cut(opening.software, kMostSoftwareBytes), 1)
                    .take(),
                kMostOpeningBytes);
}

std::string encode(const JoinRequest& request) {
  SUANLI_CHECK(request.token_id.size() == kIdDigits && request.secret.size() == kSecretDigits);
  return framed(WireWriter()
                    .number(static_cast<std::uint64_t>(request.time.value()), 8)
                    .number(request.protocol, 4)
                    .raw(request.token_id)
                    .raw(request.secret)
                    .text(request.request, 2)
                    .text(cut(request.software, kMostSoftwareBytes), 1)
                    .take(),
                kMostRequestBytes);
}

std::string encode(const JoinAnswer& answer) {
  WireWriter body;
  body.number(answer.refusal ? 1 : 0, 1);
  if (answer.refusal) {
    body.text(name_of(answer.refusal->code), 1)
        .text(cut(answer.refusal->message, kMostSentenceBytes), 2)
        .text(cut(answer.refusal->next_step, kMostSentenceBytes), 2);
  } else {
    body.text(answer.certificate, 2).text(answer.authority, 2);
  }
  return framed(body.take(), kMostAnswerBytes);
}

Result<std::size_t> parse_join_header(std::span<const std::byte, kJoinHeaderBytes> header, std::size_t most) {
  WireReader reader(header);
  if (reader.number(4) != kMagic) return broken("what is no message of a joining door");
  if (const auto version = reader.number(4); version != kJoinVersion) {
    return fail(ErrorCode::version,
                "the other side joins by version " + std::to_string(version) + ", this machine by version " +
                    std::to_string(kJoinVersion),
                "join", "install the same version of suanli on both machines");
  }
  const std::uint64_t size = reader.number(4);
  if (size == 0 || size > most)
    return broken("a message of " + std::to_string(size) + " bytes; allowed are " + std::to_string(most));
  return static_cast<std::size_t>(size);
}

Result<JoinOpening> parse_opening(std::span<const std::byte> body) {
  WireReader reader(body);
  const auto time = time_of(reader.number(8));
  JoinOpening opening{time.value_or(WallTime(0)), static_cast<std::uint32_t>(reader.number(4)),
                      reader.text(1, kMostSoftwareBytes)};
  if (!time || !reader.is_complete()) return broken("a damaged opening");
  return opening;
}

Result<JoinRequest> parse_request(std::span<const std::byte> body) {
  WireReader reader(body);
  const auto time = time_of(reader.number(8));
  JoinRequest request;
  request.time = time.value_or(WallTime(0));
  request.protocol = static_cast<std::uint32_t>(reader.number(4));
  request.token_id = reader.raw(kIdDigits);
  request.secret = reader.raw(kSecretDigits);
  request.request = reader.text(2, kMostPemBytes);
  request.software = reader.text(1, kMostSoftwareBytes);
  if (!time || !reader.is_complete()) return broken("a damaged request");
  return request;
}

Result<JoinAnswer> parse_answer(std::span<const std::byte> body) {
  WireReader reader(body);
  JoinAnswer answer;
  const std::uint64_t refused = reader.number(1);
  if (refused == 1) {
    const std::string code = reader.text(1, 64), sentence = reader.text(2, kMostSentenceBytes),
                      next_step = reader.text(2, kMostSentenceBytes);
    answer.refusal = Error{error_code_named(code).value_or(ErrorCode::unauthorised), printable(sentence, 400), "join",
                           printable(next_step, 400)};
  } else {
    answer.certificate = reader.text(2, kMostPemBytes);
    answer.authority = reader.text(2, kMostPemBytes);
  }
  if (refused > 1 || !reader.is_complete()) return broken("a damaged answer");
  return answer;
}

std::span<std::byte> JoinReader::space() { return std::as_writable_bytes(std::span(bytes_)).subspan(filled_); }

Status JoinReader::advance(std::size_t count) {
  SUANLI_CHECK(count <= bytes_.size() - filled_);
  filled_ += count;
  if (has_header_ || filled_ < kJoinHeaderBytes) return {};
  SUANLI_ASSIGN_OR_RETURN(const std::size_t body,
                          parse_join_header(std::as_bytes(std::span(bytes_)).first<kJoinHeaderBytes>(), most_));
  has_header_ = true;
  bytes_.resize(kJoinHeaderBytes + body);
  return {};
}

Status check_clocks(WallTime joiner, WallTime door) {
  const auto off = static_cast<double>(joiner.value() - door.value());
  if (off <= kClockTolerance.value() && off >= -kClockTolerance.value()) return {};
  return fail(ErrorCode::unauthorised,
              "the clock of this machine is " + format_duration(Seconds(off > 0 ? off : -off)) +
                  (off > 0 ? " ahead of" : " behind") + " the pool's: here it is " + to_string(joiner) +
                  ", at the pool " + to_string(door) + ", and certificates would not hold",
              "join", "set this machine's clock (NTP) and join again");
}

Status check_protocol(std::uint32_t joiner, std::uint32_t door) {
  if (joiner == door) return {};
  return fail(ErrorCode::version,
              "the joining machine speaks version " + std::to_string(joiner) + " of the protocol, the pool version " +
                  std::to_string(door),
              "join", "install the same version of suanli on both machines");
}

}  // namespace suanli::net
