// Codecs between stages: what crosses in full, what packed, and what the steps make of it.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "suanli/base/file.h"
#include "suanli/base/test_folder.h"
#include "suanli/pool/stage_world_for_test.h"

namespace suanli::pool {
namespace {

using graph::Codec;

Codec delta(int bits) { return {.kind = Codec::Kind::delta, .bits = bits, .tile = 16}; }
Codec direct(int bits) {
  return {.kind = Codec::Kind::direct, .bits = bits, .tile = 16, .rounding = Codec::Rounding::stochastic};
}

// Three stages; each of 12 samples comes once in an epoch of 2 steps of 3 micro-batches.
TestJob three_epochs() {
  TestJob job;
  job.micro_batches = 3;
  job.windows = 12;
  job.steps = 6;
  return job;
}

route::RouteTable three_stages(const TestJob& job) { return all_forwards_first(job, {1, 2}, {{0}, {1}, {2}}, 1); }

Trained trained(const TestJob& job, const route::RouteTable& table) {
  auto result = train_together(job, table);
  EXPECT_TRUE(result) << result.error().to_string();
  return result ? std::move(*result) : Trained{};
}

TEST(BoundaryCodec, AFirstVisitCrossesInFullAndLaterOnesPacked) {
  TestJob job = three_epochs();
  const Trained plain = trained(job, three_stages(job));
  job.codecs.forward = delta(4);
  const Trained packed = trained(job, three_stages(job));
  // 2 boundaries, 2 ends each.
  EXPECT_EQ(packed.full, 4 * 2 * 3);
  EXPECT_EQ(packed.packed, 4 * 4 * 3);
  // Nothing is lost in the first epoch.
  ASSERT_EQ(packed.losses.size(), 6U);
  for (std::size_t step = 0; step < 2; ++step) EXPECT_EQ(packed.losses[step], plain.losses[step]);
  for (std::size_t step = 2; step < 6; ++step) {
    EXPECT_NE(packed.losses[step], plain.losses[step]);
    EXPECT_NEAR(packed.losses[step], plain.losses[step], 0.02 * plain.losses[step]);
  }
}

TEST(BoundaryCodec, MoreBitsAreCloser) {
  TestJob job = three_epochs();
  const Trained plain = trained(job, three_stages(job));
  const auto distance = [&](int forward, int backward) {
    job.codecs = {delta(forward), direct(backward)};
    const Trained packed = trained(job, three_stages(job));
    double sum = 0;
    for (std::size_t step = 0; step < plain.losses.size(); ++step) sum += std::abs(packed.losses[step] - plain.losses[step]);
    return sum;
  };
  const double eight = distance(8, 8), two = distance(2, 2);
  EXPECT_GT(eight, 0);
  EXPECT_LT(eight, two / 4);
}

// By bytes: of two boundaries, activations of 2 x 8 x 16 f32 forward and gradients of as many back.
TEST(BoundaryCodec, LessCrosses) {
  TestJob job = three_epochs();
  const auto of_last_step = [&] {
    const Trained run = trained(job, three_stages(job));
    return (run.sent[5] - run.sent[4]).value();
  };
  const std::int64_t plain = of_last_step();
  job.codecs = {delta(4), direct(8)};
  const std::int64_t packed = of_last_step();
  const std::int64_t elements = 2 * 3 * kBatch * job.model.context * job.model.width;
  const std::int64_t marks = 2 * 2 * 3 * kBatch * 40;
  const std::int64_t scales = elements / 16 * 2;
  EXPECT_EQ(plain - packed, (elements * 4 - elements / 2 - scales) + (elements * 4 - elements - scales) - marks);
}

// The same cuts and no replicas: what crosses does not depend on the order of the works.
TEST(BoundaryCodec, AnyOrderGivesTheSameBits) {
  TestJob job = three_epochs();
  job.codecs = {delta(3), direct(4)};
  const Trained first = trained(job, three_stages(job));
  route::Placement placement{{{1, 2}}, {{0}, {1}, {2}}};
  route::Speeds speeds;
  speeds.forward = speeds.backward = {Seconds(1), Seconds(0.3), Seconds(2)};
  speeds.hop = [](WorkerIndex, WorkerIndex, bool) { return Seconds(0.1); };
  const Trained second = trained(job, route::make_route_table(placement, job.micro_batches, speeds, {}).value());
  expect_equal(second, first);
  EXPECT_EQ(second.packed, first.packed);
}

TEST(BoundaryCodec, ASampleThatComesBackAtOnceCrossesInFull) {
  TestJob job = three_epochs();
  job.windows = 9;  // of 6 in a step: each third of the samples comes in two steps running
  job.codecs.forward = delta(4);
  const Trained run = trained(job, three_stages(job));
  EXPECT_GT(run.full, 4 * 2 * 3);
  EXPECT_GT(run.packed, 0);
}

TEST(BoundaryCodec, WhatFindsNoRoomCrossesInFull) {
  TestJob job = three_epochs();
  job.codecs.forward = delta(4);
  job.sample_buffers.memory = Bytes(8 * job.model.context * job.model.width * 4);  // 8 samples, of 12 at one end or two
  const Trained run = trained(job, three_stages(job));
  EXPECT_GT(run.full, 4 * 2 * 3);
  EXPECT_GT(run.packed, 0);
  EXPECT_EQ(run.full + run.packed, 4 * 6 * 3);
  // Each worker says so once, and the one that has room enough not at all.
  ASSERT_GE(run.notices.size(), 1U);
  EXPECT_LE(run.notices.size(), 3U);
  for (const Error& notice : run.notices) {
    EXPECT_EQ(notice.code, ErrorCode::no_space);
    EXPECT_THAT(notice.message, testing::HasSubstr("cross in full: codec.memory and codec.disk hold"));
    EXPECT_THAT(notice.next_step, testing::HasSubstr("codec.disk"));
  }
  job.sample_buffers.memory = Bytes(1 << 30);
  EXPECT_TRUE(trained(job, three_stages(job)).notices.empty());
}

TEST(BoundaryCodec, WithoutASpillFileItTrainsAndSaysSo) {
  TestJob job = three_epochs();
  job.codecs.forward = delta(4);
  job.sample_buffers.memory = Bytes(8 * job.model.context * job.model.width * 4);
  job.sample_buffers.disk = Bytes(1 << 20);
  job.sample_buffers.folder = "/no/such/folder";
  const Trained run = trained(job, three_stages(job));
  EXPECT_EQ(run.losses.size(), 6U);
  EXPECT_GT(run.packed, 0);
  ASSERT_EQ(run.notices.size(), 3U);
  for (const Error& notice : run.notices) EXPECT_THAT(notice.to_string(), testing::HasSubstr("/no/such/folder"));
}

// A limit of the kernel stands in for a full disk.
TEST(BoundaryCodec, OnAFullDiskSamplesCrossInFull) {
  TestJob job = three_epochs();
  job.codecs.forward = delta(4);
  job.sample_buffers.memory = Bytes(0);
  job.sample_buffers.disk = Bytes(1 << 20);
  const TestFolder folder;
  job.sample_buffers.folder = folder.path();
  const pid_t child = fork();
  if (child == 0) {
    ignore_file_size_signal();
    const auto room = static_cast<rlim_t>(5 * job.model.context * job.model.width * 4);  // of 12 samples
    const rlimit limit{room, room};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(10);
    const auto run = train_together(job, three_stages(job));
    if (!run) _exit(11);
    if (run->packed == 0 || run->full <= 4 * 2 * 3 || run->full + run->packed != 4 * 6 * 3) _exit(12);
    if (run->notices.size() != 3) _exit(13);
    for (const Error& notice : run->notices)
      if (notice.code != ErrorCode::no_space || notice.place.find(folder.path()) == std::string::npos) _exit(14);
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A sample's home changes with the micro-batch it falls into, so that the ends do not always agree.
TEST(BoundaryCodec, ReplicasAgreeOrSendInFull) {
  for (std::uint64_t seed = 300; seed < 304; ++seed) {
    SCOPED_TRACE(seed);
    TestJob job = three_epochs();
    job.windows = 14;
    job.arithmetic = seed % 2 == 0 ? engine::Arithmetic::exact : engine::Arithmetic::f32;
    const route::RouteTable table = random_table(job, seed);
    const Trained plain = trained(job, table);
    job.codecs = {delta(8), direct(8)};
    const Trained packed = trained(job, table);
    ASSERT_EQ(packed.losses.size(), plain.losses.size());
    for (std::size_t step = 0; step < plain.losses.size(); ++step)
      EXPECT_NEAR(packed.losses[step], plain.losses[step], 0.02 * plain.losses[step]);
    EXPECT_EQ(packed.full > 0, table.stage_count() > 1);
  }
}

TEST(BoundaryCodec, AStepThatIsRepeatedForgetsItsFirstAttempt) {
  TestJob job = three_epochs();
  const Trained plain = trained(job, three_stages(job));
  job.misfit_before = 3;  // in the second epoch
  job.codecs = {delta(8), {}};
  const Trained run = trained(job, three_stages(job));
  EXPECT_GT(run.repeats, 0);
  // A change that was added twice would be as far off as the weights have moved since the visit before.
  for (std::size_t step = 0; step < 6; ++step) EXPECT_NEAR(run.losses[step], plain.losses[step], 2e-3 * plain.losses[step]);
  EXPECT_EQ(run.packed, 4 * 4 * 3);
}

}  // namespace
}  // namespace suanli::pool
