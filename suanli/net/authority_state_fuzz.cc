// Any text is refused with a next step, or is a state that comes back the same.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/net/authority_state.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli::net;
  const auto state = AuthorityState::parse({reinterpret_cast<const char*>(data), size}, "state.json");
  if (!state) {
    SUANLI_CHECK(!state.error().next_step.empty() && state.error().place == "state.json");
    return 0;
  }
  const std::string json = state->to_json();
  SUANLI_CHECK(AuthorityState::parse(json, "again").value().to_json() == json);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli::net;
  AuthorityState state;
  state.list_number = 3;
  state.tokens.push_back({"0123456789abcdef", suanli::sha256("secret"), WallTime(1'800'000'000), 5, false});
  state.certificates.push_back({"4f00", PeerId{}, Role::coordinator, WallTime(1'900'000'000), true});
  state.revoked_peers.push_back(PeerId{});
  return {state.to_json(), AuthorityState().to_json()};
}
