// Any text is either refused with a place and a next step, or read as a job that prints and reads
// back the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/job.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::train;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto job = parse_job(text, "job.toml");
  if (!job) {
    SUANLI_CHECK(job.error().code == suanli::ErrorCode::config);
    SUANLI_CHECK(job.error().place.starts_with("job.toml") && !job.error().next_step.empty());
    return 0;
  }
  const auto again = parse_job(print_job(*job), "printed");
  SUANLI_CHECK(again && *again == *job);
  (void)check_job(*job, "job.toml");
  JobConfig changed = *job;
  (void)apply_override(changed, text.substr(0, 200));
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {suanli::train::print_job(suanli::train::JobConfig()),
          "[model]\nlayers = 2\n\n[data]\npath = 'a/b'\n\n[train]\nlr = 1e-3\nsteps = "
          "1_000\n\n[run]\ncap = \"50G\"\n",
          "[data]\nsources = [\"s3://bucket/data\", 'https://host/data']\n", "data.sources=a,b", "train.lr=3e-4"};
}
