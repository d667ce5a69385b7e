// Where others find a machine that listens on all its addresses.
#pragma once

#include "suanli/net/address.h"

namespace suanli::pool {

// `listen` itself, unless its host stands for all addresses (0.0.0.0 or ::): then the address from which this machine reaches
// `towards`, with the same port. Nothing is sent. Behind a router that translates addresses it is not what others must dial.
net::Address reachable_address(const net::Address& listen, const net::Address& towards);

}  // namespace suanli::pool
