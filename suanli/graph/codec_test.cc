#include "suanli/graph/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/graph/interpreter.h"
#include "suanli/graph/tile_codec.h"

namespace suanli::graph {
namespace {

using testing::HasSubstr;
using Kind = Codec::Kind;

// Normal numbers with deviation `size`; one element in a hundred `spike` times as large.
RefTensor normal(const Shape& shape, std::uint64_t seed, double size = 1, double spike = 1) {
  const Philox random(seed, suanli::Stream::test);
  RefTensor x{f32(shape), std::vector<double>(static_cast<std::size_t>(element_count(shape)))};
  for (std::size_t i = 0; i < x.data.size(); ++i) {
    const double scale = random.uniform(2 * i + 1) < 0.01 ? size * spike : size;
    x.data[i] = static_cast<float>(scale * random.normal(2 * i));
  }
  return x;
}

double norm(const std::vector<double>& x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)); }
std::vector<double> difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> d(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) d[i] = a[i] - b[i];
  return d;
}

// Both ends of a link, each with its own graph and its own buffer.
class Link {
 public:
  Link(const Codec& codec, const Shape& shape, std::uint64_t seed = 1) : codec_(codec), seed_(seed) {
    Builder s(sender_), r(receiver_);
    CodecInputs inputs;
    const NodeId x = s.input("x", f32(shape));
    if (codec.has_buffer()) inputs.buffer = s.input("buffer", f32(shape));
    if (codec.needs_key()) inputs.key = s.input("key", i32({4}));
    inputs.stream = 3;
    sent_ = send(s, codec, x, inputs);
    EXPECT_TRUE(s.status()) << s.status().error().to_string();
    const NodeId arriving = r.input("packed", wire_type(codec, f32(shape)));
    const NodeId mirror = codec.receiver_has_buffer() ? r.input("buffer", f32(shape)) : kNoNode;
    received_ = receive(r, codec, arriving, f32(shape), mirror);
    EXPECT_TRUE(r.status()) << r.status().error().to_string();
    near = far = {f32(shape), std::vector<double>(static_cast<std::size_t>(element_count(shape)))};
    EXPECT_EQ(s.type(sent_.packed), wire_type(codec, f32(shape)));
  }

  // What the receiver has after x was sent.
  std::vector<double> pass(const RefTensor& x) {
    Values values = {{"x", x}};
    if (codec_.has_buffer()) values["buffer"] = near;
    if (codec_.needs_key()) {
      const auto key = codec_key(seed_, 5, visit);
      values["key"] = {i32({4}), {key.begin(), key.end()}};
    }
    ++visit;
    const auto sent = Interpreter(sender_).evaluate(values);
    EXPECT_TRUE(sent) << sent.error().to_string();
    packed = sent->at(static_cast<std::size_t>(sent_.packed));
    if (sent_.next != kNoNode) near.data = sent->at(static_cast<std::size_t>(sent_.next)).data;
    Values arrived = {{"packed", packed}};
    if (codec_.receiver_has_buffer()) arrived["buffer"] = far;
    const auto received = Interpreter(receiver_).evaluate(arrived);
    EXPECT_TRUE(received) << received.error().to_string();
    if (received_.next != kNoNode) far.data = received->at(static_cast<std::size_t>(received_.next)).data;
    return received->at(static_cast<std::size_t>(received_.value)).data;
  }

  RefTensor near, far, packed;  // the buffers and what crossed last
  std::uint32_t visit = 0;

 private:
  Codec codec_;
  std::uint64_t seed_;
  Graph sender_, receiver_;
  Sent sent_;
  Received received_;
};

std::vector<Codec> tile_codecs(Kind kind) {
  std::vector<Codec> all;
  for (const int bits : {2, 3, 4, 6, 8})
    for (const auto rounding : {Codec::Rounding::nearest, Codec::Rounding::stochastic})
      for (const auto transform : {Codec::Transform::none, Codec::Transform::hadamard})
        all.push_back({.kind = kind, .bits = bits, .tile = 64, .rounding = rounding, .transform = transform});
  return all;
}

