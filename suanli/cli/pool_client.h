// How commands speak to a pool of this machine, and how they say what it answers.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "suanli/cli/output.h"
#include "suanli/pool/control_client.h"
#include "suanli/pool/pool_folder.h"

namespace suanli::cli {

using Answer = nlohmann::json;

// To the pool's coordinator; with an empty name, to that of the one pool on this machine. Errors: as of pool::find_pool and
// ControlClient::connect (unreachable: no coordinator runs).
Result<pool::ControlClient> client_of(const std::string& pool);

// The fields of an answer that belong to the record, in its order. Throws nlohmann::json::exception where one is missing.
Json in_order(std::string_view record, const Answer& view);

// Runs `work`, a function without arguments whose result is a Result; an answer that lacks something is an error (protocol):
// the coordinator is of another version.
template <typename Work>
auto with_answers(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::protocol, "the coordinator's answer is not as expected: " + std::string(error.what()), "pool",
                "run the coordinator and the command from the same version of suanli");
  }
}

// "3 s", "2 min 05 s"; and the same with " ago".
std::string span_text(double seconds);
std::string ago_text(double seconds);
// "14:03:21", of a time since 1970, by this machine's clock and zone.
std::string time_text(double wall);
// "12.5 MB/s".
std::string rate_text(double bytes_per_second);
// "14:03:21  job 'job-3' waits for 1 workers; there are 0; next step".
std::string event_text(const Answer& event);

// Tables and paragraphs for people.
std::string status_text(const Answer& status, const Answer& jobs);
std::string peers_text(const Answer& peers);
std::string links_text(const Answer& links);
std::string jobs_text(const Answer& jobs);
std::string job_text(const Answer& job);
std::string worker_text(const Answer& worker);

}  // namespace suanli::cli
