// For tests: an exchange between threads of this process.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "suanli/pool/exchange.h"

namespace suanli::pool {

// What is on its way between all workers.
class MemoryHub {
 public:
  // Everybody's next call fails with it, also calls that wait.
  void fail(const Error& error) {
    const std::lock_guard lock(mutex_);
    failure_ = error;
    changed_.notify_all();
  }

 private:
  friend class MemoryExchange;
  using Key = std::tuple<WorkerIndex, WorkerIndex, Label>;  // from, to
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Error> failure_;
  std::map<Key, std::span<std::byte>> places_;
  std::map<Key, std::vector<std::byte>> unsent_;
  std::map<Key, bool> arrived_;
};

class MemoryExchange final : public Exchange {
 public:
  MemoryExchange(MemoryHub& hub, WorkerIndex self) : hub_(hub), self_(self) {}

  void expect(WorkerIndex from, const Label& label, std::span<std::byte> buffer) override {
    const std::lock_guard lock(hub_.mutex_);
    const MemoryHub::Key key{from, self_, label};
    SUANLI_CHECK(hub_.places_.emplace(key, buffer).second);
    deliver(key);
  }
  Status wait(WorkerIndex from, const Label& label) override {
    std::unique_lock lock(hub_.mutex_);
    const MemoryHub::Key key{from, self_, label};
    hub_.changed_.wait(lock, [&] { return hub_.failure_ || hub_.arrived_.contains(key); });
    if (hub_.failure_) return tl::unexpected(*hub_.failure_);
    hub_.arrived_.erase(key);
    return {};
  }
  Status send(WorkerIndex to, const Label& label, std::vector<std::byte> bytes) override {
    const std::lock_guard lock(hub_.mutex_);
    if (hub_.failure_) return tl::unexpected(*hub_.failure_);
    const MemoryHub::Key key{self_, to, label};
    SUANLI_CHECK(hub_.unsent_.emplace(key, std::move(bytes)).second);
    deliver(key);
    return {};
  }
  Status wait_for_sends(std::size_t most) override {
    std::unique_lock lock(hub_.mutex_);
    const auto unsent = [&] {
      return static_cast<std::size_t>(
          std::ranges::count_if(hub_.unsent_, [&](const auto& each) {
            return std::get<0>(each.first) == self_ && is_counted(std::get<2>(each.first).purpose);
          }));
    };
    hub_.changed_.wait(lock, [&] { return hub_.failure_ || unsent() <= most; });
    if (hub_.failure_) return tl::unexpected(*hub_.failure_);
    return {};
  }

 private:
  // Under the lock.
  void deliver(const MemoryHub::Key& key) {
    const auto place = hub_.places_.find(key);
    const auto bytes = hub_.unsent_.find(key);
    if (place == hub_.places_.end() || bytes == hub_.unsent_.end()) return;
    SUANLI_CHECK(place->second.size() == bytes->second.size());
    std::ranges::copy(bytes->second, place->second.begin());
    hub_.places_.erase(place);
    hub_.unsent_.erase(bytes);
    hub_.arrived_[key] = true;
    hub_.changed_.notify_all();
  }

  MemoryHub& hub_;
  WorkerIndex self_;
};

}  // namespace suanli::pool