TEST(Codec, WireSizesAreThoseOfTheFormat) {
  const auto bytes = [](Codec codec, Shape shape) { return wire_type(codec, f32(std::move(shape))).bytes().value(); };
  EXPECT_EQ(bytes({.kind = Kind::direct, .bits = 4, .tile = 128}, {16, 512}), 16 * (4 * 2 + 256));
  EXPECT_EQ(bytes({.kind = Kind::delta, .bits = 3, .tile = 64}, {2, 3, 70}), 6 * (2 * 2 + 24 + 3));
  EXPECT_EQ(bytes({.kind = Kind::feedback, .bits = 2, .tile = 256}, {}), 2 + 2);
  EXPECT_EQ(bytes({.kind = Kind::direct, .bits = 8, .tile = 64}, {0, 5}), 0);
  EXPECT_EQ(bytes({.kind = Kind::top_k, .keep = 0.01}, {10, 10}), 8);
  EXPECT_EQ(bytes({.kind = Kind::top_k, .keep = 1e-9}, {10, 10}), 8);
  EXPECT_EQ(bytes({}, {10, 10}), 400);
}

TEST(Codec, WrongNumbersAreErrors) {
  const auto complaint = [](Codec codec, TensorType type) {
    const Status status = check(codec, type);
    return status ? std::string() : status.error().to_string();
  };
  EXPECT_EQ(complaint({.kind = Kind::direct}, f32({4, 4})), "");
  EXPECT_THAT(complaint({.kind = Kind::direct, .bits = 5}, f32({4})), HasSubstr("bits is 5"));
  EXPECT_THAT(complaint({.kind = Kind::delta, .tile = 12}, f32({4})), HasSubstr("tile is 12"));
  EXPECT_THAT(complaint({.kind = Kind::delta, .tile = 2048}, f32({4})), HasSubstr("tile is 2048"));
  EXPECT_THAT(complaint({.kind = Kind::feedback}, bf16({4})), HasSubstr("bf16[4]"));
  EXPECT_THAT(complaint({.kind = Kind::top_k, .keep = 0}, f32({4})), HasSubstr("keep is 0"));
  Graph graph;
  Builder b(graph);
  const NodeId x = b.input("x", f32({4, 4}));
  send(b, {.kind = Kind::delta}, x);  // without its buffer
  EXPECT_FALSE(b.status());
}

TEST(Codec, ErrorsStayWithinTheStep) {
  for (const Codec& codec : tile_codecs(Kind::direct)) {
    if (codec.transform == Codec::Transform::hadamard) continue;  // there the bound is one of norms
    for (const double spike : {1.0, 1000.0}) {
      const RefTensor x = normal({20, 150}, 9, 3, spike);
      const std::vector<double> got = Link(codec, x.type.shape).pass(x);
      const double part = (codec.rounding == Codec::Rounding::nearest ? 1.0 : 2.0) / last_code(codec.bits);
      for (std::int64_t row = 0; row < 20; ++row)
        for (std::int64_t at = 0; at < 150; at += 64) {
          const auto first = static_cast<std::size_t>(row * 150 + at);
          const std::size_t last = first + static_cast<std::size_t>(std::min<std::int64_t>(64, 150 - at));
          double largest = 0;
          for (std::size_t i = first; i < last; ++i) largest = std::max(largest, std::fabs(x.data[i]));
          // A scale is rounded up to bf16: at most 2^-7 more.
          for (std::size_t i = first; i < last; ++i)
            ASSERT_LE(std::fabs(got[i] - x.data[i]), largest * (1 + 1.0 / 128) * part * 1.001) << codec.bits;
        }
    }
  }
}

