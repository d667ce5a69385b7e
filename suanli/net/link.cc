#include "suanli/net/link.h"

#include <algorithm>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::net {
namespace {

constexpr double kBurstBytes = 2.0 * static_cast<double>(kChunkFrameBytes);  // under a pace

constexpr Seconds kFarewell{0.25};

Error cancelled_here() {
  return {ErrorCode::cancelled, "the transfer was cancelled", "link", "send or ask again if it is wanted after all"};
}

}  // namespace

std::shared_ptr<Link> Link::create(Reactor& reactor, std::vector<std::shared_ptr<ByteStream>> streams, LinkOptions options) {
  SUANLI_CHECK(streams.size() >= 2);
  return std::shared_ptr<Link>(new Link(reactor, std::move(streams), options));
}

Link::Link(Reactor& reactor, std::vector<std::shared_ptr<ByteStream>> streams, LinkOptions options)
    : reactor_(reactor),
      options_(options),
      peer_(streams.front()->peer()),
      unstarted_(std::move(streams)),
      sends_([this](std::string frame) { emit(std::move(frame)); }),
      receives_([this](std::string frame) { emit(std::move(frame)); },
                [this](std::uint64_t grant) {
                  for (const auto& stream : streams_) stream->forget(grant);
                }),
      service_(reactor,
               [this](std::uint32_t kind, const std::string& payload) {
                 return queue_message(kind, std::as_bytes(std::span(payload)));
               }),
      beat_(std::make_unique<Timer>(reactor)),
      pause_(std::make_unique<Timer>(reactor)) {
  for (std::size_t i = 0; i < unstarted_.size(); ++i)
    streams_.push_back(
        std::make_shared<LinkStream>(reactor_, unstarted_[i], i == 0 ? StreamKind::control : StreamKind::data, *this));
  unstarted_.clear();
}

Link::~Link() = default;

void Link::start() {
  last_arrival_ = tokens_at_ = Reactor::now();
  tokens_ = kBurstBytes;
  beat();
  // A stream may fail at once and end the link, which drops them all.
  for (const auto& stream : std::vector(streams_)) stream->start();
}

void Link::post(std::function<void()> work) {
  reactor_.post([self = shared_from_this(), work = std::move(work)] { work(); });
}

Error Link::ended() const {
  const std::lock_guard lock(mutex_);
  return why_closed_.value_or(Error{ErrorCode::unreachable, "the link is closed", "link", "connect again"});
}

Done Link::watched(TransferId id, Done done) {
  return [this, id, done = std::move(done)](Result<Bytes> result) {
    deadlines_.erase(id);
    done(std::move(result));
  };
}

void Link::start_deadline(TransferId id, Seconds deadline) {
  if (deadline <= Seconds(0)) return;
  auto& timer = deadlines_[id] = std::make_unique<Timer>(reactor_);
  timer->start(deadline, [this, id, deadline] {
    end_transfer(id, {ErrorCode::timed_out, "the transfer was not done in " + format_duration(deadline), "link",
                      "look at the link's rate, or allow more time"});
  });
}

TransferId Link::send(const Tag& tag, std::span<const std::byte> data, TransferOptions options, Done done) {
  const TransferId id = ++last_id_;
  if (closed_) return done(tl::unexpected(ended())), id;
  post([this, id, tag, data, options, done = std::move(done)] {
    if (closed_) return done(tl::unexpected(ended()));
    start_deadline(id, options.deadline);
    sends_.add(id, tag, data, watched(id, done));
    pump_data();
  });
  return id;
}

TransferId Link::receive(const Tag& tag, std::span<std::byte> buffer, TransferOptions options, Done done) {
  const TransferId id = ++last_id_;
  if (closed_) return done(tl::unexpected(ended())), id;
  post([this, id, tag, buffer, options, done = std::move(done)] {
    if (closed_) return done(tl::unexpected(ended()));
    start_deadline(id, options.deadline);
    receives_.add(id, tag, buffer, watched(id, done));
  });
  return id;
}

void Link::cancel(TransferId id) {
  if (closed_) return;
  post([this, id] { end_transfer(id, cancelled_here()); });
}

void Link::end_transfer(TransferId id, const Error& why) {
  if (closed_) return;
  receives_.cancel(id, why);
  // The streams let go of the tensor before its owner hears of it: the end of the work here comes before any other.
  for (const auto& stream : streams_) stream->make_void(sends_.grant_of(id));
  sends_.cancel(id, why);
}

