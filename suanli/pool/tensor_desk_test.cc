// Tensors on request over a real link under TLS: the dialler asks, the listener gives.
#include "suanli/pool/tensor_desk.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "suanli/net/two_nodes_for_test.h"

namespace suanli::pool {
namespace {

const protocol::JobEpoch kJob{"job-1", 3};

SharedBytes bytes_of(const std::string& name) {
  return std::make_shared<const std::vector<std::byte>>(1000, static_cast<std::byte>(name.front()));
}

class Desk : public testing::Test {
 protected:
  void SetUp() override {
    const net::LinkPair links = nodes_.connect();
    asks_ = links.dialler;
    gives_ = links.listener;
    is_linked_ = true;
  }
  // On a reactor's thread.
  void hear(bool is_asker, std::uint32_t kind, std::span<const std::byte> payload) {
    while (!is_linked_) std::this_thread::yield();
    const auto text = (is_asker ? answers_ : requests_).add(kind, payload);
    ASSERT_TRUE(text && *text);
    if (is_asker) {
      if (const auto refusal = parse_tensor_refusal((*text)->text, "peer")) last_refused_ = refusal->number;
      return asker_.on_response((*text)->text, "peer");
    }
    if (is_deaf_) return;
    const auto give = [this](const TensorRequest& request) -> Result<std::vector<SharedBytes>> {
      ++given_;
      std::vector<SharedBytes> tensors;
      for (const std::string& name : request.names) {
        if (name == "none") return fail(ErrorCode::not_found, "there is none", name);
        tensors.push_back(bytes_of(name));
      }
      return tensors;
    };
    EXPECT_TRUE(giver_.on_request(gives_, (*text)->text, give));
  }
  TensorRequest request(std::vector<std::string> names, std::uint64_t number = 0) {
    TensorRequest made;
    static_cast<protocol::JobEpoch&>(made) = kJob;
    made.number = number;
    made.step = 4;
    made.names = std::move(names);
    return made;
  }
  static void until(const std::function<bool()>& holds) {
    while (!holds()) std::this_thread::yield();
  }

  static void at_once(std::function<void()> work) { work(); }
  TensorDesk asker_{at_once}, giver_{at_once};
  TextReader answers_, requests_;
  std::atomic<bool> is_linked_ = false, is_deaf_ = false;
  std::atomic<int> given_ = 0;
  std::atomic<std::uint64_t> last_refused_ = 0;
  std::shared_ptr<net::Link> asks_, gives_;
  net::TwoNodes nodes_{{}, {}, [this](net::Link& link, bool is_dialler) {
                         link.on_message([this, is_dialler](std::uint32_t kind, std::span<const std::byte> payload) {
                           hear(is_dialler, kind, payload);
                         });
                       }};
};

TEST_F(Desk, GivesWhatItIsAskedFor) {
  std::vector<std::byte> a(1000), b(1000);
  ASSERT_TRUE(asker_.fetch(*asks_, request({"b", "a"}), {b, a}));
  EXPECT_EQ(a, *bytes_of("a"));
  EXPECT_EQ(b, *bytes_of("b"));
  const Status refused = asker_.fetch(*asks_, request({"none"}), {a});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "there is none");
  ASSERT_TRUE(asker_.fetch(*asks_, request({"b"}), {a})) << "a refusal does not keep the next from being served";
  EXPECT_EQ(a, b);
}

TEST_F(Desk, ServesOneRequestOfAPeerAtATime) {
  // Nobody takes the tensors that these ask for.
  for (const std::uint64_t number : {101, 102, 103, 104})
    ASSERT_TRUE(send_text(*asks_, TextKind::request, encode(request({"a"}, number))));
  until([&] { return last_refused_ != 0; });
  EXPECT_EQ(last_refused_, 104U) << "two may wait";
  EXPECT_EQ(given_, 1);
  int served = 1;
  for (const std::uint64_t number : {101, 102, 103}) {
    EXPECT_EQ(given_, served);
    std::vector<std::byte> buffer(1000);
    net::Awaited<Result<Bytes>> came;
    asks_->receive({std::uint64_t{1} << 63 | number, 0}, buffer, {}, came.callback());
    ASSERT_TRUE(came.get());
    EXPECT_EQ(buffer, *bytes_of("a"));
    served = std::min(3, served + 1);
    until([&] { return given_ == served; });
  }
  std::vector<std::byte> buffer(1000);
  EXPECT_TRUE(asker_.fetch(*asks_, request({"b"}), {buffer}));
}

TEST_F(Desk, AFetchCanBeGivenUp) {
  is_deaf_ = true;
  std::vector<std::byte> buffer(1000);
  const Status unwanted = asker_.fetch(*asks_, request({"a"}), {buffer}, [] { return false; });
  EXPECT_EQ(unwanted.error().code, ErrorCode::cancelled);
  std::atomic<bool> is_asked = false;
  std::thread stopper([&] {
    until([&] { return is_asked.load(); });
    asker_.give_up({"job-1", 2}, {ErrorCode::io, "of another epoch", "", ""});
    asker_.give_up(kJob, {ErrorCode::interrupted, "the job is over", "", ""});
  });
  const Status given_up = asker_.fetch(*asks_, request({"a"}), {buffer}, [&] { return is_asked = true; });
  stopper.join();
  ASSERT_FALSE(given_up);
  EXPECT_EQ(given_up.error().message, "the job is over");
}

}  // namespace
}  // namespace suanli::pool
