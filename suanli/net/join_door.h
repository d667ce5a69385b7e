// The coordinator's joining door: where a machine with a token and without a certificate says its one thing and gets a
// certificate or a refusal (docs/formats/joining.md). It has the address of the node, and is all of it that such a machine can
// reach.
//
//   node.open_door([&](const JoinAttempt& attempt) { return authority.admit(attempt.token_id, ...); }, {});
//
// Connections have a deadline and a limit, refused attempts too: no token is guessed, and nobody keeps the door busy.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "suanli/base/error.h"
#include "suanli/net/join_limit.h"
#include "suanli/net/join_message.h"
#include "suanli/net/reactor.h"
#include "suanli/net/tls_stream.h"

namespace suanli::net {

struct JoinAttempt {
  JoinRequest request;
  std::string place;  // IP address and port of the joiner
};

// Authority::admit, usually. Its error goes to the joiner: code, sentence and next step.
using Admit = std::function<Result<Certificate>(const JoinAttempt&)>;

struct JoinDoorOptions {
  Seconds deadline{10};  // from the handshake's end to the answer
  // Connections that have not been answered. Beyond the first the oldest is dropped, beyond the second the newest is refused.
  std::size_t most_open = 128, most_open_per_address = 32;
  JoinLimits limits{};
  // Where `admit` runs, one call at a time or many, as the executor likes; empty: on the reactor's thread, which then waits for
  // the authority's disk.
  std::function<void(std::function<void()>)> executor{};
  std::function<WallTime()> clock = wall_time_now;
  std::string software = "suanli";  // name and version of this side, for people
};

// Reactor's thread only. Shared: answers that come late find it closed.
class JoinDoor : public std::enable_shared_from_this<JoinDoor> {
 public:
  using Refused = std::function<void(const Error&)>;  // for logs; without secrets
  static std::shared_ptr<JoinDoor> create(Reactor& reactor, Certificate authority, Admit admit, Refused refused,
                                          JoinDoorOptions options);

  // A connection that has asked to join (TlsStream::is_joining).
  void take(std::shared_ptr<TlsStream> stream);
  void close();
  std::size_t open() const { return visits_.size(); }

 private:
  struct Visit;
  JoinDoor(Reactor& reactor, Certificate authority, Admit admit, Refused refused, JoinDoorOptions options);
  void read(const std::shared_ptr<Visit>& visit);
  void judge(const std::shared_ptr<Visit>& visit);
  void answer(const std::shared_ptr<Visit>& visit, const Result<Certificate>& admitted);
  void on_deadline(const std::shared_ptr<Visit>& visit);
  void write(const std::shared_ptr<Visit>& visit);
  void end(const std::shared_ptr<Visit>& visit);
  void refuse(const std::shared_ptr<Visit>& visit, const Error& why);

  Reactor& reactor_;
  Certificate authority_;
  Admit admit_;
  Refused refused_;
  JoinDoorOptions options_;
  JoinLimit limit_;
  std::list<std::shared_ptr<Visit>> visits_;  // oldest first
  std::map<std::string, std::size_t> open_by_address_;

  std::mutex mutex_;  // guards closed_, which the executor's threads read: nothing is posted to a reactor that may be gone
  bool closed_ = false;
};

}  // namespace suanli::net
