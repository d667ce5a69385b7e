#include "suanli/net/send_queue.h"

#include <algorithm>

namespace suanli::net {
namespace {

tl::unexpected<Error> broken(const std::string& what) {
  return fail(ErrorCode::protocol, "the peer " + what, "link", "check that both machines run the same version of suanli");
}

}  // namespace

void SendQueue::add(TransferId id, const Tag& tag, std::span<const std::byte> data, Done done) {
  if (transfers_.size() >= kMostGrants)
    return done(fail(ErrorCode::busy, std::to_string(kMostGrants) + " transfers to this peer are under way", "link",
                     "wait until some have ended"));
  if (data.size() > kMostTransferBytes)
    return done(
        fail(ErrorCode::usage, "a transfer of " + std::to_string(data.size()) + " bytes is beyond 2^40", "link", "cut it"));
  transfers_.emplace(id, Transfer{tag, data, std::move(done)});
  unmatched_[tag].push_back(id);
  match(tag);
}

void SendQueue::match(const Tag& tag) {
  const auto sends = unmatched_.find(tag);
  const auto grants = waiting_.find(tag);
  if (sends == unmatched_.end() || grants == waiting_.end()) return;
  const TransferId id = sends->second.front();
  const Waiting waiting = grants->second.front();
  sends->second.pop_front();
  if (sends->second.empty()) unmatched_.erase(sends);
  forget_grant(waiting.grant);

  Transfer& transfer = transfers_.at(id);
  if (transfer.data.size() > waiting.capacity) {
    emit_(encode_about(FrameType::cancel, waiting.grant));
    return finish(id, fail(ErrorCode::mismatch,
                           "the tensor has " + std::to_string(transfer.data.size()) + " bytes, the peer's buffer " +
                               std::to_string(waiting.capacity),
                           "link", "both ends must agree on the tensor's shape"));
  }
  transfer.grant = waiting.grant;
  by_grant_[waiting.grant] = id;
  ready_.push_back(id);
}

void SendQueue::forget_grant(std::uint64_t grant) {
  const auto tag = waiting_tags_.find(grant);
  if (tag == waiting_tags_.end()) return;
  const auto queue = waiting_.find(tag->second);
  std::erase_if(queue->second, [&](const Waiting& each) { return each.grant == grant; });
  if (queue->second.empty()) waiting_.erase(queue);
  waiting_tags_.erase(tag);
}

void SendQueue::finish(TransferId id, Result<Bytes> result) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  Transfer transfer = std::move(found->second);
  transfers_.erase(found);
  by_grant_.erase(transfer.grant);
  std::erase(ready_, id);
  if (const auto queue = unmatched_.find(transfer.tag); transfer.grant == 0 && queue != unmatched_.end()) {
    std::erase(queue->second, id);
    if (queue->second.empty()) unmatched_.erase(queue);
  }
  transfer.done(std::move(result));
}

std::uint64_t SendQueue::grant_of(TransferId id) const {
  const auto found = transfers_.find(id);
  return found == transfers_.end() ? 0 : found->second.grant;
}

void SendQueue::cancel(TransferId id, const Error& why) {
  if (const std::uint64_t grant = grant_of(id); grant != 0) emit_(encode_about(FrameType::cancel, grant));
  finish(id, tl::unexpected(why));
}

Status SendQueue::on_grant(const Grant& grant) {
  if (grant.id <= last_grant_) return broken("used a grant's number twice");
  if (waiting_tags_.size() + by_grant_.size() >= kMostGrants) return broken("granted more buffers at once than are allowed");
  last_grant_ = grant.id;
  waiting_[grant.tag].push_back({grant.id, grant.capacity});
  waiting_tags_[grant.id] = grant.tag;
  match(grant.tag);
  return {};
}

Status SendQueue::on_done(std::uint64_t grant) {
  const auto found = by_grant_.find(grant);
  // A tensor that was cancelled here may have arrived all the same.
  if (found == by_grant_.end()) return grant <= last_grant_ ? Status() : broken("thanks for what was never sent");
  const TransferId id = found->second;
  const Transfer& transfer = transfers_.at(id);
  if (!transfer.handed_over) return broken("thanks for what has not been sent yet");
  finish(id, Bytes(static_cast<std::int64_t>(transfer.data.size())));
  return {};
}

void SendQueue::on_revoke(std::uint64_t grant) {
  forget_grant(grant);
  const auto found = by_grant_.find(grant);
  if (found == by_grant_.end()) return;
  finish(found->second, fail(ErrorCode::cancelled, "the receiver gave the transfer up", "link", "send it again when it asks"));
}

SendQueue::Piece SendQueue::next_chunk() {
  SUANLI_CHECK(!ready_.empty());
  Transfer& transfer = transfers_.at(ready_.front());
  Piece piece{{transfer.grant, transfer.offset, transfer.data.size(), false}, {}};
  const std::uint64_t bytes = piece.chunk.data_bytes();
  piece.data = transfer.data.subspan(transfer.offset, bytes);
  transfer.offset += bytes;
  if (transfer.offset >= transfer.data.size()) {
    transfer.handed_over = true;
    ready_.pop_front();
  }
  piece.chunk.more = !ready_.empty();
  return piece;
}

void SendQueue::fail_all(const Error& why) {
  while (!transfers_.empty()) finish(transfers_.begin()->first, tl::unexpected(why));
}

}  // namespace suanli::net
