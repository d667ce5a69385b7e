#include "suanli/net/join_door.h"

#include <utility>

#include "suanli/net/address.h"

namespace suanli::net {

// One connection: opening out, request in, answer out.
struct JoinDoor::Visit {
  Visit(Reactor& reactor, std::shared_ptr<TlsStream> from) : stream(std::move(from)), deadline(reactor) {}
  std::shared_ptr<TlsStream> stream;
  Timer deadline;
  std::string address;  // as the limits count it
  JoinReader request{kMostRequestBytes};
  std::string pending;  // to be written
  bool judged = false, answered = false, ended = false;
};

JoinDoor::JoinDoor(Reactor& reactor, Certificate authority, Admit admit, Refused refused, JoinDoorOptions options)
    : reactor_(reactor),
      authority_(std::move(authority)),
      admit_(std::move(admit)),
      refused_(std::move(refused)),
      options_(std::move(options)),
      limit_(options_.limits) {}

std::shared_ptr<JoinDoor> JoinDoor::create(Reactor& reactor, Certificate authority, Admit admit, Refused refused,
                                           JoinDoorOptions options) {
  return std::shared_ptr<JoinDoor>(
      new JoinDoor(reactor, std::move(authority), std::move(admit), std::move(refused), std::move(options)));
}

void JoinDoor::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  for (const auto& visit : std::list(visits_)) end(visit);
  refused_ = nullptr;
}

void JoinDoor::take(std::shared_ptr<TlsStream> stream) {
  SUANLI_CHECK(stream->is_joining() && !closed_);
  const auto from = Address::parse(stream->place());
  const auto visit = std::make_shared<Visit>(reactor_, std::move(stream));
  visit->address = from ? join_limit_key(from->host) : visit->stream->place();
  if (open_by_address_[visit->address] >= options_.most_open_per_address) {
    const Error why{ErrorCode::busy, "too many machines join from this address at once", {}, "try again in a while"};
    const std::string said = encode(JoinOpening{options_.clock(), kProtocolVersion, options_.software}) +
                             encode(JoinAnswer{{}, {}, why});
    (void)visit->stream->write_some(std::as_bytes(std::span(said)));
    visit->stream->close();
    return refuse(visit, why);
  }
  if (visits_.size() >= options_.most_open) end(visits_.front());
  visits_.push_back(visit);
  ++open_by_address_[visit->address];
  visit->deadline.start(options_.deadline, [this, visit] { on_deadline(visit); });
  visit->pending = encode(JoinOpening{options_.clock(), kProtocolVersion, options_.software});
  write(visit);
  reactor_.post([self = shared_from_this(), visit] { self->read(visit); });
}

void JoinDoor::read(const std::shared_ptr<Visit>& visit) {
  while (!visit->ended && !visit->judged) {
    const auto count = visit->stream->read_some(visit->request.space());
    if (!count) return end(visit);
    if (*count == 0) return visit->stream->when_readable([self = shared_from_this(), visit] { self->read(visit); });
    if (const Status status = visit->request.advance(*count); !status) {
      visit->judged = true;  // nothing else is read
      return answer(visit, tl::unexpected(status.error()));
    }
    if (visit->request.is_whole()) judge(visit);
  }
}

void JoinDoor::judge(const std::shared_ptr<Visit>& visit) {
  visit->judged = true;
  const auto request = parse_request(visit->request.body());
  if (!request) return answer(visit, tl::unexpected(request.error()));
  if (const Status allowed = limit_.spend(visit->address, Reactor::now()); !allowed)
    return answer(visit, tl::unexpected(allowed.error()));
  if (const Status same = check_protocol(request->protocol, kProtocolVersion); !same)
    return answer(visit, tl::unexpected(same.error()));
  if (const Status same = check_clocks(request->time, options_.clock()); !same)
    return answer(visit, tl::unexpected(same.error()));
  // Visits belong to the reactor's thread: the executor's only passes their name on.
  auto work = [weak = weak_from_this(), admit = admit_, visiting = std::weak_ptr<Visit>(visit), address = visit->address,
               attempt = JoinAttempt{*request, visit->stream->place()}] {
    auto admitted = admit(attempt);
    const auto self = weak.lock();
    if (!self) return;
    const std::lock_guard lock(self->mutex_);
    if (self->closed_) return;
    self->reactor_.post([self, visiting, address, admitted = std::move(admitted)] {
      // What was admitted counts as such, whether or not the joiner waited for it.
      if (admitted) self->limit_.give_back(address);
      if (const auto living = visiting.lock()) self->answer(living, admitted);
    });
  };
  options_.executor ? options_.executor(std::move(work)) : work();
}

void JoinDoor::answer(const std::shared_ptr<Visit>& visit, const Result<Certificate>& admitted) {
  if (visit->ended) return;
  if (!admitted) refuse(visit, admitted.error());
  JoinAnswer said;
  if (admitted) {
    said.certificate = admitted->pem();
    said.authority = authority_.pem();
  } else {
    said.refusal = admitted.error();
  }
  visit->pending += encode(said);
  visit->answered = true;
  write(visit);
}

void JoinDoor::write(const std::shared_ptr<Visit>& visit) {
  while (!visit->ended && !visit->pending.empty()) {
    const auto count = visit->stream->write_some(std::as_bytes(std::span(visit->pending)));
    if (!count) return end(visit);
    if (*count == 0) {
      visit->stream->when_writable([self = shared_from_this(), visit] { self->write(visit); });
      return;
    }
    visit->pending.erase(0, *count);
  }
  if (visit->answered) end(visit);
}

void JoinDoor::on_deadline(const std::shared_ptr<Visit>& visit) {
  refuse(visit, {ErrorCode::timed_out,
                 visit->answered ? "the joining machine does not read its answer"
                 : visit->judged ? "the authority did not decide in time"
                                 : "the joining machine did not say what it wants in time",
                 {}, "try again"});
  end(visit);
}

void JoinDoor::refuse(const std::shared_ptr<Visit>& visit, const Error& why) {
  if (refused_) refused_(Error(why).within(visit->stream->place()));
}

void JoinDoor::end(const std::shared_ptr<Visit>& visit) {
  if (std::exchange(visit->ended, true)) return;
  visit->deadline.stop();
  visit->stream->close();
  visits_.remove(visit);
  if (const auto open = open_by_address_.find(visit->address); --open->second == 0) open_by_address_.erase(open);
}

}  // namespace suanli::net
