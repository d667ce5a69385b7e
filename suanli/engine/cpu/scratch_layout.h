// Lays several buffers out in one scratch area, each 64-byte aligned.
#pragma once

#include <cstdint>

#include "suanli/base/units.h"

namespace suanli::engine {

class ScratchLayout {
 public:
  // Offset of a new buffer of `size`.
  std::int64_t add(std::int64_t size) {
    const std::int64_t offset = size_;
    size_ += (size + 63) / 64 * 64;
    return offset;
  }
  std::int64_t add(Bytes size) { return add(size.value()); }
  Bytes size() const { return Bytes(size_); }

 private:
  std::int64_t size_ = 0;
};

}  // namespace suanli::engine
