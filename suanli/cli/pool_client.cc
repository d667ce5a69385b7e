#include "suanli/cli/pool_client.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "suanli/base/text.h"
#include "suanli/cli/json_records.h"
#include "suanli/cli/table.h"

namespace suanli::cli {
namespace {

std::string text_of(const Answer& object, const char* key) { return printable(object.at(key).get<std::string>(), 300); }
double number_of(const Answer& object, const char* key) { return object.at(key).get<double>(); }
std::int64_t count_of(const Answer& object, const char* key) { return object.at(key).get<std::int64_t>(); }
bool has(const Answer& object, const char* key) { return !object.at(key).is_null(); }

std::string flops_text(const Answer& object, const char* key) { return format_si(number_of(object, key), "FLOP/s"); }
std::string memory_of(const Answer& object) { return format_bytes(Bytes(count_of(object, "memory_bytes"))); }

std::string step_of(const Answer& job) {
  return std::to_string(count_of(job, "step")) + "/" + std::to_string(count_of(job, "steps"));
}

std::string joined(const Answer& list) {
  std::string text;
  for (const Answer& each : list)
    text += (text.empty() ? "" : ", ") + (each.is_string() ? printable(each.get<std::string>()) : each.dump());
  return text;
}

std::string lines_of(std::initializer_list<std::pair<std::string, std::string>> rows) {
  Table table({{"", Align::left}, {"", Align::left}});
  for (const auto& [name, value] : rows)
    if (!value.empty()) table.add_row({name, value});
  return table.to_string();
}

}  // namespace

Result<pool::ControlClient> client_of(const std::string& pool) {
  SUANLI_ASSIGN_OR_RETURN(const std::string folder, pool::find_pool(pool));
  return pool::ControlClient::connect(pool::PoolPaths{folder}.socket());
}

Json in_order(std::string_view record, const Answer& view) {
  Json object;
  for (const JsonField& field : json_fields())
    if (field.record == record) object[std::string(field.name)] = Json(view.at(std::string(field.name)));
  return object;
}

std::string span_text(double seconds) {
  // Parts of a second would change with every look.
  const double whole = std::floor(std::max(seconds, 0.0));
  return whole < 60 ? format("%.0f s", whole) : format_duration(Seconds(whole));
}

std::string ago_text(double seconds) { return span_text(seconds) + " ago"; }

std::string time_text(double wall) {
  const auto time = static_cast<std::time_t>(wall);
  std::tm parts{};
  localtime_r(&time, &parts);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%H:%M:%S", &parts)};
}

std::string rate_text(double bytes_per_second) { return format_si(bytes_per_second, "B/s"); }

std::string event_text(const Answer& event) {
  const std::string next = text_of(event, "next_step"), subject = text_of(event, "subject"), message = text_of(event, "message");
  const bool names_it = message.find(subject) != std::string::npos;
  return time_text(number_of(event, "time")) + "  " + (names_it ? "" : subject + ": ") + message +
         (next.empty() ? "" : "; " + next);
}

std::string status_text(const Answer& status, const Answer& jobs) {
  const std::int64_t workers = count_of(status, "workers");
  std::string text = "pool " + text_of(status, "pool") + " at " + text_of(status, "address") + ", up " +
                     span_text(number_of(status, "up_seconds")) + "\n";
  text +=
      std::to_string(workers) + (workers == 1 ? " worker, " : " workers, ") + std::to_string(count_of(status, "idle")) + " idle";
  if (workers > 0)
    text += ": " + std::to_string(count_of(status, "cores")) + " cores, " + memory_of(status) + ", " +
            flops_text(status, "f32_flops_per_s") + " in f32";
  text += "\n";
  return text +
         (jobs.empty() ? "no job yet; try: suanli train JOB --on " + text_of(status, "pool") + "\n" : "\n" + jobs_text(jobs));
}

std::string peers_text(const Answer& peers) {
  if (peers.empty()) return "no worker is connected; start one with: suanli worker --join TOKEN\n";
  Table table({{"worker", Align::left},
               {"id", Align::left},
               {"cores", Align::right},
               {"memory", Align::right},
               {"f32", Align::right},
               {"dialled at", Align::left},
               {"joined", Align::right},
               {"heard", Align::right},
               {"job", Align::left}});
  for (const Answer& each : peers) {
    std::string job = "idle";
    if (has(each, "job")) job = text_of(each, "job") + (each.at("stages").empty() ? "" : ", stage " + joined(each.at("stages")));
    table.add_row({text_of(each, "worker"), text_of(each, "id").substr(0, 12), std::to_string(count_of(each, "cores")),
                   memory_of(each), flops_text(each, "f32_flops_per_s"), has(each, "listen") ? text_of(each, "listen") : "-",
                   ago_text(number_of(each, "joined_seconds_ago")), ago_text(number_of(each, "heard_seconds_ago")), job});
  }
  return table.to_string();
}

std::string links_text(const Answer& links) {
  if (links.empty()) return "no line has been measured yet; workers measure theirs every few seconds\n";
  Table table({{"from", Align::left},
               {"to", Align::left},
               {"delay", Align::right},
               {"rate", Align::right},
               {"measured", Align::right},
               {"by", Align::left}});
  for (const Answer& each : links)
    table.add_row({text_of(each, "from"), text_of(each, "to"), format("%.2f ms", 1e3 * number_of(each, "delay_seconds")),
                   has(each, "bytes_per_s") ? rate_text(number_of(each, "bytes_per_s")) : "-",
                   ago_text(number_of(each, "measured_seconds_ago")), text_of(each, "measured_by")});
  return table.to_string();
}

std::string jobs_text(const Answer& jobs) {
  if (jobs.empty()) return "no job yet\n";
  Table table({{"job", Align::left},
               {"state", Align::left},
               {"step", Align::right},
               {"loss", Align::right},
               {"rate", Align::right},
               {"submitted", Align::left},
               {"run folder", Align::left}});
  for (const Answer& each : jobs)
    table.add_row({text_of(each, "job"), text_of(each, "state"), step_of(each),
                   has(each, "loss") ? format("%.3f", number_of(each, "loss")) : "-",
                   has(each, "tokens_per_s") ? format_si(number_of(each, "tokens_per_s"), "tok/s") : "-",
                   time_text(number_of(each, "submitted")), text_of(each, "run")});
  return table.to_string();
}

std::string job_text(const Answer& job) {
  std::string error, kept;
  if (has(job, "error")) {
    const Answer& told = job.at("error");
    error = text_of(told, "message") + " [" + text_of(told, "code") + "]" +
            (text_of(told, "next_step").empty() ? "" : "; " + text_of(told, "next_step"));
  }
  if (has(job, "saved_step")) kept = "the state after step " + std::to_string(count_of(job, "saved_step"));
  const auto time = [&](const char* key) { return has(job, key) ? time_text(number_of(job, key)) : std::string(); };
  return lines_of({{"job", text_of(job, "job")},
                   {"state", text_of(job, "state")},
                   {"why", error},
                   {"step", step_of(job)},
                   {"loss", has(job, "loss") ? format("%.4f", number_of(job, "loss")) : ""},
                   {"a step takes", has(job, "step_seconds") ? format_duration(Seconds(number_of(job, "step_seconds"))) : ""},
                   {"rate", has(job, "tokens_per_s") ? format_si(number_of(job, "tokens_per_s"), "tok/s") : ""},
                   {"placement", text_of(job, "placement")},
                   {"workers", joined(job.at("workers"))},
                   {"waits for", text_of(job, "waits_for")},
                   {"saved", kept},
                   {"submitted", time("submitted")},
                   {"started", time("started")},
                   {"ended", time("ended")},
                   {"run folder", text_of(job, "run")}});
}

std::string worker_text(const Answer& worker) {
  return lines_of({{"worker", text_of(worker, "worker")},
                   {"id", text_of(worker, "id")},
                   {"place", text_of(worker, "place")},
                   {"dialled at", has(worker, "listen") ? text_of(worker, "listen") : "nowhere: it dials out only"},
                   {"lends", std::to_string(count_of(worker, "cores")) + " cores, " + memory_of(worker) +
                                 format(", %.0f %% of the machine", 100 * number_of(worker, "share"))},
                   {"measured", flops_text(worker, "f32_flops_per_s") + " in f32, " + flops_text(worker, "bf16_flops_per_s") +
                                    " in bf16, " + flops_text(worker, "exact_flops_per_s") + " in exact"},
                   {"rate cap", has(worker, "cap_flops_per_s") ? flops_text(worker, "cap_flops_per_s") : ""},
                   {"hours", has(worker, "hours") ? text_of(worker, "hours") : ""},
                   {"version", text_of(worker, "version")},
                   {"joined", ago_text(number_of(worker, "joined_seconds_ago"))},
                   {"heard", ago_text(number_of(worker, "heard_seconds_ago"))},
                   {"job", has(worker, "job") ? text_of(worker, "job") + ", stage " + joined(worker.at("stages")) : "idle"}});
}

}  // namespace suanli::cli
