// Questions that this room itself asks over a link: renewal, probing, relaying. They travel as messages of two kinds that nobody
// above uses (docs/formats/network-frames.md), so the handler of a link's messages never sees them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/reactor.h"

namespace suanli::net {

// Kinds of messages from here on belong to this room.
inline constexpr std::uint32_t kFirstServiceKind = 0xFFFF0000, kQuestionKind = 0xFFFF0001, kAnswerKind = 0xFFFF0002;

enum class Subject : std::uint32_t { renewal = 1, probe = 2, relay = 3 };

struct Question {
  std::uint32_t subject = 0;
  std::uint64_t number = 0;  // chosen by who asks
  std::string text;
};

struct Answer {
  std::uint64_t number = 0;
  Result<std::string> text;
};

// Payloads of messages. Errors: protocol.
std::string encode(const Question& question);
std::string encode(const Answer& answer);
Result<Question> parse_question(std::span<const std::byte> payload);
Result<Answer> parse_answer_to_question(std::span<const std::byte> payload);

// Reactor's thread only. The owner calls fail_all() before it goes.
class LinkService {
 public:
  // Puts a payload of this kind on its way to the peer.
  using Send = std::function<Status(std::uint32_t kind, const std::string& payload)>;
  using Answered = std::function<void(Result<std::string>)>;
  // Answers once, at any time, on any thread while the node lives. A link that has ended by then drops the answer.
  using Reply = std::function<void(Result<std::string>)>;
  using Handler = std::function<void(const std::string& text, Reply reply)>;
  static constexpr std::size_t kMostOpen = 64;  // questions of ours without an answer

  LinkService(Reactor& reactor, Send send) : reactor_(reactor), send_(std::move(send)) {}

  // `done` comes once, never inside this call: the peer's answer or its refusal, timed_out, or what ended the link.
  void ask(Subject subject, std::string text, Seconds deadline, Answered done);
  // Who answers questions about this. One that nobody answers is refused (unsupported).
  void serve(Subject subject, Handler handler) { handlers_[static_cast<std::uint32_t>(subject)] = std::move(handler); }

  // `reply` sends what it is given as the answer to that number.
  Status on_question(std::span<const std::byte> payload, const std::function<void(std::uint64_t, Result<std::string>)>& reply);
  Status on_answer(std::span<const std::byte> payload);
  void fail_all(const Error& why);

 private:
  struct Open {
    std::unique_ptr<Timer> deadline;
    Answered done;
  };
  void finish(std::uint64_t number, Result<std::string> answer);

  Reactor& reactor_;
  Send send_;
  std::map<std::uint32_t, Handler> handlers_;
  std::map<std::uint64_t, Open> open_;
  std::uint64_t last_number_ = 0;
};

}  // namespace suanli::net
