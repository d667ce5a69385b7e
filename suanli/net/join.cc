#include "suanli/net/join.h"

#include <future>
#include <memory>
#include <utility>

#include "suanli/net/endpoint.h"
#include "suanli/net/join_message.h"
#include "suanli/net/join_tls.h"
#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

// The joiner's side of one connection: opening in, request out, answer in. Reactor's thread only.
class Joining : public std::enable_shared_from_this<Joining> {
 public:
  using Finished = std::function<void(Result<Joined>)>;
  Joining(const JoinToken& token, const PrivateKey& key, const JoinFacts& facts, Finished done)
      : token_(token), key_(key), facts_(facts), done_(std::move(done)) {}

  void start(std::shared_ptr<TlsStream> stream) {
    stream_ = std::move(stream);
    read();
  }
  void finish(Result<Joined> result) {
    if (stream_) stream_->close();
    if (const Finished call = std::exchange(done_, nullptr)) call(std::move(result));
  }

 private:
  void read() {
    while (done_) {
      const auto count = stream_->read_some(reader_.space());
      if (!count) return finish(tl::unexpected(count.error()));
      if (*count == 0) return stream_->when_readable([self = shared_from_this()] { self->read(); });
      if (const Status status = reader_.advance(*count); !status) return finish(tl::unexpected(status.error()));
      if (!reader_.is_whole()) continue;
      if (opened_) return finish(joined());
      if (const Status status = on_opening(); !status) return finish(tl::unexpected(status.error()));
      write();
    }
  }

  Status on_opening() {
    SUANLI_ASSIGN_OR_RETURN(const JoinOpening opening, parse_opening(reader_.body()));
    SUANLI_RETURN_IF_ERROR(check_protocol(kProtocolVersion, opening.protocol));
    const WallTime now = facts_.clock();
    SUANLI_RETURN_IF_ERROR(check_clocks(now, opening.time));
    // The clocks agree: so what the coordinator shows must hold now.
    SUANLI_RETURN_IF_ERROR(check_validity(stream_->peer(), now));
    JoinRequest request{now, kProtocolVersion, token_.id, token_.secret, {}, facts_.software};
    SUANLI_ASSIGN_OR_RETURN(request.request, make_request(key_));
    pending_ = encode(request);
    opened_ = true;
    reader_ = JoinReader(kMostAnswerBytes);
    return {};
  }

  void write() {
    while (done_ && !pending_.empty()) {
      const auto count = stream_->write_some(std::as_bytes(std::span(pending_)));
      if (!count) return;  // the door may have refused and closed: what it said is still to be read
      if (*count == 0) return stream_->when_writable([self = shared_from_this()] { self->write(); });
      pending_.erase(0, *count);
    }
  }

  Result<Joined> joined() {
    SUANLI_ASSIGN_OR_RETURN(const JoinAnswer answer, parse_answer(reader_.body()));
    if (answer.refusal) return tl::unexpected(*answer.refusal);
    SUANLI_ASSIGN_OR_RETURN(Certificate own, Certificate::parse(answer.certificate, "certificate from the pool"));
    SUANLI_ASSIGN_OR_RETURN(Certificate authority, Certificate::parse(answer.authority, "authority of the pool"));
    SUANLI_RETURN_IF_ERROR(check_token(token_, authority.fingerprint(), facts_.clock()));
    const bool fits = !own.is_authority() && own.key() == key_.id() && own.role() == Role::worker &&
                      X509_verify(own.handle(), X509_get0_pubkey(authority.handle())) == 1;
    if (!fits) {
      openssl::take_error();
      return fail(ErrorCode::mismatch, "the pool answered with a certificate that is not for this machine", "join",
                  "ask the pool's operator");
    }
    SUANLI_RETURN_IF_ERROR(check_validity(own, facts_.clock()));
    return Joined{std::move(own), std::move(authority)};
  }

  const JoinToken token_;
  const PrivateKey key_;
  const JoinFacts facts_;
  Finished done_;
  std::shared_ptr<TlsStream> stream_;
  JoinReader reader_{kMostOpeningBytes};
  bool opened_ = false;
  std::string pending_;
};

}  // namespace

Result<Joined> join_pool(const JoinToken& token, const PrivateKey& key, JoinFacts facts, Seconds deadline) {
  SUANLI_ASSIGN_OR_RETURN(const std::shared_ptr<JoinTls> tls, JoinTls::create(token.authority));
  std::promise<Result<Joined>> promise;
  std::future<Result<Joined>> future = promise.get_future();
  std::shared_ptr<Endpoint> endpoint;
  std::unique_ptr<Timer> timer;
  Reactor reactor;
  const auto joining =
      std::make_shared<Joining>(token, key, facts, [&promise](Result<Joined> result) { promise.set_value(std::move(result)); });
  reactor.run_and_wait([&] {
    endpoint = Endpoint::create(reactor, tls, {});
    timer = std::make_unique<Timer>(reactor);
    // Later than the dial's own, which says better what did not happen.
    timer->start(deadline * 1.05, [&] {
      joining->finish(fail(ErrorCode::timed_out, "the pool did not answer in time", "join", "try again"));
    });
    endpoint->dial(token.address, {}, deadline, [joining](Result<std::shared_ptr<TlsStream>> stream) {
      stream ? joining->start(*std::move(stream)) : joining->finish(tl::unexpected(stream.error()));
    });
  });
  Result<Joined> result = future.get();
  reactor.run_and_wait([&] {
    // What belongs to the reactor ends before it, on its thread.
    joining->finish(tl::unexpected(Error{}));
    timer.reset();
    endpoint->close();
    endpoint.reset();
  });
  if (!result) {
    Error error = result.error();
    const std::string place = token.address.to_string();
    if (error.place.find(place) == std::string::npos) error = std::move(error).within(place);
    return tl::unexpected(std::move(error));
  }
  return result;
}

}  // namespace suanli::net
