// A chart as an SVG picture that is readable on light and dark pages.
#pragma once

#include <string>

#include "suanli/cli/chart.h"

namespace suanli::cli {

struct SvgSize {
  int width = 800, height = 450;  // pixels
};

// A whole SVG document; texts are escaped. The same chart gives the same bytes.
std::string line_chart_svg(const Chart& chart, const SvgSize& size = {});

// &, <, >, ", ' as entities; bytes that XML does not allow become U+FFFD.
std::string xml_escaped(std::string_view text);

}  // namespace suanli::cli
