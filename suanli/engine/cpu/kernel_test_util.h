// For tests of kernels: made-up tensors, and a kernel run as the engine would, at several thread
// counts.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "suanli/base/philox.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

inline float round_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u);
}

// Values as f32, already rounded to the type's precision.
struct TestTensor {
  graph::TensorType type;
  std::vector<float> values;

  // 64-byte aligned copy as the kernel sees it lies in `bytes`.
  std::vector<std::byte> bytes() const {
    const auto size = static_cast<std::size_t>(graph::size_of(type.dtype).value());
    std::vector<std::byte> result(values.size() * size);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(values[i]);
      const auto upper = static_cast<std::uint16_t>(bits >> 16);
      if (size == 2)
        std::memcpy(&result[i * 2], &upper, 2);
      else
        std::memcpy(&result[i * 4], &bits, 4);
    }
    return result;
  }
};

// Uniform in [-1, 1), in the type's precision.
inline TestTensor random_tensor(graph::TensorType type, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  TestTensor tensor{std::move(type), {}};
  tensor.values.resize(static_cast<std::size_t>(tensor.type.elements()));
  for (std::size_t i = 0; i < tensor.values.size(); ++i) {
    const auto x = static_cast<float>(2 * random.uniform(i) - 1);
    tensor.values[i] = tensor.type.dtype == graph::DType::bf16 ? round_to_bf16(x) : x;
  }
  return tensor;
}

// A 64-byte aligned buffer filled with NaN, and one guard line behind it.
class TestBuffer {
 public:
  explicit TestBuffer(std::int64_t size)
      : size_(static_cast<std::size_t>(size)), storage_(size_ + 192, std::byte{0xFF}) {}
  explicit TestBuffer(const std::vector<std::byte>& bytes)
      : TestBuffer(static_cast<std::int64_t>(bytes.size())) {
    if (!bytes.empty()) std::memcpy(data(), bytes.data(), bytes.size());
  }
  std::byte* data() {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    return storage_.data() + (64 - address % 64) % 64;
  }
  // Nothing was written behind the end.
  bool guarded() {
    for (std::size_t i = 0; i < 64; ++i)
      if (data()[size_ + i] != std::byte{0xFF}) return false;
    return true;
  }

 private:
  std::size_t size_;
  std::vector<std::byte> storage_;
};

struct KernelRun {
  std::vector<std::vector<float>> outputs;  // of a bf16 output the bytes, in the first half of the floats
  bool in_bounds = true;
};

// Outputs and scratch are NaN before the run.
inline KernelRun run_kernel(const Kernel& kernel, const KernelSpec& spec,
                            const std::vector<TestTensor>& inputs, int threads) {
  ThreadPool pool(threads);
  std::vector<TestBuffer> in, out;
  for (const TestTensor& tensor : inputs) in.emplace_back(tensor.bytes());
  for (const graph::TensorType& type : spec.outputs) out.emplace_back(type.bytes().value());
  TestBuffer scratch(kernel.scratch(threads).value());
  std::vector<const std::byte*> in_data;
  std::vector<std::byte*> out_data;
  for (TestBuffer& buffer : in) in_data.push_back(buffer.data());
  for (TestBuffer& buffer : out) out_data.push_back(buffer.data());
  kernel.run({.inputs = in_data.data(),
              .outputs = out_data.data(),
              .scratch = scratch.data(),
              .pool = pool});
  KernelRun result{.outputs = {}, .in_bounds = scratch.guarded()};
  for (std::size_t i = 0; i < out.size(); ++i) {
    result.in_bounds = result.in_bounds && out[i].guarded();
    std::vector<float> values(static_cast<std::size_t>(spec.outputs[i].elements()));
    if (!values.empty())
      std::memcpy(values.data(), out[i].data(), static_cast<std::size_t>(spec.outputs[i].bytes().value()));
    result.outputs.push_back(std::move(values));
  }
  return result;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Largest |a - b| / max(1, |b|); infinite if any element of a is not finite.
inline double worst_error(const std::vector<float>& a, const std::vector<double>& b) {
  double worst = a.size() == b.size() ? 0 : std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (!std::isfinite(a[i])) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, std::abs(a[i] - b[i]) / std::max(1.0, std::abs(b[i])));
  }
  return worst;
}

}  // namespace suanli::engine
