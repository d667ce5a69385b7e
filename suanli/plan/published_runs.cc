#include "suanli/plan/published_runs.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "suanli/base/text.h"
#include "suanli/plan/csv.h"
#include "suanli/plan/data_files.h"

namespace suanli::plan {
namespace {

constexpr const char* kRequired[] = {"name", "params", "gpu_type", "published_quantity", "published_value"};

// Numbers by column. Counts are whole and at most a million million, so that they fit where they go.
struct NumberColumn {
  const char* name;
  double PublishedRun::*member;
  bool is_count;
};
constexpr NumberColumn kNumbers[] = {
    {"params", &PublishedRun::parameters, false},
    {"active_params", &PublishedRun::active_parameters, false},
    {"layers", &PublishedRun::layers, true},
    {"hidden", &PublishedRun::width, true},
    {"heads", &PublishedRun::heads, true},
    {"seq", &PublishedRun::context, true},
    {"vocab", &PublishedRun::vocab, true},
    {"tokens", &PublishedRun::tokens, false},
    {"gpus", &PublishedRun::devices, true},
    {"peak_tflops", &PublishedRun::peak_tflops, false},
    {"tp", &PublishedRun::tensor, true},
    {"pp", &PublishedRun::pipeline, true},
    {"dp", &PublishedRun::data, true},
    {"global_batch", &PublishedRun::global_batch, false},
    {"micro_batch", &PublishedRun::micro_batch, true},
    {"interleave", &PublishedRun::interleave, true},
    {"context_parallel", &PublishedRun::context_parallel, true},
    {"shard_group", &PublishedRun::gather_group, true},
    {"link_gbps", &PublishedRun::link_gbps, false},
    {"year", &PublishedRun::year, false},
    {"published_value", &PublishedRun::value, false},
};

struct TextColumn {
  const char* name;
  std::string PublishedRun::*member;
};
constexpr TextColumn kTexts[] = {
    {"name", &PublishedRun::name},       {"gpu_type", &PublishedRun::device},  {"source", &PublishedRun::source},
    {"unit", &PublishedRun::unit},       {"published_quantity", &PublishedRun::quantity},
    {"group", &PublishedRun::group},     {"left_out", &PublishedRun::left_out},
    {"assumed", &PublishedRun::assumed}, {"note", &PublishedRun::note},
};

constexpr double kLargestCount = 1e9;
constexpr double kLargestNumber = 1e40;  // FLOP of a run, with room

// One record by column name.
class Row {
 public:
  Row(const CsvTable& table, const CsvRecord& record, const std::string& place)
      : table_(table), record_(record), place_(place + ":" + std::to_string(record.line)) {}

  // Empty if there is no such column.
  std::string_view text(std::string_view column) const {
    const auto at = std::find(table_.header.begin(), table_.header.end(), column);
    if (at == table_.header.end()) return {};
    std::string_view value = record_.fields[static_cast<std::size_t>(at - table_.header.begin())];
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front()))) value.remove_prefix(1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back()))) value.remove_suffix(1);
    return value;
  }

  tl::unexpected<Error> wrong(std::string_view column, const std::string& what, std::string next_step) const {
    return fail(ErrorCode::config, std::string(column) + " is '" + printable(text(column)) + "'" + what, place_,
                std::move(next_step));
  }

  // 0 if empty.
  Result<double> number(std::string_view column, bool is_count) const {
    const std::string_view value = text(column);
    if (value.empty()) return 0.0;
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(number))
      return wrong(column, ", which is no number", "write a number such as 175e9, or leave it empty");
    const double largest = is_count ? kLargestCount : kLargestNumber;
    if (number < 1 / kLargestNumber || number > largest)
      return wrong(column, is_count ? ", not a count from 1 to 1e9" : ", not a positive number of usual size",
                   "leave it empty if it is not known");
    if (is_count && number != std::floor(number))
      return wrong(column, ", not a whole number", "leave it empty if it is not known");
    return number;
  }

  // No value if empty.
  Result<std::optional<int>> choice(std::string_view column, std::span<const std::string> words) const {
    const std::string_view value = text(column);
    if (value.empty()) return std::optional<int>();
    const auto at = std::find(words.begin(), words.end(), value);
    if (at != words.end()) return std::optional<int>(static_cast<int>(at - words.begin()));
    std::string all;
    for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
    return wrong(column, did_you_mean(value, words), "use one of: " + all);
  }

 private:
  const CsvTable& table_;
  const CsvRecord& record_;
  std::string place_;
};

Status read_choices(const Row& row, PublishedRun& run) {
  const std::array<std::string, 2> no_yes = {"no", "yes"}, full_causal = {"full", "causal"};
  const std::array<std::string, 3> recomputations = {"none", "selective", "full"}, dtypes = {"bf16", "fp16", "fp8"};
  const std::array<std::string, 4> shards = {"0", "1", "2", "3"};
  const std::array<std::string, 6> stacks = {"unknown", "megatron", "megascale", "fsdp", "zero3", "jax"};
  SUANLI_ASSIGN_OR_RETURN(const auto flash, row.choice("flash", no_yes));
  SUANLI_ASSIGN_OR_RETURN(const auto sequence_parallel, row.choice("sequence_parallel", no_yes));
  SUANLI_ASSIGN_OR_RETURN(const auto counting, row.choice("counting", full_causal));
  SUANLI_ASSIGN_OR_RETURN(const auto recomputation, row.choice("recompute", recomputations));
  SUANLI_ASSIGN_OR_RETURN(const auto dtype, row.choice("precision", dtypes));
  SUANLI_ASSIGN_OR_RETURN(const auto stack, row.choice("stack", stacks));
  SUANLI_ASSIGN_OR_RETURN(run.shard, row.choice("shard", shards));
  if (flash) run.flash = *flash == 1;
  if (sequence_parallel) run.sequence_parallel = *sequence_parallel == 1;
  run.counts_causal = counting.value_or(0) == 1;
  if (recomputation) run.recomputation = static_cast<Recomputation>(*recomputation);
  if (dtype) run.dtype = dtypes[static_cast<std::size_t>(*dtype)];
  if (stack) run.stack = static_cast<Stack>(*stack);
  return {};
}

