// How long this process has lived: what a person waits for begins with the process, not with main().
#pragma once

#include "suanli/base/units.h"

namespace suanli::meter {

// Seconds since the process began, with the resolution of the kernel's clock ticks (10 ms); 0 where that cannot be read.
Seconds process_age();

}  // namespace suanli::meter
