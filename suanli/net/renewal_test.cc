#include "suanli/net/renewal.h"

#include <gmock/gmock.h>

#include "suanli/base/clock.h"
#include "suanli/net/two_nodes_for_test.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

class Renewal : public testing::Test {
 protected:
  Renewal() { serve({}); }
  void serve(RenewalOptions options) {
    nodes_.listener().serve_renewals(
        [this](const PeerId& peer, Role role) { return nodes_.pool().authority().issue(peer, role, wall_time_now()); },
        std::move(options));
  }
  Result<Certificate> renew(const std::shared_ptr<Link>& link) {
    Awaited<Result<Certificate>> renewed;
    nodes_.dialler().renew(link, Seconds(60), renewed.callback());
    return renewed.get();
  }
  TwoNodes nodes_;
};

TEST_F(Renewal, TheNewCertificateIsShownFromThenOnAndOldLinksLive) {
  const LinkPair before = nodes_.connect();
  const auto renewed = renew(before.dialler);
  ASSERT_TRUE(renewed) << renewed.error().to_string();
  EXPECT_EQ(renewed->key(), before.listener->peer().key());
  EXPECT_NE(renewed->serial(), before.listener->peer().serial());
  const LinkPair after = nodes_.connect();
  EXPECT_EQ(after.listener->peer().serial(), renewed->serial());
  std::vector<std::byte> data(300'000, std::byte{3}), buffer(data.size());
  EXPECT_TRUE(send_and_wait(*before.dialler, *before.listener, {1, 1}, data, buffer));
}

TEST_F(Renewal, TooSoonIsRefusedWithTheTimeToWait) {
  const LinkPair links = nodes_.connect();
  ASSERT_TRUE(renew(links.dialler));
  // Over another link of the same peer, too.
  const auto again = renew(nodes_.connect().dialler);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::busy);
  EXPECT_THAT(again.error().next_step, HasSubstr("ask again in"));
}

TEST_F(Renewal, RevokedPeersGetNone) {
  const LinkPair links = nodes_.connect();
  ASSERT_TRUE(nodes_.pool().authority().revoke(links.listener->peer().key()));
  const auto refused = renew(links.dialler);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(refused.error().message, HasSubstr("was revoked"));
}

TEST_F(Renewal, OnlyACoordinatorIsAskedAndOnlyOneThatServesAnswers) {
  const LinkPair links = nodes_.connect();
  Awaited<Result<Certificate>> wrong_way;
  nodes_.listener().renew(links.listener, Seconds(60), wrong_way.callback());
  EXPECT_EQ(wrong_way.get().error().code, ErrorCode::usage);
  TwoNodes plain;
  Awaited<Result<Certificate>> unserved;
  const LinkPair pair = plain.connect();
  plain.dialler().renew(pair.dialler, Seconds(60), unserved.callback());
  EXPECT_EQ(unserved.get().error().code, ErrorCode::unsupported);
}

TEST_F(Renewal, ACoordinatorThatAnswersWithAnothersCertificateIsNotBelieved) {
  PoolForTest& pool = nodes_.pool();
  nodes_.listener().serve_renewals([&](const PeerId&, Role role) {
    return pool.authority().issue(PrivateKey::generate().value().id(), role, wall_time_now());
  });
  const LinkPair links = nodes_.connect();
  EXPECT_EQ(renew(links.dialler).error().code, ErrorCode::mismatch);
}

TEST(RenewalTime, IsDueInTheLastThird) {
  PoolForTest pool;
  const PrivateKey key = PrivateKey::generate().value();
  const WallTime now = wall_time_now();
  const Certificate certificate = pool.authority().issue(key.id(), Role::worker, now).value();
  EXPECT_FALSE(is_renewal_due(certificate, now));
  EXPECT_FALSE(is_renewal_due(certificate, now + WallTime(59 * kDay)));
  EXPECT_TRUE(is_renewal_due(certificate, now + WallTime(61 * kDay)));
}

TEST(TlsContextRenewal, TakesOnlyWhatIsItsOwn) {
  PoolForTest pool, other;
  const TlsIdentity own = pool.peer();
  const auto context = TlsContext::create(own).value();
  EXPECT_EQ(context->renew(pool.peer().certificate).error().code, ErrorCode::mismatch) << "another key";
  EXPECT_EQ(context->renew(pool.authority().issue(own.key.id(), Role::coordinator, wall_time_now()).value()).error().code,
            ErrorCode::mismatch);
  EXPECT_EQ(context->renew(other.authority().issue(own.key.id(), Role::worker, wall_time_now()).value()).error().code,
            ErrorCode::mismatch);
  const Certificate newer = pool.authority().issue(own.key.id(), Role::worker, wall_time_now()).value();
  ASSERT_TRUE(context->renew(newer));
  EXPECT_EQ(context->identity().certificate.serial(), newer.serial());
}

}  // namespace
}  // namespace suanli::net
