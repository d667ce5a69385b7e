#include "suanli/net/relay.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "suanli/net/greeting.h"
#include "suanli/net/wire.h"

namespace suanli::net {
namespace {

template <std::size_t size>
std::string_view text_of(const std::array<std::byte, size>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string encode(const RelayRequest& request) {
  const auto reason = std::string_view(request.reason).substr(0, RelayCall::kMostReasonBytes);
  return WireWriter().raw(text_of(request.ticket)).raw(text_of(request.from.bytes)).text(reason, 1).take();
}

Result<RelayRequest> parse_relay_request(const std::string& text) {
  WireReader reader(std::as_bytes(std::span(text)));
  RelayRequest request;
  const std::string ticket = reader.raw(request.ticket.size()), from = reader.raw(request.from.bytes.size());
  request.reason = reader.text(1, RelayCall::kMostReasonBytes);
  if (!reader.is_complete())
    return fail(ErrorCode::protocol, "a relay sent a damaged request", "relay", "install the same version of suanli on both");
  std::memcpy(request.ticket.data(), ticket.data(), ticket.size());
  std::memcpy(request.from.bytes.data(), from.data(), from.size());
  return request;
}

Relay::Relay(Reactor& reactor, RelayOptions options, FindLink find_link, Refused refused)
    : reactor_(reactor), options_(std::move(options)), find_link_(std::move(find_link)), refused_(std::move(refused)) {}

void Relay::refuse(const std::shared_ptr<TlsStream>& stream, const Error& why) {
  Greeting::write_short(*stream, encode_goodbye(why.code, why.message));
  stream->close();
  if (refused_) refused_(Error(why).within(stream->place()));
}

void Relay::take(const std::shared_ptr<TlsStream>& stream, const RelayCall& call) {
  if (closed_) return stream->close();
  call.is_answer ? on_callback(stream, call) : on_call(stream, call);
}

void Relay::on_call(const std::shared_ptr<TlsStream>& stream, const RelayCall& call) {
  const PeerId from = stream->peer().key();
  const auto spliced = std::ranges::count_if(splices_, [&](const auto& each) { return each.second == from; });
  const auto of_peer = spliced + std::ranges::count_if(waiting_, [&](const auto& each) {
                         return each.second->stream->peer().key() == from;
                       });
  if (splices_.size() + waiting_.size() >= options_.most_streams ||
      static_cast<std::size_t>(of_peer) >= options_.most_streams_per_peer)
    return refuse(stream, {ErrorCode::busy, "the relay leads as many streams as it may", "relay", "try another relay"});
  if (waiting_.contains(call.ticket))
    return refuse(stream, {ErrorCode::protocol, "the ticket of a call to the relay is in use", "relay", "call again"});
  if (options_.allow && !options_.allow(from, call.peer))
    return refuse(stream, {ErrorCode::unauthorised, "the relay does not lead to that peer", "relay", "ask the pool's operator"});
  const std::shared_ptr<Link> link = call.peer == from ? nullptr : find_link_(call.peer);
  if (!link) {
    return refuse(stream, {ErrorCode::unreachable, "the relay has no link to peer " + call.peer.short_text(), "relay",
                           "wait until that peer is connected to the relay"});
  }
  auto& waiting = waiting_[call.ticket] = std::make_unique<Waiting>(reactor_);
  waiting->stream = stream;
  waiting->call = call;
  waiting->deadline.start(options_.deadline, [this, ticket = call.ticket] {
    give_up(ticket, {ErrorCode::timed_out, "the peer did not call the relay back in time", "relay", "try again"});
  });
  link->ask(Subject::relay, encode(RelayRequest{call.ticket, from, call.reason}), options_.deadline,
            [weak = weak_from_this(), ticket = call.ticket](const Result<std::string>& answer) {
              const auto self = weak.lock();
              if (self && !answer) self->give_up(ticket, answer.error());
            });
}

void Relay::on_callback(const std::shared_ptr<TlsStream>& stream, const RelayCall& call) {
  const auto found = waiting_.find(call.ticket);
  // A ticket is good for the peer that was called, and for nobody else who may have seen it.
  if (found == waiting_.end() || found->second->call.peer != stream->peer().key() ||
      found->second->stream->peer().key() != call.peer)
    return refuse(stream, {ErrorCode::unreachable, "nobody waits at the relay with this ticket", "relay", "wait to be called"});
  const std::unique_ptr<Waiting> waiting = std::move(found->second);
  waiting_.erase(found);
  waiting->deadline.stop();
  // From here on the streams are the peers' own.
  Greeting::write_short(*waiting->stream, encode(waiting->call));
  Greeting::write_short(*stream, encode(call));
  const auto splice = std::make_shared<Splice>(reactor_, waiting->stream, stream, options_.idle);
  splices_[splice] = call.peer;
  ++ever_;
  splice->start([this, weak = std::weak_ptr(splice)](const Error&) {
    const auto ended = weak.lock();
    carried_ += ended->carried();
    splices_.erase(ended);
  });
}

void Relay::give_up(const RelayTicket& ticket, const Error& why) {
  const auto found = waiting_.find(ticket);
  if (found == waiting_.end()) return;
  const std::shared_ptr<TlsStream> stream = found->second->stream;
  waiting_.erase(found);
  refuse(stream, why);
}

void Relay::drop_if(const std::function<bool(const Certificate&)>& is_gone) {
  for (auto each = waiting_.begin(); each != waiting_.end();) {
    const bool gone = is_gone(each->second->stream->peer());
    if (gone) each->second->stream->close();
    each = gone ? waiting_.erase(each) : std::next(each);
  }
  for (auto each = splices_.begin(); each != splices_.end();) {
    const bool gone = is_gone(each->first->stream(0).peer()) || is_gone(each->first->stream(1).peer());
    if (gone) {
      carried_ += each->first->carried();
      each->first->close();
    }
    each = gone ? splices_.erase(each) : std::next(each);
  }
}

void Relay::close() {
  closed_ = true;
  drop_if([](const Certificate&) { return true; });
  refused_ = nullptr;
  find_link_ = nullptr;
}

RelayMeasures Relay::measures() const {
  RelayMeasures measures{waiting_.size(), splices_.size(), ever_, carried_};
  for (const auto& [splice, from] : splices_) measures.carried += splice->carried();
  return measures;
}

}  // namespace suanli::net
