// A pool that lasts, over loopback, through the built command: the coordinator, two workers and a user's verbs, a process each.
#include <gmock/gmock.h>

#include <memory>
#include <set>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

// Beyond any machine's slowness; a test that comes so far has failed.
constexpr auto kPatience = std::chrono::seconds(120);

class CliPool : public CommandTest {
 protected:
  void SetUp() override {
    environment_["XDG_DATA_HOME"] = folder_ / "home";
    make_dataset();
  }
  // The coordinator first, so that workers are told nothing that they could wait for.
  void TearDown() override {
    for (auto& [name, process] : processes_) stop(*process);
  }

  // A process in a folder of its own, where its output lies.
  Running& begin(const std::string& name, Words words) {
    std::filesystem::create_directories(folder_ / name);
    words.insert(words.begin(), SUANLI_COMMAND);
    processes_[name] = std::make_unique<Running>(words, folder_ / name, environment_);
    return *processes_[name];
  }
  static Ended stop(Running& process) {
    process.send(SIGTERM);
    const auto until = std::chrono::steady_clock::now() + kPatience;
    process.wait_for([&](const std::string&) { return std::chrono::steady_clock::now() > until; });
    process.send(SIGKILL);
    return process.end();
  }
  Ended stop(const std::string& name) {
    const Ended ended = stop(*processes_.at(name));
    processes_.erase(name);
    return ended;
  }
  // Looks until it is so.
  template <typename Look>
  testing::AssertionResult becomes(const Look& look) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!look()) {
      if (std::chrono::steady_clock::now() > until) return testing::AssertionFailure() << "it never came to that";
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
    }
    return testing::AssertionSuccess();
  }

  // Runs the coordinator of pool "p"; what it prints.
  json begin_pool(const std::string& listen = "127.0.0.1:0") {
    Running& pool = begin("coordinator", {"pool", "create", "p", "--listen", listen, "--json"});
    pool.wait_for([](const std::string& out) { return out.ends_with('\n'); });
    const json told = json::parse(content_of(folder_ / "coordinator/stdout"), nullptr, false);
    EXPECT_FALSE(told.is_discarded()) << content_of(folder_ / "coordinator/stderr");
    return told;
  }
  Words worker_words(const std::string& name, const std::string& token) {
    Words words = {
        "worker",   "--dir", folder_ / (name + "-identity"), "--name", name, "--listen", "127.0.0.1:0", "--threads", "1",
        "--memory", "16Mi"};
    if (!token.empty()) words.insert(words.end(), {"--join", token});
    return words;
  }
  void begin_workers(const std::string& token, int count = 2) {
    for (int i = 1; i <= count; ++i) begin("w" + std::to_string(i), worker_words("w" + std::to_string(i), token));
    ASSERT_TRUE(becomes([&] {
      return run({"pool", "status", "--json"}).json()["workers"] == count;
    })) << content_of(folder_ / "w1/stderr")
        << content_of(folder_ / "coordinator/stderr");
  }
  json job(const std::string& id) { return run({"status", id, "--json"}).json(); }
  std::string detach(const std::string& run_folder, const Words& more = {}) {
    Words words = {"train", "job.toml", "--on", "p", "--run", run_folder, "--detach", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Ended ended = run(words);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.code == 0 ? ended.json()["job"] : json("");
  }
  std::set<std::string> reasons() {
    std::set<std::string> all;
    for (const json& event : run({"pool", "events", "--json"}).lines()) all.insert(event["reason"]);
    return all;
  }

  std::map<std::string, std::unique_ptr<Running>> processes_;
};

