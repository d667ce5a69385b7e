// Any bytes are an error or runs whose figures are finite.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/plan/csv.h"
#include "suanli/plan/published_figure.h"
#include "suanli/plan/published_runs.h"

using namespace suanli;
using namespace suanli::plan;

std::vector<std::string> suanli_fuzz_seeds() {
  const std::string base =
      "name,params,layers,hidden,heads,seq,vocab,tokens,gpus,gpu_type,peak_tflops,tp,pp,dp,global_batch,published_quantity,"
      "published_value,unit,source\n";
  return {base + "GPT 7B,6.7e9,32,4096,32,2048,51200,1e12,128,A100-80GB-SXM,312,4,1,32,512,mfu,45.5,%,\"A, arXiv:2104.04473\"\n",
          base + "\"MoE (37B active), FP8\",6.71e11,,,,,,1e12,,H800-80GB-SXM,,,,,,gpu_hours,2.6e6,h,x 2024\r\n"
                 "b,1e9,,,,131072,,,64,H100-96GB 500W,,2,2,4,64,tokens_per_s_per_gpu,9,,MaxText\n",
          "name,params,gpu_type,published_quantity,published_value,stack,recompute,flash,shard,micro_batch,precision,link_gbps,"
          "year\n"
          "c,1e12,own,days,3,fsdp,full,yes,3,4,fp8,200,2023.5\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const AcceleratorTable table = AcceleratorTable::built_in();
  const auto runs = parse_published_runs({reinterpret_cast<const char*>(data), size}, "fuzz.csv");
  if (!runs) {
    SUANLI_CHECK(runs.error().place.starts_with("fuzz.csv"));
    return 0;
  }
  for (const PublishedRun& run : *runs) {
    SUANLI_CHECK(run.value > 0 && run.parameters > 0);
    const auto facts = facts_of(run, table, "fuzz.csv");
    if (!facts) continue;
    const auto settled = settle(*facts);
    if (!settled) continue;
    const auto time = predict_step_time(settled->setup);
    if (!time) continue;
    SUANLI_CHECK(std::isfinite(time->step.value()) && time->step.value() > 0);
    if (!why_left_out(run).empty()) continue;
    const auto figure = figure_of(run, *settled, time->step.value());
    SUANLI_CHECK(!figure || std::isfinite(*figure));
  }
  return 0;
}
