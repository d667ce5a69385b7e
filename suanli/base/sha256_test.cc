#include "suanli/base/sha256.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "suanli/base/philox.h"

namespace suanli {
namespace {

std::string random_bytes(std::size_t size, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(random.below(256, i));
  return bytes;
}

std::string concatenation(char tag, std::initializer_list<Digest> digests) {
  std::string text(1, tag);
  for (const Digest& digest : digests) {
    text.append(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
  }
  return text;
}

// FIPS 180-4 examples and NIST's long message.
TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                   "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu")
                .hex(),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(sha256(std::string(1'000'000, 'a')).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, AnyCutOfTheInputGivesTheSameDigest) {
  const std::string input = random_bytes(300, 1);
  const Digest whole = sha256(input);
  for (std::size_t first = 0; first <= input.size(); first += 7) {
    for (std::size_t second = first; second <= input.size(); second += 13) {
      Sha256 hash;
      hash.update(std::string_view(input).substr(0, first));
      hash.update(std::string_view(input).substr(first, second - first));
      hash.update(std::string_view(input).substr(second));
      ASSERT_EQ(hash.finish(), whole) << first << " " << second;
    }
  }
}

// Lengths around the ends of a block take different paths in the padding.
TEST(Sha256, EveryLengthNearABlockHasItsOwnDigest) {
  std::vector<Digest> digests;
  for (std::size_t size = 0; size <= 200; ++size) digests.push_back(sha256(std::string(size, 'x')));
  for (std::size_t i = 0; i < digests.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) ASSERT_NE(digests[i], digests[j]) << i << " " << j;
  }
  // Computed with sha256sum.
  EXPECT_EQ(digests[55].hex(), "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  EXPECT_EQ(digests[56].hex(), "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
  EXPECT_EQ(digests[63].hex(), "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2");
  EXPECT_EQ(digests[64].hex(), "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  EXPECT_EQ(digests[119].hex(), "000b48d4edf0fa7bee3c6236ecd2785baa5db4eeb8bb54341b029e0d9fa5fb0c");
  EXPECT_EQ(digests[120].hex(), "13f05a0b594787f5ecd315edc96141bd3243203d1b7d4f0836f37308b276ba98");
}

TEST(Sha256, ExtensionsAndPortableCodeAreEqual) {
  if (!internal::sha256_has_extensions()) GTEST_SKIP() << "this CPU has no SHA extensions";
  const Philox random(2, Stream::test);
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    const std::size_t blocks = random.below(20, 10 * trial);
    const std::size_t shift = random.below(16, 10 * trial + 1);  // unaligned input
    const std::string input = random_bytes(64 * blocks + shift, trial);
    const auto* data = reinterpret_cast<const std::byte*>(input.data()) + shift;
    std::array<std::uint32_t, 8> portable;
    for (std::uint64_t i = 0; i < 8; ++i) {
      portable[i] = static_cast<std::uint32_t>(random.bits(10 * trial + 2 + i));
    }
    std::array<std::uint32_t, 8> extended = portable;
    internal::sha256_compress_portable(portable.data(), data, blocks);
    internal::sha256_compress_extensions(extended.data(), data, blocks);
    ASSERT_EQ(portable, extended) << trial;
  }
}

TEST(Sha256, NumbersAreLittleEndianAndFixedWidth) {
  Sha256 hash;
  hash.update_u64(0x0102030405060708u);
  EXPECT_EQ(hash.finish(), sha256(std::string_view("\x08\x07\x06\x05\x04\x03\x02\x01")));
}

TEST(Digest, HexRoundTrips) {
  const Digest digest = sha256("abc");
  EXPECT_EQ(Digest::from_hex(digest.hex()).value(), digest);
}

TEST(Digest, BadHexIsRefusedWithItsFault) {
  const std::string good = sha256("abc").hex();
  EXPECT_NE(Digest::from_hex(good.substr(1)).error().message.find("63"), std::string::npos);
  EXPECT_FALSE(Digest::from_hex(good + "0").has_value());
  EXPECT_FALSE(Digest::from_hex("").has_value());
  for (char bad : {'g', 'A', 'F', ' ', '/', ':', '`', '\0', '\xff'}) {
    std::string text = good;
    text[17] = bad;
    const auto result = Digest::from_hex(text);
    ASSERT_FALSE(result.has_value()) << bad;
    EXPECT_EQ(result.error().code, ErrorCode::corrupt);
    EXPECT_NE(result.error().message.find("position 17"), std::string::npos);
  }
}

// The structure of RFC 6962, section 2.1, written out by hand.
TEST(MerkleRoot, FollowsRfc6962) {
  std::vector<Digest> leaves, hashed;
  for (int i = 0; i < 7; ++i) {
    leaves.push_back(sha256(std::to_string(i)));
    hashed.push_back(sha256(concatenation('\0', {leaves.back()})));
  }
  const auto node = [](const Digest& a, const Digest& b) {
    return sha256(concatenation('\1', {a, b}));
  };
  const auto root = [&](std::size_t count) { return merkle_root(std::span(leaves).first(count)); };
  const Digest h01 = node(hashed[0], hashed[1]), h23 = node(hashed[2], hashed[3]);
  const Digest h45 = node(hashed[4], hashed[5]), h0123 = node(h01, h23);
  EXPECT_EQ(root(0), sha256(""));
  EXPECT_EQ(root(1), hashed[0]);
  EXPECT_EQ(root(2), h01);
  EXPECT_EQ(root(3), node(h01, hashed[2]));
  EXPECT_EQ(root(4), h0123);
  EXPECT_EQ(root(5), node(h0123, hashed[4]));
  EXPECT_EQ(root(6), node(h0123, h45));
  EXPECT_EQ(root(7), node(h0123, node(h45, hashed[6])));
}

TEST(MerkleRoot, DependsOnEveryLeafAndOnTheirOrder) {
  std::vector<Digest> leaves;
  for (int i = 0; i < 13; ++i) leaves.push_back(sha256(std::to_string(i)));
  const Digest root = merkle_root(leaves);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    std::vector<Digest> changed = leaves;
    changed[i].bytes[31] ^= std::byte{1};
    EXPECT_NE(merkle_root(changed), root) << i;
  }
  std::swap(leaves[3], leaves[4]);
  EXPECT_NE(merkle_root(leaves), root);
}

}  // namespace
}  // namespace suanli
