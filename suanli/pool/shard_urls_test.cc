#include "suanli/pool/shard_urls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace suanli::pool {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Environment with(std::map<std::string, std::string> set) {
  return [set = std::move(set)](const char* name) -> const char* {
    const auto found = set.find(name);
    return found == set.end() ? nullptr : found->second.c_str();
  };
}

TEST(ShardUrls, TheEnvironmentSaysWhoAsksS3) {
  const S3Account none = s3_account_of(with({}));
  EXPECT_EQ(none.access_key, "");
  EXPECT_EQ(none.region, "us-east-1");
  const S3Account account = s3_account_of(with({{"AWS_ACCESS_KEY_ID", "key"},
                                                {"AWS_SECRET_ACCESS_KEY", "secret"},
                                                {"AWS_SESSION_TOKEN", "token"},
                                                {"AWS_DEFAULT_REGION", "eu-west-1"},
                                                {"AWS_REGION", "eu-west-3"},
                                                {"AWS_ENDPOINT_URL", "http://store:9000"}}));
  EXPECT_EQ(account.access_key, "key");
  EXPECT_EQ(account.secret_key, "secret");
  EXPECT_EQ(account.session_token, "token");
  EXPECT_EQ(account.region, "eu-west-3");
  EXPECT_EQ(account.endpoint, "http://store:9000");
  EXPECT_EQ(s3_account_of(with({{"AWS_DEFAULT_REGION", "eu-west-1"}})).region, "eu-west-1");
  EXPECT_EQ(s3_account_of(with({{"AWS_REGION", ""}})).region, "us-east-1") << "set to nothing is not set";
  EXPECT_EQ(s3_account_of(with({{"AWS_ENDPOINT_URL", "a"}, {"AWS_ENDPOINT_URL_S3", "b"}})).endpoint, "b");
}

TEST(ShardUrls, BecomeSourcesOfTheirNames) {
  const Environment keys = with({{"AWS_ACCESS_KEY_ID", "key"}, {"AWS_SECRET_ACCESS_KEY", "secret"}});
  for (const char* url : {"http://host/data", "https://host/data", "s3://bucket/some prefix", "s3://bucket"})
    EXPECT_EQ(source_at(url, keys).value()->name(), url);
  EXPECT_EQ(source_at("https://host/data/", with({})).value()->name(), "https://host/data");
}

TEST(ShardUrls, ErrorsNameTheUrlTheKeyAndWhatToDo) {
  const Environment keys = with({{"AWS_ACCESS_KEY_ID", "key"}, {"AWS_SECRET_ACCESS_KEY", "secret"}});
  for (const auto& [url, environment, code, said] : std::vector<std::tuple<std::string, Environment, ErrorCode, std::string>>{
           {"ftp://host/x", keys, ErrorCode::config, "ftp://host/x"},
           {"http://host/a b", keys, ErrorCode::config, "http://host/a b"},
           {"s3://Bucket/x", keys, ErrorCode::config, "s3://Bucket/x"},
           {"s3://bucket/x", with({}), ErrorCode::unauthorised, "AWS_ACCESS_KEY_ID is not set"},
           {"s3://bucket/x", with({{"AWS_ACCESS_KEY_ID", "key"}}), ErrorCode::unauthorised, "AWS_SECRET_ACCESS_KEY is not set"},
           {"s3://bucket/x",
            with({{"AWS_ACCESS_KEY_ID", "key"}, {"AWS_SECRET_ACCESS_KEY", "secret"}, {"AWS_ENDPOINT_URL", "store:9000"}}),
            ErrorCode::config, "AWS_ENDPOINT_URL"}}) {
    const auto made = source_at(url, environment);
    ASSERT_FALSE(made) << url;
    EXPECT_EQ(made.error().code, code) << url;
    EXPECT_THAT(made.error().to_string(), HasSubstr(said));
    EXPECT_THAT(made.error().to_string(), HasSubstr(url));
    EXPECT_THAT(made.error().place, HasSubstr("data.sources"));
    EXPECT_NE(made.error().next_step, "") << url;
    EXPECT_THAT(made.error().to_string(), Not(HasSubstr("secret")));
  }
}

TEST(ShardUrls, AreCheckedWithoutAnybodysKeys) {
  EXPECT_TRUE(check_source_urls({"s3://bucket/x", "https://host/data"}));
  EXPECT_TRUE(check_source_urls({}));
  EXPECT_FALSE(check_source_urls({"https://host/data", "https://host/data?x=1"}));
}

}  // namespace
}  // namespace suanli::pool
