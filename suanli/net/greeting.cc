#include "suanli/net/greeting.h"

#include <utility>

namespace suanli::net {

Greeting::Greeting(Reactor& reactor, std::shared_ptr<ByteStream> stream)
    : reactor_(reactor), stream_(std::move(stream)), reader_(StreamKind::control, *this), deadline_(reactor) {}

Status Greeting::unexpected() {
  return fail(ErrorCode::protocol, "the peer did not greet first", "link", "check that a suanli node listens there");
}

void Greeting::write_short(ByteStream& stream, const std::string& frame) {
  // A failure shows when the stream is read.
  (void)stream.write_some(std::as_bytes(std::span(frame)));
}

void Greeting::start(std::optional<Heard> own, Seconds deadline, Finished done) {
  done_ = std::move(done);
  deadline_.start(deadline, [self = shared_from_this()] {
    self->finish(fail(ErrorCode::timed_out, "the peer did not greet in time", "link", "check the peer, then connect again"));
  });
  if (own) write_short(*stream_, std::visit([](const auto& each) { return encode(each); }, *own));
  // Not inside this call, so that `done` never is.
  reactor_.post([self = shared_from_this()] { self->read(); });
}

void Greeting::close() {
  done_ = nullptr;
  deadline_.stop();
  stream_->close();
}

void Greeting::read() {
  while (done_) {
    const auto count = stream_->read_some(reader_.space());
    if (!count) return finish(tl::unexpected(count.error()));
    if (*count == 0) return stream_->when_readable([self = shared_from_this()] { self->read(); });
    if (const Status status = reader_.advance(*count); !status) return finish(tl::unexpected(status.error()));
    if (heard_) return finish(*heard_);
  }
}

void Greeting::finish(Result<Heard> result) {
  deadline_.stop();
  if (const Finished done = std::exchange(done_, nullptr)) done(std::move(result));
}

Status Greeting::on_hello(const Hello& hello) {
  heard_ = hello;
  return {};
}

Status Greeting::on_relay(const RelayCall& call) {
  heard_ = call;
  return {};
}

Status Greeting::on_goodbye(const Error& reason) { return tl::unexpected(reason); }

}  // namespace suanli::net
