// Plans of jobs through the built command.
#include <gmock/gmock.h>

#include <cmath>

#include "suanli/cli/command_for_test.h"
#include "suanli/plan/profile_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class CliPlanJob : public CommandTest {
 protected:
  CliPlanJob() {
    environment_["XDG_CACHE_HOME"] = folder_ / "cache";
    put(folder_ / "there.json", plan::print_profile(plan::profile_for_test()));
    put_job(100);
  }

  // The profile that `suanli calibrate` would have left, of this machine and today.
  void put_profile_of_this_machine() {
    plan::Profile profile = plan::profile_for_test();
    const plan::Here here = plan::here();
    profile.machine = here.machine;
    profile.host = here.host;
    profile.build = here.build;
    profile.cores = profile.threads = here.cores;
    profile.time = plan::utc_text(here.now);
    std::filesystem::create_directories(folder_ / "cache/suanli");
    put(folder_ / "cache/suanli/profile.json", plan::print_profile(profile));
  }

  nlohmann::json planned(Words words) {
    words.insert(words.begin(), {"plan", "job.toml", "--json"});
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.json();
  }
  static double expected(const nlohmann::json& plan, const char* key) { return plan["figures"][key]["expected"].get<double>(); }
};

TEST_F(CliPlanJob, OperationsAndMemoryAreThoseOfExplain) {
  make_dataset();
  const auto plan = planned({"--on", "there.json", "--set", "train.dtype=f32", "--set", "train.micro_batches=2"});
  const auto explained =
      run({"explain", "job.toml", "--set", "train.dtype=f32", "--set", "train.micro_batches=2", "--json"}).json();
  EXPECT_EQ(expected(plan, "flops") + expected(plan, "update_flops"), 100 * explained["step_flops"].get<double>());
  EXPECT_EQ(expected(plan, "memory_bytes"), explained["memory"]["all"].get<double>());
  EXPECT_EQ(expected(plan, "snapshots_bytes"), explained["memory"]["snapshots"].get<double>());
  EXPECT_EQ(expected(plan, "evaluation_bytes"), explained["memory"]["evaluation"].get<double>());
  EXPECT_EQ(expected(plan, "gradients_bytes"), explained["memory"]["accumulators"].get<double>());
  EXPECT_EQ(expected(plan, "parameters"), explained["parameters"].get<double>());
  EXPECT_EQ(plan["fits"], true);
  EXPECT_EQ(plan["dtype"], "f32");
}

