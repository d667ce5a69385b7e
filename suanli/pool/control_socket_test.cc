#include "suanli/pool/control_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "suanli/base/test_folder.h"
#include "suanli/pool/control_client.h"
#include "suanli/pool/pool_folder.h"

namespace suanli::pool {
namespace {

using ::testing::HasSubstr;

TEST(ControlSocket, AnswersLinesToItsOwnerAlone) {
  const TestFolder folder;
  const std::string path = folder / "control.sock";
  const auto echo = [](std::string_view line) {
    const auto request = parse_request(line, "socket");
    if (!request) return print_answer(tl::unexpected(request.error()));
    if (request->ask == Ask::job)
      return print_answer(fail(ErrorCode::not_found, "there is no job '" + request->name + "'", "pool", "look"));
    return print_answer(nlohmann::ordered_json{{"asked", name_of(request->ask)}});
  };
  auto socket = ControlSocket::open(path, echo);
  ASSERT_TRUE(socket.has_value()) << socket.error().to_string();
  struct stat facts {};
  ASSERT_EQ(stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  ASSERT_EQ(stat(folder.path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);

  auto client = ControlClient::connect(path), other = ControlClient::connect(path);
  ASSERT_TRUE(client && other);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client->ask({.ask = Ask::peers}).value().at("asked"), "peers");
    EXPECT_EQ(other->ask({.ask = Ask::links}).value().at("asked"), "links");
  }
  const auto refused = client->ask({.ask = Ask::job, .name = "job-7"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::not_found);
  EXPECT_EQ(refused.error().next_step, "look");

  // With clients still connected it ends at once, and nobody answers any more.
  socket->reset();
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(client->ask({.ask = Ask::peers}).has_value());
  const auto gone = ControlClient::connect(path);
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code, ErrorCode::unreachable);
  EXPECT_THAT(gone.error().next_step, HasSubstr("suanli pool create"));
}

TEST(ControlSocket, LargeLinesPassAndEndlessOnesDoNot) {
  const TestFolder folder;
  const auto socket = ControlSocket::open(folder / "s", [](std::string_view line) {
    const auto request = parse_request(line, "socket");
    return request ? print_answer(nlohmann::ordered_json{{"text", std::string(kMostControlLine - 100, 'x')}})
                   : print_answer(tl::unexpected(request.error()));
  });
  ASSERT_TRUE(socket.has_value());
  auto client = ControlClient::connect(folder / "s");
  ASSERT_TRUE(client.has_value());
  const auto large = client->ask({.ask = Ask::submit, .job_file = std::string(1 << 20, '#')});
  ASSERT_TRUE(large.has_value()) << large.error().to_string();
  EXPECT_EQ(large->at("text").get<std::string>().size(), kMostControlLine - 100);
  const auto endless = client->ask({.ask = Ask::submit, .job_file = std::string(kMostControlLine + 200'000, '#')});
  EXPECT_FALSE(endless.has_value());
  // Others are served on.
  auto other = ControlClient::connect(folder / "s");
  ASSERT_TRUE(other.has_value());
  EXPECT_TRUE(other->ask({.ask = Ask::status}).has_value());
}

TEST(ControlSocket, PathsThatAreTooLongAndOldSockets) {
  const TestFolder folder;
  const auto answer = [](std::string_view) { return std::string("{}"); };
  const auto too_long = ControlSocket::open(folder / std::string(108, 'x'), answer);
  ASSERT_FALSE(too_long.has_value());
  EXPECT_EQ(too_long.error().code, ErrorCode::config);
  EXPECT_THAT(too_long.error().message, HasSubstr("107"));
  // What a killed coordinator leaves does not stand in the way.
  std::ofstream(folder / "s") << "old";
  EXPECT_TRUE(ControlSocket::open(folder / "s", answer).has_value());
}

TEST(ControlRequests, AreReadStrictly) {
  const auto message = [](const char* line) {
    const auto request = parse_request(line, "socket");
    return request ? std::string() : request.error().message;
  };
  EXPECT_EQ(message(R"({"request":"job","name":"job-1"})"), "");
  EXPECT_THAT(message("not json"), HasSubstr("JSON"));
  EXPECT_THAT(message("[]"), HasSubstr("no object"));
  EXPECT_THAT(message(R"({"request":"dance"})"), HasSubstr("dance"));
  EXPECT_THAT(message(R"({"request":"job"})"), HasSubstr("'name' is missing"));
  EXPECT_THAT(message(R"({"request":"job","name":""})"), HasSubstr("'name' has 0 bytes"));
  EXPECT_THAT(message(R"({"request":"job","name":3})"), HasSubstr("'name' is no text"));
  EXPECT_THAT(message(R"({"request":"status","name":"x"})"), HasSubstr("not of this request"));
  EXPECT_THAT(message(R"({"request":"job","name":"a","name":"b"})"), HasSubstr("twice"));
  EXPECT_THAT(message(R"({"request":"events","after":-1,"subject":""})"), HasSubstr("'after' is out of range"));
  EXPECT_THAT(message(R"({"request":"token","lifetime_seconds":0.5,"uses":1})"), HasSubstr("from a second"));
  EXPECT_THAT(message(R"({"request":"token","lifetime_seconds":60,"uses":18446744073709551615})"),
              HasSubstr("'uses' is out of range"));
  EXPECT_THAT(message(R"({"request":"submit","job_file":"x","resume":1})"), HasSubstr("neither true nor false"));
}

TEST(PoolNumbers, AreNeverUsedTwice) {
  const TestFolder folder;
  const std::string path = folder / "numbers.json";
  auto first = PoolNumbers::begin(path);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->next_job().value(), "job-1");
  EXPECT_EQ(first->next_job().value(), "job-2");
  auto second = PoolNumbers::begin(path);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->next_job().value(), "job-3");
  // Above all that four thousand million placements of the first can have been given.
  EXPECT_GE(second->first_epoch(), first->first_epoch() + (std::uint64_t{1} << 32));
  std::ofstream(path) << "{}";
  const auto broken = PoolNumbers::begin(path);
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().code, ErrorCode::corrupt);
  EXPECT_EQ(parse_pool_counts(R"({"format":"suanli pool numbers","version":2,"starts":1,"jobs":1})", "f").error().code,
            ErrorCode::version);
  EXPECT_FALSE(parse_pool_counts(R"({"format":"suanli pool numbers","version":1,"starts":-1,"jobs":1})", "f").has_value());
  EXPECT_FALSE(
      parse_pool_counts(R"({"format":"suanli pool numbers","version":1,"starts":1,"jobs":1,"more":1})", "f").has_value());
}

}  // namespace
}  // namespace suanli::pool
