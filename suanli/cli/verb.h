// What all verbs share. A verb is one file verb_NAME.cc, which adds itself to the command line.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/cli/terminal.h"

// CLI11 is slow to compile: only a few files include it.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace suanli::cli {

// Around a command.
struct Context {
  std::string program;  // as it was called, for commands to try next
  Terminal out, err;
};

// What the command line asks for: set while it is parsed. The action's value is the exit code.
struct Request {
  bool json = false;
  std::function<Result<int>(const Context&)> action;
};

struct Example {
  std::string command, what;
};

// A verb being described. Variables that it fills outlive the parsing.
class Verb {
 public:
  explicit Verb(CLI::App* app) : app_(app) {}

  // A verb below this one: a line for lists of verbs, a paragraph for its help, examples.
  Verb verb(const std::string& name, const std::string& line, const std::string& paragraph,
            std::initializer_list<Example> examples);
  // Does nothing by itself: one of its verbs must follow.
  void needs_verb();

  // Words by position.
  void argument(const std::string& name, std::string& value, const std::string& help);
  void optional_argument(const std::string& name, std::string& value, const std::string& help);
  void arguments(const std::string& name, std::vector<std::string>& values,
                 const std::string& help);

  void flag(const std::string& name, bool& value, const std::string& help);
  // `kind` is what the help shows for the value; empty: the type. A default that is not empty is
  // shown. Error usage if it is given with an empty value.
  void option(const std::string& name, std::string& value, const std::string& help,
              const std::string& kind = "", bool required = false);
  void option(const std::string& name, double& value, const std::string& help);
  void option(const std::string& name, std::uint64_t& value, const std::string& help);
  // In [least, most].
  void option(const std::string& name, std::int64_t& value, const std::string& help,
              std::int64_t least, std::int64_t most);
  void choice(const std::string& name, std::string& value, std::vector<std::string> choices,
              const std::string& help);
  // May be given several times.
  void repeated(const std::string& name, std::vector<std::string>& values, const std::string& help);
  // `--json`, common to all.
  void json_flag(bool& json);
  // `--set`, of verbs that take a job.
  void set_option(std::vector<std::string>& sets);

  // Called when the verb is the one to run.
  void when_chosen(std::function<void()> call);

 private:
  CLI::App* app_;
};

// A flag that stands for a key of the job: adds KEY=VALUE to `sets` unless the value is empty. An error names the flag; so does
// one of `sets` that states the key already.
Status apply_flag(std::vector<std::string>& sets, const std::string& key, const std::string& flag, const std::string& value);

inline constexpr const char* kMemoryFlagHelp =
    "The most memory to use, snapshots and evaluation included, such as 2Gi: activations are recomputed to keep it; the same as "
    "--set run.memory_limit=BYTES";

// Runs `run` if the verb is chosen. Options is a struct with a member `json`.
template <typename Options>
void on_chosen(Verb verb, Request& request, std::shared_ptr<Options> options,
               Result<int> (*run)(const Options&, const Context&)) {
  verb.when_chosen([&request, options, run] {
    request.json = options->json;
    request.action = [options, run](const Context& context) { return run(*options, context); };
  });
}

void add_doctor(Verb root, Request& request);
void add_data(Verb root, Request& request);
void add_explain(Verb root, Request& request);
void add_train(Verb root, Request& request);
void add_generate(Verb root, Request& request);
void add_eval(Verb root, Request& request);
void add_plot(Verb root, Request& request);
void add_ckpt(Verb root, Request& request);
void add_digest(Verb root, Request& request);
void add_replay(Verb root, Request& request);
void add_worker(Verb root, Request& request);
void add_pool(Verb root, Request& request);
void add_pool_create(Verb pool, Request& request);
// status, logs, cancel, fetch.
void add_jobs(Verb root, Request& request);
void add_bench(Verb root, Request& request);
void add_calibrate(Verb root, Request& request);
void add_compare(Verb root, Request& request);
void add_meter(Verb root, Request& request);
void add_plan(Verb root, Request& request);
// Verbs below `plan`.
void add_plan_llm(Verb plan, Request& request);
void add_plan_solve(Verb plan, Request& request);
void add_plan_cluster(Verb plan, Request& request);
void add_plan_sweep(Verb plan, Request& request);
void add_plan_founding(Verb plan, Request& request);
void add_plan_validate(Verb plan, Request& request);
void add_version(Verb root, Request& request);
// These two print what stands in the tree, which is complete when they run.
void add_help(Verb root, Request& request, const CLI::App& tree);
void add_completion(Verb root, Request& request, const CLI::App& tree);

}  // namespace suanli::cli
