#include "suanli/data/shard.h"

#include <algorithm>
#include <cinttypes>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/data/shard_layout.h"

namespace suanli::data {
namespace {

constexpr const char* kRemake =
    "make the dataset again with `suanli data load`, or fetch this file again";

// What the first bytes say: is this a shard at all, of a version that we know?
Status check_kind(ByteSpan bytes, const std::string& place) {
  using namespace layout;
  if (bytes.empty()) {
    return fail(ErrorCode::empty, "the file has 0 bytes, where a token shard was expected", place,
                kRemake);
  }
  const std::size_t known = std::min(bytes.size(), kMagic.size());
  if (std::memcmp(bytes.data(), kMagic.data(), known) != 0) {
    const std::string_view start(reinterpret_cast<const char*>(bytes.data()), known);
    return fail(ErrorCode::foreign,
                "this is no token shard: it begins with '" + printable(start) + "'", place,
                "give a file that `suanli data load` made");
  }
  if (bytes.size() < kHeaderBytesAt) {
    return fail(ErrorCode::corrupt,
                format("the file was cut short: it has %zu bytes", bytes.size()), place, kRemake);
  }
  const auto version = load<std::uint32_t>(bytes.data() + kVersionAt);
  if (version != kVersion) {
    return fail(
        ErrorCode::version,
        format("the shard has format version %u, this build reads version %u", version, kVersion),
        place, "use the build of suanli that made it, or make the dataset again");
  }
  if (bytes.size() < kHeaderBytes) {
    return fail(ErrorCode::corrupt,
                format("the file was cut short: it has %zu bytes of a header of %zu", bytes.size(),
                       kHeaderBytes),
                place, kRemake);
  }
  return {};
}

// Sums of sizes below this do not overflow.
constexpr std::uint64_t kLimit = std::numeric_limits<std::int64_t>::max() / 16;

// A header with a right digest can still lie: every size is checked against the others without
// overflow.
bool sizes_agree(const std::byte* h, const ShardInfo& info) {
  using namespace layout;
  if (info.vocab < 1 || info.vocab > kMaxVocab) return false;
  if (info.token_width != token_width_for(info.vocab)) return false;
  if (info.tokens > kLimit || info.documents > kLimit) return false;
  const std::uint64_t tokens_end =
      kHeaderBytes + info.tokens * static_cast<std::uint64_t>(info.token_width);
  const std::uint64_t index = align_up(tokens_end, kIndexAlignment);
  return load<std::uint32_t>(h + kHeaderBytesAt) == kHeaderBytes &&
         load<std::uint32_t>(h + kChunkBytesAt) == kShardChunkBytes &&
         load<std::uint64_t>(h + kTokensOffsetAt) == kHeaderBytes &&
         load<std::uint64_t>(h + kIndexOffsetAt) == index &&
         load<std::uint64_t>(h + kFileBytesAt) == index + 8 * info.documents &&
         (info.tokens == 0 || info.documents > 0);
}

bool all_zero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

template <typename Word>
Status copy_tokens(const std::byte* from, std::span<std::int32_t> out, std::uint64_t limit) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t token = layout::load<Word>(from + i * sizeof(Word));
    if (token >= limit) {
      return fail(ErrorCode::corrupt, format("token %zu of this read is %" PRIu64
                                             ", outside the vocabulary of %" PRIu64,
                                             i, token, limit));
    }
    out[i] = static_cast<std::int32_t>(token);
  }
  return {};
}

}  // namespace

Result<std::uint64_t> shard_file_bytes(std::uint64_t vocab, std::uint64_t tokens,
                                       std::uint64_t documents) {
  if (vocab > kMaxVocab || tokens > kLimit || documents > kLimit) {
    return fail(ErrorCode::corrupt,
                format("no shard has %" PRIu64 " tokens of %" PRIu64 " in %" PRIu64 " documents",
                       tokens, vocab, documents),
                {}, "get the dataset's list again from who made it");
  }
  const std::uint64_t tokens_end =
      layout::kHeaderBytes + tokens * static_cast<std::uint64_t>(token_width_for(vocab));
  return layout::align_up(tokens_end, layout::kIndexAlignment) + 8 * documents;
}

tl::unexpected<Error> Shard::corrupt(std::string message) const {
  return fail(ErrorCode::corrupt, std::move(message), place_, kRemake);
}

Result<Shard> Shard::open(const std::string& path) {
  SUANLI_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  SUANLI_ASSIGN_OR_RETURN(Shard shard, parse(file.bytes(), path));
  shard.file_ = std::move(file);
  return shard;
}

