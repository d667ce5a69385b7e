#include "suanli/net/socket_bio.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <random>
#include <string>

#include "suanli/net/openssl.h"

namespace suanli::net {
namespace {

constexpr std::size_t kRecordBytes = 16384 + 22;  // on the wire

class SocketBioTest : public testing::Test {
 protected:
  SocketBioTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    socket_ = ends[0], peer_ = ends[1];
    wire_ = std::make_unique<SocketBio>(socket_);
    bio_.reset(wire_->make());
  }
  ~SocketBioTest() override {
    bio_.reset();
    close(socket_);
    close_peer();
  }

  void close_peer() {
    if (peer_ >= 0) close(std::exchange(peer_, -1));
  }
  int write(const std::string& bytes) { return BIO_write(bio_.get(), bytes.data(), static_cast<int>(bytes.size())); }
  // All that the peer finds, up to `most`.
  std::string arrived(std::size_t most = std::string::npos) {
    std::string all, part(65536, 0);
    while (all.size() < most) {
      const ssize_t count = recv(peer_, part.data(), std::min(part.size(), most - all.size()), 0);
      if (count <= 0) break;
      all.append(part, 0, static_cast<std::size_t>(count));
    }
    return all;
  }
  std::string random(std::size_t size) {
    std::string bytes(size, 0);
    std::ranges::generate(bytes, [this] { return static_cast<char>(random_()); });
    return bytes;
  }

  std::mt19937 random_{7};
  int socket_ = -1, peer_ = -1;
  std::unique_ptr<SocketBio> wire_;
  openssl::Bio bio_;
};

TEST_F(SocketBioTest, WhatIsGatheredGoesOutTogether) {
  EXPECT_EQ(write("one"), 3);
  EXPECT_EQ(arrived(), "one");
  wire_->gather(true);
  EXPECT_EQ(write("two"), 3);
  EXPECT_EQ(write("three"), 5);
  EXPECT_TRUE(wire_->holds());
  EXPECT_EQ(arrived(), "");
  wire_->flush();
  EXPECT_FALSE(wire_->holds());
  EXPECT_EQ(arrived(), "twothree");
  // What is held goes before what is not gathered.
  EXPECT_EQ(write("four"), 4);
  wire_->gather(false);
  EXPECT_EQ(write("five"), 4);
  EXPECT_EQ(arrived(), "fourfive");
}

TEST_F(SocketBioTest, HoldsNoMoreThanItSays) {
  const std::string record(kRecordBytes, 'r');
  while (write(record) > 0) continue;
  EXPECT_TRUE(wire_->is_full());
  wire_->gather(true);
  std::size_t held = 0;
  for (int count = 0; (count = write(record)) > 0;) held += static_cast<std::size_t>(count);
  EXPECT_TRUE(BIO_should_write(bio_.get()) && BIO_should_retry(bio_.get()));
  EXPECT_LE(held, SocketBio::kMostHeldBytes);
  EXPECT_GT(held + kRecordBytes, SocketBio::kMostHeldBytes);
}

TEST_F(SocketBioTest, NothingIsLostAtASlowPeer) {
  const std::string all = random(4'000'000);
  std::string there;
  std::size_t given = 0;
  int refused = 0;
  while (there.size() < all.size()) {
    wire_->gather(random_() % 4 != 0);
    const std::size_t size = std::min<std::size_t>(all.size() - given, 1 + random_() % kRecordBytes);
    const int count = size == 0 ? 0 : BIO_write(bio_.get(), all.data() + given, static_cast<int>(size));
    if (count > 0) given += static_cast<std::size_t>(count);
    refused += count < 0 ? 1 : 0;
    if (count < 0 || random_() % 8 == 0) there += arrived(random_() % 100'000);
    if (size == 0) wire_->flush();
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(there, all);
  EXPECT_FALSE(wire_->holds());
}

TEST_F(SocketBioTest, WhatWasReadAheadComesNext) {
  const std::string all = random(1'000'000);
  std::string there;
  std::size_t given = 0;
  bool was_ahead = false;
  while (there.size() < all.size()) {
    const ssize_t sent = send(peer_, all.data() + given, std::min<std::size_t>(all.size() - given, random_() % 100'000), 0);
    given += static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
    for (;;) {
      std::string part(random_() % 2 == 0 ? 5 : kRecordBytes - 5, 0);
      const int count = BIO_read(bio_.get(), part.data(), static_cast<int>(part.size()));
      if (count <= 0) break;
      there.append(part, 0, static_cast<std::size_t>(count));
      was_ahead = was_ahead || wire_->has_read_ahead();
    }
    EXPECT_TRUE(BIO_should_read(bio_.get()) && BIO_should_retry(bio_.get()));
    EXPECT_FALSE(wire_->has_read_ahead());
  }
  EXPECT_TRUE(was_ahead);
  EXPECT_EQ(there, all);
  close_peer();
  char byte;
  EXPECT_EQ(BIO_read(bio_.get(), &byte, 1), 0);
  EXPECT_FALSE(BIO_should_retry(bio_.get()));
  EXPECT_EQ(BIO_eof(bio_.get()), 1);
}

TEST_F(SocketBioTest, AnErrorShowsAtTheNextUse) {
  wire_->gather(true);
  EXPECT_EQ(write("lost"), 4);
  close_peer();
  wire_->flush();  // and no signal
  EXPECT_FALSE(wire_->holds());
  wire_->gather(false);
  EXPECT_EQ(write("more"), -1);
  EXPECT_FALSE(BIO_should_retry(bio_.get()));
}

}  // namespace
}  // namespace suanli::net
