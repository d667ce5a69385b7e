// Shards from a real web server on loopback, sound and faulty.
#include "suanli/pool/shard_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "suanli/base/clock.h"
#include "suanli/base/test_folder.h"
#include "suanli/data/dataset_for_test.h"
#include "suanli/data/shard_cache.h"

namespace suanli::pool {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const std::atomic<bool> kGoOn = false;

// Serves a folder under /data/set, with faults to be switched on.
class WebFolder {
 public:
  WebFolder(std::string folder, std::unique_ptr<httplib::Server> server)
      : folder_(std::move(folder)), server_(std::move(server)) {
    server_->Get("/data/set/(.*)",
                 [this](const httplib::Request& request, httplib::Response& response) { answer(request, response); });
    server_->Get("/moved/(.*)", [](const httplib::Request& request, httplib::Response& response) {
      response.set_redirect("/data/set/" + std::string(request.matches[1]));
    });
    port_ = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::jthread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) real_clock().sleep_for(Seconds(0.001));
  }
  ~WebFolder() {
    end = true;
    server_->stop();
  }
  int port() const { return port_; }

  std::atomic<int> refusals = 0;       // so many requests are answered by `status`
  std::atomic<int> ranged_refusals = 0;  // the same, of requests for a range alone
  std::atomic<int> status = 503;
  std::atomic<std::size_t> cut_after = 0;  // connections are lost after so many bytes of a body; 0: never
  std::atomic<bool> knows_ranges = true, stalls = false, end = false;
  std::atomic<int> requests = 0, with_range = 0;
  std::atomic<std::size_t> bytes_sent = 0;

 private:
  void answer(const httplib::Request& request, httplib::Response& response) {
    ++requests;
    if (request.has_header("Range")) ++with_range;
    const bool refuses_ranged = request.has_header("Range") && ranged_refusals > 0;
    if (refuses_ranged || refusals > 0) {
      --(refuses_ranged ? ranged_refusals : refusals);
      const_cast<httplib::Request&>(request).ranges.clear();  // a refusal is sent whole
      response.status = status;
      response.set_content(std::string(300'000, 'e'), "text/plain");  // not to be taken for a shard
      return;
    }
    auto content = read_file(folder_ + "/" + std::string(request.matches[1]));
    if (!content) {
      response.status = 404;
      return;
    }
    if (!knows_ranges) const_cast<httplib::Request&>(request).ranges.clear();
    const auto text = std::make_shared<std::string>(std::move(*content));
    const auto send = [this, text, begun = std::size_t{0}](std::size_t offset, std::size_t length,
                                                           httplib::DataSink& sink) mutable {
      while (stalls && !end) real_clock().sleep_for(Seconds(0.002));
      std::size_t count = std::min<std::size_t>(length, 65536);
      if (cut_after > 0) {
        if (begun >= cut_after) return false;
        count = std::min<std::size_t>(count, cut_after - begun);
      }
      begun += count;
      bytes_sent += count;
      return sink.write(text->data() + offset, count);
    };
    response.set_content_provider(text->size(), "application/octet-stream", send);
  }

  const std::string folder_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::jthread thread_;
};

class HttpShardSources : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("no_proxy", "127.0.0.1", 1);  // whatever this machine goes through to the world
    std::filesystem::create_directory(folder_ / "dataset");
    info_ = data::write_dataset_for_test(folder_ / "dataset", data::texts_for_test(2, 1'000'000));
    web_ = std::make_unique<WebFolder>(folder_ / "dataset", std::make_unique<httplib::Server>());
  }
  std::string url(const std::string& path = "/data/set/") const {
    return "http://127.0.0.1:" + std::to_string(web_->port()) + path;
  }
  static std::unique_ptr<HttpShards> source(const std::string& url, int tries = 5) {
    HttpShardsOptions options;
    options.tries = tries;
    options.first_pause = Seconds(0.01);
    options.silence = Seconds(1);
    return HttpShards::create(url, options).value();
  }
  data::WantedShard wanted(std::size_t i = 0) { return data::wanted_shard(info_, info_.of(data::Split::train)[i]).value(); }
  Status fetch(data::ShardSource& from, const data::WantedShard& shard, const std::atomic<bool>& stop = kGoOn) {
    std::vector<std::byte> bytes(shard.bytes);
    SUANLI_RETURN_IF_ERROR(from.fetch(shard, bytes, stop));
    const std::string file = read_file(folder_ / "dataset" + "/" + shard.file).value();
    EXPECT_TRUE(std::ranges::equal(bytes, as_bytes(file)));
    return {};
  }
  Status fetch() { return fetch(*source(url()), wanted()); }

