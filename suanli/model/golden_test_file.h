// The values that PyTorch computed once for the golden test (tools/golden/README.md says what the
// file holds).
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "suanli/base/file.h"
#include "suanli/model/gpt_test_support.h"
#include "suanli/model/safetensors.h"

namespace suanli::model::test {

using Numbers = std::vector<double>;

class Golden {
 public:
  static const Golden& get() {
    static const Golden golden;
    return golden;
  }

  GptConfig config;
  AdamWOptions optimizer;
  std::int64_t steps = 0, batch = 0;

  template <typename Number = float>
  std::vector<Number> values(const std::string& name) const {
    const TensorView* tensor = content_.find(name);
    SUANLI_CHECK(tensor != nullptr && tensor->data.size() % sizeof(Number) == 0);
    std::vector<Number> values(tensor->data.size() / sizeof(Number));
    std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
    return values;
  }
  Numbers numbers(const std::string& name) const {
    const std::vector<float> floats = values(name);
    return {floats.begin(), floats.end()};
  }

  // The batch of a step, cut into micro-batches of whole sequences.
  std::vector<TokenBatch> micro_batches(std::int64_t step, std::int64_t count) const {
    const auto tokens = values<std::int32_t>("tokens"), targets = values<std::int32_t>("targets");
    const std::int64_t size = batch * config.context / count;
    std::vector<TokenBatch> result;
    for (std::int64_t first = step * count; first < (step + 1) * count; ++first)
      result.push_back({{tokens.begin() + first * size, tokens.begin() + (first + 1) * size},
                        {targets.begin() + first * size, targets.begin() + (first + 1) * size}});
    return result;
  }

  // The names of all parameters.
  std::vector<std::string> parameters() const {
    std::vector<std::string> names;
    for (const TensorView& tensor : content_.tensors)
      if (tensor.name.starts_with("initial.")) names.push_back(tensor.name.substr(8));
    return names;
  }

  const std::string& metadata(const std::string& key) const { return content_.metadata.at(key); }

 private:
  Golden() {
    const std::string path = SUANLI_SOURCE_DIR "/suanli/model/testdata/gpt_golden.safetensors";
    auto file = MappedFile::open(path);
    SUANLI_CHECK(file.has_value());
    file_ = std::move(*file);
    auto content = parse_safetensors(file_->bytes(), path);
    SUANLI_CHECK(content.has_value());
    content_ = std::move(*content);
    const auto number = [&](const char* key) { return std::stod(metadata(key)); };
    const graph::Shape& table = content_.find("initial.wte.weight")->type.shape;
    const graph::Shape& tokens = content_.find("tokens")->type.shape;
    config = {.layers = std::stoll(metadata("layers")),
              .heads = std::stoll(metadata("heads")),
              .width = table[1],
              .context = tokens[2],
              .vocab = table[0],
              .norm_eps = number("norm_eps")};
    optimizer = {.beta1 = number("beta1"),
                 .beta2 = number("beta2"),
                 .eps = number("adam_eps"),
                 .weight_decay = number("weight_decay"),
                 .clip_norm = number("clip_norm")};
    steps = tokens[0];
    batch = tokens[1];
  }

  std::optional<MappedFile> file_;
  Safetensors content_;
};

}  // namespace suanli::model::test
