#include "suanli/net/link_service.h"

#include <utility>

#include "suanli/base/error_name.h"
#include "suanli/base/text.h"
#include "suanli/net/frame.h"
#include "suanli/net/wire.h"

namespace suanli::net {
namespace {

constexpr std::size_t kMostTextBytes = 32 * 1024, kMostSentenceBytes = 1024;

tl::unexpected<Error> broken() {
  return fail(ErrorCode::protocol, "the peer sent a damaged question or answer", "link",
              "check that both machines run the same version of suanli");
}

}  // namespace

std::string encode(const Question& question) {
  SUANLI_CHECK(question.text.size() <= kMostTextBytes);
  return WireWriter().number(question.subject, 4).number(question.number, 8).text(question.text, 2).take();
}

std::string encode(const Answer& answer) {
  WireWriter out;
  out.number(answer.number, 8).number(answer.text ? 0 : 1, 1);
  if (answer.text) {
    SUANLI_CHECK(answer.text->size() <= kMostTextBytes);
    return out.text(*answer.text, 2).take();
  }
  const Error& error = answer.text.error();
  return out.text(name_of(error.code), 1)
      .text(std::string_view(error.message).substr(0, kMostSentenceBytes), 2)
      .text(std::string_view(error.next_step).substr(0, kMostSentenceBytes), 2)
      .take();
}

Result<Question> parse_question(std::span<const std::byte> payload) {
  WireReader reader(payload);
  Question question;
  question.subject = static_cast<std::uint32_t>(reader.number(4));
  question.number = reader.number(8);
  question.text = reader.text(2, kMostTextBytes);
  if (!reader.is_complete()) return broken();
  return question;
}

Result<Answer> parse_answer_to_question(std::span<const std::byte> payload) {
  WireReader reader(payload);
  Answer answer{reader.number(8), std::string()};
  const std::uint64_t outcome = reader.number(1);
  if (outcome == 0) {
    answer.text = reader.text(2, kMostTextBytes);
  } else {
    const std::string code = reader.text(1, 64), sentence = reader.text(2, kMostSentenceBytes),
                      next_step = reader.text(2, kMostSentenceBytes);
    answer.text = tl::unexpected(Error{error_code_named(code).value_or(ErrorCode::unreachable), printable(sentence, 400), "peer",
                                       printable(next_step, 400)});
  }
  if (outcome > 1 || !reader.is_complete()) return broken();
  return answer;
}

void LinkService::ask(Subject subject, std::string text, Seconds deadline, Answered done) {
  const std::uint64_t number = ++last_number_;
  const auto refuse = [&](Error why) {
    reactor_.post([done = std::move(done), why = std::move(why)] { done(tl::unexpected(why)); });
  };
  if (open_.size() >= kMostOpen)
    return refuse({ErrorCode::busy, "too many questions wait for the peer's answer", "link", "wait"});
  if (const Status sent = send_(kQuestionKind, encode(Question{static_cast<std::uint32_t>(subject), number, std::move(text)}));
      !sent)
    return refuse(sent.error());
  Open& open = open_[number];
  open.done = std::move(done);
  open.deadline = std::make_unique<Timer>(reactor_);
  open.deadline->start(deadline, [this, number, deadline] {
    finish(number, fail(ErrorCode::timed_out, "the peer did not answer in " + format_duration(deadline), "link",
                        "look at the link's delay, or allow more time"));
  });
}

void LinkService::finish(std::uint64_t number, Result<std::string> answer) {
  auto open = open_.extract(number);
  if (open.empty()) return;  // too late, or to nothing
  open.mapped().deadline->stop();
  open.mapped().done(std::move(answer));
}

Status LinkService::on_question(std::span<const std::byte> payload,
                                const std::function<void(std::uint64_t, Result<std::string>)>& reply) {
  SUANLI_ASSIGN_OR_RETURN(Question question, parse_question(payload));
  const auto handler = handlers_.find(question.subject);
  if (handler == handlers_.end()) {
    reply(question.number, fail(ErrorCode::unsupported, "this peer does not do that", {}, "ask another peer"));
    return {};
  }
  const Handler call = handler->second;  // it may be replaced meanwhile
  call(question.text, [reply, number = question.number](Result<std::string> text) { reply(number, std::move(text)); });
  return {};
}

Status LinkService::on_answer(std::span<const std::byte> payload) {
  SUANLI_ASSIGN_OR_RETURN(Answer answer, parse_answer_to_question(payload));
  finish(answer.number, std::move(answer.text));
  return {};
}

void LinkService::fail_all(const Error& why) {
  for (auto& [number, open] : std::exchange(open_, {})) {
    open.deadline->stop();
    open.done(tl::unexpected(why));
  }
  // Not here: this may be happening inside one of them.
  reactor_.post([handlers = std::exchange(handlers_, {})] {});
}

}  // namespace suanli::net
