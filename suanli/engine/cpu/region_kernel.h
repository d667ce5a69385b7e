// The CPU kernel of a region, also used for single elementwise ops.
#pragma once

#include <memory>

#include "suanli/engine/kernel.h"
#include "suanli/engine/region.h"

namespace suanli::engine {

std::unique_ptr<Kernel> make_region_kernel(const Region& region);

}  // namespace suanli::engine
