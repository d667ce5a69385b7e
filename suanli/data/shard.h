// A shard: one file of tokens with an index of its documents, memory-mapped. docs/formats/shard.md
// describes its bytes.
//
//   SUANLI_ASSIGN_OR_RETURN(Shard shard, Shard::open("train-00000.shard"));
//   std::vector<std::int32_t> tokens(100);
//   SUANLI_RETURN_IF_ERROR(shard.read(0, tokens));
//
// open() looks at the header alone, so that a dataset of thousands of shards opens at once;
// verify() reads all.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suanli/base/file.h"
#include "suanli/base/sha256.h"

namespace suanli::data {

// Tokens are hashed in chunks of this many bytes, the leaves of a Merkle tree: a part can be
// checked alone.
inline constexpr std::size_t kShardChunkBytes = 1 << 20;
// Token ids travel as int32.
inline constexpr std::uint64_t kMaxVocab = std::uint64_t{1} << 31;

struct ShardInfo {
  int token_width = 1;  // bytes of a token: 1, 2 or 4
  std::uint64_t vocab = 0;
  std::uint64_t tokens = 0;
  std::uint64_t documents = 0;  // documents, or parts of a document that goes on in another shard
  Digest tokens_root;           // Merkle root over the digests of the token chunks
  Digest index_digest;
  Digest digest;  // of the header, which holds all of the above: the name of this content
};

// The bytes of a token that a vocabulary of this size needs.
int token_width_for(std::uint64_t vocab);

// The bytes of the file of a shard with so many tokens and documents: all that decides them. An
// error (corrupt) if no file can be so large.
Result<std::uint64_t> shard_file_bytes(std::uint64_t vocab, std::uint64_t tokens,
                                       std::uint64_t documents);

// Writes a shard front to back. Memory: one chunk, and 8 bytes per document. Destroyed before
// finish(), it leaves nothing behind. One thread.
class ShardWriter {
 public:
  // `vocab` is 1 to kMaxVocab.
  static Result<ShardWriter> create(const std::string& path, std::uint64_t vocab);

  // Appends to the current document. Every token is below the vocabulary (checked; a violation is a
  // bug).
  [[nodiscard]] Status append(std::span<const std::uint32_t> tokens);
  // The same for tokens of one byte; only for a vocabulary of at most 256.
  [[nodiscard]] Status append_bytes(ByteSpan tokens);
  // Ends the current document. An empty document is legal.
  void end_document();
  // Writes index and header and makes the file durable under its name. Tokens after the last
  // end_document() become a document too.
  Result<ShardInfo> finish();

  std::uint64_t tokens() const { return info_.tokens; }
  const std::vector<std::uint64_t>& document_ends() const { return ends_; }

 private:
  ShardWriter(AtomicFile file, std::uint64_t vocab);
  Status write_chunk();

  AtomicFile file_;
  ShardInfo info_;
  std::vector<std::byte> chunk_;  // at most kShardChunkBytes
  std::vector<Digest> leaves_;    // one per written chunk
  std::vector<std::uint64_t> ends_;
};

// A shard being read. Any thread may read.
class Shard {
 public:
  // Checks kind, version, sizes and the header's digest. Errors: not_found, empty, foreign,
  // version, corrupt.
  static Result<Shard> open(const std::string& path);
  // The same for bytes in memory, which outlive the shard. `place` names them in errors.
  static Result<Shard> parse(ByteSpan bytes, std::string place);

  // Reads everything and checks every digest, the index and the range of each token. Errors:
  // corrupt; interrupted soon after `*stop` is true.
  [[nodiscard]] Status verify(const std::atomic<bool>* stop = nullptr) const;
  // Checks chunk `i` of the tokens against `leaf`, a digest that tokens_root commits to.
  bool chunk_matches(std::uint64_t i, const Digest& leaf) const;

  // Copies the tokens from `begin` on into `out`. A token outside the vocabulary is an error
  // (corrupt).
  [[nodiscard]] Status read(std::uint64_t begin, std::span<std::int32_t> out) const;
  // The token positions of document `i`. A damaged index is an error (corrupt), never a wild range.
  struct Range {
    std::uint64_t begin, end;
  };
  Result<Range> document(std::uint64_t i) const;

  const ShardInfo& info() const { return info_; }
  std::uint64_t tokens() const { return info_.tokens; }
  // The tokens as they lie in the file: little-endian, token_width bytes each.
  ByteSpan token_bytes() const { return tokens_; }
  // The whole file.
  ByteSpan file_bytes() const { return bytes_; }

 private:
  Shard() = default;
  Status verify_index() const;
  tl::unexpected<Error> corrupt(std::string message) const;

  std::optional<MappedFile> file_;  // empty if parsed from memory
  std::string place_;
  ShardInfo info_;
  ByteSpan bytes_, tokens_, index_;
};

}  // namespace suanli::data
