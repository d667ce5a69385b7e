#include "suanli/net/line_probe.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "suanli/net/wire.h"

namespace suanli::net {
namespace {

constexpr int kEchoes = 3;
constexpr double kFirstBytes = 32'768;
constexpr double kMostRate = 1e15, kLeastSeconds = 1e-6;

// Both ends may probe at once: who asked for what goes this way is in the tag.
Tag tag_of(const ProbeRound& round, std::uint32_t piece) {
  return {kProbeTag, round.number << 17 | (round.towards_asker ? 1U << 16 : 0U) | piece};
}

// Equal pieces, eight unless they would be too large, of about so many bytes.
ProbeRound round_of(double bytes, bool towards_asker, std::uint64_t number) {
  const auto piece = static_cast<std::uint32_t>(std::clamp(bytes / 8, 1.0, double{ProbeRound::kMostPieceBytes}));
  const double pieces = std::clamp(std::round(bytes / piece), 8.0, double{ProbeRound::kMostPieces});
  return {towards_asker, number, static_cast<std::uint32_t>(pieces), piece};
}

// What the receiver of a round saw.
struct Received {
  Bytes bytes{0};  // behind the first piece
  Seconds took{0};
};

// Both halves run on the reactor's thread, hold their buffer until the last piece has ended, and call `done` once, then.
struct Pieces {
  std::vector<std::byte> buffer;
  std::uint32_t left = 0;
  std::optional<Error> failed;
  Seconds first{-1}, last{0};
};

using Transfers = std::vector<TransferId>;

Transfers receive_round(Link& link, const ProbeRound& round, Seconds deadline, std::function<void(Result<Received>)> done) {
  Transfers transfers;
  const auto pieces = std::make_shared<Pieces>();
  pieces->buffer.resize(round.piece_bytes);
  pieces->left = round.pieces;
  for (std::uint32_t i = 0; i < round.pieces; ++i) {
    // All into the same memory: what it holds means nothing.
    transfers.push_back(link.receive(tag_of(round, i), pieces->buffer, {deadline}, [pieces, round, done](Result<Bytes> size) {
      pieces->last = Reactor::now();
      if (pieces->first < Seconds(0)) pieces->first = pieces->last;
      if (!size && !pieces->failed) pieces->failed = size.error();
      if (--pieces->left > 0) return;
      if (pieces->failed) return done(tl::unexpected(*pieces->failed));
      done(Received{Bytes(std::int64_t{round.pieces - 1} * round.piece_bytes), pieces->last - pieces->first});
    }));
  }
  return transfers;
}

Transfers send_round(Link& link, const ProbeRound& round, Seconds deadline, std::function<void(Status)> done) {
  Transfers transfers;
  const auto pieces = std::make_shared<Pieces>();
  pieces->buffer.resize(round.piece_bytes);
  pieces->left = round.pieces;
  for (std::uint32_t i = 0; i < round.pieces; ++i) {
    transfers.push_back(link.send(tag_of(round, i), pieces->buffer, {deadline}, [pieces, done](Result<Bytes> size) {
      if (!size && !pieces->failed) pieces->failed = size.error();
      if (--pieces->left > 0) return;
      pieces->failed ? done(tl::unexpected(*pieces->failed)) : done({});
    }));
  }
  return transfers;
}

std::string encode(const Received& received) {
  return WireWriter()
      .number(static_cast<std::uint64_t>(received.bytes.value()), 8)
      .number(static_cast<std::uint64_t>(received.took.value() * 1e9), 8)
      .take();
}

Result<Received> parse_received(const std::string& text, const ProbeRound& round) {
  WireReader reader(std::as_bytes(std::span(text)));
  const std::uint64_t bytes = reader.number(8), nanoseconds = reader.number(8);
  if (!reader.is_complete() || bytes != std::uint64_t{round.pieces - 1} * round.piece_bytes)
    return fail(ErrorCode::mismatch, "the peer reports another transfer than the probe's", "probe", "probe again");
  return Received{Bytes(static_cast<std::int64_t>(bytes)), Seconds(1e-9 * static_cast<double>(nanoseconds))};
}

// The asker's side. Lives in its own callbacks.
class Probe : public std::enable_shared_from_this<Probe> {
 public:
  using Finished = std::function<void(Result<LineProbe>)>;
  Probe(std::shared_ptr<Link> link, ProbeOptions options, Finished done)
      : link_(std::move(link)), options_(options), done_(std::move(done)), begin_(Reactor::now()) {}

  void start() { echo(kEchoes); }

 private:
  Seconds left() const { return options_.deadline - (Reactor::now() - begin_); }

  // Questions to which the answer is nothing tell the delay of a line without bulk on it.
  void echo(int more) {
    const auto self = shared_from_this();
    link_->ask(Subject::probe, {}, left(), [self, more, asked = Reactor::now()](Result<std::string> answer) {
      if (!answer) return self->finish(tl::unexpected(std::move(answer).error().within("probe")));
      const Seconds took = Reactor::now() - asked;
      Seconds& least = self->result_.round_trip;
      least = least == Seconds(0) ? took : std::min(least, took);
      more > 1 ? self->echo(more - 1) : self->round(false, kFirstBytes);
    });
  }

