// Any line is refused as `protocol` with its place, or is a request that comes back the same; any answer is read or refused.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/pool/control_requests.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  using namespace suanli::pool;
  const std::string line(reinterpret_cast<const char*>(data), size);
  if (const auto request = parse_request(line, "socket")) {
    const auto again = parse_request(print_request(*request), "again");
    SUANLI_CHECK(again.has_value() && *again == *request);
  } else {
    SUANLI_CHECK(request.error().code == ErrorCode::protocol && request.error().place == "socket");
  }
  if (const auto answer = parse_answer(line, "socket"); !answer)
    SUANLI_CHECK(print_answer(tl::unexpected(answer.error())).size() > 0);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::pool;
  std::vector<std::string> seeds;
  for (const Ask ask :
       {Ask::status, Ask::peers, Ask::links, Ask::events, Ask::jobs, Ask::job, Ask::token, Ask::revoke, Ask::submit, Ask::cancel})
    seeds.push_back(print_request({.ask = ask, .name = "job-1", .subject = "worker", .job_file = "[model]\n"}));
  seeds.push_back(print_answer(nlohmann::ordered_json{{"workers", 3}}));
  seeds.push_back(print_answer(suanli::fail(suanli::ErrorCode::not_found, "there is no such job", "job 'x'", "look")));
  return seeds;
}
