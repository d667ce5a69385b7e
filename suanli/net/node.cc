#include "suanli/net/node.h"

#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "suanli/net/emulated_stream.h"
#include "suanli/net/line_probe.h"

namespace suanli::net {

// Streams of a link that a peer dials, until all are there.
struct Node::Assembly {
  explicit Assembly(Reactor& reactor) : deadline(reactor) {}
  std::vector<std::shared_ptr<TlsStream>> streams;  // by index; null: not there yet
  Timer deadline;
};

// Streams of a link that we dial. The control stream goes first, so that a refusal costs one handshake.
struct Node::Connecting {
  explicit Connecting(Reactor& reactor) : deadline(reactor) {}
  Address address;
  ExpectedPeer expected;
  std::optional<RelayRoute> through;  // and then the address is the relay's
  Seconds until{0};
  LinkId id{};
  std::vector<std::shared_ptr<TlsStream>> streams;
  std::vector<std::shared_ptr<Greeting>> greetings;
  std::size_t greeted = 0;
  Timer deadline;
  Connected done;
};

Node::Node(std::shared_ptr<TlsContext> context, NodeOptions options)
    : context_(std::move(context)), options_(std::move(options)) {
  SUANLI_CHECK(options_.link.streams >= 1 && options_.link.streams <= 16);
  reactor_.run_and_wait([this] { endpoint_ = Endpoint::create(reactor_, context_, options_.endpoint); });
}

Node::~Node() {
  reactor_.run_and_wait([this] {
    endpoint_->close();
    for (const auto& dial : std::exchange(relay_dials_, {})) dial->close();
    if (relay_) relay_->close();
    relay_.reset();
    if (door_) door_->close();
    door_.reset();
    for (const auto& greeting : std::exchange(greetings_, {})) greeting->close();
    for (const auto& [key, assembly] : std::exchange(assemblies_, {}))
      for (const auto& stream : assembly->streams)
        if (stream) stream->close();
    for (const auto& connecting : std::exchange(connectings_, {})) {
      connecting->done = nullptr;
      connecting->deadline.stop();
      for (const auto& greeting : connecting->greetings) greeting->close();
      for (const auto& stream : connecting->streams)
        if (stream) stream->close();
    }
    const Error gone{ErrorCode::interrupted, "this node has ended", "link", "start it again"};
    for (const auto& link : std::exchange(links_, {})) link->end(gone);
    // What belongs to the reactor ends before it, on its thread.
    endpoint_.reset();
  });
}

void Node::refuse(const Error& why) {
  if (refused_) refused_(why);
}

std::shared_ptr<Link> Node::make_link(const std::vector<std::shared_ptr<TlsStream>>& made, std::optional<Address> dialled) {
  const PeerId peer = made.front()->peer().key();
  std::vector<std::shared_ptr<ByteStream>> streams(made.begin(), made.end());
  if (const auto line_options = options_.line ? options_.line(peer) : std::nullopt) {
    const auto line = std::make_shared<EmulatedLine>(*line_options, Reactor::now());
    for (std::size_t i = 0; i < streams.size(); ++i) streams[i] = EmulatedStream::create(reactor_, streams[i], line, i == 0);
  }
  const std::shared_ptr<Link> link = Link::create(reactor_, std::move(streams), options_.link);
  links_.insert(link);
  link->set_via(made.front()->via());
  if (dialled)
    link->serve(Subject::relay, [this, relay = *dialled, peer](const std::string& text, const LinkService::Reply& reply) {
      on_relay_request(relay, peer, text, reply);
    });
  serve_probes(link);
  if (renewals_) renewals_->serve(*link);
  link->on_ended([this, weak = std::weak_ptr<Link>(link)] { links_.erase(weak.lock()); });
  return link;
}

void Node::start_link(const std::shared_ptr<Link>& link) {
  link->start();
  // The list may have changed since the first stream's handshake.
  if (context_->is_revoked(link->peer())) end_revoked(link);
}

void Node::end_revoked(const std::shared_ptr<Link>& link) {
  link->end({ErrorCode::unauthorised, "the certificate of peer " + link->peer().key().short_text() + " was revoked", "link",
             "ask the pool's operator why"});
}

Result<Address> Node::listen(const Address& address, Arrived arrived, Refused refused) {
  Result<Address> result = Address{};
  reactor_.run_and_wait([&] {
    arrived_ = std::move(arrived);
    refused_ = std::move(refused);
    result = endpoint_->listen(
        address, [this](std::shared_ptr<TlsStream> stream) { on_accepted(std::move(stream)); },
        [this](const Error& error) { refuse(error); });
  });
  return result;
}

void Node::open_door(Admit admit, JoinDoorOptions options) {
  reactor_.run_and_wait([&] {
    if (door_) door_->close();
    door_ = JoinDoor::create(
        reactor_, context_->identity().authority, std::move(admit), [this](const Error& why) { refuse(why); },
        std::move(options));
    endpoint_->set_door([door = door_](std::shared_ptr<TlsStream> stream) { door->take(std::move(stream)); });
  });
}

void Node::close_door() {
  reactor_.run_and_wait([this] {
    endpoint_->set_door(nullptr);
    if (door_) door_->close();
    door_.reset();
  });
}

void Node::on_accepted(std::shared_ptr<TlsStream> stream) {
  const PeerId peer = stream->peer().key();
  std::size_t of_peer = 0, all = 0;
  for (const auto& greeting : greetings_) {
    ++all;
    of_peer += greeting->stream().peer().key() == peer ? 1 : 0;
  }
  for (const auto& [key, assembly] : assemblies_) {
    const auto count =
        static_cast<std::size_t>(std::ranges::count_if(assembly->streams, [](const auto& each) { return each != nullptr; }));
    all += count;
    of_peer += key.first == peer ? count : 0;
  }
  if (of_peer >= options_.most_unfinished_per_peer || all >= options_.most_unfinished) {
    Greeting::write_short(*stream, encode_goodbye(ErrorCode::busy, "too many unfinished connections"));
    stream->close();
    return refuse(
        {ErrorCode::busy, "peer " + peer.short_text() + " opened too many connections at once", stream->place(), "wait"});
  }
  const auto greeting = std::make_shared<Greeting>(reactor_, stream);
  greetings_.insert(greeting);
  greeting->start(std::nullopt, options_.greeting_deadline, [this, greeting, stream](Result<Greeting::Heard> heard) {
    greetings_.erase(greeting);
    if (heard && std::holds_alternative<Hello>(*heard)) return on_greeted(stream, std::get<Hello>(*heard));
    // One relay is enough: what came through one is led no further.
    if (heard && relay_ && !stream->via()) return relay_->take(stream, std::get<RelayCall>(*heard));
    if (heard) heard = fail(ErrorCode::unsupported, "this peer is no relay", stream->place(), "name another relay");
    Greeting::write_short(*stream, encode_goodbye(heard.error().code, heard.error().message));
    stream->close();
    refuse(heard.error());
  });
}

void Node::on_greeted(const std::shared_ptr<TlsStream>& stream, const Hello& hello) {
  const AssemblyKey key{stream->peer().key(), hello.link};
  const auto open = std::ranges::count_if(links_, [&](const auto& link) { return link->peer().key() == key.first; });
  if (static_cast<std::size_t>(open) >= options_.most_links_per_peer) {
    Greeting::write_short(*stream, encode_goodbye(ErrorCode::busy, "too many links at once"));
    stream->close();
    return refuse({ErrorCode::busy, "peer " + key.first.short_text() + " opened too many links", stream->place(), "wait"});
  }
  auto& assembly = assemblies_[key];
  if (!assembly) {
    assembly = std::make_unique<Assembly>(reactor_);
    assembly->streams.resize(hello.streams + std::size_t{1});
    assembly->deadline.start(options_.greeting_deadline, [this, key] {
      refuse({ErrorCode::timed_out, "peer " + key.first.short_text() + " did not open all streams of a link", "link", "wait"});
      drop_assembly(key);
    });
  }
  if (assembly->streams.size() != hello.streams + std::size_t{1} || assembly->streams[hello.stream]) {
    Greeting::write_short(*stream, encode_goodbye(ErrorCode::protocol, "the stream does not fit its link"));
    stream->close();
    refuse({ErrorCode::protocol, "peer " + key.first.short_text() + " opened a stream twice", stream->place(), "wait"});
    return drop_assembly(key);
  }
  Greeting::write_short(*stream, encode(hello));
  assembly->streams[hello.stream] = stream;
  if (std::ranges::find(assembly->streams, nullptr) != assembly->streams.end()) return;
  const std::vector<std::shared_ptr<TlsStream>> streams = assembly->streams;
  assemblies_.erase(key);
  const std::shared_ptr<Link> link = make_link(streams, std::nullopt);
  if (arrived_) arrived_(link);
  start_link(link);
}

void Node::drop_assembly(const AssemblyKey& key) {
  const auto found = assemblies_.find(key);
  if (found == assemblies_.end()) return;
  const std::unique_ptr<Assembly> assembly = std::move(found->second);
  assemblies_.erase(found);
  for (const auto& stream : assembly->streams)
    if (stream) stream->close();
}

void Node::connect(const Address& address, const ExpectedPeer& expected, Seconds deadline, Connected done) {
  reactor_.post([this, address, expected, deadline, done = std::move(done)] {
    const auto connecting = std::make_shared<Connecting>(reactor_);
    connecting->address = address;
    connecting->expected = expected;
    begin_connecting(connecting, deadline, done);
  });
}

void Node::connect_through(const Address& relay, const ExpectedPeer& relay_peer, const PeerId& peer, const std::string& reason,
                           Seconds deadline, Connected done) {
  reactor_.post([this, relay, relay_peer, peer, reason, deadline, done = std::move(done)] {
    const auto connecting = std::make_shared<Connecting>(reactor_);
    connecting->address = relay;
    connecting->expected.id = peer;
    connecting->through = RelayRoute{relay, relay_peer, {.peer = peer, .reason = reason}, connecting->expected};
    begin_connecting(connecting, deadline, done);
  });
}

void Node::begin_connecting(const std::shared_ptr<Connecting>& connecting, Seconds deadline, Connected done) {
  connecting->until = Reactor::now() + deadline;
  connecting->streams.resize(static_cast<std::size_t>(options_.link.streams) + 1);
  connecting->done = [this, weak = std::weak_ptr<Connecting>(connecting), done = std::move(done)](
                         Result<std::shared_ptr<Link>> link) {
    const auto ended = weak.lock();
    connectings_.erase(ended);
    ended->deadline.stop();
    for (const auto& greeting : std::exchange(ended->greetings, {}))
      if (!link) greeting->close();
    for (const auto& stream : std::exchange(ended->streams, {}))
      if (!link && stream) stream->close();
    done(std::move(link));
  };
  connectings_.insert(connecting);
  if (RAND_bytes(reinterpret_cast<unsigned char*>(connecting->id.data()), static_cast<int>(connecting->id.size())) != 1)
    return std::exchange(connecting->done, nullptr)(fail(ErrorCode::unsupported, "OpenSSL has no random bytes",
                                                         connecting->address.to_string(), "check the machine's OpenSSL"));
  dial_stream(connecting, 0);
}

void Node::dial_stream(const std::shared_ptr<Connecting>& connecting, std::uint16_t index) {
  const Seconds left = std::max(connecting->until - Reactor::now(), Seconds(0));
  const auto finish = [connecting](Result<std::shared_ptr<Link>> result) {
    if (const Connected done = std::exchange(connecting->done, nullptr)) done(std::move(result));
  };
  const auto on_dialled = [=, this](Result<std::shared_ptr<TlsStream>> dialled) {
    if (!connecting->done) {
      if (dialled) (*dialled)->close();
      return;
    }
    if (!dialled) return finish(tl::unexpected(dialled.error()));
    const std::shared_ptr<TlsStream> stream = connecting->streams[index] = *dialled;
    // Behind an address several machines may answer: all streams must lead to the first one.
    connecting->expected.id = stream->peer().key();
    const Hello own{kProtocolVersion, connecting->id, index, static_cast<std::uint16_t>(connecting->streams.size() - 1)};
    const auto greeting = std::make_shared<Greeting>(reactor_, stream);
    connecting->greetings.push_back(greeting);
    greeting->start(own, std::max(connecting->until - Reactor::now(), Seconds(0)), [=, this](Result<Greeting::Heard> heard) {
      if (!heard) return finish(tl::unexpected(heard.error()));
      const auto* hello = std::get_if<Hello>(&*heard);
      if (!hello || hello->link != own.link || hello->stream != own.stream || hello->streams != own.streams)
        return finish(fail(ErrorCode::protocol, "the peer answers for another stream", connecting->address.to_string(),
                           "check that both machines run the same version of suanli"));
      if (index == 0)
        for (std::uint16_t i = 1; i < connecting->streams.size(); ++i) dial_stream(connecting, i);
      if (++connecting->greeted < connecting->streams.size()) return;
      const std::shared_ptr<Link> link =
          make_link(connecting->streams, connecting->through ? std::nullopt : std::optional(connecting->address));
      finish(link);
      start_link(link);
    });
  };
  if (!connecting->through) return endpoint_->dial(connecting->address, connecting->expected, left, on_dialled);
  RelayRoute route = *connecting->through;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(route.call.ticket.data()), static_cast<int>(route.call.ticket.size())) != 1)
    return finish(fail(ErrorCode::unsupported, "OpenSSL has no random bytes", "relay", "check the machine's OpenSSL"));
  dial_through(route, left, on_dialled, nullptr);
}