Status Link::send_message(std::uint32_t kind, std::span<const std::byte> payload) {
  if (kind >= kFirstServiceKind)
    return fail(ErrorCode::usage, "messages of kind " + std::to_string(kind) + " are the link's own", "link",
                "use a kind below " + std::to_string(kFirstServiceKind));
  return queue_message(kind, payload);
}

void Link::ask(Subject subject, std::string text, Seconds deadline, LinkService::Answered done) {
  if (closed_) return done(tl::unexpected(ended()));
  post([this, subject, text = std::move(text), deadline, done = std::move(done)] {
    closed_ ? done(tl::unexpected(ended())) : service_.ask(subject, text, deadline, done);
  });
}

void Link::serve(Subject subject, LinkService::Handler handler) {
  if (!closed_) service_.serve(subject, std::move(handler));
}

void Link::note_probe(BytesPerSecond out, BytesPerSecond in) {
  post([this, out, in] {
    meter_.set_probed(out, in);
    const std::lock_guard lock(mutex_);
    published_ = meter_.measures();
  });
}

Status Link::queue_message(std::uint32_t kind, std::span<const std::byte> payload) {
  if (payload.size() > kMostMessageBytes)
    return fail(ErrorCode::usage, "a message of " + std::to_string(payload.size()) + " bytes is larger than 64 KiB", "link",
                "send it as a tensor");
  if (closed_) return tl::unexpected(ended());
  std::string frame = encode_message(kind, payload);
  if (waiting_messages_.load() + frame.size() > options_.most_control_bytes)
    return fail(ErrorCode::busy, "the peer does not take the messages that wait for it", "link", "wait, or close the link");
  waiting_messages_ += frame.size();
  post([this, frame = std::move(frame)] {
    if (closed_) return;
    messages_.push_back(frame);
    streams_.front()->pump();
  });
  return {};
}

LinkMeasures Link::measures() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

void Link::close(const Error& why) {
  if (closed_) return;
  post([this, why] { finish(why, true); });
}

void Link::close() { close({ErrorCode::cancelled, "the link was closed on this side", "link", "connect again"}); }

void Link::finish(const Error& why, bool tell_peer) {
  if (closed_) return;
  const auto self = shared_from_this();  // the handlers may drop it
  if (tell_peer && !std::exchange(finishing_, true)) {
    control_ += encode_goodbye(why.code, why.message);
    streams_.front()->pump();  // as far as the socket takes it at once
  }
  if (closed_) return;  // the stream failed just now
  {
    const std::lock_guard lock(mutex_);
    why_closed_ = why;
  }
  closed_ = true;
  for (const auto& stream : std::exchange(streams_, {})) stream->close();
  beat_.reset();
  pause_.reset();
  farewell_.reset();
  sends_.fail_all(why);
  receives_.fail_all(why);
  service_.fail_all(why);
  deadlines_.clear();
  // Not here: this may be happening inside it.
  reactor_.post([handler = std::exchange(message_handler_, nullptr)] {});
  if (const ClosedHandler handler = std::exchange(closed_handler_, nullptr)) handler(why);
  if (const auto call = std::exchange(ended_, nullptr)) call();
}

// Pings, watches for silence, and lets other threads see the measures.
void Link::beat() {
  const Seconds now = Reactor::now();
  if (now - last_arrival_ > options_.silence) {
    return finish({ErrorCode::timed_out, "nothing has come from the peer for " + format_duration(now - last_arrival_), "link",
                   "check the peer and the network between, then connect again"},
                  true);
  }
  // Three in quick succession at the beginning: the first delay is wanted soon, and the first sample is the worst.
  const Seconds wait = meter_.measures().pings < 3 ? std::min(Seconds(0.05), options_.ping_every) : options_.ping_every;
  if (now - last_ping_ >= wait * 0.9) {
    last_ping_ = now;
    emit(encode(meter_.next_ping(now)));
  }
  if (closed_) return;
  {
    const std::lock_guard lock(mutex_);
    published_ = meter_.measures();
  }
  beat_->start(std::min(wait, options_.silence / 4.0), [this] { beat(); });
}

void Link::emit(std::string frame) {
  if (closed_) return;
  control_ += frame;
  if (control_.size() - control_taken_ > options_.most_control_bytes) {
    return finish({ErrorCode::timed_out, "the peer does not read what it is sent", "link", "check the peer, then connect again"},
                  false);
  }
  streams_.front()->pump();
}

