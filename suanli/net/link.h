// A link to one peer: tensors and small messages, both ways, over several authenticated streams.
//
//   receiver: link->receive(tag, buffer, {}, done);       a place for the tensor, made known to the peer at once
//   sender:   link->send(tag, bytes, {.deadline = Seconds(5)}, done);
//   both:     link->send_message(kind, payload);          before all bulk, in order, to the peer's handler
//
// A tensor starts when both ends have named its tag, in either order; post receives early and no round trip is waited for.
// `done` of a send comes when the peer has the whole tensor. Chunks of all tensors share the data streams; messages and what
// steers the transfers have a stream of their own and never wait behind bulk. Memory: the callers' buffers, a record of 16 KiB
// for each stream and up to 130 KiB of ciphertext for one that carries bulk, and a few dozen bytes for each transfer.
//
// Any thread may call. Handlers and `done` run on the reactor's thread and must not block. When the link ends (closed here or
// there, lost, silent, or the peer broke the protocol), every transfer fails with the reason; a new link starts afresh.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/net/link_meter.h"
#include "suanli/net/link_service.h"
#include "suanli/net/link_stream.h"
#include "suanli/net/receive_table.h"
#include "suanli/net/send_queue.h"
#include "suanli/net/via.h"

namespace suanli::net {

struct LinkOptions {
  int streams = 2;         // for data, 1 to 16; one more for control. 4 on long fat lines
  BytesPerSecond pace{0};  // bulk is sent no faster; 0: as fast as it goes
  Seconds ping_every{1};
  Seconds silence{10};                                    // nothing at all has come for so long: the link is lost
  std::size_t most_control_bytes = std::size_t{4} << 20;  // waiting to be sent; a peer that does not read them is given up
};

class Link final : public StreamOwner, public std::enable_shared_from_this<Link> {
 public:
  using MessageHandler = std::function<void(std::uint32_t kind, std::span<const std::byte> payload)>;
  using ClosedHandler = std::function<void(const Error& why)>;

  // Streams have exchanged greetings; the first is the control stream. Reactor's thread; start() follows.
  static std::shared_ptr<Link> create(Reactor& reactor, std::vector<std::shared_ptr<ByteStream>> streams, LinkOptions options);
  ~Link() override;

  const Certificate& peer() const { return peer_; }

  TransferId send(const Tag& tag, std::span<const std::byte> data, TransferOptions options, Done done);
  TransferId receive(const Tag& tag, std::span<std::byte> buffer, TransferOptions options, Done done);
  // Ends a transfer that has not ended: its `done` gets `cancelled`, and the peer is told. Never waits for the peer.
  void cancel(TransferId id);
  // At most kMostMessageBytes, of a kind below kFirstServiceKind. Errors: usage (too large, or another kind), busy (the peer
  // does not read), or what ended the link. No answer means that it was queued, not that it arrived.
  [[nodiscard]] Status send_message(std::uint32_t kind, std::span<const std::byte> payload);
  LinkMeasures measures() const;
  // Questions of this room to the peer (link_service.h). Any thread; `done` on the reactor's.
  void ask(Subject subject, std::string text, Seconds deadline, LinkService::Answered done);
  // Reactor's thread.
  void serve(Subject subject, LinkService::Handler handler);
  // What a probe has found (line_probe.h), to stand among the measures. Any thread.
  void note_probe(BytesPerSecond out, BytesPerSecond in);
  // How the peer was reached, if not by dialling it: the relay, and why.
  const std::optional<Via>& via() const { return via_; }
  // Tells the peer, and fails all transfers with `why`.
  void close(const Error& why);
  void close();
  bool is_closed() const { return closed_; }

  // Reactor's thread, before start(); messages that come without a handler are dropped.
  void on_message(MessageHandler handler) { message_handler_ = std::move(handler); }
  void on_closed(ClosedHandler handler) { closed_handler_ = std::move(handler); }
  // Before start(): the peer was reached through a relay.
  void set_via(std::optional<Via> via) { via_ = std::move(via); }
  // For the node that holds the link: told after the handler above.
  void on_ended(std::function<void()> call) { ended_ = std::move(call); }
  void start();
  // close(), at once. Reactor's thread.
  void end(const Error& why) { finish(why, true); }

 private:
  Link(Reactor& reactor, std::vector<std::shared_ptr<ByteStream>> streams, LinkOptions options);
  void post(std::function<void()> work);
  Status queue_message(std::uint32_t kind, std::span<const std::byte> payload);
  void start_deadline(TransferId id, Seconds deadline);
  void end_transfer(TransferId id, const Error& why);
  Done watched(TransferId id, Done done);
  void emit(std::string frame);
  void pump_data();
  void beat();
  void finish(const Error& why, bool tell_peer);
  Error ended() const;

  // StreamOwner
  Status on_hello(const Hello& hello) override;
  Status on_relay(const RelayCall& call) override;
  Status on_message(std::uint32_t kind, std::span<const std::byte> payload) override;
  Status on_grant(const Grant& grant) override;
  Status on_about(FrameType type, std::uint64_t grant) override;
  Status on_ping(const Ping& ping) override;
  Status on_pong(const Pong& pong) override;
  Status on_goodbye(const Error& reason) override;
  Result<std::span<std::byte>> on_chunk(const Chunk& chunk) override;
  Status on_chunk_end(const Chunk& chunk, bool whole, bool wanted) override;
  std::optional<SendQueue::Piece> next_piece() override;
  std::string take_control(std::size_t most) override;
  void on_traffic(std::size_t in, std::size_t out) override;
  void on_stream_failed(LinkStream& stream, const Error& why) override;

  Reactor& reactor_;
  const LinkOptions options_;
  const Certificate peer_;
  std::optional<Via> via_;
  std::atomic<bool> closed_ = false;
  std::atomic<TransferId> last_id_ = 0;
  std::atomic<std::size_t> waiting_messages_ = 0;  // bytes posted or queued

  mutable std::mutex mutex_;  // guards the two below, which other threads read
  LinkMeasures published_;
  std::optional<Error> why_closed_;

  // The reactor's thread's own.
  std::vector<std::shared_ptr<LinkStream>> streams_;  // control first
  std::vector<std::shared_ptr<ByteStream>> unstarted_;
  SendQueue sends_;
  ReceiveTable receives_;
  LinkMeter meter_;
  LinkService service_;
  std::string control_;               // frames to be written
  std::size_t control_taken_ = 0;     // of it
  std::deque<std::string> messages_;  // frames of messages, behind them
  bool finishing_ = false;
  std::map<TransferId, std::unique_ptr<Timer>> deadlines_;
  std::unique_ptr<Timer> beat_, pause_, farewell_;
  Seconds last_arrival_{0}, last_ping_{0};
  double tokens_ = 0;  // bytes that may go at once under the pace
  Seconds tokens_at_{0};
  std::size_t next_stream_ = 0;
  MessageHandler message_handler_;
  ClosedHandler closed_handler_;
  std::function<void()> ended_;
};

}  // namespace suanli::net
