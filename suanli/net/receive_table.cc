#include "suanli/net/receive_table.h"

#include <utility>

namespace suanli::net {
namespace {

tl::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::protocol, "the peer sent " + what, "link", "check that both machines run the same version of suanli");
}

}  // namespace

void ReceiveTable::add(TransferId id, const Tag& tag, std::span<std::byte> buffer, Done done) {
  if (waiting_.size() >= kMostGrants)
    return done(fail(ErrorCode::busy, std::to_string(kMostGrants) + " buffers wait for this peer", "link",
                     "wait until some have been filled"));
  const std::uint64_t grant = next_grant_++;
  waiting_.emplace(grant, Waiting{id, buffer, std::move(done)});
  grants_[id] = grant;
  emit_(encode(Grant{grant, tag, buffer.size()}));
}

void ReceiveTable::finish(std::uint64_t grant, Result<Bytes> result) {
  const auto found = waiting_.find(grant);
  if (found == waiting_.end()) return;
  Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  grants_.erase(waiting.id);
  gone_(grant);
  waiting.done(std::move(result));
}

void ReceiveTable::cancel(TransferId id, const Error& why) {
  const auto found = grants_.find(id);
  if (found == grants_.end()) return;
  const std::uint64_t grant = found->second;
  emit_(encode_about(FrameType::revoke, grant));
  finish(grant, tl::unexpected(why));
}

Result<std::span<std::byte>> ReceiveTable::on_chunk(const Chunk& chunk) {
  if (chunk.grant >= next_grant_) return broken("a chunk for a buffer that was never offered");
  const auto found = waiting_.find(chunk.grant);
  if (found == waiting_.end()) return std::span<std::byte>();  // was given up while the chunk was on its way
  Waiting& waiting = found->second;
  if (waiting.begun.empty()) {
    if (chunk.total > waiting.buffer.size())
      return broken("a tensor of " + std::to_string(chunk.total) + " bytes for a buffer of " +
                    std::to_string(waiting.buffer.size()));
    waiting.total = chunk.total;
    waiting.begun.resize(chunk.total / kChunkBytes + 1);
  }
  if (chunk.total != waiting.total) return broken("two sizes for one tensor");
  auto begun = waiting.begun[chunk.offset / kChunkBytes];
  if (begun) return broken("a chunk twice");
  begun = true;
  return waiting.buffer.subspan(chunk.offset, chunk.data_bytes());
}

void ReceiveTable::on_chunk_end(const Chunk& chunk, bool whole) {
  const auto found = waiting_.find(chunk.grant);
  if (found == waiting_.end()) return;
  if (!whole)
    return finish(chunk.grant, fail(ErrorCode::cancelled, "the sender gave the transfer up", "link", "ask for it again"));
  found->second.received += chunk.data_bytes();
  if (found->second.received < found->second.total) return;
  emit_(encode_about(FrameType::done, chunk.grant));
  finish(chunk.grant, Bytes(static_cast<std::int64_t>(chunk.total)));
}

Status ReceiveTable::on_cancel(std::uint64_t grant) {
  if (grant >= next_grant_) return broken("word of a buffer that was never offered");
  finish(grant, fail(ErrorCode::cancelled, "the sender gave the transfer up", "link", "ask for it again"));
  return {};
}

void ReceiveTable::fail_all(const Error& why) {
  while (!waiting_.empty()) finish(waiting_.begin()->first, tl::unexpected(why));
}

}  // namespace suanli::net
