// Words that sending and receiving share.
#pragma once

#include <cstdint>
#include <functional>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/net/frame.h"

namespace suanli::net {

// Of one link; never used twice.
using TransferId = std::uint64_t;

// How a transfer ended, exactly once, on the reactor's thread: the tensor's size, or why it failed. Until then the buffer
// belongs to the link, afterwards it is not touched again. Must not block. Errors: cancelled (here or by the peer), timed_out,
// mismatch (larger than the buffer that waits), busy (too many at once), and whatever ended the link.
using Done = std::function<void(Result<Bytes>)>;

struct TransferOptions {
  Seconds deadline{0};  // from the call on; 0: none
};

// Buffers that may wait on one link, either way: what a peer may make us remember.
inline constexpr std::size_t kMostGrants = 4096;

}  // namespace suanli::net
