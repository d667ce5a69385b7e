// Ctrl-C and kill as a flag to be looked at.
#pragma once

#include <atomic>

namespace suanli::cli {

// From now on SIGINT and SIGTERM set the flag; a second signal, later than the doubles that a
// process group may receive, ends the process at once. May be called again.
const std::atomic<bool>* stop_on_signals();

// Writing to a pipe that nobody reads fails instead of killing the process.
void ignore_broken_pipes();

}  // namespace suanli::cli
