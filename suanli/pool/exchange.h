// What a worker sends to others while it trains: bytes under a label that both ends know. Where they travel (links, or memory in
// tests) is the implementation's.
//
//   receiver: exchange.expect(from, label, buffer);  ... compute ...  exchange.wait(from, label);
//   sender:   exchange.send(to, label, bytes);       returns at once; the bytes travel while it computes
//
// One thread computes and calls; what carries the bytes runs beside it.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/route/route_table.h"

namespace suanli::pool {

using route::WorkerIndex;

enum class Purpose : std::uint8_t {
  forward,     // an activation of micro-batch `number`
  backward,    // a gradient of it
  sums,        // a replica's sums over its micro-batches; `number`: which of its pieces of memory
  summed,      // those of all replicas
  exponents,   // of exact arithmetic, to the other replicas of a stage
  step_value,  // a value of the update phase
  marks,        // of AQ-SGD's buffers, for the samples of a step
  packed_sums,  // of a weight, of a replica: `number` counts the weights
  outer_step,   // what a lane's weights of fragment `number` have moved; it may travel for several steps
};

// Whether wait_for_sends() counts it. What is told ahead of its time is not counted.
constexpr bool is_counted(Purpose purpose) { return purpose != Purpose::marks && purpose != Purpose::outer_step; }

struct Label {
  std::uint64_t epoch = 0;
  std::int64_t step = 0;     // steps done before
  std::int64_t attempt = 0;  // of the step; 0: the look at micro-batch 0 that exact arithmetic begins with
  Purpose purpose = Purpose::forward;
  std::int64_t number = 0;
  std::int64_t port = 0;  // the canonical node
  auto operator<=>(const Label&) const = default;
  std::string to_string() const;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  // Makes a place for what `from` sends under this label. Until wait() returns, the buffer belongs to the exchange.
  virtual void expect(WorkerIndex from, const Label& label, std::span<std::byte> buffer) = 0;
  // Until the buffer is full. Any error ends the exchange: it fails everything from then on.
  virtual Status wait(WorkerIndex from, const Label& label) = 0;
  virtual Status send(WorkerIndex to, const Label& label, std::vector<std::byte> bytes) = 0;
  // Until no more than `most` of what was sent and is counted has not arrived yet.
  virtual Status wait_for_sends(std::size_t most) = 0;
};

}  // namespace suanli::pool
