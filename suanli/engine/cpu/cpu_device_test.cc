#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "suanli/engine/device.h"

namespace suanli::engine {
namespace {

using testing::HasSubstr;

TEST(CpuDevice, MoreMemoryThanThereIsIsAnError) {
  const auto device = make_cpu_device(1);
  const Result<Buffer> buffer = device->allocate(Bytes(std::int64_t{1} << 60));
  ASSERT_FALSE(buffer.has_value());
  EXPECT_EQ(buffer.error().code, ErrorCode::no_memory);
  EXPECT_THAT(buffer.error().to_string(), HasSubstr("does not fit"));
}

TEST(CpuDevice, BuffersBeginAsZeros) {
  const auto device = make_cpu_device(1);
  for (const std::int64_t size : {0, 1, 64, 100'000, 5'000'001})
    for (int round = 0; round < 2; ++round) {  // the second may get the memory of the first
      Buffer buffer = *device->allocate(Bytes(size));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
      for (std::int64_t i = 0; i < size; ++i) ASSERT_EQ(buffer.data()[i], std::byte{0}) << i;
      std::fill_n(buffer.data(), size, std::byte{0xFF});
    }
}

TEST(CpuDevice, AllPagesOfALargeBufferAreThereBeforeItsFirstTouch) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  constexpr std::size_t kSize = (40 << 20) + 12'345;
  const auto device = make_cpu_device(2);
  Buffer buffer = *device->allocate(Bytes(kSize));
  std::vector<unsigned char> resident((kSize + page - 1) / page);
  ASSERT_EQ(mincore(buffer.data(), kSize, resident.data()), 0);
  EXPECT_TRUE(std::ranges::all_of(resident, [](unsigned char each) { return (each & 1) != 0; }));
}

TEST(CpuDevice, AnUnknownKernelIsNamed) {
  const auto device = make_cpu_device(1);
  const auto kernel = device->make_kernel({.name = "frobnicate", .inputs = {}, .outputs = {}, .attrs = {}});
  ASSERT_FALSE(kernel.has_value());
  EXPECT_THAT(kernel.error().to_string(), HasSubstr("'frobnicate'"));
}

TEST(CpuDevice, AStreamRunsInOrderAndItsEventsTellWhen) {
  const auto device = make_cpu_device(1);
  auto stream = device->make_stream();
  ASSERT_TRUE(stream.has_value());
  std::vector<int> from(1 << 16), middle(from.size()), to(from.size());
  std::iota(from.begin(), from.end(), 1);
  const Bytes size(static_cast<std::int64_t>(from.size() * sizeof(int)));
  device->copy(**stream, middle.data(), from.data(), size);
  device->copy(**stream, to.data(), middle.data(), size);
  const Event done = device->record(**stream);
  device->fill_zero(**stream, middle.data(), size);
  device->synchronize(done);
  EXPECT_TRUE(device->reached(done));
  EXPECT_EQ(to, from);
  device->synchronize(**stream);
  EXPECT_EQ(middle, std::vector<int>(from.size(), 0));
}

TEST(CpuDevice, OneStreamWaitsForAnother) {
  const auto device = make_cpu_device(1);
  auto first = device->make_stream(), second = device->make_stream();
  std::vector<int> from(1 << 20, 7), middle(from.size(), 0), to(from.size(), 0);
  const Bytes size(static_cast<std::int64_t>(from.size() * sizeof(int)));
  for (int round = 0; round < 20; ++round) {
    device->fill_zero(**first, middle.data(), size);
    device->copy(**first, middle.data(), from.data(), size);
    device->wait(**second, device->record(**first));
    device->copy(**second, to.data(), middle.data(), size);
    device->wait(**first, device->record(**second));
  }
  device->synchronize(**second);
  EXPECT_EQ(to, from);
}

TEST(CpuDevice, WorkOfTheComputeStreamIsDoneWhenTheCallReturns) {
  const auto device = make_cpu_device(2);
  std::vector<int> values(100, 3);
  device->fill_zero(device->compute(), values.data(), Bytes(400));
  EXPECT_EQ(values, std::vector<int>(100, 0));
  EXPECT_TRUE(device->reached(device->record(device->compute())));
}

class CountingPacer final : public Pacer {
 public:
  void pace(double work) override { total_ = total_ + work; }
  double total() const { return total_; }

 private:
  std::atomic<double> total_ = 0;
};

TEST(CpuDevice, ThePacerHearsOfAllTheWorkOfAKernel) {
  const auto device = make_cpu_device(1);
  CountingPacer pacer;
  device->set_pacer(&pacer);
  const graph::TensorType type = graph::f32({96, 96});
  auto kernel = device->make_kernel({.name = "matmul",
                                     .inputs = {type, type},
                                     .outputs = {type},
                                     .attrs = {{"ta", std::int64_t{0}}, {"tb", std::int64_t{0}}}});
  ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
  auto a = device->allocate(type.bytes()), c = device->allocate(type.bytes());
  auto scratch = device->allocate(device->scratch_size(**kernel));
  const std::byte* inputs[] = {a->data(), a->data()};
  std::byte* outputs[] = {c->data()};
  device->launch(device->compute(), **kernel, inputs, outputs, scratch->data(), 1000.0);
  device->set_pacer(nullptr);
  EXPECT_NEAR(pacer.total(), 1000.0, 1e-6);
}

}  // namespace
}  // namespace suanli::engine
