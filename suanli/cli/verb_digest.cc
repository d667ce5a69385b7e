// suanli digest: what a run's state is, in 32 bytes.
#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/checkpoint/manifest.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/replica_options.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/proof/claims.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

constexpr std::int64_t kNewest = -1, kEveryOp = -1;

struct Options {
  bool json = false, tensors = false, ops = false;
  std::string run, tensor;
  std::int64_t step = kNewest, op = kEveryOp;
  ReplicaFlags replica;
};

Result<checkpoint::Snapshot> snapshot_of(const Options& options) {
  SUANLI_ASSIGN_OR_RETURN(const auto tier, checkpoint::LocalTier::open(options.run, checkpoint::LocalTier::Access::reader));
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
              (steps.empty() ? "let the run reach its first checkpoint" : "it keeps those of steps " + steps) +
                  "; --ops computes any step again");
}

// The step is computed again, from the checkpoint before it.
Result<int> digest_ops(const Options& options) {
  SUANLI_ASSIGN_OR_RETURN(const auto replica, make_replica(options.run, options.replica));
  std::int64_t step = options.step;
  if (step == kNewest) {
    SUANLI_ASSIGN_OR_RETURN(step, replica->nearest(replica->job().train.steps));
    if (step == 0) return fail(ErrorCode::not_found, "the run has no checkpoint yet", options.run, "name a step with --step");
  }
  if (step < 1 || step > replica->job().train.steps)
    return fail(ErrorCode::usage, "step " + std::to_string(step) + " is none of the job's steps", "--step",
                "name one from 1 to " + std::to_string(replica->job().train.steps));
  SUANLI_ASSIGN_OR_RETURN(const std::int64_t from, replica->nearest(step - 1));
  SUANLI_RETURN_IF_ERROR(replica->restore(from));
  while (replica->step() < step - 1) {
    if (train::is_stopped(stop_on_signals()))
      return fail(ErrorCode::interrupted, "stopped before step " + std::to_string(step), options.run, "start it again");
    SUANLI_RETURN_IF_ERROR(replica->advance());
  }
  SUANLI_ASSIGN_OR_RETURN(std::vector<proof::OpDigest> ops, proof::digest_next_step(*replica));
  if (options.op != kEveryOp) {
    std::erase_if(ops, [&](const proof::OpDigest& op) { return op.output.node != options.op; });
    if (ops.empty())
      return fail(ErrorCode::not_found, "no output of the step is of node " + std::to_string(options.op), "--op",
                  "`suanli digest " + options.run + " --ops` lists all");
  }
  if (options.json) {
    Json list = Json::array();
    for (const proof::OpDigest& op : ops) list.push_back(proof::json_of(op));
    emit("digest", {{"run", options.run},
                    {"step", step},
                    {"arithmetic", arithmetic_of(replica->job().train.dtype)},
                    {"root", replica->root().hex()},
                    {"tensors", Json::array()},
                    {"job", replica->run().digest_at(step).hex()},
                    {"loss", replica->figures()->loss},
                    {"grad_norm", replica->figures()->grad_norm},
                    {"only_node", options.op == kEveryOp ? Json(nullptr) : Json(options.op)},
                    {"ops", std::move(list)}});
    return 0;
  }
  Table table({{"output", Align::left}, {"root", Align::left}});
  for (const proof::OpDigest& op : ops) table.add_row({op.output.to_string(), op.root().hex()});
  write_stdout("step " + format_count(step) + "   " + replica->root().hex() + "\n" + table.to_string());
  return 0;
}

Result<int> run_digest(const Options& options, const Context&) {
  const bool is_of_ops = options.ops || options.op != kEveryOp;
  if (is_of_ops && (options.tensors || !options.tensor.empty()))
    return fail(ErrorCode::usage, "digests of tensors and of ops were asked for", "--ops", "ask for one of them");
  if (is_of_ops) return digest_ops(options);
  if (options.replica.isa != "best" || options.replica.threads != 0 || !options.replica.data.empty())
    return fail(ErrorCode::usage, "nothing is computed without --ops", "--isa, --threads, --data",
                "add --ops, or leave them out");
  SUANLI_ASSIGN_OR_RETURN(const train::RunDescription run, train::describe_run(options.run));
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
    emit("digest", {{"run", options.run},
                    {"step", snapshot.step},
                    {"arithmetic", arithmetic_of(run.job.train.dtype)},
                    {"root", root.hex()},
                    {"tensors", tensors},
                    {"job", nullptr},
                    {"loss", nullptr},
                    {"grad_norm", nullptr},
                    {"only_node", nullptr},
                    {"ops", nullptr}});
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
  Verb verb = root.verb(
      "digest", "The digest of a run's state at a checkpoint",
      "Reads a checkpoint, the newest unless told otherwise, and prints the root of a Merkle tree over all of "
      "its tensors: two runs are in the same state, to the last bit, if and only if their roots are equal. "
      "docs/formats/checkpoint.md says how it is made. With --ops a step is computed again and every output of "
      "its ops digested (docs/formats/digests.md), so that two machines can find the op in which they differ.",
      {{"digest runs/quickstart-1", "of the newest checkpoint"},
       {"digest runs/quickstart-1 --step 100 --tensors", "of an earlier one, and of each tensor"},
       {"digest runs/quickstart-1 --tensor wte.weight --json", "of one tensor, for programs"},
       {"digest runs/exact --step 57 --ops --json", "of every op of a step, to be compared by `suanli replay --against`"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--step", options->step, "Which checkpoint; the newest unless given", kNewest, std::int64_t{1} << 53);
  verb.flag("--tensors", options->tensors, "Each tensor's digest too");
  verb.option("--tensor", options->tensor, "This tensor's digest too", "NAME");
  verb.flag(
      "--ops", options->ops,
      "Compute the step that led there again, from the checkpoint before it, and print the digest of every output of its ops");
  verb.option("--op", options->op, "The same, of this node of the graph alone", kEveryOp, INT32_MAX);
  add_replica_flags(verb, options->replica);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_digest);
}

}  // namespace suanli::cli