Result<Shard> Shard::parse(ByteSpan bytes, std::string place) {
  using namespace layout;
  SUANLI_RETURN_IF_ERROR(check_kind(bytes, place));
  Shard shard;
  shard.place_ = std::move(place);
  shard.bytes_ = bytes;
  const std::byte* h = bytes.data();
  ShardInfo& info = shard.info_;
  info.digest = load_digest(h + kHeaderDigestAt);
  if (sha256(bytes.first(kHeaderDigestAt)) != info.digest) {
    return shard.corrupt("the header does not match its digest " + info.digest.hex().substr(0, 16));
  }
  info.token_width = static_cast<int>(std::min(load<std::uint32_t>(h + kTokenWidthAt), 255u));
  info.vocab = load<std::uint64_t>(h + kVocabAt);
  info.tokens = load<std::uint64_t>(h + kTokensAt);
  info.documents = load<std::uint64_t>(h + kDocumentsAt);
  info.tokens_root = load_digest(h + kTokensRootAt);
  info.index_digest = load_digest(h + kIndexDigestAt);
  if (!sizes_agree(h, info) || !all_zero(bytes.subspan(kReservedAt, kTokensRootAt - kReservedAt))) {
    return shard.corrupt("the header's sizes contradict one another");
  }
  const auto file_bytes = load<std::uint64_t>(h + kFileBytesAt);
  if (bytes.size() != file_bytes) {
    return shard.corrupt(
        format("the file has %zu bytes, its header says %" PRIu64, bytes.size(), file_bytes));
  }
  shard.tokens_ =
      bytes.subspan(kHeaderBytes, info.tokens * static_cast<std::size_t>(info.token_width));
  shard.index_ = bytes.last(8 * info.documents);
  const std::size_t padding_at = kHeaderBytes + shard.tokens_.size();
  if (!all_zero(bytes.subspan(padding_at, bytes.size() - shard.index_.size() - padding_at))) {
    return shard.corrupt("the padding before the index is not zero");
  }
  return shard;
}

Status Shard::verify(const std::atomic<bool>* stop) const {
  if (sha256(index_) != info_.index_digest)
    return corrupt("the document index does not match its digest");
  SUANLI_RETURN_IF_ERROR(verify_index());
  std::vector<Digest> leaves;
  for (std::size_t at = 0; at < tokens_.size(); at += kShardChunkBytes) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed))
      return fail(ErrorCode::interrupted, "stopped on request before every byte was checked",
                  place_, "run the command again");
    leaves.push_back(
        sha256(tokens_.subspan(at, std::min<std::size_t>(kShardChunkBytes, tokens_.size() - at))));
  }
  if (merkle_root(leaves) != info_.tokens_root)
    return corrupt("the tokens do not match their digest");
  if (info_.vocab == std::uint64_t{1} << (8 * info_.token_width)) return {};
  std::vector<std::int32_t> block(4096);
  for (std::uint64_t at = 0; at < info_.tokens; at += block.size()) {
    const std::size_t count = std::min<std::uint64_t>(block.size(), info_.tokens - at);
    SUANLI_RETURN_IF_ERROR(read(at, std::span(block).first(count)));
  }
  return {};
}

Status Shard::verify_index() const {
  std::uint64_t previous = 0;
  for (std::uint64_t i = 0; i < info_.documents; ++i) {
    const auto end = layout::load<std::uint64_t>(index_.data() + 8 * i);
    if (end < previous)
      return corrupt(format("document %" PRIu64 " of the index ends before it begins", i));
    previous = end;
  }
  if (previous != info_.tokens)
    return corrupt("the document index does not end with the last token");
  return {};
}

bool Shard::chunk_matches(std::uint64_t i, const Digest& leaf) const {
  if (i >= (tokens_.size() + kShardChunkBytes - 1) / kShardChunkBytes) return false;
  const std::size_t at = i * kShardChunkBytes;
  return sha256(tokens_.subspan(
             at, std::min<std::size_t>(kShardChunkBytes, tokens_.size() - at))) == leaf;
}

Status Shard::read(std::uint64_t begin, std::span<std::int32_t> out) const {
  SUANLI_CHECK(begin <= info_.tokens && out.size() <= info_.tokens - begin);
  const std::byte* from = tokens_.data() + begin * static_cast<std::uint64_t>(info_.token_width);
  Status status;
  switch (info_.token_width) {
    case 1:
      status = copy_tokens<std::uint8_t>(from, out, info_.vocab);
      break;
    case 2:
      status = copy_tokens<std::uint16_t>(from, out, info_.vocab);
      break;
    default:
      status = copy_tokens<std::uint32_t>(from, out, info_.vocab);
  }
  if (!status)
    return tl::unexpected(std::move(status).error().within(
        format("%s, tokens from %" PRIu64 " on", place_.c_str(), begin)));
  return {};
}

Result<Shard::Range> Shard::document(std::uint64_t i) const {
  SUANLI_CHECK(i < info_.documents);
  const std::uint64_t begin = i == 0 ? 0 : layout::load<std::uint64_t>(index_.data() + 8 * (i - 1));
  const auto end = layout::load<std::uint64_t>(index_.data() + 8 * i);
  if (begin > end || end > info_.tokens) {
    return corrupt(format("document %" PRIu64 " of the index has a range outside the tokens", i));
  }
  return Range{begin, end};
}

}  // namespace suanli::data
