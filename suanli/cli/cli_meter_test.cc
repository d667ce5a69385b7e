// What a run used, and rates of exchange between runs, through the built command.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "suanli/cli/command_for_test.h"
#include "suanli/plan/profile_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

class CliMeter : public CommandTest {
 protected:
  // Not the profile of whoever runs the tests.
  CliMeter() { environment_["XDG_CACHE_HOME"] = folder_ / "cache"; }

  void train_run(const std::string& run, const Words& more = {}, int steps = 20) {
    if (!std::filesystem::exists(folder_ / "data")) make_dataset();
    put_job(steps);
    Words words = {"train", "job.toml", "--run", run, "--quiet", "--set", "eval.every=4"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = this->run(words);
    ASSERT_EQ(ended.code, 0) << ended.err;
  }
  // Each line of the run's metrics as `change` leaves it; an empty text removes it.
  void rewrite_metrics(const std::string& run, const std::function<std::string(json)>& change) {
    std::istringstream lines(content_of(folder_ / (run + "/metrics.jsonl")));
    std::string text;
    for (std::string line; std::getline(lines, line);) {
      const std::string changed = change(json::parse(line));
      if (!changed.empty()) text += changed + "\n";
    }
    put(folder_ / (run + "/metrics.jsonl"), text);
  }
  // Of this very machine, as far as warnings go.
  static plan::Profile own_profile() {
    const plan::Here here = plan::here();
    plan::Profile profile = plan::profile_for_test();
    profile.machine = here.machine;
    profile.host = here.host;
    profile.cores = here.cores;
    return profile;
  }
  static double sum(const json& object) {
    double total = 0;
    for (const auto& value : object) total += value.get<double>();
    return total;
  }
};

TEST_F(CliMeter, ARunIsAddedUp) {
  train_run("run");
  const Ended text = run({"meter", "run"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("20 of 20"), HasSubstr("matmul"), HasSubstr("bytes moved"), HasSubstr("compute"),
                              HasSubstr("communication"), HasSubstr("MFU"), HasSubstr("money"), HasSubstr("estimated"),
                              HasSubstr("suanli calibrate")));
  const Ended ended = run({"meter", "run", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json found = ended.json();
  const json explained = run({"explain", "run", "--json"}).json();
  const double step = explained["step_flops"];
  EXPECT_NEAR(sum(found["flops_by_op"]) / found["flops"].get<double>(), 1, 1e-12);
  EXPECT_EQ(found["flops_unnamed"], 0);
  double trained = 0, bytes = 0;
  for (const json& part : found["parts"]) {
    if (part["part"] == "forward" || part["part"] == "backward" || part["part"] == "update")
      trained += part["flops"].get<double>();
    bytes += part["bytes"].get<double>();
  }
  EXPECT_EQ(trained, 20 * step) << "what explain promised";
  EXPECT_EQ(bytes, found["bytes"]);
  double moved = 0;
  for (const json& phase : explained["phases"]) moved += phase["bytes_after"].get<double>();
  EXPECT_NEAR(found["parts"][0]["bytes"].get<double>() + found["parts"][1]["bytes"].get<double>() +
                  found["parts"][2]["bytes"].get<double>(),
              20 * moved, 100.0);
  EXPECT_NEAR(sum(found["seconds"]), found["figures"]["time_s"]["expected"], 1e-5);
  EXPECT_EQ(found["seconds"]["communication"], 0);
  EXPECT_EQ(found["steps"], 20);
  EXPECT_EQ(found["sessions"].size(), 1u);
  EXPECT_EQ(found["sessions"][0]["outcome"], "finished");
  EXPECT_TRUE(found["planned"].is_null());
}

TEST_F(CliMeter, SessionsAddUpAndAKilledOneIsNamed) {
  make_dataset();
  put_job(100'000);
  Running training = start({"train", "job.toml", "--quiet", "--set", "checkpoint.every=5"});
  training.wait_for([&](const std::string&) {
    return content_of(folder_ / "run/metrics.jsonl").find("\"kind\":\"checkpoint\"") != std::string::npos;
  });
  const json alive = run({"meter", "run", "--json"}).json();
  training.send(SIGKILL);
  EXPECT_EQ(training.end().code, 128 + SIGKILL);
  const json killed = run({"meter", "run", "--json"}).json();
  EXPECT_TRUE(killed["sessions"][0]["outcome"].is_null());
  EXPECT_GE(killed["flops"], alive["flops"]);
  const std::int64_t last = killed["steps"];
  const Ended resumed = run({"train", "run", "--resume", "--quiet", "--set", "train.steps=" + std::to_string(last + 10)});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  const json found = run({"meter", "run", "--json"}).json();
  EXPECT_EQ(found["sessions"].size(), 2u);
  EXPECT_EQ(found["steps"], last + 10);
  EXPECT_GT(found["flops"], killed["flops"]);
  EXPECT_NEAR(sum(found["flops_by_op"]) / found["flops"].get<double>(), 1, 1e-12);
  for (const auto& [cause, seconds] : killed["seconds"].items()) EXPECT_GE(found["seconds"][cause], seconds) << cause;
  EXPECT_THAT(run({"meter", "run"}).out, HasSubstr("killed"));
}

TEST_F(CliMeter, MoneyIsHoursAndKilowattHours) {
  train_run("run");
  const json found = run({"meter", "run", "--watts", "7200", "--electricity", "0.5", "--price-per-hour", "36", "--json"}).json();
  const double seconds = found["figures"]["time_s"]["expected"];
  EXPECT_NEAR(found["figures"]["energy_j"]["expected"].get<double>(), 7200 * seconds, 1e-3);
  EXPECT_NEAR(found["figures"]["electricity_usd"]["expected"].get<double>(), 7.2 * seconds / 3600 * 0.5, 1e-9);
  EXPECT_NEAR(found["figures"]["money_usd"]["expected"].get<double>(), 0.01 * seconds + 0.001 * seconds, 1e-9);
  EXPECT_EQ(found["figures"]["money_usd"]["low"], found["figures"]["money_usd"]["high"]) << "all of it was stated";
  EXPECT_EQ(found["energy_is_measured"], false);
  const Ended why = run({"meter", "run", "--price-per-hour", "36", "--why"});
  EXPECT_THAT(why.out, AllOf(HasSubstr("hours x price of the machine"), HasSubstr("has the electricity in it"),
                             HasSubstr("--price-per-hour")));
  EXPECT_THAT(run({"meter", "run", "--why"}).out, HasSubstr("EIA"));
}

TEST_F(CliMeter, EnergyThatTheMachineCountedIsTakenAsItIs) {
  train_run("run");
  rewrite_metrics("run", [](json line) {
    if (line.contains("totals")) {
      const double seconds = sum(line["totals"]["seconds"]);
      line["totals"]["joules"] = 50 * seconds;
      line["totals"]["joules_seconds"] = seconds;
    }
    return line.dump();
  });
  const json found = run({"meter", "run", "--json"}).json();
  const double seconds = found["figures"]["time_s"]["expected"];
  EXPECT_EQ(found["energy_is_measured"], true);
  const json& figures = found["figures"];
  EXPECT_NEAR(figures["counted_energy_j"]["expected"].get<double>(), 50 * seconds, 1e-3);
  EXPECT_EQ(figures["counted_energy_j"]["low"], figures["counted_energy_j"]["high"]);
  EXPECT_GT(figures["energy_j"]["low"], figures["counted_energy_j"]["expected"]) << "the machine around the processor draws too";
  EXPECT_THAT(run({"meter", "run"}).out, Not(HasSubstr("estimated")));
}

TEST_F(CliMeter, RunsOfOlderVersionsAreRead) {
  train_run("run");
  rewrite_metrics("run", [](json line) -> std::string {
    for (const char* field : {"totals", "bytes_total", "work", "setup_seconds", "rss_before_bytes"}) line.erase(field);
    return line["kind"] == "spent" ? "" : line.dump();
  });
  const Ended ended = run({"meter", "run", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("older version"));
  EXPECT_EQ(ended.json()["steps"], 20);
  EXPECT_GT(ended.json()["flops_by_op"]["matmul"], 0) << "from the newest snapshot";
  EXPECT_TRUE(ended.json()["bytes"].is_null());
  std::filesystem::remove_all(folder_ / "run/checkpoints");
  const json bare = run({"meter", "run", "--json"}).json();
  EXPECT_TRUE(bare["seconds"].is_null());
  EXPECT_EQ(bare["flops_unnamed"], bare["flops"]);
  EXPECT_EQ(run({"meter", "run"}).code, 0);
  for (const Words& words : {Words{"plot", "run"}, Words{"explain", "run"}, Words{"train", "run", "--resume", "--quiet"}})
    EXPECT_EQ(run(words).code, 0) << words[0];
}

TEST_F(CliMeter, BadInputIsNamed) {
  train_run("run", {}, 4);
  std::filesystem::create_directory(folder_ / "empty");
  EXPECT_THAT(run({"meter", "empty"}).err, AllOf(HasSubstr("no run"), HasSubstr("[not_found]")));
  EXPECT_THAT(run({"meter", "missing"}).err, HasSubstr("[not_found]"));
  for (const Words& words : {Words{"--watts", "0"}, Words{"--watts", "-5"}, Words{"--watts", "nan"}, Words{"--watts", "5 USD"},
                             Words{"--price-per-hour=-1"}, Words{"--electricity", "cheap"}}) {
    Words all = {"meter", "run"};
    all.insert(all.end(), words.begin(), words.end());
    const Ended ended = run(all);
    EXPECT_EQ(ended.code, 2) << words.back();
    EXPECT_THAT(ended.err, HasSubstr(words[0].substr(0, words[0].find('=')))) << words.back();
  }
  EXPECT_THAT(run({"meter", "run", "--on", "no.json"}).err, HasSubstr("no.json"));
  put(folder_ / "no.json", "{}");
  EXPECT_NE(run({"meter", "run", "--on", "no.json"}).code, 0);

  put(folder_ / "run/plan.json", "{");
  const Ended damaged_plan = run({"meter", "run"});
  EXPECT_EQ(damaged_plan.code, 0) << "a plan is not needed";
  EXPECT_THAT(damaged_plan.err, HasSubstr("plan.json"));

  const std::string whole = content_of(folder_ / "run/metrics.jsonl");
  put(folder_ / "run/metrics.jsonl", whole + "{\"kind\": \"st");
  EXPECT_THAT(run({"meter", "run"}).err, HasSubstr("1 damaged line"));
  put(folder_ / "run/metrics.jsonl", whole.substr(0, whole.find('\n') + 1));
  EXPECT_THAT(run({"meter", "run"}).err, HasSubstr("no step yet"));
  put(folder_ / "run/metrics.jsonl", "garbage\n");
  EXPECT_THAT(run({"meter", "run"}).err, HasSubstr("[foreign]"));
  put(folder_ / "run/metrics.jsonl", "");
  EXPECT_THAT(run({"meter", "run"}).err, HasSubstr("[empty]"));
  std::filesystem::remove(folder_ / "run/metrics.jsonl");
  EXPECT_THAT(run({"meter", "run"}).err, AllOf(HasSubstr("metrics.jsonl"), HasSubstr("[not_found]")));
}

TEST_F(CliMeter, ThePlanThatWasKeptIsHeldAgainstTheRun) {
  train_run("run");
  const json found = run({"meter", "run", "--json"}).json();
  const double step = found["figures"]["step_time_s"]["expected"], time = found["figures"]["time_s"]["expected"];
  const auto interval = [](double expected) {
    return json{{"low", expected * 0.5}, {"expected", expected}, {"high", expected * 2}};
  };
  json plan = {{"format", "suanli-run-plan"}, {"version", 2}, {"made", "2026-11-22T03:34:00Z"}, {"profile_machine", "CPU"},
               {"profile_time", "2026-11-22T03:33:00Z"}, {"threads", 99}, {"dtype", found["sessions"][0]["dtype"]},
               {"step_seconds", interval(step)}, {"evaluation_seconds", interval(0)}, {"sample_seconds", interval(0)},
               {"snapshot_copy_seconds", interval(0)}, {"snapshot_stall_seconds", interval(0)},
               {"snapshot_write_seconds", interval(0)},
               {"step_flops", found["flops"].get<double>() / 20}, {"evaluation_flops", 0}, {"sample_flops", 0},
               {"evaluation_batches", 0}, {"memory_bytes", 1 << 20}, {"unmeasured", json::array()}};
  put(folder_ / "run/plan.json", plan.dump());
  const json items = run({"meter", "run", "--json"}).json()["planned"]["items"];
  ASSERT_GE(items.size(), 3u);
  EXPECT_EQ(items[0]["item"], "step time");
  EXPECT_NEAR(items[0]["deviation"], 0, 1e-9);
  EXPECT_EQ(items[0]["inside"], true);
  EXPECT_TRUE(items[0]["reasons"].empty());
  EXPECT_NEAR(items[1]["deviation"].get<double>(), time / (20 * step) - 1, 1e-6);
  EXPECT_EQ(items[2]["inside"], true);

  plan["step_seconds"] = interval(step / 10);
  put(folder_ / "run/plan.json", plan.dump());
  const Ended slow = run({"meter", "run"});
  EXPECT_THAT(slow.out, AllOf(HasSubstr("+900.0 % *"), HasSubstr("planned for 99 threads"), HasSubstr("made before the run")));
}

TEST_F(CliMeter, MemoryBeyondThePlanIsTold) {
  train_run("run");
  plan::Profile profile = own_profile();
  put(folder_ / "here.json", plan::print_profile(profile));
  const auto memory = [&] {
    const json found = run({"meter", "run", "--on", "here.json", "--json"}).json();
    for (const json& item : found["planned"]["items"])
      if (item["item"] == "memory") return item;
    return json();
  };
  EXPECT_EQ(memory()["inside"], true) << memory().dump();
  rewrite_metrics("run", [](json line) {
    if (line.contains("totals"))
      line["totals"]["peak_rss_bytes"] = line["totals"]["peak_rss_bytes"].get<std::int64_t>() + (32 << 20);
    return line.dump();
  });
  const json more = memory();
  EXPECT_EQ(more["inside"], false) << more.dump();
  EXPECT_THAT(more["reasons"][0], HasSubstr("no plan counts"));
  EXPECT_THAT(more["why"], HasSubstr("held at the start"));
}

// One function says what a machine draws and one constant what electricity costs: a plan and the meter agree.
TEST_F(CliMeter, PlannedAndMeteredPowerAndPriceAreTheSame) {
  train_run("run", {"--set", "run.threads=2"});  // as many as the profile is of
  for (const bool measured : {false, true}) {
    plan::Profile profile = own_profile();
    profile.busy_watts.reset();
    if (measured) profile.busy_watts = plan::Interval{40, 50, 60};
    put(folder_ / "here.json", plan::print_profile(profile));
    const auto value = [&](const Words& words, const std::string& key) {
      const json found = run(words).json();
      for (const json& each : found["assumptions"])
        if (each["key"] == key) return json{each["low"], each["expected"], each["high"]};
      return json("no " + key);
    };
    const Words metered = {"meter", "run", "--on", "here.json", "--json"};
    const Words planned = {"plan", "run", "--on", "here.json", "--json"};
    ASSERT_TRUE(value(metered, "watts").is_array());
    EXPECT_EQ(value(metered, "watts"), value(planned, "watts"));
    EXPECT_EQ(value(metered, "usd_per_kwh"), value(planned, "usd_per_kwh"));
  }
}

TEST_F(CliMeter, AnotherHostsProfileIsNotTakenByItself) {
  train_run("run");
  std::filesystem::create_directories(folder_ / "cache/suanli");
  plan::Profile profile = own_profile();
  profile.busy_watts = plan::Interval{1000, 1000, 1000};
  put(folder_ / "cache/suanli/profile.json", plan::print_profile(profile));
  const auto watts = [](const Ended& ended) {
    const json found = ended.json();
    for (const json& each : found["assumptions"])
      if (each["key"] == "watts") return each["expected"].get<double>();
    return 0.0;
  };
  EXPECT_GT(watts(run({"meter", "run", "--json"})), 1000) << "its own is taken";
  profile.host = "elsewhere";
  put(folder_ / "cache/suanli/profile.json", plan::print_profile(profile));
  const Ended other = run({"meter", "run", "--json"});
  EXPECT_LT(watts(other), 1000);
  EXPECT_THAT(other.err, AllOf(HasSubstr("not used"), HasSubstr("elsewhere")));
  profile.host = plan::here().host;
  profile.machine = "Other CPU";
  put(folder_ / "cache/suanli/profile.json", plan::print_profile(profile));
  EXPECT_LT(watts(run({"meter", "run", "--json"})), 1000);
  const Ended named = run({"meter", "run", "--on", "cache/suanli/profile.json", "--json"});
  EXPECT_GT(watts(named), 1000) << "who names it gets it";
  EXPECT_THAT(named.err, HasSubstr("another machine"));
}

TEST_F(CliMeter, MfuOfAMeasuredRateHasItsOwnKey) {
  train_run("run");
  const json figures = run({"meter", "run", "--json"}).json()["figures"];
  EXPECT_FALSE(figures.contains("mfu"));
  ASSERT_TRUE(figures.contains("mfu_of_measured"));
  EXPECT_THAT(run({"meter", "run", "--why"}).out, HasSubstr("not of its dense peak"));
}

TEST_F(CliMeter, EmptyAndContradictingFlagsAreRefused) {
  train_run("run");
  for (const Words& words :
       {Words{"meter", "run", "--on", ""}, Words{"meter", "run", "--watts", ""}, Words{"meter", "run", "--electricity", ""},
        Words{"plan", "run", "--on", ""}, Words{"plan", "run", "--set", ""}, Words{"train", "job.toml", "--run", ""}}) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 2) << words[2];
    EXPECT_THAT(ended.err, AllOf(HasSubstr(words[2]), HasSubstr("empty"))) << words[2];
  }
  for (const Words& words : {Words{"plan", "run", "--mtbf", "3h", "--fault-preset", "typical"},
                             Words{"plan", "run", "--memory", "2Gi", "--set", "run.memory_limit=1Gi"},
                             Words{"train", "job.toml", "--run", "other", "--set", "run.dir=third"}}) {
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 2) << words[2];
    EXPECT_THAT(ended.err, AllOf(HasSubstr(words[2]), HasSubstr("contradict"))) << words[2];
  }
  EXPECT_EQ(run({"meter", "run", "--electricity", "us-household"}).code, 0);
}

TEST_F(CliMeter, TwoRunsAreCompared) {
  train_run("wide", {"--set", "model.width=64"}, 40);
  train_run("narrow", {}, 40);
  const Ended text = run({"compare", "narrow", "wide", "--plot", "rate.svg", "--why"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("1 : "), HasSubstr("in operations to loss"), HasSubstr("best of both"),
                              HasSubstr("no single number holds")));
  EXPECT_THAT(content_of(folder_ / "rate.svg"), HasSubstr("</svg>"));
  const json found = run({"compare", "narrow", "wide", "--json"}).json();
  ASSERT_GE(found["levels"].size(), 1u);
  EXPECT_EQ(found["levels"].back()["is_best"], true);
  EXPECT_TRUE(found["warnings"].empty());
  for (const json& level : found["levels"])
    EXPECT_NEAR(level["ratio"]["operations"].get<double>(),
                level["run2"]["operations"].get<double>() / level["run1"]["operations"].get<double>(), 1e-9);
  // The other way round the rates are the inverse.
  const json back = run({"compare", "wide", "narrow", "--json"}).json();
  EXPECT_NEAR(back["levels"].back()["ratio"]["tokens"].get<double>() * found["levels"].back()["ratio"]["tokens"].get<double>(), 1,
              1e-9);
}

TEST_F(CliMeter, ComparingSaysWhatCannotBeCompared) {
  train_run("one", {}, 8);
  EXPECT_EQ(run({"compare", "one", "one"}).code, 2);
  std::filesystem::create_directory(folder_ / "empty");
  EXPECT_NE(run({"compare", "one", "empty"}).code, 0);

  std::filesystem::copy(folder_ / "one", folder_ / "other", std::filesystem::copy_options::recursive);
  std::string info = content_of(folder_ / "other/run.json");
  const std::size_t at = info.find("\"dataset_sha256\": \"") + 19;
  info[at] = info[at] == '0' ? '1' : '0';
  put(folder_ / "other/run.json", info);
  put(folder_ / "other/metrics.jsonl", content_of(folder_ / "other/metrics.jsonl") + "{\"kind\":\"eval\",\"ste");
  const Ended warned = run({"compare", "one", "other"});
  EXPECT_EQ(warned.code, 0) << warned.err;
  EXPECT_THAT(warned.err, AllOf(HasSubstr("different data"), HasSubstr("damaged")));
  EXPECT_THAT(warned.out, HasSubstr("1 : 1 in operations"));

  rewrite_metrics("one", [](json line) {
    if (line["kind"] == "eval") line["valid_loss"] = 20 + line["valid_loss"].get<double>();
    return line.dump();
  });
  const Ended apart = run({"compare", "one", "other"});
  EXPECT_NE(apart.code, 0);
  EXPECT_THAT(apart.err, HasSubstr("no validation loss that both runs passed"));

  rewrite_metrics("one", [](json line) { return line["kind"] == "eval" ? std::string() : line.dump(); });
  EXPECT_THAT(run({"compare", "one", "other"}).err, HasSubstr("no evaluation yet"));
}

}  // namespace
}  // namespace suanli::cli
