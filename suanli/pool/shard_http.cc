#include "suanli/pool/shard_http.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"

namespace suanli::pool {
namespace {

constexpr Seconds kStopPause{0.02};
constexpr std::size_t kMostIdle = 4;

// A file name as a part of a URL's path: all but unreserved characters escaped (RFC 3986, section 2.3).
std::string escaped(const std::string& name) {
  std::string text;
  for (const char each : name) {
    const auto byte = static_cast<unsigned char>(each);
    const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
                       byte == '-' || byte == '.' || byte == '_' || byte == '~';
    text += plain ? std::string(1, each) : format("%%%02X", byte);
  }
  return text;
}

std::string without_secrets(const std::string& url) {
  const std::size_t host = url.find("://") + 3, end = std::min(url.find('/', host), url.size());
  const std::size_t at = url.substr(0, end).rfind('@');
  return at == std::string::npos || at < host ? url : url.substr(0, host) + url.substr(at + 1);
}

// S3 wants the digest of the request's body, which is empty, as a header; libcurl signs what headers it is given.
curl_slist* s3_headers(const S3Account& account) {
  curl_slist* list = curl_slist_append(nullptr, ("x-amz-content-sha256: " + sha256("").hex()).c_str());
  if (!account.session_token.empty())
    list = curl_slist_append(list, ("x-amz-security-token: " + account.session_token).c_str());
  return list;
}

// libcurl wants to be told once, before any other thread uses it.
void start_curl() {
  [[maybe_unused]] static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

}  // namespace

struct HttpShards::Handle {
  CURL* curl = curl_easy_init();
  Handle() { SUANLI_CHECK(curl != nullptr); }
  ~Handle() { curl_easy_cleanup(curl); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};

// What one shard has come to, over all tries.
struct HttpShards::Try {
  CURL* curl;
  std::span<std::byte> to;
  const std::atomic<bool>& stop;
  std::size_t arrived = 0;
  bool too_much = false;
  bool again = false;  // the last error may pass

