#include "suanli/engine/device.h"

namespace suanli::engine {

Buffer::~Buffer() {
  if (device_ != nullptr) device_->release(data_, size_);
}

}  // namespace suanli::engine