// A sum of 4,096 draws of each of 1,000 numbers: the mean lies within 5 of its deviations of the number itself.
TEST(Codec, StochasticRoundingIsUnbiased) {
  constexpr int kDraws = 4096;
  const RefTensor x = normal({1, 1000}, 4);
  for (const int bits : {2, 4, 8}) {
    const Codec codec{.kind = Kind::direct, .bits = bits, .tile = 1000, .rounding = Codec::Rounding::stochastic};
    Codec nearest = codec;
    nearest.rounding = Codec::Rounding::nearest;
    double largest = 0;
    for (const double each : x.data) largest = std::max(largest, std::fabs(each));
    const std::uint16_t scale = tile_scale(std::bit_cast<std::uint32_t>(static_cast<float>(largest)));
    const float factor = scale_factor(scale, bits), unit = scale_unit(scale, bits);
    std::vector<double> sums(1000);
    for (std::uint32_t draw = 0; draw < kDraws; ++draw) {
      const auto key = codec_key(1, draw, 0);
      std::array<std::uint32_t, 4> words;
      std::ranges::transform(key, words.begin(), [](std::int32_t word) { return std::bit_cast<std::uint32_t>(word); });
      for (std::size_t i = 0; i < 1000; i += kNoiseGroup) {
        const auto noise = stochastic_noise(words, 0, static_cast<std::uint32_t>(i / kNoiseGroup));
        for (std::size_t j = i; j < std::min<std::size_t>(1000, i + kNoiseGroup); ++j)
          sums[j] += (2 * code_of(static_cast<float>(x.data[j]), factor, bits, noise[j - i]) - last_code(bits)) * double{unit};
      }
    }
    const std::vector<double> rounded = Link(nearest, x.type.shape).pass(x);
    double worst = 0, worst_of_nearest = 0, bias = 0;
    const double deviation = double{unit} / std::sqrt(static_cast<double>(kDraws));  // at most: half a step of 2 units each
    for (std::size_t i = 0; i < 1000; ++i) {
      const double error = sums[i] / kDraws - x.data[i];
      worst = std::max(worst, std::fabs(error));
      worst_of_nearest = std::max(worst_of_nearest, std::fabs(rounded[i] - x.data[i]));
      bias += error / 1000;
    }
    EXPECT_LE(worst, 5 * deviation) << bits;
    EXPECT_LE(std::fabs(bias), 5 * deviation / std::sqrt(1000.0)) << bits;
    EXPECT_GT(worst_of_nearest, 5 * deviation) << "the test could not tell rounding to nearest from it";
  }
}

TEST(Codec, BothEndsStayEqualOverManyVisits) {
  for (const Codec& codec : tile_codecs(Kind::delta)) {
    Link link(codec, {7, 100});
    RefTensor a = normal({7, 100}, 2);
    for (std::uint64_t visit = 0; visit < 25; ++visit) {
      const RefTensor drift = normal({7, 100}, 100 + visit, 0.2, 20);
      for (std::size_t i = 0; i < a.data.size(); ++i) a.data[i] = static_cast<float>(a.data[i] + drift.data[i]);
      const std::vector<double> got = link.pass(a);
      ASSERT_EQ(link.near.data, link.far.data) << codec.bits << " bits, visit " << visit;
      ASSERT_EQ(got, link.far.data);
    }
  }
}

// Of normal numbers to nearest behind the transform: the error of the best even levels (Max 1960), not that of levels up to
// the largest.
TEST(Codec, TheScaleClipsWhereThatLosesLess) {
  const std::map<int, double> most = {{2, 0.36}, {3, 0.20}, {4, 0.11}};
  for (const auto& [bits, error] : most) {
    const RefTensor x = normal({32, 128}, 9);
    Link link({.kind = Kind::direct, .bits = bits}, {32, 128});
    EXPECT_LT(norm(difference(link.pass(x), x.data)), error * norm(x.data)) << bits;
  }
}

