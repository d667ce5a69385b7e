// Serves shards to the peers of a pool: a worker what its cache holds, the submitter its dataset (docs/protocols/shards.md).
//
//   ShardService service({[&](const Digest& digest) { return cache.peek(digest); }}, {});
//   link->on_message([&](std::uint32_t kind, std::span<const std::byte> payload) {
//     if (const Status status = service.on_message(link, kind, payload); !status) link->close(status.error());
//   });
//
// Bytes go straight from the mapped file to the link. A thread of its own looks shards up, because opening and verifying one
// takes time that the reactor does not have. How many parts are under way is bounded for each link and in all; links take turns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "suanli/data/shard.h"
#include "suanli/net/link.h"
#include "suanli/pool/shard_messages.h"

namespace suanli::pool {

struct ShardServiceOptions {
  std::size_t most_parts_per_link = 8;      // under way at once
  std::size_t most_parts = 256;             // of all links
  std::size_t most_waiting_per_link = 256;  // asks; more are answered `busy`
  Seconds deadline{600};                    // of one part
};

class ShardService {
 public:
  // Null: not here. Called on the service's thread; the shard's bytes stay valid while the pointer lives.
  using Find = std::function<std::shared_ptr<const data::Shard>(const Digest&)>;

  // Each ask goes to the `places` in order.
  ShardService(std::vector<Find> places, ShardServiceOptions options);
  // Ends what is under way; peers see it as cancelled.
  ~ShardService();
  ShardService(const ShardService&) = delete;
  ShardService& operator=(const ShardService&) = delete;

  // An ask or a withdrawal; other kinds are left alone. Does not block. An error (protocol) is the peer's fault: close the link.
  [[nodiscard]] Status on_message(const std::shared_ptr<net::Link>& link, std::uint32_t kind,
                                  std::span<const std::byte> payload);

  struct Counts {
    std::uint64_t asked = 0, sent = 0, absent = 0, refused = 0;  // parts; refused: busy or outside
    std::uint64_t given_up = 0;                                  // withdrawn, cancelled, or the link ended
    Bytes bytes;                                                 // sent
    std::uint64_t under_way = 0, waiting = 0;                    // now
  };
  Counts counts() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with transfers, which may end after the service
  std::thread thread_;
};

}  // namespace suanli::pool
