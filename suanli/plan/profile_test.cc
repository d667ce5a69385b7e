#include "suanli/plan/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"
#include "suanli/plan/profile_for_test.h"

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;

const std::string kGood = print_profile(profile_for_test());

// The profile with one piece of its text replaced, which must be there.
std::string with(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

void expect_refused(const std::string& text, ErrorCode code, const std::string& place, const std::string& part) {
  const auto read = parse_profile(text, "p.json");
  ASSERT_FALSE(read) << text.substr(0, 200);
  EXPECT_EQ(read.error().code, code) << read.error().to_string();
  EXPECT_EQ(read.error().place, place) << read.error().to_string();
  EXPECT_THAT(read.error().message, HasSubstr(part));
  EXPECT_THAT(read.error().next_step, HasSubstr("suanli calibrate"));
}

TEST(Profile, ReadsBackAsWritten) {
  const auto read = parse_profile(kGood, "p.json");
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(print_profile(*read), kGood);
  EXPECT_EQ(read->kernels.size(), 4U);
  EXPECT_EQ(read->kernels[1].arithmetic, engine::Arithmetic::bf16);
  EXPECT_EQ(read->kernels[1].seconds, (Interval{0.1e-3, 0.12e-3, 0.15e-3}));
  ASSERT_TRUE(read->disk && read->idle_watts);
  EXPECT_TRUE(read->disk->read_from_cache);
  EXPECT_FALSE(read->busy_watts);
  ASSERT_NE(read->peak(engine::Arithmetic::bf16), nullptr);
  EXPECT_EQ(read->peak(engine::Arithmetic::bf16)->nominal, 6.1e12);
}

TEST(Profile, LoadsFromAFile) {
  const TestFolder folder;
  ASSERT_TRUE(write_file_atomic(folder / "p.json", as_bytes(kGood)));
  EXPECT_TRUE(load_profile(folder / "p.json"));
  const auto missing = load_profile(folder / "q.json");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().to_string(), HasSubstr("q.json"));
}

TEST(Profile, EveryTruncationIsRefused) {
  for (std::size_t length = 0; length + 2 < kGood.size(); length += 7)
    EXPECT_FALSE(parse_profile(kGood.substr(0, length), "p.json")) << length;
}

TEST(Profile, WhatIsNoProfileIsForeign) {
  expect_refused("[]", ErrorCode::foreign, "p.json", "no profile");
  expect_refused("{\"format\": \"suanli run\"}", ErrorCode::foreign, "p.json", "no profile");
  expect_refused(with("\"version\": 1", "\"version\": 2"), ErrorCode::version, "p.json", "version 2");
  expect_refused(with("\"version\": 1", "\"version\": \"1\""), ErrorCode::version, "p.json", "version");
}

TEST(Profile, WrongValuesNameTheirPlace) {
  const auto corrupt = [](const std::string& text, const std::string& place, const std::string& part) {
    expect_refused(text, ErrorCode::corrupt, place, part);
  };
  corrupt(with("\"threads\": 2", "\"threads\": 0"), "p.json: threads", "is 0");
  corrupt(with("\"threads\": 2", "\"threads\": 2.5"), "p.json: threads", "is 2.5");
  corrupt(with("\"threads\": 2", "\"threads\": 99999999999999999999"), "p.json: threads", "whole number");
  corrupt(with("\"cores\": 2", "\"kores\": 2"), "p.json: cores", "missing");
  corrupt(with("\"cores\": 2", "\"cores\": 2, \"core\": 2"), "p.json: core", "did you mean 'cores'");
  corrupt(with("\"machine\": \"Test CPU\"", "\"machine\": 7"), "p.json: machine", "not a text");
  corrupt(with("\"quick\": true", "\"quick\": 1"), "p.json: quick", "neither");
  corrupt(with("\"memory_bytes\": 8589934592", "\"memory_bytes\": -1"), "p.json: memory_bytes", "-1");
  corrupt(with("2026-11-22T", "2026-02-31T"), "p.json: time", "2026-02-31");
  corrupt(with("\"low\": 2900000000.0", "\"low\": 3200000000.0"), "p.json: clock_hz", "out of order");
  corrupt(with("\"low\": 2900000000.0", "\"low\": 0"), "p.json: clock_hz.low", "from 1000 to");
  corrupt(with("\"low\": 2900000000.0", "\"low\": \"fast\""), "p.json: clock_hz.low", "fast");
  corrupt(with("\"nominal_flops_per_s\": 192000000000.0", "\"nominal_flops_per_s\": -1"), "p.json: peaks[0].nominal_flops_per_s",
          "from 0 to");
  corrupt(with("\"dtype\": \"f32\"", "\"dtype\": \"f16\""), "p.json: peaks[0].dtype", "f16");
  corrupt(with("\"bytes\": 524000.0", "\"bytes\": null"), "p.json: kernels[1].bytes", "null");
  corrupt(with("\"peaks\": [", "\"peaks\": [3, "), "p.json: peaks[0]", "not an object");
}

