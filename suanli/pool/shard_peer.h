// A peer as a source of shards: asks its ShardService over a link (docs/protocols/shards.md).
//
//   auto shards = std::make_shared<PeerShards>(link, "worker-3", {});
//   // whoever owns the link's handler: if (kind == kShardAnswerKind) status = shards->on_answer(payload);
//
// A shard comes in parts, several of them asked for ahead so that a long line stays full. They arrive in buffers of their own and
// are copied by the asking thread, so that no disk ever holds the reactor up. One object for each link: it numbers the requests.
#pragma once

#include <memory>
#include <string>

#include "suanli/data/shard_source.h"
#include "suanli/net/link.h"
#include "suanli/pool/shard_messages.h"

namespace suanli::pool {

struct PeerShardsOptions {
  std::uint64_t part_bytes = std::uint64_t{1} << 20;  // at most kMostShardPartBytes
  std::size_t parts_ahead = 8;                        // under way at once, for one shard; memory: so many parts
  Seconds patience{120};                              // for the next part; then the peer is given up: timed_out
};

// Any thread may fetch.
class PeerShards final : public data::ShardSource {
 public:
  PeerShards(std::shared_ptr<net::Link> link, std::string peer, PeerShardsOptions options);
  ~PeerShards() override;

  std::string name() const override { return "peer " + peer_; }
  // Errors besides those of the interface: unreachable and what else ended the link, busy, timed_out, cancelled (by the peer).
  [[nodiscard]] Status fetch(const data::WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) override;
  // A message of kind kShardAnswerKind from this link. Does not block. An error (protocol) is the peer's fault: close the link.
  [[nodiscard]] Status on_answer(std::span<const std::byte> payload);

 private:
  struct Part;
  struct State;
  std::shared_ptr<Part> ask_for(const data::WantedShard& shard, std::uint64_t offset);
  void give_up(Part& part);
  Error error_of(const Part& part, const data::WantedShard& shard) const;

  const std::shared_ptr<net::Link> link_;
  const std::string peer_;
  const PeerShardsOptions options_;
  const std::shared_ptr<State> state_;  // shared with transfers, which may end later
};

}  // namespace suanli::pool
