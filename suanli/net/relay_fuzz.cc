// Any bytes as what a relay tells the peer that is wanted: read as what encodes to the same bytes, or refused as `protocol`. (The
// call itself is a frame: frame_fuzz.cc.)
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/net/relay.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto request = parse_relay_request(text)) {
    SUANLI_CHECK(encode(*request) == text && request->reason.size() <= RelayCall::kMostReasonBytes);
  } else {
    SUANLI_CHECK(request.error().code == suanli::ErrorCode::protocol && !request.error().next_step.empty());
  }
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::net;
  return {encode(RelayRequest{{}, {}, "behind a router"}), encode(RelayRequest{})};
}