// What clipping leaves would stand out ever more from visit to visit, were it not spread by other signs.
TEST(Codec, WhatClippingLeavesIsSpread) {
  for (const int bits : {2, 3, 4}) {
    Link link({.kind = Kind::delta, .bits = bits}, {16, 128});
    const RefTensor a = normal({16, 128}, 11);
    double before = norm(a.data);
    for (int visit = 0; visit < 6; ++visit) {
      const double left = norm(difference(link.pass(a), a.data));
      EXPECT_LT(left, 0.45 * before) << bits << " bits, visit " << visit;
      before = left;
    }
  }
}

// Activations change little between visits. Then the error of AQ-SGD falls with every visit, that of direct quantisation stays.
TEST(Codec, DeltasShrinkWithVisitsWhereDirectDoesNot) {
  for (const int bits : {2, 3, 4}) {
    Link delta({.kind = Kind::delta, .bits = bits, .tile = 64}, {16, 128});
    Link direct({.kind = Kind::direct, .bits = bits, .tile = 64}, {16, 128});
    const RefTensor first = normal({16, 128}, 3);
    std::vector<double> of_delta, of_direct;
    for (std::uint64_t visit = 0; visit < 8; ++visit) {
      RefTensor a = first;
      const RefTensor change = normal({16, 128}, 50 + visit, 1e-4);
      for (std::size_t i = 0; i < a.data.size(); ++i) a.data[i] += change.data[i];
      of_delta.push_back(norm(difference(delta.pass(a), a.data)) / norm(a.data));
      of_direct.push_back(norm(difference(direct.pass(a), a.data)) / norm(a.data));
    }
    EXPECT_LT(of_delta[1], 0.6 * of_delta[0]) << bits;
    EXPECT_LT(of_delta[7], 2e-3) << bits;
    EXPECT_GT(of_direct[7], 0.9 * of_direct[0]) << bits;
    EXPECT_GT(of_direct[7], 20 * of_delta[7]) << bits;
  }
}

// What has arrived and what is kept back is all that was sent.
TEST(Codec, ErrorFeedbackLosesNothing) {
  std::vector<Codec> codecs = tile_codecs(Kind::feedback);
  codecs.push_back({.kind = Kind::top_k, .keep = 0.1});
  for (const Codec& codec : codecs) {
    Link link(codec, {5, 128});
    std::vector<double> given(640), arrived(640);
    double largest_error = 0;
    for (std::uint64_t round = 0; round < 40; ++round) {
      const RefTensor g = normal({5, 128}, 200 + round, 1, 5);
      const std::vector<double> got = link.pass(g);
      for (std::size_t i = 0; i < got.size(); ++i) {
        given[i] += g.data[i];
        arrived[i] += got[i];
      }
      largest_error = std::max(largest_error, norm(link.near.data) / norm(g.data));
    }
    const std::vector<double> left = difference(given, arrived);
    EXPECT_LE(norm(difference(left, link.near.data)), 1e-5 * norm(given)) << codec.bits;
    EXPECT_LT(largest_error, 8) << name_of(codec.kind) << ", " << codec.bits << " bits";  // what is kept back stays bounded
  }
}

// A small constant gradient beside a large one: without feedback it never arrives as it is.
TEST(Codec, ErrorFeedbackSendsWhatDirectRoundsAway) {
  RefTensor g{f32({1, 64}), std::vector<double>(64, 0.03)};
  g.data[5] = 1;
  const auto after = [&](Kind kind) {
    Link link({.kind = kind, .bits = 4, .tile = 64, .transform = Codec::Transform::none}, {1, 64});
    double sum = 0;
    for (int round = 0; round < 100; ++round) sum += link.pass(g)[6];
    return sum / 3 - 1;
  };
  EXPECT_GT(std::fabs(after(Kind::direct)), 0.5);
  EXPECT_LT(std::fabs(after(Kind::feedback)), 0.05);
}

