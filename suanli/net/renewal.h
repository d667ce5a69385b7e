// A newer certificate before the old one ends: a peer asks the coordinator over a link, which has proved who asks, and shows
// the new one on all connections that it makes from then on. Links that are open stay open.
//
//   coordinator: node.serve_renewals([&](const PeerId& peer, Role role) { return authority.issue(peer, role, now); });
//   worker:      if (is_renewal_due(own, now)) node.renew(link, Seconds(30), [](Result<Certificate> newer) { save(newer); });
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "suanli/base/error.h"
#include "suanli/net/certificate.h"
#include "suanli/net/link.h"
#include "suanli/net/tls_context.h"

namespace suanli::net {

// Less than a third of the certificate's time is left.
bool is_renewal_due(const Certificate& certificate, WallTime now);

// Authority::issue, usually. Its error goes to who asked.
using Issue = std::function<Result<Certificate>(const PeerId& peer, Role role)>;

struct RenewalOptions {
  Seconds least_between{600};  // of one peer: what is issued is remembered by the authority for a long time
  // Where `issue` runs; empty: on the reactor's thread. What it was given must have run before the node ends.
  std::function<void(std::function<void()>)> executor{};
};

// The coordinator's side. Reactor's thread only.
class RenewalDesk : public std::enable_shared_from_this<RenewalDesk> {
 public:
  RenewalDesk(Issue issue, RenewalOptions options) : issue_(std::move(issue)), options_(std::move(options)) {}
  void serve(Link& link);

 private:
  void on_question(const Certificate& peer, const LinkService::Reply& reply);
  Issue issue_;
  RenewalOptions options_;
  std::map<PeerId, Seconds> last_;  // of those who asked lately
};

// The worker's side: `done` gets a certificate of the authority for the same key and role. Any thread.
void ask_for_renewal(Link& link, const TlsIdentity& own, Seconds deadline, std::function<void(Result<Certificate>)> done);

}  // namespace suanli::net
