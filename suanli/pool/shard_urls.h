// The sources of shards that a job names by their URLs (key data.sources), as a worker asks them.
//
// A job says where a dataset lies, never who may read there: S3's keys, region and address come from the environment of the
// worker, under the names that AWS's own tools know.
//
//   variable                               what
//   AWS_ACCESS_KEY_ID                      whose key signs the requests
//   AWS_SECRET_ACCESS_KEY
//   AWS_SESSION_TOKEN                      of temporary keys
//   AWS_REGION, AWS_DEFAULT_REGION         the first that is set; else us-east-1
//   AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL  another store of S3's protocol; else Amazon's, of the region
//   AWS_CA_BUNDLE, SSL_CERT_FILE           certificates to trust instead of the system's: the first for S3 alone
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "suanli/data/shard_source.h"
#include "suanli/pool/shard_http.h"

namespace suanli::pool {

// The value of an environment variable; null if it is not set.
using Environment = std::function<const char*(const char* name)>;
const char* environment_of_process(const char* name);

S3Account s3_account_of(const Environment& environment);

// Any thread may fetch from it. Errors name the URL, the key data.sources and what to do: config (no URL that shards can come
// from), unauthorised (S3, and the environment has no keys).
Result<std::shared_ptr<data::ShardSource>> source_at(const std::string& url, const Environment& environment);

// What is wrong with the URLs whoever asks there (config). Nothing is asked.
[[nodiscard]] Status check_source_urls(const std::vector<std::string>& urls);

}  // namespace suanli::pool
