#include "suanli/base/units.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace suanli {
namespace {

template <typename A, typename B>
concept Addable = requires(A a, B b) {
  a + b;
};
template <typename A, typename B>
concept Comparable = requires(A a, B b) {
  a < b;
};

static_assert(Addable<Flops, Flops>);
static_assert(!Addable<Flops, Bytes>, "FLOPs are never added to bytes");
static_assert(!Addable<Bytes, Tokens>, "not even where the numbers have one type");
static_assert(!Addable<Seconds, double>);
static_assert(!Comparable<Flops, FlopsPerSecond>);
static_assert(!std::is_convertible_v<double, Seconds> && !std::is_convertible_v<Seconds, double>);
static_assert(sizeof(Bytes) == 8 && std::is_trivially_copyable_v<Bytes>);
static_assert(Flops(3e12) / Seconds(2) == FlopsPerSecond(1.5e12), "usable in constant expressions");

TEST(Units, StartAtZero) {
  EXPECT_EQ(Bytes().value(), 0);
  EXPECT_EQ(Seconds().value(), 0.0);
}

TEST(Units, AddSubtractNegateScaleCompare) {
  Bytes sum(10);
  sum += Bytes(5);
  sum -= Bytes(1);
  EXPECT_EQ(sum, Bytes(14));
  EXPECT_EQ(Bytes(3) + Bytes(4), Bytes(7));
  EXPECT_EQ(Bytes(3) - Bytes(4), -Bytes(1));
  EXPECT_EQ(2.0 * Seconds(1.5), Seconds(1.5) * 2.0);
  EXPECT_EQ(Tokens(9) / std::int64_t{2}, Tokens(4));
  EXPECT_LT(Seconds(1), Seconds(2));
  EXPECT_GE(Tokens(2), Tokens(2));
}

TEST(Units, RatioOfLikeQuantitiesIsANumberEvenForIntegers) {
  static_assert(std::is_same_v<decltype(Bytes(1) / Bytes(4)), double>);
  EXPECT_EQ(Bytes(1) / Bytes(4), 0.25);
}

TEST(Units, RatesConnectWorkAndTime) {
  EXPECT_EQ(Flops(1e15) / FlopsPerSecond(1e12), Seconds(1000));
  EXPECT_EQ(FlopsPerSecond(1e12) * Seconds(3), Flops(3e12));
  EXPECT_EQ(Bytes(10) / Seconds(4), BytesPerSecond(2.5));
  EXPECT_EQ(Tokens(10) / Seconds(4), TokensPerSecond(2.5));
}

}  // namespace
}  // namespace suanli
