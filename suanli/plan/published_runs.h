// Runs that others have published: what they ran, and one figure of it (docs/formats/published-runs.md).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/plan/settle.h"

namespace suanli::plan {

// One row. Numbers that are not stated are 0; what may be 0 is optional.
struct PublishedRun {
  std::size_t line = 0;            // in its file
  std::string name, device, source;
  std::string quantity, unit;      // "mfu", "%"
  double value = 0;
  double parameters = 0, active_parameters = 0, layers = 0, width = 0, heads = 0, context = 0, vocab = 0;
  double tokens = 0, devices = 0, peak_tflops = 0, tensor = 0, pipeline = 0, data = 0, global_batch = 0;
  // Columns beyond those that every such file has.
  std::string group;               // rows of one publication, which are left out together; from `source` if there is no column
  double year = 0;
  std::optional<Stack> stack;
  std::optional<Recomputation> recomputation;
  std::optional<bool> sequence_parallel, flash;
  std::optional<int> shard;
  double micro_batch = 0, interleave = 0, context_parallel = 0, gather_group = 0, link_gbps = 0;
  std::string dtype;               // "" unknown
  bool counts_causal = false;      // the published figure counts half of the attention square
  std::string left_out;            // why the row says nothing about a planner; empty: it does
  std::string assumed, note;
};

// Errors: as parse_csv; config (place:line: a required column is missing, a number that is none, negative or not finite, an
// unknown word where one of a list is wanted).
Result<std::vector<PublishedRun>> parse_published_runs(std::string_view text, const std::string& place);

// data/published-runs.csv.
const std::vector<PublishedRun>& built_in_runs();

// Which publication a row is of: its arXiv number, else the repository or the first words.
std::string publication_of(std::string_view source);

// The row with what it does not state taken from the built-in row of the same name and publication, if there is one.
PublishedRun completed(PublishedRun run);

// What a row states and, where it has no column for it, what its own words do: "full recompute", "FP8", "ZeRO-3", the year.
// A device that is not in the table works if the row gives its peak. Error usage with place and nearest names else.
Result<SetupFacts> facts_of(const PublishedRun& run, const AcceleratorTable& table, const std::string& place);

}  // namespace suanli::plan
