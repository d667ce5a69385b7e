#include "suanli/base/file.h"
#include "suanli/cli/app.h"
#include "suanli/cli/signals.h"

int main(int argc, char** argv) {
  suanli::ignore_file_size_signal();
  suanli::cli::ignore_broken_pipes();
  return suanli::cli::run(argc, argv);
}