  TestFolder folder_;
  data::DatasetInfo info_;
  std::unique_ptr<WebFolder> web_;
};

TEST_F(HttpShardSources, BringWhatTheServerHas) {
  const auto from = source(url());
  EXPECT_TRUE(fetch(*from, wanted(0)));
  EXPECT_TRUE(fetch(*from, wanted(1)));
  EXPECT_TRUE(fetch(*source(url("/data/set")), wanted(0))) << "without a slash";
  EXPECT_TRUE(fetch(*source(url("/moved")), wanted(0))) << "redirected";
  const auto cache = data::ShardCache::open(folder_ / "cache", Bytes(5'000'000)).value();
  auto claim = cache->claim(wanted(0)).value();
  ASSERT_TRUE(from->fetch(wanted(0), claim.incoming->bytes(), kGoOn));
  EXPECT_TRUE(cache->keep(std::move(claim.incoming), from->name()));
}

TEST_F(HttpShardSources, FileNamesAreEscaped) {
  std::filesystem::copy_file(folder_ / "dataset/train-0.shard", folder_ / "dataset/a b%20?#\xc3\xa9.shard");
  data::WantedShard odd = wanted(0);
  odd.file = "a b%20?#\xc3\xa9.shard";
  EXPECT_TRUE(fetch(*source(url()), odd));
}

TEST_F(HttpShardSources, GoOnWhereTheyWereInterrupted) {
  web_->cut_after = 300'000;
  const Status fetched = fetch();
  EXPECT_TRUE(fetched) << fetched.error().to_string();
  EXPECT_EQ(web_->with_range, 3);
  EXPECT_EQ(web_->bytes_sent, wanted().bytes) << "no byte twice";
}

TEST_F(HttpShardSources, GoOnWhereTheyWereInterruptedThroughRefusals) {
  web_->cut_after = 600'000;
  web_->ranged_refusals = 2;
  const Status fetched = fetch();
  EXPECT_TRUE(fetched) << fetched.error().to_string();
  EXPECT_EQ(web_->with_range, 3);
  EXPECT_EQ(web_->bytes_sent, wanted().bytes) << "no byte twice";
}

TEST_F(HttpShardSources, AServerWithoutRangesSendsAllAgain) {
  web_->knows_ranges = false;
  web_->cut_after = 900'000;
  std::jthread later([&] {
    while (web_->requests < 2) real_clock().sleep_for(Seconds(0.001));
    web_->cut_after = 0;
  });
  const Status fetched = fetch();
  EXPECT_TRUE(fetched) << fetched.error().to_string();
  EXPECT_GE(web_->with_range, 1);
}

TEST_F(HttpShardSources, TryAgainWhatMayPass) {
  for (const int status : {503, 500, 429, 408}) {
    web_->status = status;
    web_->refusals = 2;
    EXPECT_TRUE(fetch()) << status;
  }
  web_->refusals = 100;
  web_->status = 502;
  web_->requests = 0;
  const Status refused = fetch();
  EXPECT_EQ(refused.error().code, ErrorCode::protocol);
  EXPECT_THAT(refused.error().message, HasSubstr("502"));
  EXPECT_EQ(web_->requests, 5);
}

TEST_F(HttpShardSources, DoNotTryAgainWhatWillNotPass) {
  for (const auto& [status, code] : std::vector<std::pair<int, ErrorCode>>{
           {404, ErrorCode::not_found},
           {403, ErrorCode::unauthorised},
           {401, ErrorCode::unauthorised},
           {400, ErrorCode::protocol}}) {
    web_->status = status;
    web_->refusals = 1;
    web_->requests = 0;
    EXPECT_EQ(fetch().error().code, code) << status;
    EXPECT_EQ(web_->requests, 1);
  }
  data::WantedShard shorter = wanted(), longer = wanted();
  shorter.bytes -= 1000;
  longer.bytes += 1000;
  EXPECT_EQ(fetch(*source(url()), shorter).error().code, ErrorCode::mismatch);
  EXPECT_EQ(fetch(*source(url()), longer).error().code, ErrorCode::mismatch);
}

