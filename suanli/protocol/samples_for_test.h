// One filled message of every type, for tests and as the fuzzer's seeds.
#pragma once

#include <vector>

#include "suanli/protocol/messages.h"

namespace suanli::protocol {

inline Hello sample_hello() {
  return {.version = "0.1.0", .name = "box-a", .listen = "192.0.2.7:9000", .cores = 4, .memory = Bytes(8'000'000'000),
          .rates = {FlopsPerSecond(1e11), FlopsPerSecond(4e11), FlopsPerSecond(2.5e11)}, .share = 0.5,
          .cap = FlopsPerSecond(5e10), .hours = HoursWindow{1320, 420}, .wall = Seconds(1'790'000'000.25), .place = "Zürich"};
}

inline std::vector<ToCoordinator> samples_to_coordinator() {
  const JobEpoch job{"job-7", 3};
  const Error error{ErrorCode::no_memory, "the stage needs 9 GiB", "worker 'box-a'", "lend more memory"};
  return {sample_hello(),
          Hello{.version = "9.9", .protocol = 99},
          Heartbeat{12},
          LineMeasures{"c0ffee", Seconds(0.05), BytesPerSecond(1e7), BytesPerSecond(2e6)},
          Ready{job},
          Failed{job, error},
          Prepared{job, 4, 2, Outcome::ok, {}, 5.25, Tokens(4096), 0.5},
          Prepared{job, 4, 1, Outcome::repeat, {}, {}, {}, {}},
          Prepared{job, 4, 1, Outcome::error, error, {}, {}, {}},
          Committed{job, 4, {{"compute", Seconds(1.5)}, {"wait", Seconds(0.25)}}, Flops(3e12), Bytes(10), Bytes(20)},
          Committed{job, 4, {}, Flops(0), Bytes(0), Bytes(0), error},
          StatePart{job, 4, {{"wte.weight", Bytes(1024), sha256("a")}, {"wpe.weight", Bytes(0), sha256("b")}}},
          Left{"the hours are over"}};
}

inline std::vector<ToWorker> samples_to_worker() {
  const JobEpoch job{"job-7", 3};
  const Error error{ErrorCode::version, "the worker runs 0.2.0, the pool 0.1.0", "", "install 0.1.0"};
  const std::vector<PeerRoute> peers = {{0, "aa", "192.0.2.1:1", {}, "oregon"}, {2, "bb", {}, "aa", ""}, {3, "cc", {}, {}, ""}};
  return {Welcome{5, "mypool"},
          Refused{error},
          Peers{peers, {"dd", "ee"}},
          Assign{job, "[model]\nlayers = 2\n", "{}", "{\"epoch\":3}", 1, peers, 40, 41},
          Assign{job, "", "", "", 0, {}, {}, 1},
          Begin{job},
          Commit{job, 4, Then::snapshot},
          Repeat{job, 4, 2},
          Settle{job, 4},
          Stop{job, error},
          Stop{job, {}}};
}

}  // namespace suanli::protocol
