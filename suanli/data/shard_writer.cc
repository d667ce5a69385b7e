#include <algorithm>

#include "suanli/data/shard.h"
#include "suanli/data/shard_layout.h"

namespace suanli::data {
namespace {

std::array<std::byte, layout::kHeaderBytes> encode_header(ShardInfo& info,
                                                          std::uint64_t index_offset) {
  using namespace layout;
  std::array<std::byte, kHeaderBytes> header{};
  std::byte* h = header.data();
  std::memcpy(h, kMagic.data(), kMagic.size());
  store(h + kVersionAt, kVersion);
  store(h + kHeaderBytesAt, static_cast<std::uint32_t>(kHeaderBytes));
  store(h + kTokenWidthAt, static_cast<std::uint32_t>(info.token_width));
  store(h + kChunkBytesAt, static_cast<std::uint32_t>(kShardChunkBytes));
  store(h + kVocabAt, info.vocab);
  store(h + kTokensAt, info.tokens);
  store(h + kDocumentsAt, info.documents);
  store(h + kTokensOffsetAt, static_cast<std::uint64_t>(kHeaderBytes));
  store(h + kIndexOffsetAt, index_offset);
  store(h + kFileBytesAt, index_offset + 8 * info.documents);
  std::memcpy(h + kTokensRootAt, info.tokens_root.bytes.data(), 32);
  std::memcpy(h + kIndexDigestAt, info.index_digest.bytes.data(), 32);
  info.digest = sha256(std::span(h, kHeaderDigestAt));
  std::memcpy(h + kHeaderDigestAt, info.digest.bytes.data(), 32);
  return header;
}

}  // namespace

int token_width_for(std::uint64_t vocab) { return vocab <= 256 ? 1 : vocab <= 65536 ? 2 : 4; }

ShardWriter::ShardWriter(AtomicFile file, std::uint64_t vocab) : file_(std::move(file)) {
  info_.vocab = vocab;
  info_.token_width = token_width_for(vocab);
  chunk_.reserve(kShardChunkBytes);
}

Result<ShardWriter> ShardWriter::create(const std::string& path, std::uint64_t vocab) {
  SUANLI_CHECK(vocab >= 1 && vocab <= kMaxVocab);
  SUANLI_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  // Room for the header, which is known only at the end. Zeros are no valid header.
  const std::array<std::byte, layout::kHeaderBytes> header{};
  SUANLI_RETURN_IF_ERROR(file.write(header));
  return ShardWriter(std::move(file), vocab);
}

Status ShardWriter::append(std::span<const std::uint32_t> tokens) {
  for (const std::uint32_t token : tokens) {
    SUANLI_CHECK(token < info_.vocab);
    for (int i = 0; i < info_.token_width; ++i) {
      chunk_.push_back(static_cast<std::byte>(token >> (8 * i)));
    }
    // The width divides the chunk, so no token lies across two chunks.
    if (chunk_.size() == kShardChunkBytes) SUANLI_RETURN_IF_ERROR(write_chunk());
  }
  info_.tokens += tokens.size();
  return {};
}

Status ShardWriter::append_bytes(ByteSpan tokens) {
  SUANLI_CHECK(info_.token_width == 1);
  if (info_.vocab < 256) {
    for (const std::byte token : tokens) {
      SUANLI_CHECK(std::to_integer<std::uint64_t>(token) < info_.vocab);
    }
  }
  info_.tokens += tokens.size();
  while (!tokens.empty()) {
    const std::size_t count = std::min(tokens.size(), kShardChunkBytes - chunk_.size());
    chunk_.insert(chunk_.end(), tokens.begin(),
                  tokens.begin() + static_cast<std::ptrdiff_t>(count));
    tokens = tokens.subspan(count);
    if (chunk_.size() == kShardChunkBytes) SUANLI_RETURN_IF_ERROR(write_chunk());
  }
  return {};
}

void ShardWriter::end_document() { ends_.push_back(info_.tokens); }

Status ShardWriter::write_chunk() {
  leaves_.push_back(sha256(chunk_));
  SUANLI_RETURN_IF_ERROR(file_.write(chunk_));
  chunk_.clear();
  return {};
}

Result<ShardInfo> ShardWriter::finish() {
  if (info_.tokens > (ends_.empty() ? 0 : ends_.back())) end_document();
  if (!chunk_.empty()) SUANLI_RETURN_IF_ERROR(write_chunk());
  info_.documents = ends_.size();
  info_.tokens_root = merkle_root(leaves_);

  const auto end = static_cast<std::uint64_t>(file_.size());
  const std::uint64_t index_offset = layout::align_up(end, layout::kIndexAlignment);
  const std::array<std::byte, layout::kIndexAlignment> zeros{};
  SUANLI_RETURN_IF_ERROR(file_.write(std::span(zeros).first(index_offset - end)));

  std::vector<std::byte> index(8 * ends_.size());
  for (std::size_t i = 0; i < ends_.size(); ++i) layout::store(index.data() + 8 * i, ends_[i]);
  info_.index_digest = sha256(index);
  SUANLI_RETURN_IF_ERROR(file_.write(index));
  SUANLI_RETURN_IF_ERROR(file_.write_at(0, encode_header(info_, index_offset)));
  SUANLI_RETURN_IF_ERROR(file_.commit());
  return info_;
}

}  // namespace suanli::data
