// What a stream owes its callers beyond the handshake (endpoint_test.cc): over a pair of connected sockets.
#include "suanli/net/tls_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

class TlsStreamTest : public testing::Test {
 protected:
  TlsStreamTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    Awaited<Status> from, to;
    reactor_.run_and_wait([&] {
      from_ = TlsStream::create(reactor_, pool_.context(), ends[0], {}, "from", {});
      to_ = TlsStream::create(reactor_, pool_.context(), ends[1], {.is_server = true}, "to", {});
      from_->handshake(Seconds(60), from.callback());
      to_->handshake(Seconds(60), to.callback());
    });
    EXPECT_TRUE(from.get() && to.get());
  }
  ~TlsStreamTest() override {
    reactor_.run_and_wait([this] {
      from_->close();
      to_->close();
      from_.reset();
      to_.reset();
    });
  }

  // Reads until `wanted` bytes have come.
  void read(std::size_t wanted, std::function<void(std::string)> done) {
    std::vector<std::byte> buffer(10'000);
    for (;;) {
      const auto count = to_->read_some(buffer);
      ASSERT_TRUE(count);
      if (*count == 0) break;
      there_.append(reinterpret_cast<const char*>(buffer.data()), *count);
    }
    if (there_.size() >= wanted) return done(there_);
    to_->when_readable([=, this] { read(wanted, done); });
  }

  PoolForTest pool_;
  std::string there_;
  std::shared_ptr<TlsStream> from_, to_;
  Reactor reactor_;  // ends first
};

TEST_F(TlsStreamTest, WhatACorkHeldBackGoesByItself) {
  const std::string record(16384, 'r');
  std::size_t accepted = 0;
  Awaited<std::string> arrived;
  reactor_.run_and_wait([&] {
    {
      const Corked together(from_);
      for (;;) {
        const auto count = from_->write_some(std::as_bytes(std::span(record)));
        ASSERT_TRUE(count);
        if (*count == 0) break;
        accepted += *count;
      }
    }
    // Nobody waits at the sender any more.
    read(accepted, arrived.callback());
  });
  EXPECT_EQ(arrived.get(), std::string(accepted, 'r'));
}

TEST_F(TlsStreamTest, WhatWasReadAheadNeedsNoNewBytes) {
  Awaited<std::size_t> first;
  Awaited<std::string> arrived;
  reactor_.run_and_wait([&] {
    {
      const Corked together(from_);
      for (int i = 0; i < 10; ++i) ASSERT_TRUE(from_->write_some(std::as_bytes(std::span("0123456789", 10))));
    }
    to_->when_readable([&] {
      std::vector<std::byte> one(10);
      const std::size_t count = to_->read_some(one).value();
      to_->when_readable([&, count] { read(90, arrived.callback()); });
      first.callback()(count);
    });
  });
  EXPECT_EQ(first.get(), 10u);
  EXPECT_EQ(arrived.get().size(), 90u);
}

}  // namespace
}  // namespace suanli::net
