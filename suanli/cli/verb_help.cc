// suanli help: reference pages, each printed from its one source. tools/make_reference.sh writes
// docs/reference with it.
#include <algorithm>
#include <map>
#include <vector>

#include "suanli/base/text.h"
#include "suanli/cli/command_tree.h"
#include "suanli/cli/json_records.h"
#include "suanli/cli/output.h"
#include "suanli/cli/table.h"
#include "suanli/cli/verb.h"
#include "suanli/plan/report.h"
#include "suanli/train/job_schema.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, markdown = false;
  std::string topic;
  const CLI::App* root = nullptr;
};

struct CodeRow {
  std::string_view name;
  int exit_code;
  std::string_view meaning;
};
constexpr CodeRow kCodes[] = {
#define SUANLI_ERROR_CODE(name, exit_code, when) {#name, exit_code, when},
#include "suanli/base/error_codes.def"
#undef SUANLI_ERROR_CODE
};

// What all commands return; 6 belongs to verbs of a pool.
constexpr std::pair<int, std::string_view> kExitCodes[] = {
    {0, "done"},
    {1, "failed"},
    {2, "usage: a flag or an argument is wrong"},
    {3, "configuration: a job file or a value in it is wrong"},
    {4, "cannot connect, or not authorised"},
    {5, "interrupted, but resumable"},
    {7, "the budget is spent; resumable with a larger one"},
    {8, "what was computed again is not what was recorded"},
};

std::string job_text() {
  std::string text =
      "The keys of a job file: default, allowed values and meaning. Keys marked * "
      "must stay the same when a run is resumed.\n";
  const train::JobConfig defaults;
  std::string_view section;
  for (const train::Key& key : train::job_keys()) {
    if (key.section != section) text += "\n[" + std::string(key.section) + "]\n";
    section = key.section;
    text += "  " + std::string(key.name) + (key.fixed ? "*" : "") + " = " +
            train::print_value(key, defaults) + "   (" + train::expected_of(key) + ")\n      " +
            wrapped(key.doc, 86, 6) + "\n";
  }
  return text;
}

std::string exit_codes_text(bool markdown) {
  std::string text = markdown ? "## Exit codes\n\n| code | meaning |\n| --- | --- |\n" : "";
  for (const auto& [code, meaning] : kExitCodes)
    text += (markdown ? "| " : "") + std::to_string(code) + (markdown ? " | " : "  ") +
            std::string(meaning) + (markdown ? " |\n" : "\n");
  return text;
}

std::string errors_text(bool markdown) {
  if (markdown) {
    std::string page =
        "# Errors\n\n"
        "An error on standard error reads `error: place: message [code]`, then `next:` and what to "
        "do. Names of codes are stable.\n\n"
        "This page is printed from `suanli/base/error_codes.def`.\n\n"
        "| code | exit code | when |\n| --- | --- | --- |\n";
    for (const CodeRow& row : kCodes)
      page += "| `" + std::string(row.name) + "` | " + std::to_string(row.exit_code) + " | " +
              std::string(row.meaning) + " |\n";
    return page + "\n" + exit_codes_text(true);
  }
  Table table({{"code", Align::left}, {"exit", Align::right}, {"when", Align::left}});
  for (const CodeRow& row : kCodes)
    table.add_row({std::string(row.name), std::to_string(row.exit_code), std::string(row.meaning)});
  return table.to_string();
}

std::string json_text() {
  Table table({{"record", Align::left},
               {"field", Align::left},
               {"type", Align::left},
               {"meaning", Align::left}});
  std::string_view record;
  for (const JsonField& field : json_fields()) {
    table.add_row({field.record == record ? "" : std::string(field.record), std::string(field.name),
                   std::string(field.type), std::string(field.meaning)});
    record = field.record;
  }
  return table.to_string();
}

std::string figures_text() {
  Table table({{"figure", Align::left}, {"title", Align::left}, {"unit", Align::left}, {"meaning", Align::left}});
  for (const plan::FigureKind& kind : plan::figure_kinds())
    table.add_row({std::string(kind.key), std::string(kind.title), std::string(kind.unit), std::string(kind.meaning)});
  return table.to_string();
}

std::string commands_text(const CLI::App& root, bool markdown) {
  std::string text = markdown
                         ? "# Commands\n\nData goes to standard output, talk to standard error. "
                           "This page is what every command's `--help` prints.\n"
                         : "";
  for (const Command& command : command_tree(root)) {
    if (markdown)
      text += "\n## " + command.path + "\n\n```text\n" + help_text(command) + "```\n";
    else
      text += help_text(command) + "\n";
  }
  return text;
}

using Topic = std::string (*)(const Options&);
const std::map<std::string, Topic>& topics() {
  static const std::map<std::string, Topic> known = {
      {"job",
       [](const Options& o) { return o.markdown ? train::job_reference_markdown() : job_text(); }},
      {"exit-codes", [](const Options& o) { return exit_codes_text(o.markdown); }},
      {"errors", [](const Options& o) { return errors_text(o.markdown); }},
      {"cli-json",
       [](const Options& o) { return o.markdown ? json_reference_markdown() : json_text(); }},
      {"figures", [](const Options& o) { return o.markdown ? plan::plan_reference_markdown() : figures_text(); }},
      {"all", [](const Options& o) { return commands_text(*o.root, o.markdown); }},
  };
  return known;
}

Result<int> run_help(const Options& options, const Context&) {
  if (options.topic.empty()) {
    write_stdout(help_text({options.root, "suanli"}));
    return 0;
  }
  if (const auto found = topics().find(options.topic); found != topics().end()) {
    write_stdout(found->second(options));
    return 0;
  }
  std::vector<std::string> known;
  for (const auto& [name, topic] : topics()) known.push_back(name);
  for (const Command& command : command_tree(*options.root)) {
    if (command.path == "suanli " + options.topic) {
      write_stdout(help_text(command));
      return 0;
    }
    if (command.app != options.root) known.push_back(command.path.substr(7));
  }
  return fail(
      ErrorCode::usage,
      "there is no topic '" + printable(options.topic) + "'" + did_you_mean(options.topic, known),
      "suanli help", "choose job, exit-codes, errors, cli-json, figures, all, or a verb");
}

}  // namespace

void add_help(Verb root, Request& request, const CLI::App& tree) {
  auto options = std::make_shared<Options>();
  options->root = &tree;
  Verb verb = root.verb(
      "help", "Reference pages: job, exit-codes, errors, cli-json, figures, all, or a verb",
      "Prints a reference page: the keys of a job file, exit codes, error codes, the fields of "
      "JSON output, the figures of plans, or the help of every command.",
      {{"help job", "every key of a job file"},
       {"help train", "the same as train --help"},
       {"help errors --markdown", "as in docs/reference/errors.md"}});
  verb.optional_argument("TOPIC", options->topic,
                         "job, exit-codes, errors, cli-json, figures, all, or a verb");
  verb.flag("--markdown", options->markdown, "As a page of docs/reference");
  on_chosen(verb, request, options, run_help);
}

}  // namespace suanli::cli
