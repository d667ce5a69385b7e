#include <cstdint>
#include <string>
#include <vector>

#include "suanli/data/dataset.h"

using namespace suanli;
using namespace suanli::data;

std::vector<std::string> suanli_fuzz_seeds() {
  DatasetInfo info;
  info.of(Split::train) = {{"train-00000-01020304.shard", sha256("a"), 100, 3},
                           {"train-00001-05060708.shard", sha256("b"), 70, 1}};
  info.of(Split::valid) = {{"valid-00000-090a0b0c.shard", sha256("c"), 9, 1}};
  info.sources = {{"a \"quoted\" name", 170, 4}};
  return {print_dataset(DatasetInfo{}), print_dataset(info)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<DatasetInfo> info = parse_dataset(text, "fuzz");
  if (!info) return 0;
  // What was accepted prints and parses to the same content.
  const Result<DatasetInfo> again = parse_dataset(print_dataset(*info), "fuzz");
  SUANLI_CHECK(again.has_value());
  SUANLI_CHECK(again->digest() == info->digest());
  for (const Split split : kSplits) {
    for (const ShardEntry& shard : info->of(split))
      SUANLI_CHECK(shard.file.find('/') == std::string::npos);
  }
  return 0;
}
