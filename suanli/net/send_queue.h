// The sending half of a link, without sockets: matches tensors to the peer's waiting buffers and cuts them into chunks. The
// streams of the link pull chunks from this one queue, so a slow stream takes fewer. Oldest transfer first; tensors and buffers
// of the same tag meet in order.
//
// The peer's grant is the credit: nothing is sent that has no place yet, so a peer that does not receive costs us a queue entry.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "suanli/net/transfer.h"

namespace suanli::net {

// One thread.
class SendQueue {
 public:
  // Takes control frames for the peer.
  using Emit = std::function<void(std::string)>;
  explicit SendQueue(Emit emit) : emit_(std::move(emit)) {}

  void add(TransferId id, const Tag& tag, std::span<const std::byte> data, Done done);
  // The grant that a transfer's chunks on the way carry, or 0. They must be made void before the transfer is ended.
  std::uint64_t grant_of(TransferId id) const;
  void cancel(TransferId id, const Error& why);

  // From the peer; an error (protocol) ends the link.
  [[nodiscard]] Status on_grant(const Grant& grant);
  [[nodiscard]] Status on_done(std::uint64_t grant);
  // The grant's chunks on the way have been made void.
  void on_revoke(std::uint64_t grant);

  struct Piece {
    Chunk chunk;
    std::span<const std::byte> data;
  };
  bool has_chunk() const { return !ready_.empty(); }
  // The next to send; has_chunk().
  Piece next_chunk();

  // The link has ended: so do all transfers.
  void fail_all(const Error& why);
  std::size_t transfers() const { return transfers_.size(); }

 private:
  struct Transfer {
    Tag tag;
    std::span<const std::byte> data;
    Done done;
    std::uint64_t grant = 0;   // 0: waits for one
    std::uint64_t offset = 0;  // of the next chunk
    bool handed_over = false;  // every chunk was taken
  };
  struct Waiting {
    std::uint64_t grant, capacity;
  };
  void match(const Tag& tag);
  // Removes a transfer and tells how it ended.
  void finish(TransferId id, Result<Bytes> result);
  void forget_grant(std::uint64_t grant);

  Emit emit_;
  std::map<TransferId, Transfer> transfers_;
  std::map<Tag, std::deque<TransferId>> unmatched_;  // without a grant, oldest first
  std::map<Tag, std::deque<Waiting>> waiting_;       // grants without a tensor, oldest first
  std::map<std::uint64_t, Tag> waiting_tags_;        // of those grants
  std::map<std::uint64_t, TransferId> by_grant_;     // matched
  std::deque<TransferId> ready_;                     // matched, with chunks left
  std::uint64_t last_grant_ = 0;
};

}  // namespace suanli::net
