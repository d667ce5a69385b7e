#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/run_records.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::train;
  const auto records = parse_run_records({reinterpret_cast<const char*>(data), size}, "metrics.jsonl");
  if (!records) {
    SUANLI_CHECK(records.error().place == "metrics.jsonl");
    return 0;
  }
  for (std::size_t i = 1; i < records->steps.size(); ++i)
    SUANLI_CHECK(records->steps[i - 1].step < records->steps[i].step);
  for (std::size_t i = 1; i < records->evals.size(); ++i)
    SUANLI_CHECK(records->evals[i - 1].step < records->evals[i].step);
  for (std::size_t i = 1; i < records->digests.size(); ++i)
    SUANLI_CHECK(records->digests[i - 1].step < records->digests[i].step);
  SUANLI_CHECK(std::isfinite(records->spent.totals.total_seconds().value()));
  const WorkByOp work = work_by_op(*records);
  SUANLI_CHECK(std::isfinite(work.unnamed.value()));
  for (const auto& [op, flops] : work.by_op) SUANLI_CHECK(std::isfinite(flops.value()) && flops.value() >= 0);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli;
  using namespace suanli::train;
  StartInfo start;
  start.steps = 3;
  start.work[0] = {Flops(5), {{"matmul", Flops(5)}}, Bytes(64)};
  StepRecord step;
  step.step = 1;
  step.flops_total = Flops(5);
  step.totals.runs_of(meter::Part::forward) = 1;
  EvalRecord eval;
  eval.step = 1;
  eval.loss = 4.5;
  return {metrics_line(start) + "\n" + metrics_line(step) + "\n" + metrics_line(eval) + "\n" +
              metrics_line(DigestRecord{1, sha256("")}) + "\n" + end_line(1, "finished", step) + "\n",
          R"({"kind":"start","step":0,"steps":3,"step_flops":1e3}
{"kind":"step","step":1,"loss":5.5,"flops_total":1000,"seconds":0.5,"tokens":64}
{"kind":"step","step":2,"loss":4.25,"flops_total":2000,"seconds":0.5,"tokens":64}
{"kind":"eval","step":2,"valid_loss":4.5}
)"};
}
