// A machine's place in a pool's network: its reactor, its identity, whom it listens to and whom it dials.
//
//   Node node(TlsContext::create(identity).value(), {});
//   node.listen({"0.0.0.0", 7000}, [](std::shared_ptr<Link> link) { ... link->on_message(...); });
//   node.connect(address, {.role = Role::coordinator}, Seconds(10), [](Result<std::shared_ptr<Link>> link) { ... });
//
// A peer that cannot be dialled is reached through another that both have dialled or can dial:
//
//   relay.allow_relay({});   unreachable.accept_relayed(arrived);   node.connect_through(relay_address, {}, peer, why, ...);
//
// Links come with every stream authenticated as the same peer. Any thread may call; handlers run on the reactor's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "suanli/net/emulated_line.h"
#include "suanli/net/endpoint.h"
#include "suanli/net/greeting.h"
#include "suanli/net/join_door.h"
#include "suanli/net/link.h"
#include "suanli/net/relay.h"
#include "suanli/net/relay_dial.h"
#include "suanli/net/renewal.h"
#include "suanli/net/tls_context.h"

namespace suanli::net {

struct NodeOptions {
  EndpointOptions endpoint;
  LinkOptions link;
  Seconds greeting_deadline{10};              // for all streams of a link to arrive, once the first has
  std::size_t most_unfinished = 256;          // streams that have passed TLS and are not part of a link yet
  std::size_t most_unfinished_per_peer = 34;  // of them; two links of sixteen data streams
  std::size_t most_links_per_peer = 8;        // that a peer may open with us
  // The line that bulk and messages to a peer go through, if it is emulated.
  std::function<std::optional<LineOptions>(const PeerId&)> line;
};

class Node {
 public:
  using Connected = std::function<void(Result<std::shared_ptr<Link>>)>;
  // Sets the link's handlers; what comes before it returns is not lost.
  using Arrived = std::function<void(std::shared_ptr<Link>)>;
  using Refused = std::function<void(const Error&)>;

  Node(std::shared_ptr<TlsContext> context, NodeOptions options);
  // Closes all links. Not on the reactor's own thread.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Once.
  Result<Address> listen(const Address& address, Arrived arrived, Refused refused = nullptr);
  // Lets machines that have only a token in to ask for a certificate, at the address where the node listens. A coordinator's.
  // `admit` may be called until the node has ended.
  void open_door(Admit admit, JoinDoorOptions options = {});
  void close_door();
  // `done` is called once, and sets the link's handlers; not at all if the node ends before.
  void connect(const Address& address, const ExpectedPeer& expected, Seconds deadline, Connected done);
  // As connect(), to a peer that has dialled the relay and accepts links through it. The streams are authenticated and encrypted
  // from end to end; Link::via() names the relay and `reason` at both ends.
  void connect_through(const Address& relay, const ExpectedPeer& relay_peer, const PeerId& peer, const std::string& reason,
                       Seconds deadline, Connected done);
  // Takes links that come through relays which this node has dialled, besides or instead of listen().
  void accept_relayed(Arrived arrived, Refused refused = nullptr);
  // Leads streams between peers that have links to this node. It needs to listen.
  void allow_relay(RelayOptions options);
  RelayMeasures relay_measures();
  // Issues newer certificates to peers that ask over their links. A coordinator's; once, before links come.
  void serve_renewals(Issue issue, RenewalOptions options = {});
  // Asks the coordinator at the other end of the link for a newer certificate and shows it on all connections made from then on;
  // `done` gets it, to be kept on disk. Links stay open.
  void renew(const std::shared_ptr<Link>& coordinator, Seconds deadline, std::function<void(Result<Certificate>)> done);
  // Takes a newer list, and closes the links of peers that are on it.
  [[nodiscard]] Status set_revocation_list(RevocationList list);

  Reactor& reactor() { return reactor_; }
  std::size_t links();

 private:
  struct Assembly;
  struct Connecting;
  using AssemblyKey = std::pair<PeerId, LinkId>;

  void on_accepted(std::shared_ptr<TlsStream> stream);
  void on_greeted(const std::shared_ptr<TlsStream>& stream, const Hello& hello);
  void drop_assembly(const AssemblyKey& key);
  void dial_stream(const std::shared_ptr<Connecting>& connecting, std::uint16_t index);
  // `dialled`: where, if we dialled the peer itself.
  std::shared_ptr<Link> make_link(const std::vector<std::shared_ptr<TlsStream>>& streams, std::optional<Address> dialled);
  void dial_through(const RelayRoute& route, Seconds deadline, RelayDial::Done done, std::function<void(Status)> spliced);
  void on_relay_request(const Address& relay, const PeerId& relay_id, const std::string& text, const LinkService::Reply& reply);
  void begin_connecting(const std::shared_ptr<Connecting>& connecting, Seconds deadline, Connected done);
  void start_link(const std::shared_ptr<Link>& link);
  void end_revoked(const std::shared_ptr<Link>& link);
  void refuse(const Error& why);

  std::shared_ptr<TlsContext> context_;
  NodeOptions options_;
  Reactor reactor_;

  // The reactor's thread's own.
  std::shared_ptr<Endpoint> endpoint_;
  std::shared_ptr<JoinDoor> door_;
  std::shared_ptr<RenewalDesk> renewals_;
  std::shared_ptr<Relay> relay_;
  bool accepts_relayed_ = false;
  std::set<std::shared_ptr<RelayDial>> relay_dials_;
  Arrived arrived_;
  Refused refused_;
  std::set<std::shared_ptr<Greeting>> greetings_;
  std::map<AssemblyKey, std::unique_ptr<Assembly>> assemblies_;
  std::set<std::shared_ptr<Connecting>> connectings_;
  std::set<std::shared_ptr<Link>> links_;
};

}  // namespace suanli::net
