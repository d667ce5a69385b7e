// What a node does with relays: as one, and as either peer that is led.
#include <utility>

#include "suanli/net/node.h"

namespace suanli::net {

void Node::accept_relayed(Arrived arrived, Refused refused) {
  reactor_.run_and_wait([&] {
    arrived_ = std::move(arrived);
    if (refused) refused_ = std::move(refused);
    accepts_relayed_ = true;
  });
}

void Node::allow_relay(RelayOptions options) {
  reactor_.run_and_wait([&] {
    SUANLI_CHECK(!relay_);
    const auto find_link = [this](const PeerId& peer) -> std::shared_ptr<Link> {
      for (const auto& link : links_)
        if (link->peer().key() == peer && !link->via() && !link->is_closed()) return link;
      return nullptr;
    };
    relay_ = std::make_shared<Relay>(reactor_, std::move(options), find_link, [this](const Error& why) { refuse(why); });
  });
}

RelayMeasures Node::relay_measures() {
  RelayMeasures measures;
  reactor_.run_and_wait([&] {
    if (relay_) measures = relay_->measures();
  });
  return measures;
}

void Node::dial_through(const RelayRoute& route, Seconds deadline, RelayDial::Done done, std::function<void(Status)> spliced) {
  const auto dial = std::make_shared<RelayDial>(reactor_, endpoint_, context_, route);
  relay_dials_.insert(dial);
  dial->start(
      deadline,
      [this, weak = std::weak_ptr(dial), done = std::move(done)](Result<std::shared_ptr<TlsStream>> stream) {
        relay_dials_.erase(weak.lock());
        done(std::move(stream));
      },
      std::move(spliced));
}

void Node::on_relay_request(const Address& relay, const PeerId& relay_id, const std::string& text,
                            const LinkService::Reply& reply) {
  if (!accepts_relayed_)
    return reply(fail(ErrorCode::unsupported, "this peer takes no links through relays", {}, "dial it, if it listens"));
  const auto request = parse_relay_request(text);
  if (!request) return reply(tl::unexpected(request.error()));
  if (relay_dials_.size() >= options_.most_unfinished)
    return reply(fail(ErrorCode::busy, "too many links through relays begin at once", {}, "wait"));
  const RelayCall call{request->ticket, request->from, true, request->reason};
  dial_through(
      {relay, {relay_id, std::nullopt}, call, {request->from, std::nullopt}}, options_.greeting_deadline,
      [this](Result<std::shared_ptr<TlsStream>> stream) {
        stream ? on_accepted(*std::move(stream)) : refuse(stream.error());
      },
      [reply](const Status& spliced) { spliced ? reply(std::string()) : reply(tl::unexpected(spliced.error())); });
}

}  // namespace suanli::net
