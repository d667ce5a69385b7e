// What is asked of a running coordinator on its own machine, and what it answers: one line of JSON each
// (docs/protocols/pool-control-socket.md).
//
//   {"request":"job","name":"job-3"}      {"answer":{...}}   or   {"error":{"code":..,"message":..,"place":..,"next_step":..}}
//
// The shape of an answer belongs to its request (control_views.h).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::pool {

inline constexpr std::size_t kMostControlLine = std::size_t{16} << 20;  // bytes, without the newline

enum class Ask { status, peers, links, events, jobs, job, token, revoke, submit, cancel };
std::string_view name_of(Ask ask);

// Fields that a request has no use for keep their defaults and do not travel.
struct ControlRequest {
  Ask ask = Ask::status;
  std::string name{};         // job, cancel: the job's id. revoke: a token's id, a worker's name, or the start of its id
  std::int64_t after = 0;     // events: those of larger numbers
  std::string subject{};      // events: of this job or worker; empty: of all
  Seconds lifetime{86'400};   // token
  std::int64_t uses = 1'000;  // token: machines that may join by it
  std::string job_file{};     // submit: TOML, with absolute paths
  bool resume = false;        // submit: go on with the run in the job's folder
  bool operator==(const ControlRequest&) const = default;
};

std::string print_request(const ControlRequest& request);
// Errors (protocol) name the field: bad JSON, an unknown request, a key that is missing or not of the request, a value of another
// type or beyond its limits.
Result<ControlRequest> parse_request(std::string_view line, const std::string& place);

std::string print_answer(const Result<nlohmann::ordered_json>& answer);
// The answer, or the error that it tells. Error protocol if it is neither.
Result<nlohmann::json> parse_answer(std::string_view line, const std::string& place);

// As an object: code, message, place, next_step.
nlohmann::ordered_json json_of(const Error& error);
// Throws nlohmann::json::exception where the object is none of an error; an unknown code becomes `protocol`.
Error error_of(const nlohmann::json& object);

}  // namespace suanli::pool
