#include "suanli/pool/control_views.h"

#include <utility>

#include "suanli/pool/control_requests.h"
#include "suanli/pool/owner_hours.h"

namespace suanli::pool {
namespace {

template <typename T>
ViewJson or_null(const std::optional<T>& value) {
  return value ? ViewJson(*value) : ViewJson(nullptr);
}

ViewJson time_or_null(Seconds wall) { return wall.value() > 0 ? ViewJson(wall.value()) : ViewJson(nullptr); }

std::string name_of_peer(const WorkerNames& names, const std::string& id) {
  const auto found = names.find(id);
  return found == names.end() ? id.substr(0, 12) : found->second;
}

}  // namespace

WorkerNames names_of(const std::vector<protocol::WorkerView>& workers) {
  WorkerNames names;
  for (const protocol::WorkerView& worker : workers) names[worker.peer] = worker.hello.name;
  return names;
}

ViewJson view_of(const protocol::WorkerView& worker) {
  const protocol::Hello& hello = worker.hello;
  ViewJson view = {{"worker", hello.name},
                   {"id", worker.peer},
                   {"member", worker.member},
                   {"listen", or_null(hello.listen)},
                   {"place", hello.place}};
  view["cores"] = hello.cores;
  view["memory_bytes"] = hello.memory.value();
  view["f32_flops_per_s"] = hello.rates.f32.value();
  view["bf16_flops_per_s"] = hello.rates.bf16.value();
  view["exact_flops_per_s"] = hello.rates.exact.value();
  view["share"] = hello.share;
  view["cap_flops_per_s"] = hello.cap ? ViewJson(hello.cap->value()) : ViewJson(nullptr);
  view["hours"] = hello.hours ? ViewJson(clock_text(hello.hours->from) + "-" + clock_text(hello.hours->to)) : ViewJson(nullptr);
  view["version"] = hello.version;
  view["joined_seconds_ago"] = worker.joined_ago.value();
  view["heard_seconds_ago"] = worker.heard_ago.value();
  view["job"] = or_null(worker.job);
  view["stages"] = worker.stages;
  return view;
}

ViewJson view_of(const protocol::LineFacts& line, const WorkerNames& names, Seconds now) {
  return {{"from", name_of_peer(names, line.from)},
          {"to", name_of_peer(names, line.to)},
          {"from_id", line.from},
          {"to_id", line.to},
          {"delay_seconds", line.delay.value()},
          {"bytes_per_s", line.rate.value() > 0 ? ViewJson(line.rate.value()) : ViewJson(nullptr)},
          {"measured_by", name_of_peer(names, line.measured_by)},
          {"measured_seconds_ago", (now - line.measured_at).value()}};
}

ViewJson view_of(const EventLog::Entry& entry) {
  return {{"number", entry.number},         {"time", entry.event.wall.value()}, {"reason", name_of(entry.event.reason)},
          {"subject", entry.event.subject}, {"message", entry.event.sentence},  {"next_step", entry.event.next_step}};
}

ViewJson view_of(const protocol::JobView& job, const std::optional<JobRecord>& record, const WorkerNames& names) {
  ViewJson view = {{"job", job.id}, {"run", record ? record->run : job.name}, {"state", name_of(job.state)}};
  view["step"] = job.committed_step;
  view["steps"] = job.last_step;
  view["first_step"] = job.begin_step;
  view["saved_step"] = or_null(job.saved_step);
  const bool has_step = job.last.has_value();
  view["loss"] = has_step ? or_null(job.last->loss) : ViewJson(nullptr);
  view["grad_norm"] = has_step ? or_null(job.last->grad_norm) : ViewJson(nullptr);
  view["step_seconds"] = has_step ? ViewJson(job.last->seconds.value()) : ViewJson(nullptr);
  view["tokens_per_s"] = has_step && job.last->tokens && job.last->seconds.value() > 0
                             ? ViewJson(static_cast<double>(job.last->tokens->value()) / job.last->seconds.value())
                             : ViewJson(nullptr);
  view["epoch"] = job.epoch;
  view["placement"] = job.placement;
  view["workers"] = ViewJson::array();
  for (const std::string& id : job.workers) view["workers"].push_back(name_of_peer(names, id));
  view["waits_for"] = job.waits_for;
  view["submitted"] = time_or_null(job.submitted);
  view["started"] = time_or_null(job.started);
  view["ended"] = time_or_null(job.ended);
  view["error"] = job.error ? json_of(*job.error) : ViewJson(nullptr);
  view["closed"] = record && record->is_closed;
  view["report"] = record && record->report ? view_of(*record->report) : ViewJson(nullptr);
  return view;
}

ViewJson view_of(const train::TrainReport& report) {
  ViewJson view = {
      {"outcome", name_of(report.outcome)}, {"run", report.run_folder}, {"step", report.step}, {"steps", report.steps}};
  view["loss"] = or_null(report.loss);
  view["valid_loss"] = or_null(report.valid_loss);
  view["best_valid_loss"] = or_null(report.best_valid_loss);
  view["flops"] = report.usage.work.total.value();
  view["tokens"] = report.usage.tokens.value();
  view["seconds"] = ViewJson::object();
  for (const meter::Cause cause : meter::kCauses) view["seconds"][std::string(name_of(cause))] = report.usage.of(cause).value();
  view["session_steps"] = report.session_steps;
  view["session_seconds"] = report.session_seconds.value();
  return view;
}

train::TrainReport report_of(const nlohmann::json& view) {
  const auto optional = [&](const char* key) {
    const auto& value = view.at(key);
    return value.is_null() ? std::optional<double>() : std::optional(value.get<double>());
  };
  train::TrainReport report;
  report.outcome =
      view.at("outcome") == name_of(train::Outcome::finished) ? train::Outcome::finished : train::Outcome::interrupted;
  report.run_folder = view.at("run").get<std::string>();
  report.step = view.at("step").get<std::int64_t>();
  report.steps = view.at("steps").get<std::int64_t>();
  report.loss = optional("loss");
  report.valid_loss = optional("valid_loss");
  report.best_valid_loss = optional("best_valid_loss");
  report.usage.work.total = Flops(view.at("flops").get<double>());
  report.usage.tokens = Tokens(view.at("tokens").get<std::int64_t>());
  for (const auto& [name, seconds] : view.at("seconds").items())
    if (const auto cause = meter::cause_from_name(name)) report.usage.of(*cause) = Seconds(seconds.get<double>());
  report.session_steps = view.at("session_steps").get<std::int64_t>();
  report.session_seconds = Seconds(view.at("session_seconds").get<double>());
  return report;
}

}  // namespace suanli::pool
