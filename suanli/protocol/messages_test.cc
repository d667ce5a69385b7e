#include "suanli/protocol/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "suanli/protocol/samples_for_test.h"

namespace suanli::protocol {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string refusal_of(const json& message) {
  const auto parsed = parse_to_coordinator(message.dump(), "peer 'a'");
  if (parsed) return "taken";
  EXPECT_EQ(parsed.error().code, ErrorCode::protocol);
  EXPECT_EQ(parsed.error().place, "peer 'a'");
  EXPECT_FALSE(parsed.error().next_step.empty());
  return parsed.error().message;
}

json sample(std::string_view type) {
  for (const ToCoordinator& each : samples_to_coordinator())
    if (type_of(each) == type) return json::parse(encode(each).value());
  return {};
}

TEST(Messages, ComeBackTheSame) {
  for (const ToCoordinator& each : samples_to_coordinator()) {
    const std::string text = encode(each).value();
    const auto again = parse_to_coordinator(text, "peer");
    ASSERT_TRUE(again) << text << again.error().to_string();
    EXPECT_EQ(type_of(*again), type_of(each));
    EXPECT_EQ(encode(*again).value(), text);
    EXPECT_FALSE(parse_to_worker(text, "peer")) << "a worker takes what only a coordinator may hear: " << text;
  }
  for (const ToWorker& each : samples_to_worker()) {
    const std::string text = encode(each).value();
    const auto again = parse_to_worker(text, "peer");
    ASSERT_TRUE(again) << text << again.error().to_string();
    EXPECT_EQ(encode(*again).value(), text);
    EXPECT_FALSE(parse_to_coordinator(text, "peer"));
  }
}

TEST(Messages, SamplesCoverEveryType) {
  std::set<std::size_t> seen, seen_too;
  for (const ToCoordinator& each : samples_to_coordinator()) seen.insert(each.index());
  for (const ToWorker& each : samples_to_worker()) seen_too.insert(each.index());
  EXPECT_EQ(seen.size(), std::variant_size_v<ToCoordinator>);
  EXPECT_EQ(seen_too.size(), std::variant_size_v<ToWorker>);
}

TEST(Messages, ValuesArrive) {
  const auto parsed = parse_to_coordinator(encode(sample_hello()).value(), "peer").value();
  const Hello& hello = std::get<Hello>(parsed);
  EXPECT_EQ(hello.name, "box-a");
  EXPECT_EQ(hello.listen, "192.0.2.7:9000");
  EXPECT_EQ(hello.memory, Bytes(8'000'000'000));
  EXPECT_EQ(hello.rates, sample_hello().rates);
  EXPECT_EQ(hello.hours->from, 1320);
  EXPECT_EQ(hello.wall, Seconds(1'790'000'000.25));
  EXPECT_EQ(hello.place, "Zürich");
}

// Each key of each message: taken away (unless it is optional), of another type, and a key more.
TEST(Messages, EveryFieldIsRequiredAndTyped) {
  const std::set<std::string> optional = {"listen", "cap", "hours", "loss", "tokens", "grad_norm", "warning"};
  int tried = 0;
  for (const ToCoordinator& each : samples_to_coordinator()) {
    const json good = json::parse(encode(each).value());
    if (good.value("protocol", kProtocolVersion) != kProtocolVersion) continue;
    for (const auto& [key, value] : good.items()) {
      json less = good, other = good;
      less.erase(key);
      other[key] = json::array({json::array()});
      ++tried;
      if (optional.contains(key)) {
        EXPECT_EQ(refusal_of(less), "taken") << key;
      } else {
        EXPECT_THAT(refusal_of(less), HasSubstr("'" + key));
      }
      EXPECT_THAT(refusal_of(other), HasSubstr("'" + key));
    }
    json more = good;
    more["surprise"] = 1;
    EXPECT_THAT(refusal_of(more), HasSubstr("'surprise' is not known"));
  }
  EXPECT_GT(tried, 40);
}

TEST(Messages, AbsurdValuesAreRefused) {
  json hello = sample("hello");
  for (const auto& [key, value] : std::map<std::string, json>{{"cores", 0}, {"cores", -1}, {"cores", 1.5},
                                                              {"memory", -1}, {"memory", 1e30}, {"memory", UINT64_MAX},
                                                              {"share", 0}, {"share", 1.01}, {"name", ""},
                                                              {"name", std::string(65, 'x')}, {"cap", -1.0}}) {
    json bad = hello;
    bad[key] = value;
    EXPECT_THAT(refusal_of(bad), HasSubstr("'" + key + "'")) << value;
  }
  json bad = hello;
  bad["rates"]["bf16"] = -1;
  EXPECT_THAT(refusal_of(bad), HasSubstr("'rates.bf16'"));
  bad = sample("state_part");
  bad["tensors"][1]["digest"] = "abc";
  EXPECT_THAT(refusal_of(bad), HasSubstr("'tensors[1].digest' is no digest"));
  bad = sample("ready");
  bad["epoch"] = 0;
  EXPECT_THAT(refusal_of(bad), HasSubstr("'epoch' is 0"));
  bad = sample("failed");
  bad["error"]["code"] = "no_such";
  EXPECT_THAT(refusal_of(bad), HasSubstr("'error.code'"));
  bad = sample("prepared");
  bad["outcome"] = "error";
  EXPECT_THAT(refusal_of(bad), HasSubstr("'error' does not fit the outcome"));
  bad["type"] = "no_such";
  EXPECT_THAT(refusal_of(bad), HasSubstr("'no_such', which is not known"));
}

TEST(Messages, TextThatIsNoMessage) {
  for (const std::string text : {"", "7", "[]", "{}", "{\"type\":3}", "{\"type\":\"left\",\"reason\":\"a\",\"reason\":\"b\"}",
                                 "{\"type\":\"left\",\"reason\":\"\xff\"}", "{\"type\":\"heartbeat\",\"number\":NaN}"}) {
    const auto parsed = parse_to_coordinator(text, "peer");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::protocol);
  }
  EXPECT_THAT(parse_to_coordinator(std::string(kMostMessageBytes + 1, ' '), "peer").error().message, HasSubstr("16.0 MiB"));
  const std::string deep = "{\"type\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_FALSE(parse_to_worker(deep, "peer"));
}

// A hello of another protocol is read as far as both versions can be named, whatever else it holds.
TEST(Messages, HelloOfAnotherProtocol) {
  const auto parsed = parse_to_coordinator(R"({"type":"hello","version":"7.0","protocol":98,"news":[1]})", "peer");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(std::get<Hello>(*parsed).version, "7.0");
  EXPECT_EQ(std::get<Hello>(*parsed).protocol, 98);
}

TEST(Messages, WhatMayNotBeSent) {
  Hello hello = sample_hello();
  hello.rates.f32 = FlopsPerSecond(std::nan(""));
  EXPECT_THAT(encode(hello).error().message, HasSubstr("'rates.f32'"));
  hello = sample_hello();
  hello.place = "\xc3(";
  EXPECT_THAT(encode(hello).error().message, HasSubstr("'place' is not UTF-8"));
  Assign large;
  large.job = "job";
  large.epoch = 1;
  large.dataset = std::string(kMostMessageBytes, 'x');
  EXPECT_EQ(encode(large).error().code, ErrorCode::usage);
  Ready ready{{"job", ~std::uint64_t{0}}};
  EXPECT_THAT(encode(ToCoordinator(ready)).error().message, HasSubstr("'epoch'"));
}

TEST(Messages, ErrorsAreCutToFit) {
  const Error long_one{ErrorCode::io, std::string(100'000, '\x01'), "place\xff", std::string(5'000, 'n')};
  const Result<std::string> text = encode(ToCoordinator(Left{cut_to_fit(long_one).message}));
  ASSERT_TRUE(text) << text.error().to_string();
  const Error cut = cut_to_fit(long_one);
  EXPECT_LE(cut.next_step.size(), kMostErrorText);
  const JobEpoch job{"job", 1};
  EXPECT_TRUE(encode(ToCoordinator(Failed{job, cut})));
  const Error small{ErrorCode::io, "m", "p", "n"};
  EXPECT_EQ(cut_to_fit(small).to_string(), small.to_string());
}

}  // namespace
}  // namespace suanli::protocol
