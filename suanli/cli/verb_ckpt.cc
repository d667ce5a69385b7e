// suanli ckpt list: the checkpoints of a run.
#include "suanli/base/text.h"
#include "suanli/checkpoint/local_tier.h"
#include "suanli/cli/output.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, verify = false;
  std::string run;
};

struct Found {
  checkpoint::SnapshotInfo info;
  std::string state = "listed";
  std::optional<Error> damage;
};

Result<std::vector<Found>> checkpoints_of(const Options& options) {
  SUANLI_RETURN_IF_ERROR(train::describe_run(options.run));
  SUANLI_ASSIGN_OR_RETURN(const auto tier, checkpoint::LocalTier::open(
                                               options.run, checkpoint::LocalTier::Access::reader));
  SUANLI_ASSIGN_OR_RETURN(const auto infos, tier->list());
  std::vector<Found> list;
  for (const checkpoint::SnapshotInfo& info : infos) {
    Found found{info, "listed", info.damage};
    if (options.verify && !found.damage) {
      const auto loaded = tier->load(info.step, {});
      if (loaded)
        found.state = "verified";
      else
        found.damage = loaded.error();
    }
    if (found.damage) found.state = "damaged";
    list.push_back(std::move(found));
  }
  return list;
}

Result<int> run_list(const Options& options, const Context&) {
  SUANLI_ASSIGN_OR_RETURN(const std::vector<Found> list, checkpoints_of(options));
  Table table({{"step", Align::right},
               {"size", Align::right},
               {"state", Align::left},
               {"root of all tensors", Align::left}});
  Json array = Json::array();
  std::string damages;
  for (const Found& found : list) {
    const std::string root = found.damage ? "" : found.info.root.hex();
    table.add_row(
        {format_count(found.info.step), format_bytes(found.info.bytes), found.state, root});
    if (found.damage) damages += "damaged: " + found.damage->to_string() + "\n";
    array.push_back({{"step", found.info.step},
                     {"bytes", found.info.bytes.value()},
                     {"root", root},
                     {"state", found.state},
                     {"damage", found.damage ? Json(found.damage->to_string()) : Json(nullptr)}});
  }
  if (options.json)
    emit("ckpt list", {{"run", options.run}, {"checkpoints", array}});
  else
    write_stdout(list.empty() ? "no checkpoint yet\n" : table.to_string() + damages);
  return 0;
}

}  // namespace

void add_ckpt(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb ckpt = root.verb("ckpt", "The checkpoints of a run: list",
                        "Looks at the checkpoints of a run, which may be in training.",
                        {{"ckpt list runs/quickstart-1", "steps and sizes"}});
  ckpt.needs_verb();
  Verb verb = ckpt.verb(
      "list", "Steps, sizes and digests of a run's checkpoints",
      "Lists the checkpoints of a run. With --verify every byte of them is read and compared with "
      "its digest.",
      {{"ckpt list runs/quickstart-1", "what the manifests say"},
       {"ckpt list runs/quickstart-1 --verify", "and whether the data agree"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.flag("--verify", options->verify, "Read and check every byte");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_list);
}

}  // namespace suanli::cli
