// suanli completion: scripts for shells.
#include "suanli/base/text.h"
#include "suanli/cli/completion.h"
#include "suanli/cli/output.h"
#include "suanli/cli/verb.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  std::string shell;
  const CLI::App* root = nullptr;
};

Result<int> run_completion(const Options& options, const Context&) {
  write_stdout(bash_completion(*options.root));
  return 0;
}

}  // namespace

void add_completion(Verb root, Request& request, const CLI::App& tree) {
  auto options = std::make_shared<Options>();
  options->root = &tree;
  Verb verb = root.verb(
      "completion", "Completion of verbs and flags for a shell",
      "Prints a script that completes verbs, flags and file names. bash is the shell it knows.",
      {{"completion bash > ~/.local/share/bash-completion/completions/suanli",
        "for all shells to come"},
       {"completion bash > /tmp/c && source /tmp/c", "for this shell"}});
  verb.choice("SHELL", options->shell, {"bash"}, "bash");
  on_chosen(verb, request, options, run_completion);
}

}  // namespace suanli::cli
