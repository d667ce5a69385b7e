// What a coordinator and its workers say to each other (docs/protocols/pool-control.md): plain structs and their JSON.
//
//   worker -> coordinator   Hello Heartbeat LineMeasures Ready Failed Prepared Committed StatePart Left
//   coordinator -> worker   Welcome Refused Peers Assign Begin Commit Repeat Settle Stop
//
// A message that belongs to a job carries the job's id and the epoch of the route table that it was said under; who reads it
// drops messages of another epoch. Steps count from 1: step k makes the state after k updates; attempts count from 1.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/base/units.h"
#include "suanli/route/route_table.h"

namespace suanli::protocol {

inline constexpr std::int64_t kProtocolVersion = 2;
inline constexpr std::size_t kMostMessageBytes = std::size_t{16} << 20;  // of a message's JSON text
inline constexpr std::int64_t kMostWorkers = 10'000, kMostAttempts = 1'000;
// Longest error text; who makes a message from an error cuts it there (cut_to_fit).
inline constexpr std::size_t kMostErrorText = 4'000;

using JobId = std::string;
using Epoch = std::uint64_t;

// Of a job that runs under a route table.
struct JobEpoch {
  JobId job;
  Epoch epoch = 0;
  bool operator==(const JobEpoch&) const = default;
};

// ---- worker -> coordinator

struct Rates {  // measured, of matrix products
  FlopsPerSecond f32, bf16, exact;
  bool operator==(const Rates&) const = default;
};

struct HoursWindow {  // of the owner's day, as `--hours 22-07` says; minutes since midnight
  std::int64_t from = 0, to = 0;
};

// The first message of a worker. If `protocol` is another number than ours, the fields after it are not read.
struct Hello {
  std::string version{};  // of suanli
  std::int64_t protocol = kProtocolVersion;
  std::string name{};
  std::optional<std::string> listen{};  // host:port where other workers may dial it; none: it dials out only
  std::int64_t cores = 0;
  Bytes memory{};  // it lends
  Rates rates{};
  double share = 1;  // of its cores, in (0, 1]
  std::optional<FlopsPerSecond> cap{};
  std::optional<HoursWindow> hours{};
  Seconds wall{};       // since 1970, by its own clock
  std::string place{};  // free text: city, site
};

struct Heartbeat {
  std::int64_t number = 0;  // 1, 2, 3, ... since the hello
};

// Of the worker's line to another worker or to the coordinator, as it measured it.
struct LineMeasures {
  std::string peer;  // id
  Seconds delay;     // one way
  BytesPerSecond rate_out, rate_in;
};

struct Ready : JobEpoch {};

// The worker cannot go on with the job, whatever it was doing.
struct Failed : JobEpoch {
  Error error;
};

enum class Outcome { ok, repeat, error };

// What became of one attempt at a step. ok: the worker holds its reduced gradients and can commit. repeat: exact sums did not
// fit, the step is to be run again. Loss, tokens and gradient norm are of the whole step; who knows them says them.
struct Prepared : JobEpoch {
  std::int64_t step = 0, attempt = 0;
  Outcome outcome = Outcome::ok;
  std::optional<Error> error;  // if and only if the outcome is `error`
  std::optional<double> loss;
  std::optional<Tokens> tokens;
  std::optional<double> grad_norm;
};

struct Committed : JobEpoch {
  std::int64_t step = 0;
  std::map<std::string, Seconds> seconds;  // by cause
  Flops flops;
  Bytes bytes_in, bytes_out;
  std::optional<Error> warning{};  // what the run's owner is to know of this worker; the job goes on
};

struct TensorFacts {
  std::string name;
  Bytes bytes;
  Digest digest;
  bool operator==(const TensorFacts&) const = default;
};

// The worker holds its stage's state after `step` and gives it to who asks.
struct StatePart : JobEpoch {
  std::int64_t step = 0;
  std::vector<TensorFacts> tensors;
};

// The worker goes because its owner says so.
struct Left {
  std::string reason;
};

// ---- coordinator -> worker

struct Welcome {
  std::int64_t member = 0;  // the worker's number in the pool; a later hello gets a new one
  std::string pool;
};

// The link is closed next.
struct Refused {
  Error error;
};

// How a worker reaches another. Neither address nor relay: that one dials.
struct PeerRoute {
  route::WorkerIndex index = 0;  // in the job's list of workers; in Peers: 0
  std::string id;
  std::optional<std::string> address;  // dial it there
  std::optional<std::string> relay;    // id of the peer through which they meet: neither of the two listens
  std::string place;                   // as its hello says
};

// Who else is in the pool, so that lines are measured before there is a job: after the welcome all others, later each change.
struct Peers {
  std::vector<PeerRoute> peers;   // new, or to be reached in another way
  std::vector<std::string> gone;  // ids
};

struct Assign : JobEpoch {
  std::string job_file;  // TOML
  std::string dataset;   // JSON, opaque here
  std::string route;     // the route table as JSON (docs/formats/route-table.md), opaque here
  route::WorkerIndex index = 0;
  std::vector<PeerRoute> peers;               // the other workers that hold a stage
  std::optional<std::int64_t> from_snapshot;  // start from the snapshot of this step; none: from the job's seed
  std::int64_t begin_step = 1;
};

struct Begin : JobEpoch {};

// next: go on. snapshot: give the state after this step, and go on. finish: give it, and wait for Stop. stop: wait for Stop.
enum class Then { next, snapshot, finish, stop };

struct Commit : JobEpoch {
  std::int64_t step = 0;
  Then then = Then::next;
};

// Drop the attempt, whether it still runs or not, and make this one.
struct Repeat : JobEpoch {
  std::int64_t step = 0, attempt = 0;
};

// The job ends here, its state is to be kept: leave the step in flight, finish a commit that has been said, give the state after
// `step` (or say Failed), and wait for Stop. What does not come from other workers is not awaited any more.
struct Settle : JobEpoch {
  std::int64_t step = 0;
};

// Drop the job. Without an error it is done or was cancelled.
struct Stop : JobEpoch {
  std::optional<Error> error;
};

// ----

using ToCoordinator = std::variant<Hello, Heartbeat, LineMeasures, Ready, Failed, Prepared, Committed, StatePart, Left>;
using ToWorker = std::variant<Welcome, Refused, Peers, Assign, Begin, Commit, Repeat, Settle, Stop>;

// JSON text, the same for the same message. Error (usage) names the field that the protocol does not allow: a number that is
// not finite, text that is not UTF-8 or too long.
Result<std::string> encode(const ToCoordinator& message);
Result<std::string> encode(const ToWorker& message);

// Errors (protocol) name the field: bad JSON, unknown type, a key that is missing, unknown or there twice, a value of another
// type or beyond its limits. `place` says who sent it.
Result<ToCoordinator> parse_to_coordinator(std::string_view text, const std::string& place);
Result<ToWorker> parse_to_worker(std::string_view text, const std::string& place);

// As in JSON: "hello", "state_part", ...
std::string_view type_of(const ToCoordinator& message);
std::string_view type_of(const ToWorker& message);

// The same error, printable and short enough for a message.
Error cut_to_fit(const Error& error);

}  // namespace suanli::protocol
