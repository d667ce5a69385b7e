// What a coordinator answers on its socket, as JSON (docs/protocols/pool-control-socket.md). Fields are named as in the records
// of docs/reference/cli-json.md. Times of day are seconds since 1970, null if it has not come to that; rates are per second.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "suanli/pool/event_log.h"
#include "suanli/pool/hosted_jobs.h"
#include "suanli/protocol/coordinator.h"
#include "suanli/train/trainer.h"

namespace suanli::pool {

using ViewJson = nlohmann::ordered_json;
// Names of connected workers by their ids; for others the start of the id serves.
using WorkerNames = std::map<std::string, std::string>;

WorkerNames names_of(const std::vector<protocol::WorkerView>& workers);
ViewJson view_of(const protocol::WorkerView& worker);
// `now` is of the coordinator's monotonic clock.
ViewJson view_of(const protocol::LineFacts& line, const WorkerNames& names, Seconds now);
ViewJson view_of(const EventLog::Entry& entry);
ViewJson view_of(const protocol::JobView& job, const std::optional<JobRecord>& record, const WorkerNames& names);

ViewJson view_of(const train::TrainReport& report);
// Throws nlohmann::json::exception where a field is missing or of another type.
train::TrainReport report_of(const nlohmann::json& view);

}  // namespace suanli::pool
