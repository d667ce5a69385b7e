#include "suanli/pool/shard_urls.h"

#include <cstdlib>
#include <initializer_list>
#include <utility>

#include "suanli/base/text.h"

namespace suanli::pool {
namespace {

bool is_s3(const std::string& url) { return url.starts_with("s3://"); }

std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = environment(name); value != nullptr && value[0] != '\0') return value;
  return {};
}

// There are other sources: those behind this one are not to wait for minutes.
HttpShardsOptions how_to_ask(const std::string& ca_file) {
  HttpShardsOptions options;
  options.tries = 3;
  options.connect_deadline = Seconds(10);
  options.ca_file = ca_file;
  return options;
}

std::string named(const std::string& what) { return "data.sources: " + printable(what, 300); }

// Whose message names the URL.
Error within_key(Error error) {
  return {ErrorCode::config, std::move(error.message), "data.sources", std::move(error.next_step)};
}

}  // namespace

const char* environment_of_process(const char* name) { return std::getenv(name); }

S3Account s3_account_of(const Environment& environment) {
  S3Account account;
  account.access_key = first_of(environment, {"AWS_ACCESS_KEY_ID"});
  account.secret_key = first_of(environment, {"AWS_SECRET_ACCESS_KEY"});
  account.session_token = first_of(environment, {"AWS_SESSION_TOKEN"});
  if (std::string region = first_of(environment, {"AWS_REGION", "AWS_DEFAULT_REGION"}); !region.empty())
    account.region = std::move(region);
  account.endpoint = first_of(environment, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  return account;
}

Result<std::shared_ptr<data::ShardSource>> source_at(const std::string& url, const Environment& environment) {
  if (!is_s3(url)) {
    auto made = HttpShards::create(url, how_to_ask(first_of(environment, {"SSL_CERT_FILE"})));
    if (!made) return tl::unexpected(within_key(std::move(made).error()));
    return std::shared_ptr<data::ShardSource>(std::move(*made));
  }
  const S3Account account = s3_account_of(environment);
  if (account.access_key.empty() || account.secret_key.empty())
    return fail(ErrorCode::unauthorised,
                "this worker has no key of S3: " +
                    std::string(account.access_key.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY") +
                    " is not set in its environment",
                named(url),
                "start the worker with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set; or, if anybody may read there, name the "
                "folder's https:// address in the job");
  auto made = HttpShards::create_s3(url, account, how_to_ask(first_of(environment, {"AWS_CA_BUNDLE", "SSL_CERT_FILE"})));
  if (made) return std::shared_ptr<data::ShardSource>(std::move(*made));
  if (!account.endpoint.empty() && !HttpShards::create(account.endpoint, {}))
    return fail(ErrorCode::config, "AWS_ENDPOINT_URL of this worker's environment is no address of a web server", named(url),
                "set it to a URL such as https://host:9000, or leave it out for Amazon's");
  return tl::unexpected(within_key(std::move(made).error()));
}

Status check_source_urls(const std::vector<std::string>& urls) {
  // Keys that let every well-formed address through.
  const Environment anybody = [](const char* name) -> const char* {
    const std::string_view wanted = name;
    return wanted == "AWS_ACCESS_KEY_ID" || wanted == "AWS_SECRET_ACCESS_KEY" ? "key" : nullptr;
  };
  for (const std::string& url : urls)
    if (const auto made = source_at(url, anybody); !made) return tl::unexpected(made.error());
  return {};
}

}  // namespace suanli::pool
