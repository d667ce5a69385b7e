// A job that names where its dataset lies besides (data.sources): a local pool's workers fetch its shards from a real web server.
#include <gmock/gmock.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>

#include "suanli/cli/command_for_test.h"

namespace suanli::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// Serves a dataset's folder, as s3://shelf/set too.
class Shelf {
 public:
  explicit Shelf(std::string folder) : folder_(std::move(folder)) {
    const auto get = [this](const httplib::Request& request, httplib::Response& response) { answer(request, response); };
    server_.Get("/set/(.*)", get);
    server_.Get("/shelf/set/(.*)", get);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~Shelf() {
    server_.stop();
    thread_.join();
  }
  std::string address() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::set<std::string> asked_for() const {
    const std::lock_guard lock(mutex_);
    return asked_for_;
  }
  std::set<std::string> signed_by() const {
    const std::lock_guard lock(mutex_);
    return signed_by_;
  }

  std::atomic<bool> corrupts = false;  // every second byte of what it sends

 private:
  void answer(const httplib::Request& request, httplib::Response& response) {
    const std::string name = request.matches[1];
    std::string content = content_of(folder_ + "/" + name);
    if (corrupts)
      for (std::size_t i = 0; i < content.size(); i += 2) content[i] = static_cast<char>(~content[i]);
    const std::lock_guard lock(mutex_);
    asked_for_.insert(name);
    signed_by_.insert(request.get_header_value("Authorization"));
    response.set_content(content, "application/octet-stream");
  }

  const std::string folder_;
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;  // guards the two below
  std::set<std::string> asked_for_, signed_by_;
};

class CliSources : public CommandTest {
 protected:
  void SetUp() override {
    environment_["no_proxy"] = "127.0.0.1";
    std::string text;
    for (int i = 0; i < 2000; ++i) text += "the quick brown fox " + std::to_string(i % 7) + " jumps over the lazy dog.\n";
    put(folder_ / "text.txt", text);
    const Ended loaded =
        run({"data", "load", "text.txt", "--out", "data", "--valid", "0.1", "--shard-tokens", "20000"});
    ASSERT_EQ(loaded.code, 0) << loaded.err;
    put_job(6);
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "data"))
      if (const std::string name = entry.path().filename(); name.starts_with("train") && name.ends_with(".shard"))
        shards_.insert(name);
    ASSERT_GT(shards_.size(), 2u);
    shelf_ = std::make_unique<Shelf>(folder_ / "data");
  }
  Ended train(const std::string& run_folder, const std::string& sources, const Words& more = {}) {
    Words words = {"train",         "job.toml", "--run", run_folder,         "--on", "local:2", "--set", "arith=exact",
                   "--set",         "train.micro_batches=4", "--set", "data.sources=" + sources, "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
  std::string logs(const std::string& run_folder) {
    return content_of(folder_ / (run_folder + "/pool/worker-1.log")) + content_of(folder_ / (run_folder + "/pool/worker-2.log"));
  }

  std::set<std::string> shards_;
  std::unique_ptr<Shelf> shelf_;
};

TEST_F(CliSources, WorkersFetchFromTheWebServerThatTheJobNames) {
  const Ended ended = train("web", shelf_->address() + "/set/");
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(shelf_->asked_for(), shards_);
  EXPECT_EQ(shelf_->signed_by(), std::set<std::string>{""});
  EXPECT_THAT(logs("web"), Not(HasSubstr("source")));
  EXPECT_THAT(content_of(folder_ / "web/job.toml"), HasSubstr("sources = [\"" + shelf_->address() + "/set/\"]"));
}

TEST_F(CliSources, ACorruptShardIsFetchedElsewhereAndItsSourceNamed) {
  ASSERT_EQ(train("sound", "").code, 0);
  EXPECT_THAT(shelf_->asked_for(), IsEmpty());
  shelf_->corrupts = true;
  const Ended ended = train("corrupt", shelf_->address() + "/set");
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(shelf_->asked_for(), Not(IsEmpty()));
  EXPECT_THAT(logs("corrupt"),
              AllOf(HasSubstr(shelf_->address() + "/set"), HasSubstr("last source of shards"), HasSubstr("[corrupt]")));
  EXPECT_EQ(run({"digest", "corrupt", "--json"}).json()["root"], run({"digest", "sound", "--json"}).json()["root"]);
}

TEST_F(CliSources, WorkersAskS3WithTheKeysOfTheirOwnEnvironment) {
  environment_["AWS_ACCESS_KEY_ID"] = "AKIDEXAMPLE";
  environment_["AWS_SECRET_ACCESS_KEY"] = "nobody-reads-this";
  environment_["AWS_REGION"] = "eu-west-3";
  environment_["AWS_ENDPOINT_URL"] = shelf_->address();
  const Ended ended = train("s3", "s3://shelf/set");
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(shelf_->asked_for(), shards_);
  EXPECT_THAT(shelf_->signed_by(), testing::Each(StartsWith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")));
  EXPECT_THAT(shelf_->signed_by(), testing::Each(HasSubstr("/eu-west-3/s3/aws4_request")));
  for (const char* file : {"s3/job.toml", "s3/metrics.jsonl", "s3/pool/worker-1.log", "s3/pool/worker-2.log"})
    EXPECT_THAT(content_of(folder_ / file), Not(HasSubstr("nobody-reads-this")));
}

TEST_F(CliSources, WithoutKeysTheOtherSourcesServe) {
  for (const char* name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}) environment_[name] = "";
  const Ended ended = train("keyless", "s3://shelf/set");
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(logs("keyless"), AllOf(HasSubstr("s3://shelf/set"), HasSubstr("data.sources"), HasSubstr("AWS_ACCESS_KEY_ID")));
  EXPECT_THAT(shelf_->asked_for(), IsEmpty());
}

TEST_F(CliSources, WhatIsNoUrlIsRefusedBeforeAnythingBegins) {
  for (const std::string url : {"data/set", "http://h/a b", "s3://Upper/x", "https://me:secret@host/x"}) {
    const Ended ended = train("never", url);
    EXPECT_EQ(ended.code, 3) << ended.err;
    EXPECT_THAT(ended.err, AllOf(HasSubstr("data.sources"), Not(HasSubstr("secret"))));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "never/run.json"));
}

}  // namespace
}  // namespace suanli::cli
