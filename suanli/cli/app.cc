#include "suanli/cli/app.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <new>
#include <vector>

#include "suanli/base/text.h"
#include "suanli/cli/command_tree.h"
#include "suanli/cli/help_formatter.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/verb.h"
#include "suanli/train/run_folder.h"

namespace suanli::cli {
namespace {

constexpr int kUsageExit = 2;

void build(CLI::App& root, Request& request) {
  root.description(
      "suanli: train neural networks from a static graph, with every operation counted.");
  root.formatter(std::make_shared<HelpFormatter>());
  root.require_subcommand(0, 1);
  root.set_version_flag("--version", "suanli " + std::string(train::suanli_version()));
  root.footer("`suanli VERB --help` explains a verb, `suanli help job` the keys of a job file.");
  const Verb verb(&root);
  add_doctor(verb, request);
  add_data(verb, request);
  add_explain(verb, request);
  add_train(verb, request);
  add_generate(verb, request);
  add_eval(verb, request);
  add_plot(verb, request);
  add_ckpt(verb, request);
  add_digest(verb, request);
  add_replay(verb, request);
  add_worker(verb, request);
  add_pool(verb, request);
  add_jobs(verb, request);
  add_bench(verb, request);
  add_calibrate(verb, request);
  add_compare(verb, request);
  add_plan(verb, request);
  add_meter(verb, request);
  add_help(verb, request, root);
  add_version(verb, request);
  add_completion(verb, request, root);
}

// Unknown words first, with the nearest known one: they are why other things seem missing.
Error usage_error(const CLI::App& root, const CLI::ParseError& error) {
  const Command at = reached(root);
  const std::string next_step = "`" + at.path + " --help` shows how it is used";
  for (const std::string& word : root.remaining(true)) {
    if (word.starts_with("-") && word.size() > 1) {
      const std::string flag = word.substr(0, word.find('='));
      return {ErrorCode::usage,
              "there is no flag '" + printable(flag) + "'" + did_you_mean(flag, flags_of(at)),
              at.path, next_step};
    }
    const std::vector<std::string> verbs = verbs_of(at);
    const std::string what = verbs.empty() ? "'" + printable(word) + "' is one argument too many"
                                           : "there is no verb '" + printable(word) + "'";
    return {ErrorCode::usage, what + did_you_mean(word, verbs), at.path, next_step};
  }
  return {ErrorCode::usage, printable(error.what(), 300), at.path, next_step};
}

int tell(const Error& error, bool json) {
  write_stderr(error_text(error));
  if (json) {
    Json object = {{"event", "error"}};
    object.update(json_of(error));
    emit("error", object);
  }
  return exit_code_of(error.code);
}

int act(const CLI::App& root, const Request& request, const Context& context) {
  if (!request.action) {
    write_stderr(help_text({&root, root.get_name()}));
    return kUsageExit;
  }
  try {
    const Result<int> code = request.action(context);
    if (!code) return tell(code.error(), request.json);
    if (const Status written = flush_stdout(); !written) return tell(written.error(), false);
    return *code;
  } catch (const std::bad_alloc&) {
    return tell({ErrorCode::no_memory, "the system gave no more memory", "",
                 "end other programs, or lower 'train.batch' or the memory limit of the job"},
                request.json);
  }
}

}  // namespace

int run(int argc, char** argv) {
  const Context context{argc > 0 ? argv[0] : "suanli", Terminal::of(STDOUT_FILENO),
                        Terminal::of(STDERR_FILENO)};
  const bool wants_json = std::find(argv, argv + argc, std::string_view("--json")) != argv + argc;
  Request request;
  CLI::App root("", "suanli");
  build(root, request);
  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    write_stdout(help_text(reached(root)));
    return flush_stdout() ? 0 : 1;
  } catch (const CLI::CallForVersion& version) {
    write_stdout(std::string(version.what()) + "\n");
    return flush_stdout() ? 0 : 1;
  } catch (const CLI::ParseError& error) {
    return tell(usage_error(root, error), wants_json);
  }
  return act(root, request, context);
}

}  // namespace suanli::cli
