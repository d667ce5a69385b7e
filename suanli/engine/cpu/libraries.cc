#include "suanli/engine/libraries.h"

#include <hwy/highway.h>

#include <oneapi/dnnl/dnnl.hpp>

#include "suanli/engine/cpu/tile_ops.h"

namespace suanli::engine {
namespace {

std::string dotted(int major, int minor, int patch) {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

}  // namespace

Libraries libraries() {
  const dnnl::version_t* onednn = dnnl::version();
  return {.onednn = dotted(onednn->major, onednn->minor, onednn->patch),
          .highway = dotted(HWY_MAJOR, HWY_MINOR, HWY_PATCH),
          .simd = simd_name()};
}

}  // namespace suanli::engine
