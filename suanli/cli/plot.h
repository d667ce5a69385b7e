// A chart in a terminal: Unicode braille (two by four dots a character), or plain ASCII.
#pragma once

#include <string>

#include "suanli/cli/chart.h"
#include "suanli/cli/terminal.h"

namespace suanli::cli {

struct PlotSize {
  int columns = 78;  // of the whole picture, at least 30
  int rows = 16;     // of the plotting area, at least 4
};

// Lines end with a newline. At most three series are told apart. A chart without a finite point
// says so in one line.
std::string plot(const Chart& chart, const Terminal& terminal, const PlotSize& size = {});

}  // namespace suanli::cli
