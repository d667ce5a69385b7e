// Any text is either refused or read as a manifest that is written and read again unchanged. The
// digest at the end would refuse nearly all mutations at once, so each input is also tried with its
// digest made right.
#include <cstdint>

#include "suanli/checkpoint/manifest.h"
#include "suanli/checkpoint/test_snapshot.h"

namespace checkpoint = suanli::checkpoint;

namespace {

void check(std::string_view text) {
  const auto manifest = checkpoint::parse_manifest(text, "input");
  if (!manifest) {
    SUANLI_CHECK(!manifest.error().message.empty() && manifest.error().place == "input");
    return;
  }
  const auto again = checkpoint::parse_manifest(checkpoint::to_text(*manifest), "copy");
  SUANLI_CHECK(again && *again == *manifest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text);
  check(checkpoint::internal::seal(std::string(checkpoint::internal::unsealed(text))));
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  return {checkpoint::to_text(checkpoint::describe(checkpoint::test_snapshot(100), "header")),
          checkpoint::to_text(checkpoint::describe(checkpoint::Snapshot(), ""))};
}