void Node::serve_renewals(Issue issue, RenewalOptions options) {
  reactor_.run_and_wait([&] { renewals_ = std::make_shared<RenewalDesk>(std::move(issue), std::move(options)); });
}

void Node::renew(const std::shared_ptr<Link>& coordinator, Seconds deadline, std::function<void(Result<Certificate>)> done) {
  ask_for_renewal(*coordinator, context_->identity(), deadline,
                  [context = context_, done = std::move(done)](Result<Certificate> certificate) {
                    if (!certificate) return done(std::move(certificate));
                    if (const Status taken = context->renew(*certificate); !taken) return done(tl::unexpected(taken.error()));
                    done(std::move(certificate));
                  });
}

Status Node::set_revocation_list(RevocationList list) {
  SUANLI_RETURN_IF_ERROR(context_->set_revocation_list(std::move(list)));
  reactor_.run_and_wait([this] {
    // Whoever is on the way in meets the new list in start_link().
    for (const auto& link : std::set(links_))
      if (context_->is_revoked(link->peer())) end_revoked(link);
    if (relay_) relay_->drop_if([this](const Certificate& peer) { return context_->is_revoked(peer); });
  });
  return {};
}

std::size_t Node::links() {
  std::size_t count = 0;
  reactor_.run_and_wait([&] { count = links_.size(); });
  return count;
}

}  // namespace suanli::net
