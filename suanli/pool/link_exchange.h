// The exchange of a real pool: tensors over links, each under a tag made of its label.
//
// The thread that computes calls what Exchange says; fail() may come from any thread.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "suanli/net/link.h"
#include "suanli/pool/exchange.h"

namespace suanli::pool {

// Of a label: both ends compute the same. Of the epoch the last 24 bits count; other parts that are too large for their bits are
// a broken promise.
net::Tag tag_of(const Label& label);

class LinkExchange final : public Exchange {
 public:
  // Links to all workers with whom anything is exchanged; they outlive nothing but their own end.
  explicit LinkExchange(std::map<WorkerIndex, std::shared_ptr<net::Link>> links);
  // Not on a reactor's thread.
  ~LinkExchange() override;

  void expect(WorkerIndex from, const Label& label, std::span<std::byte> buffer) override;
  Status wait(WorkerIndex from, const Label& label) override;
  Status send(WorkerIndex to, const Label& label, std::vector<std::byte> bytes) override;
  Status wait_for_sends(std::size_t most) override;

  // Every call that waits, and every later one, fails with `why`.
  void fail(const Error& why);
  // The same, and returns when no buffer that was given to the exchange is touched any more. Not on a reactor's thread.
  void close(const Error& why);

 private:
  using Key = std::pair<WorkerIndex, Label>;
  struct Arrival {
    net::TransferId id = 0;
    bool is_there = false, has_ended = false;
  };
  struct Sent {
    WorkerIndex to = 0;
    net::TransferId id = 0;
    bool is_counted = true;
  };
  // Outlives the exchange in the links' callbacks.
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Error> failure;
    std::map<Key, Arrival> arrivals;
    std::map<std::uint64_t, Sent> sends;  // by a number of our own
    std::uint64_t last_send = 0;
  };
  static void note_failure(State& state, const Error& why);
  net::Link* link_to(WorkerIndex worker) const;
  // Ends all transfers, so that no buffer is touched any more; the failure.
  Status end();

  std::map<WorkerIndex, std::shared_ptr<net::Link>> links_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace suanli::pool
