#include "suanli/net/identity.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"

namespace suanli::net {
namespace {

TEST(Identity, AKeyComesBackFromItsFileWithTheSameName) {
  TestFolder folder;
  const PrivateKey key = PrivateKey::generate().value();
  ASSERT_TRUE(key.save(folder / "key.pem"));
  EXPECT_EQ(PrivateKey::load(folder / "key.pem").value().id(), key.id());
  EXPECT_NE(PrivateKey::generate().value().id(), key.id());
  EXPECT_EQ(PeerId::from_hex(key.id().hex()).value(), key.id());
}

TEST(Identity, AKeyFileIsItsOwnersAlone) {
  TestFolder folder;
  const mode_t before = umask(0);
  ASSERT_TRUE(PrivateKey::generate().value().save(folder / "key.pem"));
  umask(before);
  struct stat info;
  ASSERT_EQ(stat((folder / "key.pem").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_EQ(chmod((folder / "key.pem").c_str(), 0640), 0);
  const auto refused = PrivateKey::load(folder / "key.pem");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(refused.error().next_step, testing::HasSubstr("chmod 600"));
}

TEST(Identity, LoadOrCreateMakesAKeyOnce) {
  TestFolder folder;
  const PeerId first = PrivateKey::load_or_create(folder / "key.pem").value().id();
  EXPECT_EQ(PrivateKey::load_or_create(folder / "key.pem").value().id(), first);
}

TEST(Identity, WhatIsNoEd25519KeyIsRefused) {
  TestFolder folder;
  EXPECT_EQ(PrivateKey::load(folder / "none").error().code, ErrorCode::not_found);
  ASSERT_TRUE(write_file_atomic(folder / "text", as_bytes("hello\n"), FileAccess::owner_only));
  EXPECT_EQ(PrivateKey::load(folder / "text").error().code, ErrorCode::foreign);
  const std::string other =
      "openssl genpkey -algorithm X25519 -out " + (folder / "other.pem") + " && chmod 600 " + (folder / "other.pem");
  ASSERT_EQ(std::system(other.c_str()), 0);
  EXPECT_EQ(PrivateKey::load(folder / "other.pem").error().code, ErrorCode::foreign);
  EXPECT_FALSE(PeerId::from_hex("abc"));
}

}  // namespace
}  // namespace suanli::net
