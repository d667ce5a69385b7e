// A dataset's folder on a web server as a source of shards: HTTP or HTTPS, by libcurl; or in S3 and what speaks its protocol,
// then with each request signed (AWS Signature Version 4).
//
// What was interrupted is asked again from where it broke off; a server that knows no ranges sends all once more. Connections
// are kept and used again.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/units.h"
#include "suanli/data/shard_source.h"

namespace suanli::pool {

// Who asks S3.
struct S3Account {
  std::string access_key, secret_key;
  std::string session_token;  // of temporary keys; else empty
  std::string region = "us-east-1";
  std::string endpoint;  // URL of another store of this protocol, whose buckets are folders; empty: Amazon's, of the region
};

struct HttpShardsOptions {
  int tries = 5;                // of one shard: lost connections, 408, 429 and 5xx are tried again
  Seconds first_pause{0.5};     // before the second try; doubles with each
  Seconds connect_deadline{15};
  Seconds silence{30};          // nothing at all has come for so long: the try is over
  std::string ca_file;          // certificates to trust instead of the system's; empty: the system's
};

// Any thread may fetch.
class HttpShards final : public data::ShardSource {
 public:
  // `base_url` is that of the folder, with or without a slash at its end. Errors: usage (not an http or https URL).
  static Result<std::unique_ptr<HttpShards>> create(const std::string& base_url, HttpShardsOptions options);
  // `location` is s3://BUCKET or s3://BUCKET/PREFIX. Errors: usage (not such a location, or an account without keys).
  static Result<std::unique_ptr<HttpShards>> create_s3(const std::string& location, const S3Account& account,
                                                       HttpShardsOptions options);
  ~HttpShards() override;

  // Without user name and password, should the URL have them.
  std::string name() const override { return name_; }
  // Errors besides those of the interface: unauthorised (401, 403), unreachable, timed_out, protocol (any other answer).
  [[nodiscard]] Status fetch(const data::WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) override;

 private:
  struct Handle;
  struct Try;
  HttpShards(std::string base_url, std::string name, HttpShardsOptions options, std::optional<S3Account> account);
  Status try_once(Try& attempt, const std::string& url);

  const std::string base_url_, name_;
  const HttpShardsOptions options_;
  const std::optional<S3Account> account_;
  std::mutex mutex_;                           // guards the one below
  std::vector<std::unique_ptr<Handle>> idle_;  // with their connections
};

}  // namespace suanli::pool
