#include "suanli/cli/command_tree.h"

#include <CLI/CLI.hpp>
#include <functional>

namespace suanli::cli {
namespace {

std::vector<const CLI::App*> below(const CLI::App& app) {
  return app.get_subcommands(std::function<bool(const CLI::App*)>());
}

void walk(const CLI::App& app, const std::string& path, std::vector<Command>& tree) {
  tree.push_back({&app, path});
  for (const CLI::App* verb : below(app)) walk(*verb, path + " " + verb->get_name(), tree);
}

}  // namespace

std::vector<Command> command_tree(const CLI::App& root) {
  std::vector<Command> tree;
  walk(root, root.get_name(), tree);
  return tree;
}

Command reached(const CLI::App& root) {
  Command at{&root, root.get_name()};
  while (!at.app->get_subcommands().empty()) {
    at.app = at.app->get_subcommands().front();
    at.path += " " + at.app->get_name();
  }
  return at;
}

// App::help would go on to the verb that was chosen, which may be `help` itself.
std::string help_text(const Command& command) {
  return command.app->get_formatter()->make_help(command.app, command.path,
                                                 CLI::AppFormatMode::Normal);
}

std::vector<std::string> flags_of(const Command& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.app->get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

std::vector<std::string> verbs_of(const Command& command) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : below(*command.app)) verbs.push_back(verb->get_name());
  return verbs;
}

}  // namespace suanli::cli