Result<PublishedRun> read_run(const CsvTable& table, const CsvRecord& record, const std::string& place) {
  const Row row(table, record, place);
  PublishedRun run;
  run.line = record.line;
  for (const TextColumn& column : kTexts) run.*column.member = std::string(row.text(column.name));
  for (const NumberColumn& column : kNumbers) {
    SUANLI_ASSIGN_OR_RETURN(run.*column.member, row.number(column.name, column.is_count));
  }
  SUANLI_RETURN_IF_ERROR(read_choices(row, run));
  for (const char* column : kRequired)
    if (row.text(column).empty()) return row.wrong(column, ": it must be stated", "every row needs it");
  constexpr double kLargestBatch = 1e12;
  if (run.global_batch > kLargestBatch)
    return row.wrong("global_batch", ", more than 1e12 sequences", "write sequences per step");
  if (run.active_parameters > run.parameters)
    return row.wrong("active_params", format(", more than params, %g", run.parameters), "swap them");
  const bool is_fraction = run.unit == "1" || run.unit == "fraction";
  if ((run.quantity == "mfu" || run.quantity == "hfu") && run.value > (is_fraction ? 1 : 100))
    return row.wrong("published_value", ", above what devices can do",
                     "write percent with the unit %, or a fraction with the unit 1");
  if (run.group.empty()) run.group = publication_of(run.source);
  return run;
}

// The text from `at` while its characters belong to an identifier.
std::string word_at(std::string_view text, std::size_t at, std::string_view more) {
  std::size_t end = at;
  while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || more.find(text[end]) != more.npos)) ++end;
  return std::string(text.substr(at, end - at));
}

}  // namespace

std::string publication_of(std::string_view source) {
  constexpr std::string_view kArxiv = "arXiv:";
  if (const std::size_t at = source.find(kArxiv); at != source.npos) {
    const std::string number = word_at(source, at + kArxiv.size(), ".");
    // A version, "v3", belongs to no other publication.
    return "arXiv:" + number.substr(0, std::min(number.find('v'), number.size()));
  }
  std::string lower(source);
  for (char& letter : lower) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  constexpr std::pair<std::string_view, const char*> kRepositories[] = {
      {"llm-foundry", "llm-foundry"}, {"maxtext", "maxtext"},          {"torchtitan", "torchtitan"},
      {"megatron-core", "megatron"},  {"megatron-lm", "megatron"},     {"nemo performance", "nemo"},
      {"nvidia/nemo", "nemo"},        {"tinyllama", "tinyllama"},
  };
  for (const auto& [words, repository] : kRepositories)
    if (lower.find(words) != lower.npos) return repository;
  std::string_view words = source.substr(0, std::min(source.find_first_of(",(;"), source.size()));
  while (words.ends_with(' ')) words.remove_suffix(1);
  return std::string(words);
}

Result<std::vector<PublishedRun>> parse_published_runs(std::string_view text, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const CsvTable table, parse_csv(text, place));
  for (const char* column : kRequired)
    if (std::find(table.header.begin(), table.header.end(), column) == table.header.end())
      return fail(ErrorCode::config, std::string("no column '") + column + "'" + did_you_mean(column, table.header), place,
                  "docs/formats/published-runs.md lists the columns");
  std::vector<PublishedRun> runs;
  for (const CsvRecord& record : table.records) {
    SUANLI_ASSIGN_OR_RETURN(PublishedRun run, read_run(table, record, place));
    runs.push_back(std::move(run));
  }
  if (runs.empty()) return fail(ErrorCode::empty, "no rows below the header", place);
  return runs;
}

const std::vector<PublishedRun>& built_in_runs() {
  static const std::vector<PublishedRun> runs = [] {
    constexpr const char* kName = "published-runs.csv";
    auto parsed = parse_published_runs(data_file(kName), kName);
    SUANLI_CHECK(parsed.has_value());
    return *std::move(parsed);
  }();
  return runs;
}

PublishedRun completed(PublishedRun run) {
  const std::vector<PublishedRun>& known = built_in_runs();
  const auto same = [&](const PublishedRun& other) {
    return other.name == run.name && publication_of(other.source) == publication_of(run.source);
  };
  const auto found = std::find_if(known.begin(), known.end(), same);
  if (found == known.end()) return run;
  for (const NumberColumn& column : kNumbers)
    if (run.*column.member == 0) run.*column.member = (*found).*column.member;
  if (!run.stack) run.stack = found->stack;
  if (!run.recomputation) run.recomputation = found->recomputation;
  if (!run.sequence_parallel) run.sequence_parallel = found->sequence_parallel;
  if (!run.flash) run.flash = found->flash;
  if (!run.shard) run.shard = found->shard;
  if (run.dtype.empty()) run.dtype = found->dtype;
  return run;
}

}  // namespace suanli::plan
