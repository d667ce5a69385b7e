// Completion for shells, made from the tree of verbs.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace suanli::cli {

// A script to be sourced: verbs, verbs of verbs, flags; file names elsewhere.
std::string bash_completion(const CLI::App& root);

}  // namespace suanli::cli
