// Who computes what in a step, as plain data: the stages of a pipeline and their holders, for each micro-batch the worker that
// runs each stage, and for each worker the order of its forwards and backwards. A change of the pool (a worker lost, a replica
// more, other shares) is a new table under a higher epoch.
//
// A forward of stage s takes an activation from the holder of stage s - 1 and gives one to that of s + 1; a backward takes a
// gradient from s + 1 and gives one to s - 1. The last stage's backward takes nothing but its own forward.
//
// Credits bound what waits on a worker, whatever the network does. A worker is ready to receive the inputs of the next `credits`
// works of its order that take one, counted from the work it stands at, and no others: such an output is *delivered*, any other
// stays with its sender. A worker begins the next work of its order when the input has been delivered and fewer than `credits` of
// its earlier outputs wait to be. An order that is sound without this rule can stop for ever with it; check() finds out.
//
// Thread rule: plain values; a const one may be read from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/sha256.h"
#include "suanli/graph/cut.h"
#include "suanli/graph/graph.h"

namespace suanli::route {

using WorkerIndex = std::int32_t;  // into the job's list of workers
inline constexpr std::size_t kNoStage = static_cast<std::size_t>(-1);

// What a table may hold at most; larger ones are refused by check() and by the parser.
inline constexpr std::size_t kMostWorkers = 4'096;
inline constexpr std::size_t kMostStages = 1'024;
inline constexpr std::int64_t kMostMicroBatches = std::int64_t{1} << 20;  // as many as exact sums may have (exact-arithmetic.md)
inline constexpr std::size_t kMostWork = std::size_t{1} << 22;            // micro-batches times stages
inline constexpr int kMostCredits = 1'024;

// Who holds which stage.
struct Placement {
  graph::Cut cut;                                // n cuts: n + 1 stages
  std::vector<std::vector<WorkerIndex>> stages;  // for each stage its replicas, in rank order; a worker holds at most one stage

  bool operator==(const Placement& other) const {
    return cut.after_blocks == other.cut.after_blocks && stages == other.stages;
  }
};

// Forward or backward of one micro-batch.
struct Work {
  graph::Phase phase = graph::Phase::forward;
  std::int64_t micro_batch = 0;

  bool operator==(const Work&) const = default;
};
std::string to_string(const Work& work);  // "F3", "B3"

struct WorkerOrder {
  std::vector<Work> work;
  int slots = 1;  // the most micro-batches that are between their forward and their backward at once; 1 for an empty order

  bool operator==(const WorkerOrder&) const = default;
};

struct RouteTable {
  std::uint64_t epoch = 1;
  Placement placement;
  std::vector<std::vector<WorkerIndex>> routes;  // [micro-batch][stage]
  std::vector<WorkerOrder> orders;               // [worker]; empty for those that stand by
  int credits = 2;                               // inputs a worker is ready to receive ahead, and outputs it may hold unsent

  std::size_t stage_count() const { return placement.stages.size(); }
  // kNoStage if the worker stands by.
  std::size_t stage_of(WorkerIndex worker) const;
  // SHA-256 of print_route_table()'s text (route_json.h), so that anybody can compute it from the file.
  Digest digest() const;

  bool operator==(const RouteTable&) const = default;
};

// The most micro-batches of `order` between forward and backward at once, at least 1.
int peak_slots(const std::vector<Work>& order);

// Whether every stage is held, each by workers of its own, of a job of so many workers, and the cuts are ascending, one fewer
// than stages. Errors (code graph) name the stage. Whether the graph can be cut there is graph::stages()' question.
[[nodiscard]] Status check(const Placement& placement, std::size_t workers);

// Whether the table is whole for a job of so many workers: its placement is; every micro-batch has one holder for each stage;
// each worker's order has exactly its forwards and backwards, each once, forward before backward; `slots` is the true peak; and
// the step ends under the rule of credits. Errors (code graph) name worker, micro-batch or stage; of a step that stops for ever,
// the workers, the works they stand at and what each waits for. Time O(works log works).
[[nodiscard]] Status check(const RouteTable& table, std::size_t workers);

}  // namespace suanli::route
