#include <cstdlib>
#include <filesystem>
#include <vector>

#include "suanli/base/test_folder.h"
#include "suanli/data/shard.h"
#include "suanli/data/shard_layout.h"

namespace {

using namespace suanli;
using namespace suanli::data;

void read_all(ByteSpan bytes) {
  const Result<Shard> shard = Shard::parse(bytes, "fuzz");
  if (!shard) return;
  const Status verified = shard->verify();
  for (std::uint64_t i = 0; i < shard->info().documents; ++i) {
    const auto range = shard->document(i);
    SUANLI_CHECK(range || !verified);
    if (range) SUANLI_CHECK(range->begin <= range->end && range->end <= shard->tokens());
  }
  std::vector<std::int32_t> tokens(shard->tokens());
  const Status read = shard->read(0, tokens);
  SUANLI_CHECK(read || !verified);
}

std::string seed(std::uint64_t vocab, int documents) {
  TestFolder folder;
  ShardWriter writer = *ShardWriter::create(folder / "s", vocab);
  for (int i = 0; i < documents; ++i) {
    const std::vector<std::uint32_t> tokens = {1, 2, static_cast<std::uint32_t>(vocab - 1)};
    SUANLI_CHECK(writer.append(tokens));
    writer.end_document();
  }
  SUANLI_CHECK(writer.finish());
  return *read_file(folder / "s");
}

}  // namespace

std::vector<std::string> suanli_fuzz_seeds() {
  return {seed(256, 0), seed(256, 3), seed(50257, 2), seed(200'000, 5)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read_all(bytes);
  // Almost no change survives the header's digest: put a right one on, to reach what lies behind
  // it.
  if (size < layout::kHeaderBytes) return 0;
  std::vector<std::byte> resealed(bytes.begin(), bytes.end());
  const Digest digest = sha256(bytes.first(layout::kHeaderDigestAt));
  std::memcpy(resealed.data() + layout::kHeaderDigestAt, digest.bytes.data(), digest.bytes.size());
  read_all(resealed);
  return 0;
}
