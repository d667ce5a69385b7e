#include "suanli/train/run_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "suanli/base/file.h"
#include "suanli/train/metric_fields.h"
#include "suanli/train/run_folder.h"

namespace suanli::train {
namespace {

using json = nlohmann::json;

constexpr Bytes kMostMetrics{std::int64_t{1} << 34};
constexpr std::size_t kMostText = 64;  // of a name: longer ones are no names

std::string text_in(const json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_string()) return "";
  return found->get<std::string>().substr(0, kMostText);
}

WorkByPart parse_work(const json& object) {
  WorkByPart parts;
  for (const meter::Part part : meter::kParts) {
    const json* one = object_in(object, std::string(name_of(part)).c_str());
    if (!one) continue;
    meter::Work& work = parts[static_cast<std::size_t>(part)];
    work.moved = Bytes(count_in(*one, "bytes").value_or(0));
    const json* by_op = object_in(*one, "flops_by_op");
    if (!by_op) continue;
    for (const auto& [op, unused] : by_op->items()) {
      const Flops flops(amount_in(*by_op, op.c_str()).value_or(0));
      if (op.size() > kMostText || flops.value() == 0) continue;
      work.by_op[op] = flops;
      work.total += flops;
    }
  }
  return parts;
}

SessionRecord parse_session(const json& line, std::int64_t step) {
  SessionRecord session;
  session.first_step = step;
  session.steps = count_in(line, "steps").value_or(0);
  session.parameters = count_in(line, "parameters").value_or(0);
  session.step_flops = Flops(amount_in(line, "step_flops").value_or(0));
  session.step_tokens = Tokens(count_in(line, "step_tokens").value_or(0));
  session.dtype = text_in(line, "dtype");
  session.threads = static_cast<int>(std::min<std::int64_t>(count_in(line, "threads").value_or(0), 1 << 20));
  session.memory = Bytes(count_in(line, "memory_bytes").value_or(0));
  session.peak = FlopsPerSecond(amount_in(line, "peak_flops_per_s").value_or(0));
  session.mfu_base = text_in(line, "mfu_base");
  session.setup = Seconds(amount_in(line, "setup_seconds").value_or(0));
  session.resident_before = Bytes(count_in(line, "rss_before_bytes").value_or(0));
  if (const json* work = object_in(line, "work")) session.work = parse_work(*work);
  return session;
}

// A line that goes back is of a session that began again at an earlier step: what stands after it is stale.
template <typename Record>
void append(std::vector<Record>& records, Record record) {
  while (!records.empty() && records.back().step >= record.step) records.pop_back();
  records.push_back(std::move(record));
}

// False: not a line of metrics.
bool take(RunRecords& records, const json& line) {
  if (!line.is_object()) return false;
  const std::string kind = text_in(line, "kind");
  const auto step = count_in(line, "step");
  if (kind.empty() || !step) return false;
  if (kind == "start") {
    records.sessions.push_back(parse_session(line, *step));
  } else if (kind == "step") {
    StepTimeRecord record;
    record.step = *step;
    record.loss = number_in(line, "loss");
    record.grad_norm = number_in(line, "grad_norm");
    record.tokens = Tokens(count_in(line, "tokens").value_or(0));
    record.seconds = Seconds(amount_in(line, "seconds").value_or(0));
    record.flops_total = Flops(amount_in(line, "flops_total").value_or(0));
    if (const json* totals = object_in(line, "totals"))
      record.joules_total = Joules(amount_in(*totals, "joules").value_or(0));
    append(records.steps, record);
  } else if (kind == "eval") {
    if (const auto loss = number_in(line, "valid_loss")) append(records.evals, ValidLossRecord{*step, *loss});
  } else if (kind == "digest") {
    const auto root = Digest::from_hex(text_in(line, "root"));
    if (!root) return false;
    append(records.digests, DigestRecord{*step, *root});
  } else if (kind == "warning") {
    ++records.warnings;
  } else if (kind == "end" && !records.sessions.empty()) {
    records.sessions.back().outcome = text_in(line, "outcome");
  }
  if (const auto spent = spent_in(line); spent && spent->flops_total >= records.spent.flops_total)
    records.spent = *spent;
  return true;
}

}  // namespace

std::int64_t RunRecords::last_step() const {
  std::int64_t step = steps.empty() ? 0 : steps.back().step;
  for (const SessionRecord& session : sessions) step = std::max(step, session.first_step);
  return step;
}

const WorkByPart* RunRecords::work() const {
  for (auto session = sessions.rbegin(); session != sessions.rend(); ++session)
    if (session->work) return &*session->work;
  return nullptr;
}

Result<RunRecords> parse_run_records(std::string_view text, const std::string& place) {
  RunRecords records;
  std::int64_t good = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (take(records, json::parse(line, nullptr, /*allow_exceptions=*/false)))
      ++good;
    else
      ++records.damaged;
  }
  if (good > 0) return records;
  if (records.damaged > 0)
    return fail(ErrorCode::foreign, "no line of the file is a metric", place, "name the folder of a run");
  return fail(ErrorCode::empty, "the run has no metrics yet", place, "train at least one step");
}

Result<RunRecords> read_run_records(const std::string& run_folder) {
  const std::string path = RunPaths{run_folder}.metrics();
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, kMostMetrics));
  return parse_run_records(text, path);
}

WorkByOp work_by_op(const RunRecords& records) {
  WorkByOp result;
  Flops named;
  if (const WorkByPart* work = records.work(); work && records.spent.has_totals) {
    for (std::size_t part = 0; part < work->size(); ++part) {
      const auto runs = static_cast<double>(records.spent.totals.runs[part]);
      for (const auto& [op, flops] : (*work)[part].by_op) {
        if (runs == 0) continue;
        result.by_op[op] += flops * runs;
        named += flops * runs;
      }
    }
  }
  const Flops rest = records.spent.flops_total - named;
  if (rest > records.spent.flops_total * 1e-9) result.unnamed = rest;
  return result;
}

}  // namespace suanli::train
