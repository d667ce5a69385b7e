#include "suanli/proof/op_output.h"

#include <gtest/gtest.h>

#include <cstring>

namespace suanli::proof {
namespace {

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

std::vector<float> ramp(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = 1 + static_cast<float>(i) / 7;
  return values;
}

const graph::TensorType kType = graph::f32({5, 500});  // three leaves, the last of 452

TEST(OpOutput, LeavesCoverEveryElementOnce) {
  const auto bytes = bytes_of(ramp(2500));
  const std::vector<Digest> leaves = leaves_of(kType, bytes);
  ASSERT_EQ(leaves.size(), 3U);
  EXPECT_EQ(leaves[0], sha256(std::span(bytes).first(4096)));
  EXPECT_EQ(leaves[2], sha256(std::span(bytes).subspan(8192)));
  EXPECT_TRUE(leaves_of(graph::f32({0, 3}), {}).empty());
}

TEST(OpOutput, NamesTheFirstElementThatDiffers) {
  const auto mine = bytes_of(ramp(2500));
  EXPECT_FALSE(first_difference(kType, mine, mine));
  std::vector<float> other = ramp(2500);
  other[1203] = -0.0F;
  other[2000] = 5;
  const auto found = first_difference(kType, mine, bytes_of(other));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->first, 1203);
  EXPECT_EQ(found->count, 1);
  EXPECT_EQ(found->theirs, "0x80000000");
  EXPECT_EQ(position_of(kType, found->first), "[2, 203]");
}

TEST(OpOutput, FindsTheFlippedBitFromDigestsAlone) {
  const auto mine = bytes_of(ramp(2500));
  for (const std::size_t bit : {std::size_t{0}, std::size_t{1203 * 32 + 31}, std::size_t{2499 * 32 + 7}}) {
    std::vector<std::byte> theirs = mine;
    theirs[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto found = first_difference(kType, mine, leaves_of(kType, theirs));
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->first, static_cast<std::int64_t>(bit / 32));
    EXPECT_EQ((*found)->count, 1);
    EXPECT_NE((*found)->mine, (*found)->theirs);
    const auto by_value = first_difference(kType, mine, theirs);
    EXPECT_EQ((*found)->mine, by_value->mine);
    EXPECT_EQ((*found)->theirs, by_value->theirs);
  }
}

TEST(OpOutput, NamesTheLeafWhereMoreThanABitDiffers) {
  const auto mine = bytes_of(ramp(2500));
  std::vector<float> other = ramp(2500);
  other[1500] = 3;
  other[1501] = 4;
  const auto found = first_difference(kType, mine, leaves_of(kType, bytes_of(other)));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->first, 1024);
  EXPECT_EQ((*found)->count, 1024);
  EXPECT_FALSE((*found)->mine);
  const auto same = first_difference(kType, mine, leaves_of(kType, mine));
  EXPECT_TRUE(same && !*same);
  const auto fewer = first_difference(kType, mine, std::vector<Digest>(2));
  ASSERT_FALSE(fewer);
  EXPECT_EQ(fewer.error().code, ErrorCode::mismatch);
}

TEST(OpOutput, ReadsLikeASentence) {
  OpOutput output;
  output.op = "matmul";
  output.node = 41;
  output.block = 2;
  output.micro_batch = 3;
  output.phase = graph::Phase::backward;
  output.type = graph::f32({64, 32});
  EXPECT_EQ(output.to_string(), "matmul %41 in block 2, backward of micro-batch 3 (f32[64x32])");
  EXPECT_EQ(position_of(graph::f32({}), 0), "[]");
}

}  // namespace
}  // namespace suanli::proof
