// The file plan.json (docs/formats/run-folder.md).
#include <cmath>
#include <nlohmann/json.hpp>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/model/strict_json.h"
#include "suanli/train/run_plan.h"

namespace suanli::train {
namespace {

using json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "suanli-run-plan";
constexpr Bytes kMostBytes{1 << 20};
constexpr double kMostSeconds = 1e12, kMostFlops = 1e30, kMostCount = 9e15;

json interval_json(const plan::Interval& interval) {
  return {{"low", interval.low}, {"expected", interval.expected}, {"high", interval.high}};
}

// Reads fields of one object; the first that is missing or wrong is remembered, and later ones read as defaults.
class Reader {
 public:
  Reader(const nlohmann::json& object, const std::string& place) : object_(object), place_(place) {}

  double number(const char* key, double most) { return number_in(object_, key, key, most); }
  plan::Interval interval(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end() || !found->is_object()) {
      wrong(key, found == object_.end() ? "missing" : printable(found->dump(), 60));
      return {};
    }
    const plan::Interval interval{number_in(*found, "low", key, kMostSeconds), number_in(*found, "expected", key, kMostSeconds),
                                  number_in(*found, "high", key, kMostSeconds)};
    if (!(interval.low <= interval.expected && interval.expected <= interval.high)) wrong(key, "not in order");
    return interval;
  }
  std::string text(const char* key) {
    const auto found = object_.find(key);
    if (found != object_.end() && found->is_string()) return found->get<std::string>();
    wrong(key, found == object_.end() ? "missing" : printable(found->dump(), 60));
    return "";
  }
  std::vector<std::string> texts(const char* key) {
    std::vector<std::string> values;
    const auto found = object_.find(key);
    bool is_good = found != object_.end() && found->is_array();
    if (is_good)
      for (const auto& value : *found) {
        is_good = is_good && value.is_string();
        if (is_good) values.push_back(value.get<std::string>());
      }
    if (!is_good) wrong(key, found == object_.end() ? "missing" : printable(found->dump(), 60));
    return values;
  }
  const Status& status() const { return status_; }

 private:
  double number_in(const nlohmann::json& object, const char* key, const char* name, double most) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number()) {
      const double value = found->get<double>();
      if (value >= 0 && value <= most) return value;
    }
    wrong(name, found == object.end() ? std::string("missing '") + key + "'" : printable(found->dump(), 60));
    return 0;
  }
  void wrong(const char* key, const std::string& value) {
    if (!status_) return;
    status_ = fail(ErrorCode::corrupt, "'" + std::string(key) + "' of the plan is " + value, place_,
                   "remove the file: the plan is then made anew");
  }

  const nlohmann::json& object_;
  const std::string& place_;
  Status status_;
};

}  // namespace

std::string print_run_plan(const RunPlan& plan) {
  const json document = {{"format", kFormat},
                         {"version", kRunPlanVersion},
                         {"made", plan.made},
                         {"profile_machine", plan.profile_machine},
                         {"profile_time", plan.profile_time},
                         {"threads", plan.threads},
                         {"dtype", plan.dtype},
                         {"step_seconds", interval_json(plan.step)},
                         {"evaluation_seconds", interval_json(plan.evaluation)},
                         {"sample_seconds", interval_json(plan.sample)},
                         {"snapshot_copy_seconds", interval_json(plan.snapshot.copy)},
                         {"snapshot_stall_seconds", interval_json(plan.snapshot.stall)},
                         {"snapshot_write_seconds", interval_json(plan.snapshot.write)},
                         {"step_flops", plan.step_flops.value()},
                         {"evaluation_flops", plan.evaluation_flops.value()},
                         {"sample_flops", plan.sample_flops.value()},
                         {"evaluation_batches", plan.evaluation_batches},
                         {"memory_bytes", plan.memory.value()},
                         {"unmeasured", plan.unmeasured}};
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<RunPlan> parse_run_plan(std::string_view text, const std::string& place) {
  if (text.empty())
    return fail(ErrorCode::empty, "the file is empty", place, "remove the file: the plan is then made anew");
  SUANLI_ASSIGN_OR_RETURN(const nlohmann::json document, model::parse_strict_json(text, place, 8));
  if (!document.is_object() || document.value("format", nlohmann::json()) != kFormat)
    return fail(ErrorCode::foreign, "not the plan of a run: 'format' is not '" + std::string(kFormat) + "'", place,
                "remove the file: the plan is then made anew");
  Reader reader(document, place);
  const double version = reader.number("version", kMostCount);
  SUANLI_RETURN_IF_ERROR(reader.status());
  if (version != kRunPlanVersion)
    return fail(ErrorCode::version,
                "the plan has format version " + format("%.17g", version) + " but this build knows only version " +
                    std::to_string(kRunPlanVersion),
                place, "use the suanli that wrote it, or remove the file");
  RunPlan plan;
  plan.made = reader.text("made");
  plan.profile_machine = reader.text("profile_machine");
  plan.profile_time = reader.text("profile_time");
  plan.threads = static_cast<int>(reader.number("threads", 1 << 20));
  plan.dtype = reader.text("dtype");
  plan.step = reader.interval("step_seconds");
  plan.evaluation = reader.interval("evaluation_seconds");
  plan.sample = reader.interval("sample_seconds");
  plan.snapshot.copy = reader.interval("snapshot_copy_seconds");
  plan.snapshot.stall = reader.interval("snapshot_stall_seconds");
  plan.snapshot.write = reader.interval("snapshot_write_seconds");
  plan.step_flops = Flops(reader.number("step_flops", kMostFlops));
  plan.evaluation_flops = Flops(reader.number("evaluation_flops", kMostFlops));
  plan.sample_flops = Flops(reader.number("sample_flops", kMostFlops));
  plan.evaluation_batches = static_cast<std::int64_t>(reader.number("evaluation_batches", kMostCount));
  plan.memory = Bytes(static_cast<std::int64_t>(reader.number("memory_bytes", kMostCount)));
  plan.unmeasured = reader.texts("unmeasured");
  SUANLI_RETURN_IF_ERROR(reader.status());
  return plan;
}

Result<RunPlan> load_run_plan(const std::string& path) {
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMostBytes));
  return parse_run_plan(text, path);
}

}  // namespace suanli::train
