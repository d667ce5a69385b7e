// suanli version.
#include "suanli/cli/output.h"
#include "suanli/cli/verb.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
};

Result<int> run_version(const Options& options, const Context&) {
  const std::string version(train::suanli_version());
  if (options.json)
    emit("version", {{"version", version}});
  else
    write_stdout("suanli " + version + "\n");
  return 0;
}

}  // namespace

void add_version(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = root.verb("version", "The version of this build",
                        "Prints the version; `suanli doctor` also shows the libraries' ones.",
                        {{"version", "suanli 0.1.0"}, {"version --json", "for programs"}});
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_version);
}

}  // namespace suanli::cli