// Finite as text, infinite as a double; and what is no JSON at all.
TEST(Profile, NumbersBeyondDoublesAreRefused) {
  EXPECT_FALSE(parse_profile(with("\"high\": 3100000000.0", "\"high\": 1e999"), "p.json"));
  EXPECT_FALSE(parse_profile(with("\"high\": 3100000000.0", "\"high\": NaN"), "p.json"));
  EXPECT_FALSE(parse_profile(with("\"high\": 3100000000.0", "\"high\": -1e308"), "p.json"));
}

TEST(Profile, WhatNoMachineHasIsRefused) {
  const auto corrupt = [](const std::string& text, const std::string& place) {
    expect_refused(text, ErrorCode::corrupt, place, "not a number from");
  };
  Profile profile = profile_for_test();
  profile.copy = {1e-300, 1e-300, 1e300};
  corrupt(print_profile(profile), "p.json: copy_bytes_per_s.low");
  profile = profile_for_test();
  profile.kernels[0].flops = 1.7e308;
  corrupt(print_profile(profile), "p.json: kernels[0].flops");
  profile = profile_for_test();
  profile.step_overheads[0].factor = {1e-300, 1e-300, 1};
  corrupt(print_profile(profile), "p.json: step_overheads[0].factor.low");
  profile = profile_for_test();
  profile.launch_seconds.high = 1e7;
  corrupt(print_profile(profile), "p.json: launch_s.high");
}

TEST(Profile, MoreKernelsOfAKindThanCanBeInterpolatedAreRefused) {
  Profile profile = profile_for_test();
  profile.kernels.resize(1);
  for (int i = 1; i < 256; ++i) profile.kernels.push_back(profile.kernels[0]);
  EXPECT_TRUE(parse_profile(print_profile(profile), "p.json"));
  profile.kernels.push_back(profile.kernels[0]);
  expect_refused(print_profile(profile), ErrorCode::corrupt, "p.json: kernels",
                 "more than 256 kernels of the kind 'matmul forward'");
}

TEST(Profile, WaitingForCoresStretchesAllIntervalsAndIsTold) {
  Profile profile = profile_for_test();
  widen_for_waiting(profile);
  EXPECT_EQ(print_profile(profile), kGood) << "undisturbed";
  profile.waited_share = 0.25;
  EXPECT_NEAR(waiting_factor(profile), 2, 1e-12);
  widen_for_waiting(profile);
  EXPECT_NEAR(profile.kernels[0].seconds.low, 0.6e-3 * 25 / 36, 1e-9);
  EXPECT_NEAR(profile.copy.high, 20e9 * 1.21, 1);
  EXPECT_EQ(profile.copy.expected, 20e9);
  profile.waited_share = 1e4;
  widen_for_waiting(profile);
  EXPECT_TRUE(parse_profile(print_profile(profile), "p.json")) << "within what is read";
  profile.waited_share = 1;
  const Here same{.machine = "Test CPU", .host = "nowhere", .build = "0.1.0", .cores = 2, .now = *utc_seconds(profile.time)};
  const auto warnings = profile_warnings(profile, 2, same);
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_EQ(warnings[0].place, "profile.waited_share");
  profile.threads = 3;  // one more than cores: they wait for one another
  EXPECT_EQ(waiting_factor(profile), 1);
}

TEST(ProfileWarnings, AreOnlyOfWhatDiffers) {
  const Profile profile = profile_for_test();
  const double made = *utc_seconds(profile.time);
  const Here same{.machine = "Test CPU", .host = "nowhere", .build = "0.1.0", .cores = 2, .now = made + 3600};
  EXPECT_TRUE(profile_warnings(profile, 2, same).empty());
  EXPECT_TRUE(profile_warnings(profile, 0, same).empty());
  const auto only = [&](const Here& here, int threads, const std::string& part) {
    const auto warnings = profile_warnings(profile, threads, here);
    ASSERT_EQ(warnings.size(), 1U) << part;
    EXPECT_THAT(warnings[0].message, HasSubstr(part));
    EXPECT_FALSE(warnings[0].next_step.empty());
  };
  const auto changed = [&](const std::function<void(Here&)>& change) {
    Here here = same;
    change(here);
    return here;
  };
  only(changed([](Here& h) { h.machine = "Other CPU"; }), 2, "another machine");
  only(changed([](Here& h) { h.cores = 4; }), 2, "another machine");
  only(changed([](Here& h) { h.host = "there"; }), 2, "'nowhere'");
  only(changed([](Here& h) { h.build = "0.2.0"; }), 2, "0.2.0");
  only(changed([&](Here& h) { h.now = made + 31 * 86400.0; }), 2, "31 days");
  only(changed([&](Here& h) { h.now = made - 2 * 86400.0; }), 2, "still to come");
  only(same, 1, "2 threads, but 1");
}

TEST(UtcTime, GoesBothWays) {
  EXPECT_EQ(utc_text(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(utc_seconds("1970-01-02T00:00:01Z"), 86401);
  for (const char* wrong : {"", "today", "2026-11-22", "2026-13-22T00:00:00Z", "2026-11-22T03:34:00Z ", "2026-11-22T3:34:00Z"})
    EXPECT_FALSE(utc_seconds(wrong)) << wrong;
}

}  // namespace
}  // namespace suanli::plan