  void round(bool towards_asker, double bytes) {
    if (left() <= Seconds(0)) return finish(fail(ErrorCode::timed_out, "the probe took too long", "probe", "allow it more time"));
    // Numbers are never used twice on a link: pieces of a round that was given up may still be on their way.
    const auto number = static_cast<std::uint64_t>(Reactor::now().value() * 1e9) & (ProbeRound::kNumbers - 1);
    const ProbeRound asked = round_of(bytes, towards_asker, number);
    const auto self = shared_from_this();
    if (towards_asker) {
      transfers_ =
          receive_round(*link_, asked, left(), [self, asked](Result<Received> received) { self->on_received(asked, received); });
    } else {
      transfers_ = send_round(*link_, asked, left(), [](const Status&) {});
    }
    link_->ask(Subject::probe, encode(asked), left(), [self, asked](Result<std::string> answer) {
      if (!answer) return self->finish(tl::unexpected(std::move(answer).error().within("probe")));
      if (!asked.towards_asker) self->on_received(asked, parse_received(*answer, asked));
    });
  }

  void on_received(const ProbeRound& asked, const Result<Received>& received) {
    if (!done_) return;
    if (!received) return finish(tl::unexpected(received.error()));
    const double bytes = static_cast<double>(asked.pieces) * asked.piece_bytes;
    const double took = std::max(received->took.value(), kLeastSeconds);
    result_.moved += Bytes(static_cast<std::int64_t>(bytes));
    if (took < options_.enough.value() && bytes * 2 <= static_cast<double>(options_.most.value()) &&
        asked.pieces < ProbeRound::kMostPieces && left() > options_.deadline / 2.0) {
      const double factor = std::clamp(1.3 * options_.enough.value() / took, 2.0, 8.0);
      return round(asked.towards_asker, std::min(bytes * factor, static_cast<double>(options_.most.value())));
    }
    const double rate = std::min(static_cast<double>(received->bytes.value()) / took, kMostRate);
    (asked.towards_asker ? result_.rate_in : result_.rate_out) = BytesPerSecond(rate);
    if (!asked.towards_asker) return round(true, kFirstBytes);
    result_.took = Reactor::now() - begin_;
    link_->note_probe(result_.rate_out, result_.rate_in);
    finish(result_);
  }

  void finish(Result<LineProbe> result) {
    const Finished done = std::exchange(done_, nullptr);
    if (!result)
      for (const TransferId each : std::exchange(transfers_, {})) link_->cancel(each);
    if (done) done(std::move(result));
  }

  std::shared_ptr<Link> link_;
  ProbeOptions options_;
  Finished done_;
  Seconds begin_;
  LineProbe result_;
  Transfers transfers_;  // of the round under way
};

}  // namespace

std::string encode(const ProbeRound& round) {
  return WireWriter()
      .number(round.towards_asker ? 1 : 0, 1)
      .number(round.number, 8)
      .number(round.pieces, 4)
      .number(round.piece_bytes, 4)
      .take();
}

Result<ProbeRound> parse_probe_round(const std::string& text) {
  WireReader reader(std::as_bytes(std::span(text)));
  const std::uint64_t direction = reader.number(1);
  ProbeRound round{direction == 1, reader.number(8), static_cast<std::uint32_t>(reader.number(4)),
                   static_cast<std::uint32_t>(reader.number(4))};
  const bool good = reader.is_complete() && direction <= 1 && round.number < ProbeRound::kNumbers && round.pieces >= 2 &&
                    round.pieces <= ProbeRound::kMostPieces && round.piece_bytes >= 1 &&
                    round.piece_bytes <= ProbeRound::kMostPieceBytes;
  if (!good) return fail(ErrorCode::protocol, "a probe was asked for that cannot be", {}, "install the same version of suanli");
  return round;
}

void probe_line(std::shared_ptr<Link> link, ProbeOptions options, std::function<void(Result<LineProbe>)> done) {
  std::make_shared<Probe>(std::move(link), options, std::move(done))->start();
}

void serve_probes(const std::shared_ptr<Link>& link) {
  // The link holds the handler: so the handler holds the link weakly.
  const auto busy = std::make_shared<bool>(false);
  link->serve(Subject::probe, [weak = std::weak_ptr(link), busy](const std::string& text, const LinkService::Reply& reply) {
    constexpr Seconds kDeadline{60};
    if (text.empty()) return reply(std::string());
    const auto self = weak.lock();
    const auto round = parse_probe_round(text);
    if (!round) return reply(tl::unexpected(round.error()));
    if (!self || *busy) return reply(fail(ErrorCode::busy, "another probe of this line is under way", {}, "probe later"));
    *busy = true;  // until the last piece has ended
    if (round->towards_asker) {
      send_round(*self, *round, kDeadline, [busy, reply](const Status& sent) {
        *busy = false;
        sent ? reply(std::string()) : reply(tl::unexpected(sent.error()));
      });
    } else {
      receive_round(*self, *round, kDeadline, [busy, reply](const Result<Received>& received) {
        *busy = false;
        reply(received.map([](const Received& each) { return encode(each); }));
      });
    }
  });
}

}  // namespace suanli::net