TEST_F(HttpShardSources, AServerThatIsGoneOrSilentIsGivenUp) {
  web_->stalls = true;
  EXPECT_EQ(fetch(*source(url(), 1), wanted()).error().code, ErrorCode::timed_out);
  const std::string gone = url();
  web_.reset();
  const Status fetched = fetch(*source(gone, 2), wanted());
  EXPECT_EQ(fetched.error().code, ErrorCode::unreachable);
  EXPECT_NE(fetched.error().next_step, "");
}

TEST_F(HttpShardSources, StopEndsAFetch) {
  web_->stalls = true;
  std::atomic<bool> stop = false;
  std::jthread later([&] {
    while (web_->requests == 0) real_clock().sleep_for(Seconds(0.001));
    stop = true;
  });
  HttpShardsOptions patient;
  patient.silence = Seconds(600);
  EXPECT_EQ(fetch(*HttpShards::create(url(), patient).value(), wanted(), stop).error().code, ErrorCode::interrupted);
}

TEST_F(HttpShardSources, UnderTlsTheServerMustBeWhoItSays) {
  const std::string key = folder_ / "key.pem", certificate = folder_ / "certificate.pem";
  const std::string command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test"
                              " -addext subjectAltName=IP:127.0.0.1 -keyout '" + key + "' -out '" + certificate + "' 2>/dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  WebFolder secure(folder_ / "dataset", std::make_unique<httplib::SSLServer>(certificate.c_str(), key.c_str()));
  const std::string address = "https://127.0.0.1:" + std::to_string(secure.port()) + "/data/set";
  EXPECT_EQ(fetch(*source(address), wanted()).error().code, ErrorCode::unauthorised);
  EXPECT_EQ(secure.requests, 0);
  HttpShardsOptions trusting;
  trusting.ca_file = certificate;
  const Status fetched = fetch(*HttpShards::create(address, trusting).value(), wanted());
  EXPECT_TRUE(fetched) << fetched.error().to_string();
}

// The signature that a request should bear, from the published definition of AWS Signature Version 4, as S3 checks it.
class Sigv4 {
 public:
  Sigv4(std::string secret, std::string region) : secret_(std::move(secret)), region_(std::move(region)) {}

  // Whether the request is signed as it must be, by `access_key`, with at least these headers under the signature.
  ::testing::AssertionResult holds(const httplib::Request& request, const std::string& access_key,
                                   const std::vector<std::string>& must_sign) const {
    const std::string authorization = request.get_header_value("Authorization");
    const std::string date = request.get_header_value("X-Amz-Date");
    const std::string scope = date.substr(0, 8) + "/" + region_ + "/s3/aws4_request";
    const std::string names = between(authorization, "SignedHeaders=", ",");
    std::string canonical = "GET\n" + request.target + "\n\n";
    for (std::size_t at = 0; at <= names.size();) {
      const std::size_t end = std::min(names.find(';', at), names.size());
      const std::string name = names.substr(at, end - at);
      canonical += name + ":" + request.get_header_value(name.c_str()) + "\n";
      at = end + 1;
    }
    for (const std::string& name : must_sign) {
      if ((";" + names + ";").find(";" + name + ";") == std::string::npos)
        return ::testing::AssertionFailure() << name << " is not signed: " << names;
    }
    canonical += "\n" + names + "\n" + request.get_header_value("x-amz-content-sha256");
    const std::string text = "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + sha256(canonical).hex();
    std::string key = "AWS4" + secret_;
    for (const std::string& part : {date.substr(0, 8), region_, std::string("s3"), std::string("aws4_request"), text})
      key = hmac(key, part);
    const std::string expected = "AWS4-HMAC-SHA256 Credential=" + access_key + "/" + scope + ", SignedHeaders=" + names +
                                 ", Signature=" + digest_of(key).hex();
    if (authorization == expected) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << authorization << "\ninstead of\n" << expected << "\nfor\n" << canonical;
  }

 private:
  static std::string between(const std::string& text, const std::string& begin, const std::string& end) {
    const std::size_t at = text.find(begin);
    if (at == std::string::npos) return {};
    return text.substr(at + begin.size(), text.find(end, at) - at - begin.size());
  }
  // RFC 2104.
  static std::string hmac(std::string key, const std::string& text) {
    key.resize(64, '\0');
    std::string inner, outer;
    for (const char each : key) {
      inner += static_cast<char>(each ^ 0x36);
      outer += static_cast<char>(each ^ 0x5c);
    }
    return bytes_of(sha256(outer + bytes_of(sha256(inner + text))));
  }
  static std::string bytes_of(const Digest& digest) {
    return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
  }
  static Digest digest_of(const std::string& bytes) {
    Digest digest;
    std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), 32, digest.bytes.begin());
    return digest;
  }
  std::string secret_, region_;
};

