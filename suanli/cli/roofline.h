// The roofline of a machine (Williams, Waterman, Patterson, "Roofline", CACM 2009) as an SVG picture.
#pragma once

#include <string>

#include "suanli/plan/profile.h"

namespace suanli::cli {

// Operations per second over operations per byte, both logarithmic: for each arithmetic the limit (memory's slope, the flat of
// products) as a line and what its kernels reached as points. Bytes are operands and results once; what stays in a cache can lie
// above memory's slope.
std::string roofline_svg(const plan::Profile& profile);

}  // namespace suanli::cli
