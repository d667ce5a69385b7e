// For tests: small datasets, written as files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "suanli/base/file.h"
#include "suanli/data/dataset.h"

namespace suanli::data {

// A dataset in an existing folder whose shards hold these texts, each of them one document.
inline DatasetInfo write_dataset_for_test(const std::string& folder, const std::vector<std::string>& train,
                                          const std::vector<std::string>& valid = {},
                                          std::vector<SourceEntry> sources = {}) {
  DatasetInfo info;
  info.sources = std::move(sources);
  for (const Split split : kSplits) {
    const auto& texts = split == Split::train ? train : valid;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::string name = std::string(name_of(split)) + "-" + std::to_string(i) + ".shard";
      ShardWriter writer = ShardWriter::create(folder + "/" + name, kByteVocab).value();
      SUANLI_CHECK(writer.append_bytes(as_bytes(texts[i])).has_value());
      const ShardInfo shard = writer.finish().value();
      info.of(split).push_back({name, shard.digest, shard.tokens, shard.documents});
    }
  }
  SUANLI_CHECK(write_file_atomic(dataset_file(folder), as_bytes(print_dataset(info))).has_value());
  return info;
}

// `shards` texts of `tokens` bytes, all different.
inline std::vector<std::string> texts_for_test(std::size_t shards, std::size_t tokens) {
  std::vector<std::string> texts(shards, std::string(tokens, ' '));
  std::uint32_t state = 1;
  for (std::string& text : texts) {
    for (char& each : text) each = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  }
  return texts;
}

}  // namespace suanli::data