TEST(Codec, TopKTakesTheFirstOfEqualElements) {
  Link link({.kind = Kind::top_k, .keep = 0.5}, {8});
  const std::vector<double> got = link.pass({f32({8}), {1, -2, 2, 1, -1, 3, 1, -2}});
  EXPECT_EQ(got, (std::vector<double>{0, -2, 2, 0, 0, 3, 0, -2}));
  Link tied({.kind = Kind::top_k, .keep = 0.25}, {8});
  EXPECT_EQ(tied.pass({f32({8}), {1, -2, 2, 1, -1, 2, 1, -2}}), (std::vector<double>{0, -2, 2, 0, 0, 0, 0, 0}));
}

// Normal numbers, one large element in each tile, and numbers about one that is not zero: with the transform a code of 2 bits
// keeps the error below what AQ-SGD may have, c_Q < sqrt(1/2); without it one large element spoils its tile.
TEST(Codec, TransformSpreadsOutliers) {
  RefTensor plain = normal({8, 256}, 8), spiked = plain, shifted = plain;
  for (std::size_t i = 17; i < plain.data.size(); i += 128) spiked.data[i] = 60;
  for (double& x : shifted.data) x += 10;
  const auto error = [&](const RefTensor& x, Codec::Transform transform) {
    Link link({.kind = Kind::direct, .bits = 2, .tile = 128, .transform = transform}, x.type.shape);
    return norm(difference(link.pass(x), x.data)) / norm(x.data);
  };
  for (const RefTensor* x : {&plain, &spiked, &shifted}) EXPECT_LT(error(*x, Codec::Transform::hadamard), std::sqrt(0.5));
  EXPECT_GT(error(spiked, Codec::Transform::none), 2);
}

// The names by which a stage's inputs and outputs go, for every kind.
TEST(Codec, EndsOfAStageHaveTheirNames) {
  std::vector<Codec> codecs = {{}, {.kind = Kind::top_k}};
  for (const Kind kind : {Kind::direct, Kind::delta, Kind::feedback})
    for (const auto rounding : {Codec::Rounding::nearest, Codec::Rounding::stochastic})
      codecs.push_back({.kind = kind, .rounding = rounding});
  for (const Codec& codec : codecs) {
    Graph sender, receiver;
    Builder s(sender), r(receiver);
    ASSERT_TRUE(send_output(s, codec, s.input("a", f32({4, 200})), "h3", 2));
    const Result<Received> received = receive_input(r, codec, f32({4, 200}), "h3");
    ASSERT_TRUE(received) << received.error().to_string();
    EXPECT_EQ(r.type(received->value), f32({4, 200}));
    EXPECT_EQ(sender.node(sender.find_output("h3")).type, receiver.node(receiver.find("h3")).type);
    EXPECT_EQ(sender.find("h3.buffer") != kNoNode, codec.has_buffer());
    EXPECT_EQ(sender.find_output("h3.next") != kNoNode, codec.has_buffer());
    EXPECT_EQ(sender.find("h3.key") != kNoNode, codec.needs_key());
    EXPECT_EQ(receiver.find("h3.buffer") != kNoNode, codec.receiver_has_buffer());
    EXPECT_EQ(receiver.find_output("h3.next") != kNoNode, codec.receiver_has_buffer());
  }
  Graph graph;
  Builder b(graph);
  EXPECT_FALSE(receive_input(b, {.kind = Kind::direct, .bits = 5}, f32({4}), "h"));
  EXPECT_FALSE(send_output(b, {.kind = Kind::direct, .bits = 5}, b.input("x", f32({4})), "h"));
}

TEST(Codec, KeysDifferByEveryPart) {
  const auto key = codec_key(1, 2, 3);
  EXPECT_EQ(codec_key(1, 2, 3), key);
  EXPECT_NE(codec_key(2, 2, 3), key);
  EXPECT_NE(codec_key(1, 3, 3), key);
  EXPECT_NE(codec_key(1, 2, 4), key);
  EXPECT_NE(codec_key(1, 2 + (std::uint64_t{1} << 32), 3), key);
}

}  // namespace
}  // namespace suanli::graph
