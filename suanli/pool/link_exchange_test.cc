// The exchange over real links under TLS.
#include "suanli/pool/link_exchange.h"

#include <gtest/gtest.h>

#include <thread>

#include "suanli/net/two_nodes_for_test.h"

namespace suanli::pool {
namespace {

std::vector<std::byte> bytes_of(std::size_t count, int seed) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 31 + static_cast<std::size_t>(seed));
  return bytes;
}

// Workers 0 and 1, linked.
class TwoWorkers : public testing::Test {
 protected:
  TwoWorkers() : links_(nodes_.connect()), zero_({{1, links_.dialler}}), one_({{0, links_.listener}}) {}
  net::TwoNodes nodes_;
  net::LinkPair links_;
  LinkExchange zero_, one_;
};

TEST_F(TwoWorkers, TensorsArriveUnderTheirLabelsInAnyOrder) {
  const Label first{1, 0, 1, Purpose::forward, 0, 7}, second{1, 0, 1, Purpose::forward, 1, 7};
  std::vector<std::byte> a(100'000), b(300'000);
  one_.expect(0, first, a);
  ASSERT_TRUE(zero_.send(1, second, bytes_of(b.size(), 2)));
  ASSERT_TRUE(zero_.send(1, first, bytes_of(a.size(), 1)));
  ASSERT_TRUE(one_.wait(0, first));
  one_.expect(0, second, b);
  ASSERT_TRUE(one_.wait(0, second));
  EXPECT_EQ(a, bytes_of(a.size(), 1));
  EXPECT_EQ(b, bytes_of(b.size(), 2));
  EXPECT_TRUE(zero_.wait_for_sends(0));
}

TEST_F(TwoWorkers, AFailureFromOutsideEndsAWaitAndFreesTheBuffer) {
  const Label label{1, 3, 1, Purpose::backward, 0, 7};
  std::vector<std::byte> buffer(1000);
  one_.expect(0, label, buffer);
  std::thread stopper([&] { one_.fail({ErrorCode::cancelled, "the job was cancelled", "job", ""}); });
  const Status waited = one_.wait(0, label);
  stopper.join();
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().message, "the job was cancelled");
  EXPECT_FALSE(one_.send(0, label, bytes_of(10, 0))) << "an exchange that has failed stays so";
}

TEST_F(TwoWorkers, ALostLinkNamesTheTensorAndTheWorker) {
  const Label label{1, 4, 2, Purpose::sums, 0, 0};
  std::vector<std::byte> buffer(1000);
  one_.expect(0, label, buffer);
  links_.dialler->close();
  const Status waited = one_.wait(0, label);
  ASSERT_FALSE(waited);
  EXPECT_NE(waited.error().message.find("sums 0 of step 5 (attempt 2"), std::string::npos) << waited.error().message;
  EXPECT_NE(waited.error().message.find("worker 0"), std::string::npos);
}

TEST_F(TwoWorkers, ATensorOfAnotherSizeIsRefused) {
  const Label label{1, 0, 1, Purpose::forward, 0, 7};
  std::vector<std::byte> buffer(1000);
  one_.expect(0, label, buffer);
  ASSERT_TRUE(zero_.send(1, label, bytes_of(999, 1)));
  const Status waited = one_.wait(0, label);
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, ErrorCode::protocol);
}

TEST(Tags, DifferInEveryField) {
  const Label label{2, 3, 4, Purpose::backward, 5, 6};
  Label others[6] = {label, label, label, label, label, label};
  others[0].epoch = 1, others[1].step = 1, others[2].attempt = 1, others[3].purpose = Purpose::sums, others[4].number = 1,
  others[5].port = 1;
  for (const Label& other : others) EXPECT_NE(tag_of(other), tag_of(label));
}

}  // namespace
}  // namespace suanli::pool
