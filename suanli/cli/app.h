// The command line as a whole.
#pragma once

namespace suanli::cli {

// Parses, runs, prints errors; the exit code.
int run(int argc, char** argv);

}  // namespace suanli::cli
