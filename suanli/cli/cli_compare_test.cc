// Calibrating and comparing profiles through the built command.
#include <gmock/gmock.h>

#include "suanli/cli/command_for_test.h"
#include "suanli/plan/profile_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CliCompare : public CommandTest {
 protected:
  CliCompare() { put_profile("a.json", profile_); }
  void put_profile(const std::string& name, const plan::Profile& profile) { put(folder_ / name, plan::print_profile(profile)); }
  void expect_refused(const Words& words, int code, const std::string& part) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, code) << ended.out << ended.err;
    EXPECT_THAT(ended.err, AllOf(HasSubstr(part), HasSubstr("next: ")));
    EXPECT_EQ(ended.out, "");
  }

  plan::Profile profile_ = plan::profile_for_test();
};

TEST_F(CliCompare, OneProfileInTwoArithmeticsHasNoOneRate) {
  put_job(5);
  const Words words = {"compare", "a.json@f32", "a.json@bf16", "--job", "job.toml"};
  const Ended text = run(words);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("1 : 5"), HasSubstr("f32 : bf16 matrix product (square)"),
                              HasSubstr("job.toml in f32 : bf16"), HasSubstr("there is no one rate of exchange")));
  Words as_json = words;
  as_json.push_back("--json");
  const auto found = run(as_json).json();
  EXPECT_EQ(found["a"]["dtype"], "f32");
  EXPECT_DOUBLE_EQ(found["highest"]["ratio"], 5);
  ASSERT_EQ(found["jobs"].size(), 1U);
  const auto& job = found["jobs"][0];
  EXPECT_EQ(job["b_dtype"], "bf16");
  EXPECT_NEAR(job["ratio"]["expected"].get<double>() * job["b_step_s"]["expected"].get<double>(),
              job["a_step_s"]["expected"].get<double>(), 1e-12);
  double seconds = 0;
  for (const auto& part : job["parts"]) seconds += part["a_s"].get<double>();
  EXPECT_NEAR(seconds, job["a_step_s"]["expected"].get<double>(), 1e-12);
}

TEST_F(CliCompare, WhyNamesWhatBindsAJob) {
  put_job(5);
  plan::Profile slow = profile_;
  slow.machine = "Slow CPU";
  slow.quick = false;
  slow.copy = {4.5e9, 5e9, 5.5e9};
  put_profile("b.json", slow);
  const Ended ended = run({"compare", "a.json", "b.json", "--job", "job.toml", "--why"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, AllOf(HasSubstr("Slow CPU"), HasSubstr("1 : 0.25"), HasSubstr("bound by memory"),
                               HasSubstr("attention"), HasSubstr("as the engine computes it")));
  EXPECT_THAT(ended.err, HasSubstr("one profile was made with --quick"));
}

TEST_F(CliCompare, WrongArgumentsAreRefused) {
  expect_refused({"compare", "a.json", "a.json"}, 2, "compared with itself");
  expect_refused({"compare", "a.json@f16", "a.json"}, 2, "'f16' is no arithmetic");
  expect_refused({"compare", "a.json", "no.json"}, 1, "no.json");
  expect_refused({"compare", "a.json", "."}, 2, "is a folder");
  expect_refused({"compare", ".", "..", "--job", "job.toml"}, 2, "--job is for profiles");
  expect_refused({"compare", "a.json@f32", "a.json@bf16", "--plot", "x.svg"}, 2, "--plot is for runs");
  expect_refused({"compare", "a.json@f32", "a.json@bf16", "--job", "none.toml"}, 1, "none.toml");
  put(folder_ / "broken.json", plan::print_profile(profile_).substr(0, 500));
  expect_refused({"compare", "a.json", "broken.json"}, 1, "broken.json");
  put(folder_ / "other.json", "{}");
  expect_refused({"compare", "a.json", "other.json"}, 1, "no profile");
  profile_.peaks.pop_back();
  put_profile("f32.json", profile_);
  expect_refused({"compare", "f32.json@bf16", "a.json"}, 2, "nothing of bf16");
}

TEST_F(CliCompare, CalibrateWritesProfileAndPicture) {
  const Ended ended =
      run({"calibrate", "--quick", "--dtype", "f32", "--threads", "1", "--out", "p.json", "--plot", "roof.svg", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto profile = plan::load_profile(folder_ / "p.json");
  ASSERT_TRUE(profile) << profile.error().to_string();
  EXPECT_EQ(ended.json(), nlohmann::json::parse(content_of(folder_ / "p.json"), nullptr, false));
  EXPECT_EQ(profile->threads, 1);
  EXPECT_TRUE(profile->quick);
  EXPECT_EQ(profile->peaks.size(), 1U);
  EXPECT_GT(profile->matmuls.size(), 5U);
  EXPECT_THAT(content_of(folder_ / "roof.svg"), AllOf(HasSubstr("<svg"), HasSubstr("Roofline"), HasSubstr("f32 limit")));
}

TEST_F(CliCompare, CalibrateRefusesAWrongPathBeforeItMeasures) {
  expect_refused({"calibrate", "--out", "."}, 2, "is a folder");
  expect_refused({"calibrate", "--out", "p.json", "--plot", "/dev/null"}, 2, "no regular file");
  expect_refused({"calibrate", "--out", "no/such/p.json"}, 1, "no/such");
  EXPECT_EQ(run({"calibrate", "--dtype", "f16"}).code, 2);
  EXPECT_EQ(run({"calibrate", "--threads", "-1"}).code, 2);
}

TEST_F(CliCompare, CtrlCStopsACalibrationAndLeavesNothing) {
  std::filesystem::create_directories(folder_ / "out");
  Running running = start({"calibrate", "--out", "out/p.json", "--json"});
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  running.send(SIGINT);
  const Ended ended = running.end();
  if (ended.code == 128 + SIGINT) return;  // it came before the command was ready for it
  EXPECT_EQ(ended.code, 5) << ended.err;
  EXPECT_EQ(ended.json()["code"], "interrupted");
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "out"));
}

}  // namespace
}  // namespace suanli::cli
