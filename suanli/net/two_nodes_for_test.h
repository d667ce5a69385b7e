// For tests and benches: two nodes of one pool in this process, connected over loopback.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "suanli/net/node.h"
#include "suanli/net/pool_for_test.h"

namespace suanli::net {

// What a callback said, awaited by another thread. Long: a test that waits in vain has failed.
template <typename T>
class Awaited {
 public:
  // To be called once.
  std::function<void(T)> callback() {
    return [state = state_](T value) { state->set_value(std::move(value)); };
  }
  T get() {
    SUANLI_CHECK(future_.wait_for(std::chrono::seconds(120)) == std::future_status::ready);
    return future_.get();
  }
  bool is_there_after(double seconds) {
    return future_.wait_for(std::chrono::duration<double>(seconds)) == std::future_status::ready;
  }

 private:
  std::shared_ptr<std::promise<T>> state_ = std::make_shared<std::promise<T>>();
  std::future<T> future_ = state_->get_future();
};

struct LinkPair {
  std::shared_ptr<Link> dialler, listener;
};

class TwoNodes {
 public:
  using SetUp = std::function<void(Link&, bool is_dialler)>;
  // `set_up` may put handlers on each link before it starts.
  explicit TwoNodes(NodeOptions dialling = {}, NodeOptions listening = {}, SetUp set_up = nullptr)
      : set_up_(std::move(set_up)),
        listener_(std::make_unique<Node>(pool_.context(Role::coordinator), std::move(listening))),
        dialler_(std::make_unique<Node>(pool_.context(), std::move(dialling))) {
    address_ = listener_->listen({"127.0.0.1", 0}, [this](std::shared_ptr<Link> link) { arrive(std::move(link)); }).value();
  }

  LinkPair connect() {
    Awaited<std::shared_ptr<Link>> arrived;
    Awaited<Result<std::shared_ptr<Link>>> connected;
    listener_->reactor().run_and_wait([&] { on_arrival_ = arrived.callback(); });
    dialler_->connect(address_, {std::nullopt, Role::coordinator}, Seconds(30),
                      [this, done = connected.callback()](Result<std::shared_ptr<Link>> link) {
                        if (link && set_up_) set_up_(**link, true);
                        done(std::move(link));
                      });
    LinkPair pair;
    pair.dialler = connected.get().value();
    pair.listener = arrived.get();
    return pair;
  }

  PoolForTest& pool() { return pool_; }
  Node& dialler() { return *dialler_; }
  Node& listener() { return *listener_; }
  const Address& address() const { return address_; }

 private:
  void arrive(std::shared_ptr<Link> link) {
    if (set_up_) set_up_(*link, false);
    if (const auto call = std::exchange(on_arrival_, nullptr)) call(std::move(link));
  }

  PoolForTest pool_;
  SetUp set_up_;
  std::function<void(std::shared_ptr<Link>)> on_arrival_;
  Address address_;
  std::unique_ptr<Node> listener_, dialler_;
};

// Sends `data` over the link and waits until it is there; what the receiver was told.
inline Result<Bytes> send_and_wait(Link& from, Link& to, const Tag& tag, std::span<const std::byte> data,
                                   std::span<std::byte> buffer, TransferOptions options = {}) {
  Awaited<Result<Bytes>> sent, received;
  to.receive(tag, buffer, options, received.callback());
  from.send(tag, data, options, sent.callback());
  const Result<Bytes> result = sent.get();
  const Result<Bytes> there = received.get();
  return result ? there : result;
}

}  // namespace suanli::net