TEST_F(CliPool, LastsOverJobs) {
  const json made = begin_pool();
  EXPECT_EQ(made["is_new"], true);
  begin_workers(made["token"]);
  const auto peers = run({"pool", "peers", "p", "--json"}).lines();
  ASSERT_EQ(peers.size(), 2u);
  EXPECT_TRUE(peers[0]["job"].is_null());
  EXPECT_EQ(peers[0]["memory_bytes"], 16 << 20);
  EXPECT_THAT(run({"pool", "peers"}).out, HasSubstr("ago"));

  // Attached, from first step to report.
  put_job(12);
  const Ended trained = run({"train", "job.toml", "--on", "p", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  int steps = 0;
  for (const json& line : trained.lines()) steps += line["event"] == "step";
  EXPECT_EQ(steps, 12);
  EXPECT_EQ(trained.lines().front()["event"], "start");
  EXPECT_EQ(trained.lines().front()["threads"], static_cast<int>(job("job-1")["workers"].size()));
  EXPECT_EQ(trained.lines().back()["outcome"], "finished");
  EXPECT_GT(trained.lines().back()["tokens"], 0);
  EXPECT_EQ(job("job-1")["state"], "finished");
  EXPECT_EQ(job("job-1")["saved_step"], 12);

  // Left alone, a second one waiting behind it.
  const std::string first = detach("long", {"--set", "train.steps=1000000"}), second = detach("queued");
  EXPECT_EQ(first, "job-2");
  EXPECT_EQ(second, "job-3");
  ASSERT_TRUE(becomes([&] { return job(first)["step"] >= 3; })) << job(first).dump();
  EXPECT_EQ(job(second)["state"], "queued");
  const Ended busy = run({"train", "job.toml", "--on", "p", "--run", "long", "--resume", "--detach"});
  EXPECT_NE(busy.code, 0);
  EXPECT_THAT(busy.err, AllOf(HasSubstr("job '" + first + "'"), HasSubstr("suanli cancel " + first))) << busy.err;
  EXPECT_EQ(run({"pool", "status", "--json"}).json()["running"], first);
  EXPECT_EQ(run({"cancel", second, "--json"}).json()["state"], "cancelled");
  EXPECT_EQ(run({"cancel", second}).code, 1) << "it is over";
  EXPECT_EQ(run({"cancel", first}).code, 0);
  ASSERT_TRUE(becomes([&] { return job(first)["closed"] == true; }));
  EXPECT_EQ(job(first)["state"], "cancelled");
  EXPECT_EQ(job(first)["saved_step"], job(first)["step"]);

  const Ended fetched = run({"fetch", first, "--to", "fetched", "--json"});
  ASSERT_EQ(fetched.code, 0) << fetched.err;
  EXPECT_EQ(fetched.json()["step"], job(first)["saved_step"]);
  const Ended evaluated = run({"eval", "fetched"});
  EXPECT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_EQ(run({"fetch", first, "--to", "fetched"}).code, 3) << "there is something already";

  // Ctrl-C at an attached client ends the job and keeps its state.
  Running& attached = begin("client", {"train", folder_ / "long", "--on", "p", "--resume", "--json"});
  attached.wait_for([](const std::string& out) { return out.find("\"event\":\"step\"") != std::string::npos; });
  attached.send(SIGINT);
  const Ended interrupted = attached.end();
  EXPECT_EQ(interrupted.code, 5) << interrupted.err;
  EXPECT_EQ(interrupted.lines().back()["outcome"], "interrupted");
  EXPECT_GT(interrupted.lines().back()["step"], fetched.json()["step"]);
  EXPECT_EQ(job("job-4")["saved_step"], interrupted.lines().back()["step"]);

  EXPECT_THAT(reasons(), IsSupersetOf({"worker_joined", "job_queued", "job_placed", "job_running", "job_finished",
                                       "job_cancelled", "snapshot_saved"}));
  const Ended logs = run({"logs", "job-1", "--follow"});
  EXPECT_EQ(logs.code, 0);
  EXPECT_THAT(logs.out, HasSubstr("step 12  loss"));
  EXPECT_THAT(logs.out, HasSubstr("was placed on"));
  EXPECT_THAT(run({"pool", "describe", "w1"}).out, HasSubstr("measured"));
  const json described = run({"pool", "describe", "p", "job-1", "--json"}).json();
  EXPECT_EQ(described["job"]["job"], "job-1");
  EXPECT_GE(described["events"].size(), 3u);
  ASSERT_TRUE(becomes([&] { return run({"pool", "links", "--json"}).lines().size() >= 2; }));
  EXPECT_GT(run({"pool", "links", "--json"}).lines()[0]["delay_seconds"], 0);
  EXPECT_EQ(run({"status", "job-9"}).code, 1);
  EXPECT_EQ(run({"pool", "describe", "w9"}).code, 1);

  // The coordinator ends with a job running, and comes back with new numbers. The workers come back by themselves.
  const std::string last = detach("last", {"--set", "train.steps=1000000"});
  ASSERT_TRUE(becomes([&] { return job(last)["step"] >= 1; }));
  const std::int64_t epoch = job(last)["epoch"];
  EXPECT_EQ(stop("coordinator").code, 0);
  EXPECT_THAT(content_of(folder_ / "last/metrics.jsonl"), HasSubstr("\"interrupted\""));
  const Ended gone = run({"pool", "status"});
  EXPECT_EQ(gone.code, 4);
  EXPECT_THAT(gone.err, HasSubstr("suanli pool create"));
  const json again = begin_pool(made["address"]);
  EXPECT_EQ(again["is_new"], false);
  ASSERT_TRUE(becomes([&] { return run({"pool", "status", "--json"}).json()["workers"] == 2; }));
  const Ended resumed = run({"train", "last", "--on", "p", "--resume", "--detach"});
  EXPECT_EQ(resumed.out, "job-6\n") << resumed.err;
  ASSERT_TRUE(becomes([&] { return job("job-6")["step"] > job("job-6")["first_step"]; }));
  EXPECT_GT(job("job-6")["epoch"], epoch);
}

// Two replicas of one stage, and no snapshot on the way: what one of them had done is not lost with it.
TEST_F(CliPool, AKilledReplicaCostsTheStepInFlightAlone) {
  const json made = begin_pool();
  for (const std::string name : {"w1", "w2"}) {
    Words words = worker_words(name, made["token"]);
    // So slow that it pays to share the micro-batches, and a step takes some 100 ms.
    words.insert(words.end(), {"--cap", "1G"});
    begin(name, words);
  }
  ASSERT_TRUE(becomes([&] { return run({"pool", "status", "--json"}).json()["workers"] == 2; }));
  put_job(30);
  const Words settings = {"--set", "arith=exact", "--set", "train.micro_batches=6", "--set", "checkpoint.every=0"};
  const auto with = [&](Words words) {
    words.insert(words.end(), settings.begin(), settings.end());
    return words;
  };
  ASSERT_EQ(run(with({"train", "job.toml", "--run", "alone", "--quiet"})).code, 0);
  Words both = settings;
  both.insert(both.end(), {"--set", "pool.stages=1", "--set", "pool.replicas=2"});
  const std::string id = detach("run", both);
  ASSERT_TRUE(becomes([&] { return job(id)["step"] >= 3; })) << job(id).dump();
  ASSERT_THAT(job(id)["placement"].get<std::string>(), testing::StartsWith("1 stage: ")) << "both hold it";
  ASSERT_EQ(job(id)["workers"].size(), 2u);
  EXPECT_TRUE(job(id)["saved_step"].is_null());
  processes_.at("w2")->send(SIGKILL);
  ASSERT_TRUE(becomes([&] { return job(id)["closed"] == true; }));
  const json ended = job(id);
  EXPECT_EQ(ended["state"], "failed");
  EXPECT_GE(ended["step"], 3);
  EXPECT_EQ(ended["saved_step"], ended["step"]);
  const std::string step = std::to_string(ended["step"].get<int>());
  EXPECT_THAT(ended["error"]["message"].get<std::string>(), HasSubstr("the state after step " + step + " is saved"));
  EXPECT_THAT(run({"ckpt", "list", "run"}).out, HasSubstr(step));

  const Ended resumed = run({"train", "run", "--on", "p", "--resume", "--quiet", "--set", "pool.replicas=0"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(job("job-2")["first_step"], ended["step"].get<int>() + 1);
  EXPECT_EQ(run({"digest", "run", "--json"}).json()["root"], run({"digest", "alone", "--json"}).json()["root"]);
}

// Three lanes of local steps, of which one is killed: the others keep what they have done, and go on.
TEST_F(CliPool, AKilledLaneLeavesTheOthers) {
  const json made = begin_pool();
  for (const std::string name : {"w1", "w2", "w3"}) {
    Words words = worker_words(name, made["token"]);
    words.insert(words.end(), {"--cap", "1G"});
    begin(name, words);
  }
  ASSERT_TRUE(becomes([&] { return run({"pool", "status", "--json"}).json()["workers"] == 3; }));
  put_job(30);
  const std::string id = detach("run", {"--set", "arith=f32", "--set", "train.micro_batches=6", "--set", "checkpoint.every=0",
                                        "--set", "pool.stages=1", "--set", "pool.replicas=3", "--set", "local.inner_steps=4",
                                        "--set", "codec.weights=ef4"});
  ASSERT_TRUE(becomes([&] { return job(id)["step"] >= 5; })) << job(id).dump();
  processes_.at("w1")->send(SIGKILL);
  ASSERT_TRUE(becomes([&] { return job(id)["closed"] == true; }));
  const json ended = job(id);
  EXPECT_EQ(ended["state"], "failed");
  ASSERT_EQ(ended["saved_step"], ended["step"]) << ended.dump();
  EXPECT_THAT(ended["error"]["message"].get<std::string>(), HasSubstr("of 2 of 3 lanes, counted anew"));
  const std::string step = std::to_string(ended["step"].get<int>());
  const std::string manifest =
      content_of(folder_ / ("run/checkpoints/step-" + std::string(8 - step.size(), '0') + step + "/manifest.json"));
  EXPECT_THAT(manifest, testing::AllOf(HasSubstr("replica/0/outer.error/wte.weight"), HasSubstr("replica/1/wte.weight.adam_m"),
                                       testing::Not(HasSubstr("replica/2/"))));
  const Ended resumed = run({"train", "run", "--on", "p", "--resume", "--quiet", "--set", "pool.replicas=2"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, testing::Not(HasSubstr("lacks")));
  EXPECT_EQ(job("job-2")["first_step"], ended["step"].get<int>() + 1);
}

TEST_F(CliPool, LetsInWhomItShould) {
  const json made = begin_pool();
  const std::string token = made["token"];
  begin_workers(token, 1);

  std::string wrong = token;
  const std::size_t digit = token.find('-', token.find('-') + 1) + 1;  // the first of the secret
  wrong[digit] = wrong[digit] == '0' ? '1' : '0';
  const Ended unknown = run(worker_words("stranger", wrong));
  EXPECT_EQ(unknown.code, 4);
  EXPECT_THAT(unknown.err, HasSubstr("[unauthorised]"));

  const std::string brief = run({"pool", "token", "--lifetime", "1s", "--json"}).json()["token"];
  std::this_thread::sleep_for(std::chrono::milliseconds(2'100));
  const Ended late = run(worker_words("late", brief));
  EXPECT_EQ(late.code, 4);
  EXPECT_THAT(late.err, HasSubstr("expired"));

  const json other = run({"pool", "token", "p", "--json"}).json();
  EXPECT_EQ(run({"pool", "revoke", other["id"]}).code, 0);
  const Ended revoked = run(worker_words("barred", other["token"]));
  EXPECT_EQ(revoked.code, 4);
  EXPECT_THAT(revoked.err, HasSubstr("revoked"));

  // A worker that is put out stays out, after a restart of the coordinator too.
  const std::string id = run({"pool", "peers", "--json"}).json()["id"];
  EXPECT_EQ(run({"pool", "revoke", "p", "w1", "--json"}).json()["id"], id);
  ASSERT_TRUE(becomes([&] { return run({"pool", "status", "--json"}).json()["workers"] == 0; }));
  stop("w1");
  EXPECT_EQ(stop("coordinator").code, 0);
  const std::string next = begin_pool(made["address"])["token"];
  begin("w1", worker_words("w1", ""));
  begin("w2", worker_words("w2", next));
  ASSERT_TRUE(becomes([&] { return run({"pool", "status", "--json"}).json()["workers"] == 1; }));
  EXPECT_EQ(run({"pool", "peers", "--json"}).json()["worker"], "w2");
  EXPECT_EQ(run({"pool", "revoke", "nobody"}).code, 1);
}

TEST_F(CliPool, SaysWhatIsWrongAndGoesOn) {
  EXPECT_EQ(run({"pool", "status"}).code, 1) << "there is no pool";
  EXPECT_EQ(run({"pool", "create", "p", "--listen", "nowhere"}).code, 2);
  const Ended long_path = run({"pool", "create", "p", "--listen", "127.0.0.1:0", "--dir", folder_ / std::string(100, 'x')});
  EXPECT_EQ(long_path.code, 3);
  EXPECT_THAT(long_path.err, HasSubstr("107"));
  const Ended foreign = run({"pool", "create", "p", "--listen", "127.0.0.1:0", "--dir", folder_ / "data"});
  EXPECT_EQ(foreign.code, 1);
  EXPECT_THAT(foreign.err, HasSubstr("[foreign]"));

  const json made = begin_pool();
  const Ended port = run({"pool", "create", "q", "--listen", made["address"]});
  EXPECT_EQ(port.code, 1);
  EXPECT_THAT(port.err, HasSubstr("[busy]"));
  EXPECT_EQ(run({"pool", "status"}).code, 0) << "there is still one pool, which needs no name";
  const Ended folder = run({"pool", "create", "p", "--listen", "127.0.0.1:0"});
  EXPECT_EQ(folder.code, 1);
  EXPECT_THAT(folder.err, HasSubstr("[busy]"));
  EXPECT_EQ(run({"pool", "status", "--json"}).json()["workers"], 0) << "nobody has taken its socket away";

  begin_workers(made["token"]);
  put_job(3);
  const Ended large =
      run({"train", "job.toml", "--on", "p", "--run", "large", "--set", "model.width=256", "--set", "model.layers=6", "--quiet"});
  EXPECT_EQ(large.code, 1) << large.err;
  EXPECT_THAT(large.err, HasSubstr("are missing"));
  EXPECT_THAT(large.err, HasSubstr("give every worker"));
  const Ended huge = run({"train", "job.toml", "--on", "p", "--run", "huge", "--set", "model.width=16384", "--set",
                          "model.layers=48", "--quiet"});
  EXPECT_EQ(huge.code, 1) << huge.err;
  EXPECT_THAT(huge.err, AllOf(HasSubstr("the coordinator needs"), HasSubstr("too little"), HasSubstr("[no_memory]")));
  const Ended limited = run({"train", "job.toml", "--on", "p", "--memory", "1G"});
  EXPECT_EQ(limited.code, 3);
  EXPECT_THAT(limited.err, AllOf(HasSubstr("run.memory_limit"), HasSubstr("worker --memory")));
  const Ended small = run({"train", "job.toml", "--on", "p"});
  EXPECT_EQ(small.code, 0) << small.err;
  EXPECT_THAT(small.out, HasSubstr("The run"));
  EXPECT_EQ(run({"train", "job.toml", "--on", "p", "--quiet"}).code, 3) << "the folder holds a run already";
  EXPECT_EQ(run({"train", "job.toml", "--on", "nopool"}).code, 1);
  EXPECT_EQ(run({"train", "job.toml", "--detach"}).code, 2);
}

TEST_F(CliPool, WorkersKeepTheirOwnersTerms) {
  const json made = begin_pool();
  Words capped = worker_words("capped", made["token"]);
  // Tasks of the tiny model are below 3 % of this, so the cap can be kept; a step then takes at least some 50 ms.
  capped.insert(capped.end(), {"--cap", "500M"});
  begin("capped", capped);
  // Two hours that begin in two hours, by this machine's clock.
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  Words asleep = worker_words("asleep", made["token"]);
  asleep.insert(asleep.end(),
                {"--hours", std::to_string((parts.tm_hour + 2) % 24) + "-" + std::to_string((parts.tm_hour + 4) % 24)});
  begin("asleep", asleep);
  ASSERT_TRUE(becomes([&] { return run({"pool", "status", "--json"}).json()["workers"] == 1; }));
  ASSERT_TRUE(becomes([&] { return content_of(folder_ / "asleep/stderr").find("outside of its hours") != std::string::npos; }));
  EXPECT_EQ(run({"pool", "peers", "--json"}).json()["cap_flops_per_s"], 5e8);

  put_job(6);
  const Ended trained = run({"train", "job.toml", "--on", "p", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const json end = trained.lines().back();
  EXPECT_GT(end["seconds"]["waiting"], 0) << "for the rate cap";
  EXPECT_EQ(stop("asleep").code, 0);
}

}  // namespace
}  // namespace suanli::cli
