#include "suanli/cli/completion.h"

#include "suanli/cli/command_tree.h"

namespace suanli::cli {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace

std::string bash_completion(const CLI::App& root) {
  // The verbs typed so far make a path such as "data load", which names what may follow.
  std::string words, paths;
  for (const Command& command : command_tree(root)) {
    const std::size_t space = command.path.find(' ');
    const std::string path = space == std::string::npos ? "" : command.path.substr(space + 1);
    if (command.app != &root) paths += "    '" + path + "') path=$next ;;\n";
    words += "    '" + path + "') verbs='" + joined(verbs_of(command)) + "' flags='" +
             joined(flags_of(command)) + "' ;;\n";
  }
  return "# bash completion of suanli; for example:\n"
         "#   suanli completion bash > ~/.local/share/bash-completion/completions/suanli\n"
         "_suanli() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} path='' next verbs='' flags='' i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    next=${path:+$path }${COMP_WORDS[i]}\n"
         "    case $next in\n" +
         paths +
         "    esac\n"
         "  done\n"
         "  case $path in\n" +
         words +
         "  esac\n"
         "  if [[ $current == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$flags\" -- \"$current\"))\n"
         "  elif [[ -n $verbs ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$verbs\" -- \"$current\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _suanli suanli\n";
}

}  // namespace suanli::cli