std::string Link::take_control(std::size_t most) {
  // What steers transfers is short and comes first.
  for (; control_.size() - control_taken_ < most && !messages_.empty(); messages_.pop_front()) {
    control_ += messages_.front();
    waiting_messages_ -= messages_.front().size();
  }
  std::string bytes = control_.substr(control_taken_, most);
  control_taken_ += bytes.size();
  if (control_taken_ == control_.size()) {
    control_.clear();
    control_taken_ = 0;
  } else if (control_taken_ > std::size_t{1} << 20) {
    control_.erase(0, std::exchange(control_taken_, 0));
  }
  return bytes;
}

void Link::pump_data() {
  // Each time another stream first, so that short tensors use them all.
  for (std::size_t i = 0; !closed_ && sends_.has_chunk() && i + 1 < streams_.size(); ++i) {
    next_stream_ = next_stream_ + 1 < streams_.size() ? next_stream_ + 1 : 1;
    streams_[next_stream_]->pump();
  }
}

std::optional<SendQueue::Piece> Link::next_piece() {
  if (!sends_.has_chunk()) return std::nullopt;
  if (const double pace = options_.pace.value(); pace > 0) {
    const Seconds now = Reactor::now();
    tokens_ = std::min(kBurstBytes, tokens_ + pace * (now - tokens_at_).value());
    tokens_at_ = now;
    if (tokens_ <= 0) {
      pause_->start(Seconds((1 - tokens_) / pace), [this] { pump_data(); });
      return std::nullopt;
    }
  }
  SendQueue::Piece piece = sends_.next_chunk();
  tokens_ -= static_cast<double>(piece.data.size());
  return piece;
}

Status Link::on_hello(const Hello&) {
  return fail(ErrorCode::protocol, "the peer greets a second time", "link", "connect again");
}

Status Link::on_relay(const RelayCall&) { return on_hello({}); }

Status Link::on_message(std::uint32_t kind, std::span<const std::byte> payload) {
  if (kind == kQuestionKind) {
    return service_.on_question(payload, [weak = weak_from_this()](std::uint64_t number, Result<std::string> text) {
      const std::string answer = encode(Answer{number, std::move(text)});
      // A link that has ended by now has nobody to tell; one whose peer does not read will end.
      if (const auto self = weak.lock()) (void)self->queue_message(kAnswerKind, std::as_bytes(std::span(answer)));
    });
  }
  if (kind == kAnswerKind) return service_.on_answer(payload);
  if (kind >= kFirstServiceKind) return {};  // of a later version
  if (message_handler_) message_handler_(kind, payload);
  return {};
}

Status Link::on_grant(const Grant& grant) {
  SUANLI_RETURN_IF_ERROR(sends_.on_grant(grant));
  pump_data();
  return {};
}

Status Link::on_about(FrameType type, std::uint64_t grant) {
  if (type == FrameType::done) return sends_.on_done(grant);
  if (type == FrameType::cancel) return receives_.on_cancel(grant);
  for (const auto& stream : streams_) stream->make_void(grant);
  sends_.on_revoke(grant);
  return {};
}

Status Link::on_ping(const Ping& ping) {
  emit(encode(meter_.answer(ping, Reactor::now())));
  return {};
}

Status Link::on_pong(const Pong& pong) {
  meter_.on_pong(pong, Reactor::now());
  return {};
}

Status Link::on_goodbye(const Error& reason) {
  finish(reason, false);
  return {};
}

Result<std::span<std::byte>> Link::on_chunk(const Chunk& chunk) { return receives_.on_chunk(chunk); }

Status Link::on_chunk_end(const Chunk& chunk, bool whole, bool wanted) {
  meter_.on_chunk(Bytes(static_cast<std::int64_t>(chunk.data_bytes())), chunk.more, Reactor::now());
  if (wanted) receives_.on_chunk_end(chunk, whole);
  return {};
}

void Link::on_traffic(std::size_t in, std::size_t out) {
  if (in > 0) last_arrival_ = Reactor::now();
  meter_.on_bytes(Bytes(static_cast<std::int64_t>(in)), Bytes(static_cast<std::int64_t>(out)));
}

void Link::on_stream_failed(LinkStream& stream, const Error& why) {
  // A peer that closes a link says why on the control stream; the end of a data stream may come first.
  if (why.code == ErrorCode::unreachable && &stream != streams_.front().get()) {
    stream.close();
    if (!farewell_) {
      farewell_ = std::make_unique<Timer>(reactor_);
      farewell_->start(kFarewell, [this, why] { finish(why, false); });
    }
    return;
  }
  finish(why, why.code == ErrorCode::protocol);
}

}  // namespace suanli::net