TEST_F(CliPlanJob, AllFlopsAreWhatTheRunSpends) {
  make_dataset();
  const auto plan = planned({"--on", "there.json", "--set", "sample.every=30"});
  const Ended trained = run({"train", "job.toml", "--set", "sample.every=30", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_NEAR(expected(plan, "spent_flops") / trained.lines().back()["flops"].get<double>(), 1, 1e-12);
}

TEST_F(CliPlanJob, EveryFigureHasAnIntervalAndAReason) {
  const auto plan = planned({"--on", "there.json"});
  for (const auto& [key, figure] : plan["figures"].items()) {
    EXPECT_LE(figure["low"], figure["expected"]) << key;
    EXPECT_LE(figure["expected"], figure["high"]) << key;
    EXPECT_NE(figure["why"], "") << key;
  }
  for (const char* key : {"time_s", "step_time_s", "tokens_per_s", "flops", "mfu", "hfu", "memory_bytes", "energy_j", "money_usd",
                          "checkpoint_stall_s", "best_checkpoint_every", "faults", "goodput"})
    EXPECT_TRUE(plan["figures"].contains(key)) << key;
  for (const auto& assumption : plan["assumptions"]) EXPECT_NE(assumption["source"], "") << assumption;
}

TEST_F(CliPlanJob, WhyIsToldOnRequest) {
  const Words words = {"plan", "job.toml", "--on", "there.json"};
  EXPECT_THAT(run(words).out, AllOf(HasSubstr("step time"), Not(HasSubstr("Assumptions"))));
  Words with_why = words;
  with_why.push_back("--why");
  EXPECT_THAT(run(with_why).out, AllOf(HasSubstr("Assumptions"), HasSubstr("compute_s"), HasSubstr("uncertain because of")));
}

TEST_F(CliPlanJob, WithoutADatasetTheVocabularyIsAssumedOnlyIfItIsNotStated) {
  const Words words = {"plan", "job.toml", "--on", "there.json"};
  EXPECT_THAT(run(words).err, HasSubstr("taking the vocabulary of bytes"));
  Words stated = words;
  stated.insert(stated.end(), {"--set", "model.vocab=1000"});
  EXPECT_THAT(run(stated).err, Not(HasSubstr("vocabulary")));
}

TEST_F(CliPlanJob, AProfileOfAnotherMachineIsToldOnceAndUsed) {
  const Ended ended = run({"plan", "job.toml", "--on", "there.json", "--set", "model.vocab=256"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_THAT(ended.err, HasSubstr("the profile is of another machine: Test CPU"));
  EXPECT_THAT(ended.out, HasSubstr("nowhere: Test CPU, 2 threads"));
}

TEST_F(CliPlanJob, WithoutOnThisMachinesProfileIsTaken) {
  put_profile_of_this_machine();
  const Ended ended = run({"plan", "job.toml", "--set", "model.vocab=256"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  // Training would take as many threads as the job says: the profile has another number of them.
  EXPECT_THAT(run({"plan", "job.toml", "--set", "model.vocab=256", "--set", "run.threads=77"}).err, HasSubstr("77 are to run"));
  put(folder_ / "cache/suanli/profile.json", "{}");
  const Ended broken = run({"plan", "job.toml"});
  EXPECT_EQ(broken.code, 1);
  EXPECT_THAT(broken.err, AllOf(HasSubstr("cache/suanli/profile.json"), HasSubstr("suanli calibrate")));
}

TEST_F(CliPlanJob, WhatDoesNotFitHasThreeWaysThatDo) {
  const Words job = {"--set", "model.vocab=256", "--set", "model.layers=4", "--set", "model.width=128", "--set", "model.heads=4",
                     "--set", "model.context=256", "--set", "train.batch=64", "--set", "train.dtype=f32", "--set",
                     "run.memory_limit=120Mi"};
  Words words = {"plan", "job.toml", "--on", "there.json", "--json"};
  words.insert(words.end(), job.begin(), job.end());
  const Ended ended = run(words);
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("'run.memory_limit' is 120 MiB"), HasSubstr("too much"), HasSubstr("fastest first")));
  const auto lines = ended.lines();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["fits"], false);
  EXPECT_EQ(lines[1]["code"], "no_memory");
  ASSERT_EQ(lines[0]["ways_to_fit"].size(), 3U);
  // Explaining compiles the job, and refuses what does not fit.
  Words as_it_is = {"explain", "job.toml", "--json"};
  as_it_is.insert(as_it_is.end(), job.begin(), job.end());
  EXPECT_EQ(run(as_it_is).code, 1);
  double last = 0;
  for (const auto& way : lines[0]["ways_to_fit"]) {
    Words changed = as_it_is;
    for (const auto& set : way["sets"]) changed.insert(changed.end(), {"--set", set.get<std::string>()});
    const Ended compiled = run(changed);
    EXPECT_EQ(compiled.code, 0) << way << compiled.err;
    EXPECT_EQ(compiled.json()["memory"]["all"], way["memory_bytes"]) << way;
    if (!way["changes_model"].get<bool>()) {
      EXPECT_GE(way["time_ratio"], last);
      last = way["time_ratio"].get<double>();
    }
  }
  EXPECT_EQ(lines[0]["ways_to_fit"][0]["changes_model"], false);
  EXPECT_EQ(lines[0]["ways_to_fit"][2]["changes_model"], true);
}

TEST_F(CliPlanJob, AnAcceleratorIsPlannedByItsTableEntryAndSaysSo) {
  const auto plan = planned({"--on", "h100", "--set", "model.vocab=256"});
  EXPECT_THAT(plan["on"].get<std::string>(), StartsWith("H100"));
  EXPECT_EQ(plan["dtype"], "bf16");
  EXPECT_THAT(plan["notes"].dump(), HasSubstr("suanli has not run on H100"));
  EXPECT_GT(plan["figures"]["step_time_s"]["high"].get<double>() / plan["figures"]["step_time_s"]["low"].get<double>(), 2);
  const Ended large = run({"plan", "job.toml", "--on", "A100-SXM-40GB", "--set", "model.width=4096", "--set", "model.layers=9",
                           "--set", "model.vocab=256", "--set", "model.heads=32"});
  EXPECT_THAT(large.err, AllOf(HasSubstr("'A100-SXM-40GB' has 40.0 GiB"), HasSubstr("--on 'A100-SXM-80GB'")));
}

TEST_F(CliPlanJob, AFleetTakesSharesByWhatItsMachinesCan) {
  put(folder_ / "fleet.toml",
      "[[machine]]\nname = \"fast\"\nprofile = \"there.json\"\nwatts = 100\n"
      "[[machine]]\nname = \"slow\"\nprofile = \"there.json\"\nshare = 0.5\ncount = 2\nprice_per_hour = 0.25\nwatts = 50\n"
      "[[link]]\ndelay = \"1ms\"\nrate = \"1 Gbit/s\"\n");
  const Words words = {"--on", "fleet.toml", "--set", "model.vocab=256", "--set", "train.micro_batches=8"};
  const auto plan = planned(words);
  ASSERT_EQ(plan["machines"].size(), 2U);
  EXPECT_EQ(plan["machines"][0]["micro_batches_most"], 4);
  EXPECT_EQ(plan["machines"][1]["micro_batches_least"], 2);
  EXPECT_EQ(plan["machines"][1]["micro_batches_most"], 2);
  EXPECT_EQ(expected(plan, "power_w"), 200);
  // Two machines at 0.25 USD, and half of the power paid by itself.
  const double hours = expected(plan, "time_s") / 3600;
  EXPECT_NEAR(expected(plan, "money_usd") - expected(plan, "electricity_usd"), 0.5 * hours, 1e-9);
  EXPECT_GT(expected(plan, "electricity_usd"), 0);
  EXPECT_THAT(plan["notes"].dump(), HasSubstr("joint placement"));
  Words text = {"plan", "job.toml"};
  text.insert(text.end(), words.begin(), words.end());
  EXPECT_THAT(run(text).out, AllOf(HasSubstr("3 machines"), HasSubstr("50.0 %"), HasSubstr("slowest link")));
}

TEST_F(CliPlanJob, AMachineOfAFleetThatIsTooSmallIsLeftOut) {
  put(folder_ / "fleet.toml",
      "[[machine]]\nname = \"large\"\nprofile = \"there.json\"\n"
      "[[machine]]\nname = \"small\"\nprofile = \"there.json\"\nmemory = \"100k\"\n"
      "[[link]]\ndelay = \"1ms\"\nrate = \"1 Gbit/s\"\n");
  const Ended ended = run({"plan", "job.toml", "--on", "fleet.toml", "--set", "model.vocab=256", "--json"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json()["machines"].size(), 1U);
  EXPECT_THAT(ended.err, HasSubstr("'small' is left out"));
}

TEST_F(CliPlanJob, WrongInputIsOneClearError) {
  const Ended grows = run({"plan", "job.toml", "--set", "train.grow.to=8x64"});
  EXPECT_NE(grows.code, 0);
  EXPECT_THAT(grows.err, HasSubstr("'train.grow.to' is set"));
  const auto error_of = [&](const Words& more) {
    Words words = {"plan", "job.toml", "--set", "model.vocab=256"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = run(words);
    EXPECT_NE(ended.code, 0);
    EXPECT_EQ(ended.out, "");
    return std::to_string(ended.code) + " " + ended.err;
  };
  EXPECT_THAT(error_of({"--on", "H1000"}), AllOf(StartsWith("2"), HasSubstr("did you mean 'H100'?")));
  EXPECT_THAT(error_of({"--on", "none.json"}), HasSubstr("none.json"));
  put(folder_ / "bad.json", "{\"format\": \"suanli profile\", \"version\": 99}");
  EXPECT_THAT(error_of({"--on", "bad.json"}), HasSubstr("bad.json"));
  put(folder_ / "fleet.toml", "[[machine]]\nname = \"a\"\ndevice = \"H1000\"\n");
  EXPECT_THAT(error_of({"--on", "fleet.toml"}),
              AllOf(StartsWith("3"), HasSubstr("fleet.toml:2"), HasSubstr("did you mean 'H100'?")));
  put(folder_ / "fleet.toml", "[[machine]]\nname = \"a\"\nprofile = \"none.json\"\n");
  EXPECT_THAT(error_of({"--on", "fleet.toml"}), AllOf(HasSubstr("fleet.toml:2"), HasSubstr("suanli calibrate --out")));
  const Words there = {"--on", "there.json"};
  const auto with = [&](const char* flag, const char* value) {
    return error_of({"--on", "there.json", flag, value});
  };
  EXPECT_THAT(with("--watts", "-5"), AllOf(StartsWith("2"), HasSubstr("--watts: '-5'")));
  EXPECT_THAT(with("--watts", "5 GB"), HasSubstr("--watts: '5 GB'"));
  EXPECT_THAT(with("--price-per-hour", "0"), HasSubstr("--price-per-hour: '0'"));
  EXPECT_THAT(with("--electricity", "-1"), HasSubstr("--electricity: '-1'"));
  EXPECT_THAT(with("--electricity", "us-industral"), HasSubstr("did you mean 'us-industrial'?"));
  EXPECT_THAT(with("--mtbf", "0"), HasSubstr("--mtbf: '0'"));
  EXPECT_THAT(with("--fault-preset", "lama3"), AllOf(HasSubstr("--fault-preset"), HasSubstr("did you mean 'llama3'?")));
}

TEST_F(CliPlanJob, AWordThatIsNoFileMayBeAVerb) {
  EXPECT_THAT(run({"plan", "sweeep"}).err, HasSubstr("did you mean the verb, `suanli plan sweep`?"));
  const Ended nothing = run({"plan"});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("neither a job nor a verb"));
}

}  // namespace
}  // namespace suanli::cli
