#include "suanli/net/authority.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "suanli/base/test_folder.h"
#include "suanli/net/revocation.h"

namespace suanli::net {
namespace {

using testing::HasSubstr;

constexpr WallTime kNow{1'800'000'000};

WallTime after(std::int64_t seconds) { return kNow + WallTime(seconds); }

class AuthorityTest : public testing::Test {
 protected:
  Result<Certificate> admit(const JoinToken& token, const PrivateKey& key, WallTime now = kNow) {
    return authority_.admit(token.id, token.secret, make_request(key).value(), now);
  }
  JoinToken token(TokenTerms terms = {}) {
    terms.address = {"127.0.0.1", 7000};
    return authority_.make_token(terms, kNow).value();
  }

  TestFolder folder_;
  Authority authority_ = Authority::create(folder_ / "ca", "mypool", kNow).value();
  PrivateKey key_ = PrivateKey::generate().value();
};

TEST_F(AuthorityTest, ATokenYieldsACertificateForTheKey) {
  const Certificate worker = admit(token(), key_).value();
  EXPECT_EQ(worker.key(), key_.id());
  EXPECT_EQ(worker.role(), Role::worker);
  EXPECT_EQ(worker.pool(), "mypool");
  EXPECT_FALSE(worker.is_authority());
  EXPECT_TRUE(check_validity(worker, kNow));
  const Certificate again = Certificate::parse(worker.pem(), "pem").value();
  EXPECT_EQ(again.fingerprint(), worker.fingerprint());
  EXPECT_EQ(again.serial(), worker.serial());
}

TEST_F(AuthorityTest, TheTokenTellsWhomTheJoinerTalksTo) {
  const JoinToken mine = JoinToken::parse(token().to_string()).value();
  EXPECT_TRUE(check_token(mine, authority_.certificate().fingerprint(), kNow));
  const Authority other = Authority::create(folder_ / "other", "mypool", kNow).value();
  const auto refused = check_token(mine, other.certificate().fingerprint(), kNow);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(refused.error().next_step, HasSubstr("do not join"));
  EXPECT_THAT(check_token(mine, mine.authority, after(25 * kHour)).error().message, HasSubstr("expired at"));
}

TEST_F(AuthorityTest, TokensExpireAreUsedUpAndCanBeRevoked) {
  const JoinToken short_lived = token({.lifetime = Seconds(60)});
  EXPECT_THAT(admit(short_lived, key_, after(61)).error().message, HasSubstr("expired at 2027-01-15 08:01:00 UTC"));
  EXPECT_TRUE(admit(short_lived, key_, after(60)));

  const JoinToken once = token({.uses = 1});
  EXPECT_TRUE(admit(once, key_));
  EXPECT_THAT(admit(once, key_).error().message, HasSubstr("as many machines"));

  const JoinToken revoked = token();
  ASSERT_TRUE(authority_.revoke_token(revoked.id));
  EXPECT_THAT(admit(revoked, key_).error().message, HasSubstr("revoked"));
  EXPECT_EQ(authority_.revoke_token("none").error().code, ErrorCode::not_found);
}

TEST_F(AuthorityTest, AWrongSecretSaysNoMoreThanAnUnknownToken) {
  JoinToken wrong = token();
  wrong.secret[0] = wrong.secret[0] == '0' ? '1' : '0';
  const auto secret = admit(wrong, key_);
  wrong.id = "0000000000000000";
  const auto unknown = admit(wrong, key_);
  ASSERT_FALSE(secret);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(secret.error().code, ErrorCode::unauthorised);
  EXPECT_EQ(secret.error().to_string(), unknown.error().to_string());
}

TEST_F(AuthorityTest, ARequestProvesTheKey) {
  const JoinToken mine = token();
  EXPECT_EQ(authority_.admit(mine.id, mine.secret, "nonsense", kNow).error().code, ErrorCode::foreign);
  // One bit of the signature changed: the last character of the last full line lies inside it.
  std::string request = make_request(key_).value();
  const std::size_t end = request.rfind("\n-----END");
  char& letter = request[end - 12];
  letter = letter == 'A' ? 'B' : 'A';
  const auto forged = authority_.admit(mine.id, mine.secret, request, kNow);
  ASSERT_FALSE(forged);
  EXPECT_EQ(forged.error().code, ErrorCode::unauthorised);
  EXPECT_EQ(authority_.state().tokens[0].uses_left, 1'000) << "a refused request uses nothing up";
}

TEST_F(AuthorityTest, RevokedPeersAreListedAndNeverAdmittedAgain) {
  const Certificate worker = admit(token(), key_).value();
  const Certificate second = admit(token(), key_).value();
  const Certificate other = admit(token(), PrivateKey::generate().value()).value();
  ASSERT_TRUE(authority_.revoke(key_.id()));
  const auto list = RevocationList::parse(authority_.revocation_list(kNow).value(), authority_.certificate()).value();
  EXPECT_TRUE(list.contains(worker.serial()));
  EXPECT_TRUE(list.contains(second.serial()));
  EXPECT_FALSE(list.contains(other.serial()));
  EXPECT_EQ(list.size(), 2U);
  EXPECT_THAT(admit(token(), key_).error().message, HasSubstr("was revoked"));
  EXPECT_FALSE(authority_.issue(key_.id(), Role::worker, kNow));
  EXPECT_EQ(authority_.revoke(PeerId{}).error().code, ErrorCode::not_found);
  const auto next = RevocationList::parse(authority_.revocation_list(kNow).value(), authority_.certificate()).value();
  EXPECT_GT(next.number(), list.number());
}

TEST_F(AuthorityTest, AListOfAnotherAuthorityIsRefused) {
  Authority other = Authority::create(folder_ / "other", "mypool", kNow).value();
  const auto foreign = RevocationList::parse(other.revocation_list(kNow).value(), authority_.certificate());
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, ErrorCode::unauthorised);
  EXPECT_EQ(RevocationList::parse("nonsense", authority_.certificate()).error().code, ErrorCode::foreign);
}

TEST_F(AuthorityTest, ItComesBackFromItsFolderAndOneProcessHoldsIt) {
  const std::string path = folder_ / "again";
  JoinToken kept;
  Digest fingerprint;
  {
    Authority first = Authority::create(path, "mypool", kNow).value();
    kept = first.make_token({.address = {"h", 1}}, kNow).value();
    fingerprint = first.certificate().fingerprint();
    EXPECT_EQ(Authority::open(path).error().code, ErrorCode::busy);
    EXPECT_EQ(Authority::create(path, "mypool", kNow).error().code, ErrorCode::busy);
  }
  EXPECT_EQ(Authority::create(path, "mypool", kNow).error().code, ErrorCode::busy) << "never overwritten";
  Authority second = Authority::open(path).value();
  EXPECT_EQ(second.certificate().fingerprint(), fingerprint);
  EXPECT_TRUE(second.admit(kept.id, kept.secret, make_request(key_).value(), kNow));
  for (const char* file : {"/authority.key", "/authority.json"}) {
    struct stat info;
    ASSERT_EQ(stat((path + file).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U) << file;
  }
}

TEST_F(AuthorityTest, ClocksMayDifferALittleAndTheErrorNamesBothTimes) {
  const Certificate worker = admit(token(), key_).value();
  EXPECT_TRUE(check_validity(worker, after(-299)));
  const auto early = check_validity(worker, after(-3 * kHour));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(early.error().message, HasSubstr("begins at 2027-01-15 08:00:00 UTC, but on this machine it is 2027-01-15 05:00"));
  EXPECT_THAT(early.error().message, HasSubstr("clocks differ by 3 h"));
  EXPECT_THAT(early.error().next_step, HasSubstr("clocks"));
  EXPECT_TRUE(check_validity(worker, after(Authority::kCertificateDays * kDay + 299)));
  EXPECT_THAT(check_validity(worker, after(Authority::kCertificateDays * kDay + 301)).error().message, HasSubstr("expired at"));
}

TEST_F(AuthorityTest, NamesOfPoolsArePlain) {
  for (const std::string& name : {std::string(), std::string(65, 'a'), std::string("a\nb")})
    EXPECT_EQ(Authority::create(folder_ / "named", name, kNow).error().code, ErrorCode::usage) << name;
  EXPECT_FALSE(Authority::open(folder_ / "named"));
}

TEST(JoinToken, DamagedTokensAreRefusedWithoutRepeatingThem) {
  const JoinToken token{"0123456789abcdef", std::string(32, '5'), sha256("ca"), kNow, {"::1", 7000}};
  const std::string text = token.to_string();
  EXPECT_EQ(JoinToken::parse(text).value().address, token.address);
  for (std::size_t size = 0; size < text.size() - 4; ++size) {
    const auto cut = JoinToken::parse(text.substr(0, size));
    ASSERT_FALSE(cut) << size;
    EXPECT_THAT(cut.error().to_string(), testing::Not(HasSubstr("55555"))) << "the secret";
  }
}

TEST(Address, HostAndPort) {
  EXPECT_EQ(Address::parse("example.org:7000").value(), (Address{"example.org", 7000}));
  EXPECT_EQ(Address::parse("[::1]:0").value(), (Address{"::1", 0}));
  for (const char* wrong : {"", "a", ":1", "a:", "a:65536", "a:-1", "a:1x", "::1:5", "a b:1", "[a]:1", "[]:1", "a/b:1"})
    EXPECT_FALSE(Address::parse(wrong)) << wrong;
}

}  // namespace
}  // namespace suanli::net
