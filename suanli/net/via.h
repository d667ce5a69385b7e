// How a peer was reached that could not be dialled: through which other peer, and why.
#pragma once

#include <string>

#include "suanli/net/identity.h"

namespace suanli::net {

struct Via {
  PeerId relay;
  std::string reason;
};

}  // namespace suanli::net