TEST_F(HttpShardSources, S3RequestsAreSigned) {
  const S3Account account{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "temporary+token/==", "eu-west-3", ""};
  const Sigv4 signature(account.secret_key, account.region);
  std::mutex mutex;
  std::vector<std::string> faults;
  std::atomic<int> ranges = 0;
  httplib::Server store;
  store.Get("/my-bucket/a prefix/(.*)", [&](const httplib::Request& request, httplib::Response& response) {
    const auto signed_well = signature.holds(request, "AKIDEXAMPLE",
                                             {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"});
    if (!signed_well) {
      const std::lock_guard lock(mutex);
      faults.push_back(signed_well.message());
      response.status = 403;
      return;
    }
    const auto text = std::make_shared<std::string>(read_file(folder_ / "dataset/train-0.shard").value());
    const bool whole = request.has_header("Range");
    ranges += whole;
    const auto send = [text, whole](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
      if (!whole && offset > 0) return false;
      return sink.write(text->data() + offset, whole ? length : std::min<std::size_t>(length, 1000));
    };
    response.set_content_provider(text->size(), "application/octet-stream", send);
  });
  const int port = store.bind_to_any_port("127.0.0.1");
  std::jthread serving([&] { store.listen_after_bind(); });
  while (!store.is_running()) real_clock().sleep_for(Seconds(0.001));
  S3Account here = account;
  here.endpoint = "http://127.0.0.1:" + std::to_string(port);
  HttpShardsOptions options;
  options.first_pause = Seconds(0.01);
  const auto from = HttpShards::create_s3("s3://my-bucket/a prefix/", here, options).value();
  EXPECT_EQ(from->name(), "s3://my-bucket/a prefix");
  const Status fetched = fetch(*from, wanted(0));
  EXPECT_TRUE(fetched) << fetched.error().to_string();
  EXPECT_EQ(ranges, 1) << "goes on where it was interrupted, signed again";
  EXPECT_THAT(faults, IsEmpty());
  // Another's key: the store refuses.
  here.secret_key = "stolen";
  const Status refused = fetch(*HttpShards::create_s3("s3://my-bucket/a prefix", here, options).value(), wanted(0));
  EXPECT_EQ(refused.error().code, ErrorCode::unauthorised);
  EXPECT_THAT(refused.error().to_string(), Not(HasSubstr("stolen")));
  store.stop();
}

TEST(HttpShardUrls, OfS3AreChecked) {
  const S3Account account{"key", "secret", "", "eu-west-3", ""};
  for (const char* bad : {"", "s3://", "s3:///x", "s3://Upper/x", "http://bucket/x", "s3://a b/x"})
    EXPECT_EQ(HttpShards::create_s3(bad, account, {}).error().code, ErrorCode::usage) << bad;
  EXPECT_EQ(HttpShards::create_s3("s3://bucket", {}, {}).error().code, ErrorCode::usage);
  EXPECT_EQ(HttpShards::create_s3("s3://bucket", account, {}).value()->name(), "s3://bucket");
}

TEST(HttpShardUrls, AreCheckedAndNamedWithoutSecrets) {
  for (const char* bad : {"", "ftp://host/d", "file:///etc", "http://", "https://h/d?x=1", "http://h/a b", "data/bible"})
    EXPECT_EQ(HttpShards::create(bad, {}).error().code, ErrorCode::usage) << bad;
  EXPECT_EQ(HttpShards::create("https://host/data/", {}).value()->name(), "https://host/data");
  const std::string name = HttpShards::create("https://me:secret@host/data@2", {}).value()->name();
  EXPECT_EQ(name, "https://host/data@2");
  HttpShardsOptions once;
  once.tries = 1;
  const auto nowhere = HttpShards::create("http://me:secret@127.0.0.1:1/d", once).value();
  std::vector<std::byte> place(10);
  EXPECT_THAT(nowhere->fetch({"x", {}, 10}, place, kGoOn).error().to_string(), Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace suanli::pool
