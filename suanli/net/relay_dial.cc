#include "suanli/net/relay_dial.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace suanli::net {

RelayDial::RelayDial(Reactor& reactor, std::shared_ptr<Endpoint> endpoint, std::shared_ptr<const TlsSetup> setup,
                     RelayRoute route)
    : reactor_(reactor), endpoint_(std::move(endpoint)), setup_(std::move(setup)), route_(std::move(route)) {}

void RelayDial::start(Seconds deadline, Done done, std::function<void(Status)> spliced) {
  until_ = Reactor::now() + deadline;
  done_ = std::move(done);
  spliced_ = std::move(spliced);
  endpoint_->dial(route_.relay, route_.relay_peer, deadline,
                  [self = shared_from_this()](Result<std::shared_ptr<TlsStream>> dialled) {
                    if (!self->done_) {
                      if (dialled) (*dialled)->close();
                      return;
                    }
                    if (!dialled) return self->finish(tl::unexpected(std::move(dialled).error().within("relay")));
                    self->on_dialled(*std::move(dialled));
                  });
}

void RelayDial::on_dialled(std::shared_ptr<TlsStream> outer) {
  outer_ = std::move(outer);
  via_ = {outer_->peer().key(), route_.call.reason};
  greeting_ = std::make_shared<Greeting>(reactor_, outer_);
  greeting_->start(route_.call, std::max(left(), Seconds(0)), [self = shared_from_this()](Result<Greeting::Heard> heard) {
    if (!heard) return self->finish(tl::unexpected(std::move(heard).error().within("relay " + self->route_.relay.to_string())));
    const auto* call = std::get_if<RelayCall>(&*heard);
    if (!call || call->ticket != self->route_.call.ticket)
      return self->finish(fail(ErrorCode::protocol, "the relay answers for another stream", self->route_.relay.to_string(),
                               "check that both machines run the same version of suanli"));
    self->on_spliced();
  });
}

void RelayDial::on_spliced() {
  greeting_.reset();
  if (const auto spliced = std::exchange(spliced_, nullptr)) spliced({});
  const std::string place = "peer " + route_.call.peer.short_text() + " through relay " + route_.relay.to_string();
  TlsSide side{.is_server = route_.call.is_answer, .expected = route_.peer};
  side.expected.id = route_.call.peer;
  inner_ = TlsStream::create_over(reactor_, setup_, outer_, side, place);
  inner_->handshake(std::max(left(), Seconds(0)), [self = shared_from_this()](Status status) {
    if (!status) return self->finish(tl::unexpected(status.error()));
    self->inner_->set_via(self->via_);
    self->finish(std::shared_ptr<TlsStream>(self->inner_));
  });
}

void RelayDial::finish(Result<std::shared_ptr<TlsStream>> result) {
  const Done done = std::exchange(done_, nullptr);
  if (const auto spliced = std::exchange(spliced_, nullptr); spliced && !result) spliced(tl::unexpected(result.error()));
  if (!result) close();
  greeting_.reset();
  outer_.reset();  // the inner stream holds it
  inner_.reset();
  if (done) done(std::move(result));
}

void RelayDial::close() {
  done_ = nullptr;
  spliced_ = nullptr;
  if (greeting_) greeting_->close();
  if (inner_) inner_->close();
  if (outer_) outer_->close();
}

}  // namespace suanli::net
