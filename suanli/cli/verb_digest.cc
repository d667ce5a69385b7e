// suanli digest: what a run's state is, in 32 bytes.
#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/checkpoint/manifest.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

constexpr std::int64_t kNewest = -1;

struct Options {
  bool json = false, tensors = false;
  std::string run, tensor;
  std::int64_t step = kNewest;
};

Result<checkpoint::Snapshot> snapshot_of(const Options& options) {
  SUANLI_RETURN_IF_ERROR(train::describe_run(options.run));
  SUANLI_ASSIGN_OR_RETURN(const auto tier,
                          checkpoint::LocalTier::open(options.run, checkpoint::LocalTier::Access::reader));
  if (options.step == kNewest) {
    SUANLI_ASSIGN_OR_RETURN(checkpoint::LoadedSnapshot loaded, checkpoint::load_latest(*tier, {}));
    for (const Error& damage : loaded.damages) write_stderr("warning: " + damage.to_string() + "\n");
    return std::move(loaded.snapshot);
  }
  Result<checkpoint::Snapshot> found = tier->load(options.step, {});
  if (found || found.error().code != ErrorCode::not_found) return found;
  SUANLI_ASSIGN_OR_RETURN(const auto infos, tier->list());
  std::string steps;
  for (const checkpoint::SnapshotInfo& info : infos) steps += (steps.empty() ? "" : ", ") + std::to_string(info.step);
  return fail(ErrorCode::not_found, "the run keeps no checkpoint of step " + std::to_string(options.step), "--step",
              steps.empty() ? "let the run reach its first checkpoint" : "it keeps those of steps " + steps);
}

Result<int> run_digest(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const checkpoint::Snapshot snapshot, snapshot_of(options));
  std::vector<checkpoint::TensorEntry> entries = checkpoint::describe(snapshot, "").tensors;
  const Digest root = checkpoint::state_root(entries);
  if (!options.tensor.empty()) {
    std::erase_if(entries, [&](const checkpoint::TensorEntry& entry) { return entry.name != options.tensor; });
    if (entries.empty())
      return fail(ErrorCode::not_found, "the state has no tensor '" + printable(options.tensor) + "'", "--tensor",
                  "`suanli digest " + options.run + " --tensors` lists all");
  }
  const bool shows_tensors = options.tensors || !options.tensor.empty();
  if (options.json) {
    Json tensors = Json::array();
    for (const checkpoint::TensorEntry& entry : entries)
      tensors.push_back({{"name", entry.name},
                         {"dtype", graph::name_of(entry.type.dtype)},
                         {"shape", entry.type.shape},
                         {"sha256", entry.digest.hex()}});
    emit("digest", {{"run", options.run}, {"step", snapshot.step}, {"root", root.hex()}, {"tensors", tensors}});
    return 0;
  }
  std::string text = "step " + format_count(snapshot.step) + "   " + root.hex() + "\n";
  if (shows_tensors) {
    Table table({{"tensor", Align::left}, {"type", Align::left}, {"sha256", Align::left}});
    for (const checkpoint::TensorEntry& entry : entries)
      table.add_row({printable(entry.name), entry.type.to_string(), entry.digest.hex()});
    text += table.to_string();
  }
  write_stdout(text);
  return 0;
}

}  // namespace

void add_digest(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb("digest", "The digest of a run's state at a checkpoint",
                        "Reads a checkpoint, the newest unless told otherwise, and prints the root of a Merkle tree over all of "
                        "its tensors: two runs are in the same state, to the last bit, if and only if their roots are equal. "
                        "docs/formats/checkpoint.md says how it is made.",
                        {{"digest runs/quickstart-1", "of the newest checkpoint"},
                         {"digest runs/quickstart-1 --step 100 --tensors", "of an earlier one, and of each tensor"},
                         {"digest runs/quickstart-1 --tensor wte.weight --json", "of one tensor, for programs"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--step", options->step, "Which checkpoint; the newest unless given", kNewest, std::int64_t{1} << 53);
  verb.flag("--tensors", options->tensors, "Each tensor's digest too");
  verb.option("--tensor", options->tensor, "This tensor's digest too", "NAME");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_digest);
}

}  // namespace suanli::cli
