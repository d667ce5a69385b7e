// The receiving half of a link, without sockets: the buffers that wait for tensors, and where each chunk goes. A chunk that fits
// no buffer of ours is an error or is thrown away; memory is what the caller gave, and a bit for each chunk.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "suanli/net/transfer.h"

namespace suanli::net {

// One thread.
class ReceiveTable {
 public:
  using Emit = std::function<void(std::string)>;
  // `gone` is called with a grant before its buffer goes back to its owner: whoever writes there must stop.
  using Gone = std::function<void(std::uint64_t grant)>;
  ReceiveTable(Emit emit, Gone gone) : emit_(std::move(emit)), gone_(std::move(gone)) {}

  void add(TransferId id, const Tag& tag, std::span<std::byte> buffer, Done done);
  void cancel(TransferId id, const Error& why);

  // From the peer; errors (protocol) end the link.
  Result<std::span<std::byte>> on_chunk(const Chunk& chunk);
  void on_chunk_end(const Chunk& chunk, bool whole);
  [[nodiscard]] Status on_cancel(std::uint64_t grant);

  void fail_all(const Error& why);
  std::size_t transfers() const { return grants_.size(); }

 private:
  struct Waiting {
    TransferId id;
    std::span<std::byte> buffer;
    Done done;
    std::uint64_t total = 0, received = 0;
    std::vector<bool> begun{};  // by chunk; empty: none has come
  };
  void finish(std::uint64_t grant, Result<Bytes> result);

  Emit emit_;
  Gone gone_;
  std::map<std::uint64_t, Waiting> waiting_;  // by grant
  std::map<TransferId, std::uint64_t> grants_;
  std::uint64_t next_grant_ = 1;
};

}  // namespace suanli::net
