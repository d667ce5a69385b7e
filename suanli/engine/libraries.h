// The libraries the kernels stand on, as they are in this process.
#pragma once

#include <string>

namespace suanli::engine {

struct Libraries {
  std::string onednn;   // version, such as "2.6.0"
  std::string highway;  // version
  std::string simd;     // the instruction set Highway chose on this machine, such as "AVX3_DL"
};
Libraries libraries();

}  // namespace suanli::engine
