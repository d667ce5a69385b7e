#include "suanli/data/dataset.h"

#include <algorithm>
#include <cinttypes>

#include "suanli/base/text.h"

namespace suanli::data {

std::string_view name_of(Split split) { return split == Split::train ? "train" : "valid"; }

std::uint64_t DatasetInfo::tokens(Split split) const {
  std::uint64_t sum = 0;
  for (const ShardEntry& shard : of(split)) sum += shard.tokens;
  return sum;
}

std::uint64_t DatasetInfo::documents(Split split) const {
  std::uint64_t sum = 0;
  for (const ShardEntry& shard : of(split)) sum += shard.documents;
  return sum;
}

Digest DatasetInfo::digest() const {
  Sha256 hash;
  hash.update("suanli dataset 1\n");
  hash.update_u64(tokenizer.size());
  hash.update(tokenizer);
  hash.update_u64(vocab);
  for (const Split split : kSplits) {
    hash.update_u64(of(split).size());
    for (const ShardEntry& shard : of(split)) hash.update(shard.digest.bytes);
  }
  return hash.finish();
}

std::string dataset_file(const std::string& folder) { return folder + "/dataset.json"; }

namespace {

std::string summary(const Digest& digest, std::uint64_t tokens, std::uint64_t documents,
                    std::uint64_t vocab) {
  return format("digest %s, %" PRIu64 " tokens of %" PRIu64 ", %" PRIu64 " documents",
                digest.hex().substr(0, 16).c_str(), tokens, vocab, documents);
}

Result<std::vector<Shard>> open_shards(const std::string& folder, const DatasetInfo& info,
                                       Split split) {
  std::vector<Shard> shards;
  for (const ShardEntry& entry : info.of(split)) {
    const std::string path = folder + "/" + entry.file;
    auto shard = Shard::open(path);
    if (!shard) {
      Error error = std::move(shard).error().within(dataset_file(folder));
      if (error.code == ErrorCode::not_found)
        error.next_step = "restore the shard, or make the dataset again with `suanli data load`";
      return tl::unexpected(std::move(error));
    }
    const ShardInfo& found = shard->info();
    if (found.digest != entry.digest || found.tokens != entry.tokens ||
        found.documents != entry.documents || found.vocab != info.vocab) {
      return fail(ErrorCode::mismatch,
                  "the shard has " +
                      summary(found.digest, found.tokens, found.documents, found.vocab) +
                      "; dataset.json lists " +
                      summary(entry.digest, entry.tokens, entry.documents, info.vocab),
                  path, "restore the shard, or make the dataset again with `suanli data load`");
    }
    shards.push_back(std::move(*shard));
  }
  return shards;
}

}  // namespace

Result<Dataset> Dataset::open(const std::string& folder) {
  auto text = read_file(dataset_file(folder), Bytes(std::int64_t{1} << 28));
  if (!text && text.error().code == ErrorCode::not_found) {
    return fail(ErrorCode::not_found, "the folder holds no dataset (no dataset.json)", folder,
                "make one with `suanli data load FILES --out " + folder + "`");
  }
  if (!text) return tl::unexpected(std::move(text).error());
  Dataset dataset;
  dataset.folder_ = folder;
  SUANLI_ASSIGN_OR_RETURN(dataset.info_, parse_dataset(*text, dataset_file(folder)));
  for (const Split split : kSplits) {
    SUANLI_ASSIGN_OR_RETURN(std::vector<Shard> shards, open_shards(folder, dataset.info_, split));
    dataset.shards_[static_cast<std::size_t>(split)] =
        std::make_shared<const std::vector<Shard>>(std::move(shards));
  }
  return dataset;
}

Status Dataset::verify(const std::atomic<bool>* stop) const {
  for (const Shards& shards : shards_) {
    for (const Shard& shard : *shards) SUANLI_RETURN_IF_ERROR(shard.verify(stop));
  }
  return {};
}

Result<WindowNumbers> WindowNumbers::create(const DatasetInfo& info, Split split,
                                            std::int64_t context, const std::string& place) {
  SUANLI_CHECK(context >= 1);
  WindowNumbers numbers;
  numbers.context_ = context;
  numbers.first_ = {0};
  std::uint64_t longest = 0;
  for (const ShardEntry& shard : info.of(split)) {
    longest = std::max(longest, shard.tokens);
    const std::uint64_t inside =
        shard.tokens == 0 ? 0 : (shard.tokens - 1) / static_cast<std::uint64_t>(context);
    numbers.first_.push_back(numbers.count() + inside);
  }
  if (numbers.count() > 0) return numbers;
  const std::string name(name_of(split));
  return fail(ErrorCode::empty,
              format("a context of %" PRId64 " tokens needs %" PRId64
                     ", but the longest shard of split '%s' has %" PRIu64,
                     context, context + 1, name.c_str(), longest),
              place,
              split == Split::valid
                  ? "shorten the context, load more text or raise the share of the valid split"
                  : "shorten the context or load more text");
}

WindowNumbers::Place WindowNumbers::at(WindowId id) const {
  SUANLI_CHECK(id < count());
  const auto next = std::upper_bound(first_.begin(), first_.end(), id);
  const auto shard = static_cast<std::size_t>(next - first_.begin()) - 1;
  return {shard, (id - first_[shard]) * static_cast<std::uint64_t>(context_)};
}

Status read_window(const Shard& shard, std::uint64_t begin, std::span<std::int32_t> inputs,
                   std::span<std::int32_t> targets) {
  SUANLI_CHECK(inputs.size() == targets.size());
  SUANLI_RETURN_IF_ERROR(shard.read(begin, inputs));
  return shard.read(begin + 1, targets);
}

Result<Windows> Windows::create(const Dataset& dataset, Split split, std::int64_t context) {
  SUANLI_ASSIGN_OR_RETURN(
      WindowNumbers numbers,
      WindowNumbers::create(dataset.info(), split, context, dataset.folder()));
  return Windows(dataset.shards_[static_cast<std::size_t>(split)], std::move(numbers));
}

Status Windows::read(WindowId id, std::span<std::int32_t> inputs,
                     std::span<std::int32_t> targets) const {
  const auto context = static_cast<std::size_t>(numbers_.context());
  SUANLI_CHECK(inputs.size() == context && targets.size() == context);
  const WindowNumbers::Place place = numbers_.at(id);
  return read_window((*shards_)[place.shard], place.begin, inputs, targets);
}

}  // namespace suanli::data
