// The tree of verbs, as help pages, completion and errors walk it.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace suanli::cli {

struct Command {
  const CLI::App* app;
  std::string path;  // "suanli data load"
};
// The app and all verbs below it, each before its own verbs, in order of definition.
std::vector<Command> command_tree(const CLI::App& root);
// The verb that a parsed command line reached.
Command reached(const CLI::App& root);

// As the command's --help prints it.
std::string help_text(const Command& command);
std::vector<std::string> flags_of(const Command& command);  // "--out", ...
std::vector<std::string> verbs_of(const Command& command);

}  // namespace suanli::cli
