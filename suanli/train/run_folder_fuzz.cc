// The files of a run folder that are parsed on resume: run.json, a snapshot's meta data,
// metrics.jsonl.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/metrics.h"
#include "suanli/train/run_folder.h"
#include "suanli/train/snapshots.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::train;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto info = parse_run_info(text, "run.json")) {
    const auto again = parse_run_info(print_run_info(*info), "run.json");
    SUANLI_CHECK(again && *again == *info);
  } else {
    SUANLI_CHECK(info.error().place.starts_with("run.json"));
  }
  if (const auto meta = parse_meta(text, "meta")) {
    SUANLI_CHECK(parse_meta(print_meta(*meta), "meta"));
  } else {
    SUANLI_CHECK(meta.error().place.starts_with("meta"));
  }
  const std::string kept = read_lines(text, 5).kept;
  SUANLI_CHECK(kept.size() <= text.size() && read_lines(kept, 5).kept == kept);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::train;
  RunInfo info;
  info.tokenizer = "bytes";
  info.started = utc_now();
  SnapshotMeta meta;
  meta.valid_loss = 1.5;
  meta.usage.work.by_op["matmul"] = suanli::Flops(5);
  StepRecord record;
  record.step = 5;
  return {print_run_info(info), print_meta(meta),
          metrics_line(record) + "\n" + end_line(6, "finished", record) + "\n"};
}
