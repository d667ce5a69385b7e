// suanli compare: the rate of exchange between two devices, or between two runs.
#include <filesystem>
#include <vector>

#include "suanli/base/text.h"
#include "suanli/cli/compare_profiles.h"
#include "suanli/cli/compare_runs.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, why = false;
  std::string first, second, plot;
  std::vector<std::string> jobs;
};

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

Result<int> run_compare(const Options& options, const Context& context) {
  const bool first = is_folder(options.first), second = is_folder(options.second);
  if (first != second)
    return fail(ErrorCode::usage,
                "'" + printable(first ? options.first : options.second) + "' is a folder and '" +
                    printable(first ? options.second : options.first) + "' is not",
                "suanli compare", "give two profiles of `suanli calibrate`, or the folders of two runs");
  if (first) {
    if (!options.jobs.empty())
      return fail(ErrorCode::usage, "--job is for profiles, but these are folders of runs", "--job",
                  "leave it out: runs are compared by the jobs they did");
    return compare_runs(
        {.run1 = options.first, .run2 = options.second, .json = options.json, .why = options.why, .plot = options.plot},
        context);
  }
  if (!options.plot.empty())
    return fail(ErrorCode::usage, "--plot is for runs, but these are profiles", "--plot",
                "`suanli calibrate --plot FILE` draws the roofline of a machine");
  return compare_profiles(
      {.first = options.first, .second = options.second, .jobs = options.jobs, .json = options.json, .why = options.why});
}

}  // namespace

void add_compare(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb =
      root.verb("compare", "The rate of exchange between two devices, or between two runs",
                "Of two profiles of `suanli calibrate`: how much of the one's computing is worth how much of the other's, per "
                "arithmetic, "
                "per shape of matrix product, for memory, and for each job given, whose steps are predicted on both. There is "
                "no one such "
                "number, and this shows it. FILE@f32 and FILE@bf16 take one arithmetic of a profile, so that a machine can be "
                "compared with "
                "itself. Of the folders of two runs on the same data: what each spent to reach the same validation loss.",
                {{"compare here.json there.json", "two machines"},
                 {"compare here.json there.json --job job.toml --why",
                  "how many steps of this job the second makes for one of the first"},
                 {"compare here.json@f32 here.json@bf16 --job a.toml --job b.toml", "what bf16 gains here, for two jobs"},
                 {"compare runs/fixed runs/evolving", "two runs to equal quality"}});
  verb.argument("FIRST", options->first, "Profile, profile@dtype or the folder of a run");
  verb.argument("SECOND", options->second, "The same: what FIRST is exchanged into");
  verb.repeated("--job", options->jobs, "Job file, or the folder of a run, to compare by; may be repeated");
  verb.option("--plot", options->plot, "Of runs: also draw loss over operations", "FILE");
  verb.flag("--why", options->why, "Explain each rate");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_compare);
}

}  // namespace suanli::cli
