#include "suanli/net/renewal.h"

#include <utility>

#include "suanli/base/text.h"
#include "suanli/net/openssl.h"

namespace suanli::net {

bool is_renewal_due(const Certificate& certificate, WallTime now) {
  const std::int64_t whole = certificate.not_after().value() - certificate.not_before().value();
  return certificate.not_after().value() - now.value() < whole / 3;
}

void RenewalDesk::serve(Link& link) {
  link.serve(Subject::renewal, [self = shared_from_this(), peer = link.peer()](const std::string&, LinkService::Reply reply) {
    self->on_question(peer, reply);
  });
}

void RenewalDesk::on_question(const Certificate& peer, const LinkService::Reply& reply) {
  const Seconds now = Reactor::now();
  std::erase_if(last_, [&](const auto& each) { return now - each.second >= options_.least_between; });
  if (const auto last = last_.find(peer.key()); last != last_.end()) {
    const Seconds wait = options_.least_between - (now - last->second);
    return reply(fail(ErrorCode::busy, "the certificate of peer " + peer.key().short_text() + " was renewed just now", {},
                      "ask again in " + format_duration(wait)));
  }
  last_[peer.key()] = now;
  auto work = [issue = issue_, peer, reply] {
    const auto certificate = issue(peer.key(), peer.role());
    reply(certificate.map([](const Certificate& issued) { return issued.pem(); }));
  };
  options_.executor ? options_.executor(std::move(work)) : work();
}

void ask_for_renewal(Link& link, const TlsIdentity& own, Seconds deadline, std::function<void(Result<Certificate>)> done) {
  if (link.peer().role() != Role::coordinator)
    return done(fail(ErrorCode::usage, "peer " + link.peer().key().short_text() + " is no coordinator", "renewal",
                     "ask the pool's coordinator"));
  link.ask(Subject::renewal, {}, deadline, [own, done = std::move(done)](Result<std::string> pem) {
    if (!pem) return done(tl::unexpected(std::move(pem).error().within("renewal")));
    auto certificate = Certificate::parse(*pem, "certificate from the coordinator");
    if (!certificate) return done(std::move(certificate));
    const bool fits = !certificate->is_authority() && certificate->key() == own.key.id() &&
                      certificate->role() == own.certificate.role() &&
                      X509_verify(certificate->handle(), X509_get0_pubkey(own.authority.handle())) == 1;
    openssl::take_error();
    if (fits) return done(std::move(certificate));
    done(fail(ErrorCode::mismatch, "the coordinator answered with a certificate that is not for this machine", "renewal",
              "ask the pool's operator"));
  });
}

}  // namespace suanli::net