  static std::size_t on_data(const char* data, std::size_t, std::size_t count, void* self) {
    auto& attempt = *static_cast<Try*>(self);
    long code = 0;
    curl_easy_getinfo(attempt.curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206) return count;  // the text of an error or a redirection
    attempt.too_much = count > attempt.to.size() - attempt.arrived;
    if (attempt.too_much) return 0;
    std::memcpy(attempt.to.data() + attempt.arrived, data, count);
    attempt.arrived += count;
    return count;
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Try*>(self)->stop ? 1 : 0;
  }
};

HttpShards::HttpShards(std::string base_url, std::string name, HttpShardsOptions options, std::optional<S3Account> account)
    : base_url_(std::move(base_url)), name_(std::move(name)), options_(std::move(options)), account_(std::move(account)) {}

HttpShards::~HttpShards() = default;

Result<std::unique_ptr<HttpShards>> HttpShards::create(const std::string& base_url, HttpShardsOptions options) {
  std::string url = base_url;
  while (url.ends_with('/')) url.pop_back();
  const bool known = (url.starts_with("http://") && url.size() > 7) || (url.starts_with("https://") && url.size() > 8);
  if (!known || url.find_first_of("?# ") != std::string::npos)
    return fail(ErrorCode::usage, "'" + printable(base_url) + "' is not the address of a folder on a web server", {},
                "give a URL such as https://host/folder, without ? or #");
  start_curl();
  std::string name = without_secrets(url);
  return std::unique_ptr<HttpShards>(new HttpShards(std::move(url), std::move(name), std::move(options), std::nullopt));
}

Result<std::unique_ptr<HttpShards>> HttpShards::create_s3(const std::string& location, const S3Account& account,
                                                          HttpShardsOptions options) {
  constexpr std::string_view kScheme = "s3://";
  std::string path = location;
  while (path.ends_with('/')) path.pop_back();
  const bool known = path.starts_with(kScheme) && path.size() > kScheme.size();
  if (known) path.erase(0, kScheme.size());
  const std::string bucket = path.substr(0, path.find('/'));
  const auto allowed = [](char each) {
    return (each >= 'a' && each <= 'z') || (each >= '0' && each <= '9') || each == '-' || each == '.';
  };
  if (!known || bucket.empty() || !std::ranges::all_of(bucket, allowed))
    return fail(ErrorCode::usage, "'" + printable(location) + "' is not the address of a folder in S3", {},
                "give s3://BUCKET/PREFIX, the bucket in lower-case letters, digits, - and .");
  if (account.access_key.empty() || account.secret_key.empty() || account.region.empty())
    return fail(ErrorCode::usage, "asking S3 takes an access key, a secret key and a region", location, "set all three");
  std::string url = account.endpoint.empty() ? "https://s3." + account.region + ".amazonaws.com" : account.endpoint;
  while (url.ends_with('/')) url.pop_back();
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    url += "/" + escaped(path.substr(at, end - at));
    at = end + 1;
  }
  SUANLI_ASSIGN_OR_RETURN(const auto checked, create(url, {}));
  return std::unique_ptr<HttpShards>(
      new HttpShards(checked->base_url_, std::string(kScheme) + path, std::move(options), account));
}

Status HttpShards::try_once(Try& attempt, const std::string& url) {
  CURL* const curl = attempt.curl;
  std::array<char, CURL_ERROR_SIZE> text{};
  curl_easy_reset(curl);  // keeps the connections
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text.data());
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_deadline.value() * 1e3));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(options_.silence.value())));
  if (!options_.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, options_.ca_file.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Try::on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &attempt);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Try::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &attempt);
  curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(attempt.arrived));
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(account_ ? s3_headers(*account_) : nullptr,
                                                                            &curl_slist_free_all);
  if (account_) {
    curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, ("aws:amz:" + account_->region + ":s3").c_str());
    curl_easy_setopt(curl, CURLOPT_USERNAME, account_->access_key.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, account_->secret_key.c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);  // a signature is for one address
  }

  const CURLcode result = curl_easy_perform(curl);
  long code = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
  const std::string reason = text[0] != '\0' ? text.data() : curl_easy_strerror(result);
  attempt.again = false;
  if (attempt.stop) return fail(ErrorCode::interrupted, "stopped on request while a shard was fetched", name_);
  if (attempt.too_much)
    return fail(ErrorCode::mismatch, "the server sends more than the " + std::to_string(attempt.to.size()) +
                                         " bytes that the dataset lists", url, "restore the shard on the server");
  if (result == CURLE_RANGE_ERROR && code < 300) {
    // The server sends from the beginning, whatever it is asked.
    attempt.arrived = 0;
    attempt.again = true;
    return fail(ErrorCode::protocol, "the server does not go on where it was interrupted", url, "fetch the shard another way");
  }
  if (code == 404 || code == 410)
    return fail(ErrorCode::not_found, "the server has no such file", url, "check the address, or ask another source");
  if (code == 401 || code == 403)
    return fail(ErrorCode::unauthorised, format("the server refuses the file (%ld)", code), url, "check who may read there");
  if (code >= 300) {
    attempt.again = code >= 500 || code == 408 || code == 429;
    return fail(ErrorCode::protocol, format("the server answers %ld", code), url, "look at the server, or ask another source");
  }
  // However the connection ended after the last byte.
  if (attempt.arrived == attempt.to.size() && (code == 200 || code == 206)) return {};
  if (result == CURLE_OK)
    return fail(ErrorCode::mismatch, "the server's file has " + std::to_string(attempt.arrived) + " bytes, the dataset lists " +
                                         std::to_string(attempt.to.size()), url, "restore the shard on the server");
  // A certificate that is not trusted does not become so.
  if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE)
    return fail(ErrorCode::unauthorised, "the server is not who it says: " + reason, url, "check its address and certificate");
  attempt.again = true;
  return fail(result == CURLE_OPERATION_TIMEDOUT ? ErrorCode::timed_out : ErrorCode::unreachable, reason, url,
              "check the address and the network, or ask another source");
}

Status HttpShards::fetch(const data::WantedShard& shard, std::span<std::byte> to, const std::atomic<bool>& stop) {
  SUANLI_CHECK(to.size() == shard.bytes);
  std::unique_ptr<Handle> handle;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      handle = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!handle) handle = std::make_unique<Handle>();
  const std::string url = base_url_ + "/" + escaped(shard.file), shown = name_ + "/" + escaped(shard.file);
  Try attempt{handle->curl, to, stop};
  Status status;
  Seconds pause = options_.first_pause;
  for (int tries = 1;; ++tries) {
    const std::size_t before = attempt.arrived;
    status = try_once(attempt, url);
    if (!status && status.error().place == url) status = tl::unexpected(Error{status.error().code, status.error().message, shown,
                                                                              status.error().next_step});
    if (status || !attempt.again || tries >= options_.tries) break;
    if (attempt.arrived > before) pause = options_.first_pause;  // it goes on, if slowly
    for (Seconds waited{0}; waited < pause && !stop; waited += kStopPause) real_clock().sleep_for(std::min(kStopPause, pause));
    pause = pause * 2.0;
  }
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(handle));
  return status;
}

}  // namespace suanli::pool
