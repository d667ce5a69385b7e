// For tests of kernels against references in float64: tensors of any element type, in-place runs,
// guarded buffers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "suanli/engine/cpu/bf16.h"
#include "suanli/engine/cpu/kernel_test_util.h"
#include "suanli/graph/interpreter.h"
#include "suanli/graph/op.h"

namespace suanli::engine {

using TestBytes = std::vector<std::byte>;

template <typename T>
TestBytes bytes_of(const std::vector<T>& values) {
  TestBytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <typename T>
std::vector<T> values_of(const TestBytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

inline TestBytes encode(const graph::RefTensor& tensor) {
  if (tensor.type.dtype == graph::DType::i32)
    return bytes_of(std::vector<std::int32_t>(tensor.data.begin(), tensor.data.end()));
  if (tensor.type.dtype == graph::DType::f32)
    return bytes_of(std::vector<float>(tensor.data.begin(), tensor.data.end()));
  if (tensor.type.dtype == graph::DType::u8)
    return bytes_of(std::vector<std::uint8_t>(tensor.data.begin(), tensor.data.end()));
  std::vector<std::uint16_t> halves;
  for (const double x : tensor.data)
    halves.push_back(static_cast<std::uint16_t>(
        std::bit_cast<std::uint32_t>(round_to_bf16(static_cast<float>(x))) >> 16));
  return bytes_of(halves);
}

inline std::vector<double> decode(graph::DType dtype, const TestBytes& bytes) {
  std::vector<double> values;
  if (dtype == graph::DType::f32)
    for (const float x : values_of<float>(bytes)) values.push_back(x);
  else if (dtype == graph::DType::i32)
    for (const std::int32_t x : values_of<std::int32_t>(bytes)) values.push_back(x);
  else if (dtype == graph::DType::u8)
    for (const std::uint8_t x : values_of<std::uint8_t>(bytes)) values.push_back(x);
  else
    for (const std::uint16_t x : values_of<std::uint16_t>(bytes))
      values.push_back(std::bit_cast<float>(std::uint32_t{x} << 16));
  return values;
}

// Uniform in [low, high), exact in the type: whole numbers for integers.
inline graph::RefTensor random_ref(const graph::TensorType& type, double low, double high,
                                   std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  graph::RefTensor tensor{type, std::vector<double>(static_cast<std::size_t>(type.elements()))};
  for (std::size_t i = 0; i < tensor.data.size(); ++i) {
    const double x = low + (high - low) * random.uniform(i);
    tensor.data[i] = !graph::is_float(type.dtype)       ? std::floor(x)
                     : type.dtype == graph::DType::bf16 ? graph::round_to_bf16(x)
                                                        : static_cast<float>(x);
  }
  return tensor;
}

// One run: `in_place` pairs an input with the output that shares its buffer; `preset` fills the
// outputs first (else they are NaN, as is scratch).
struct OpRun {
  int threads = 1;
  std::vector<std::pair<int, int>> in_place = {};
  std::vector<TestBytes> preset = {};
};

inline std::vector<TestBytes> run_op(const Kernel& kernel, const KernelSpec& spec,
                                     const std::vector<TestBytes>& inputs, const OpRun& how = {}) {
  ThreadPool pool(how.threads);
  std::vector<TestBuffer> in, out;
  for (const TestBytes& bytes : inputs) in.emplace_back(bytes);
  for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
    if (how.preset.empty())
      out.emplace_back(spec.outputs[i].bytes().value());
    else
      out.emplace_back(how.preset[i]);
  }
  TestBuffer scratch(kernel.scratch(how.threads).value());
  std::vector<const std::byte*> in_data;
  std::vector<std::byte*> out_data;
  for (TestBuffer& buffer : in) in_data.push_back(buffer.data());
  for (TestBuffer& buffer : out) out_data.push_back(buffer.data());
  for (const auto& [from, to] : how.in_place) out_data[to] = in[from].data();

  kernel.run({in_data.data(), out_data.data(), scratch.data(), pool});

  EXPECT_TRUE(scratch.guarded()) << spec.name << ": wrote beyond its scratch";
  for (TestBuffer& buffer : in) EXPECT_TRUE(buffer.guarded()) << spec.name;
  std::vector<TestBytes> results;
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_TRUE(out[i].guarded()) << spec.name << ": wrote beyond output " << i;
    results.emplace_back(out_data[i], out_data[i] + spec.outputs[i].bytes().value());
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    const bool shared = std::any_of(how.in_place.begin(), how.in_place.end(),
                                    [&](const auto& pair) { return pair.first == int(i); });
    if (shared) continue;
    EXPECT_TRUE(std::equal(inputs[i].begin(), inputs[i].end(), in[i].data()))
        << spec.name << ": changed input " << i;
  }
  return results;
}

inline std::unique_ptr<Kernel> kernel_for(const KernelSpec& spec) {
  const KernelFactory factory = cpu_kernels().find(spec.name);
  if (factory == nullptr) return nullptr;
  auto kernel = factory(spec);
  EXPECT_TRUE(kernel) << kernel.error().to_string();
  return kernel ? std::move(*kernel) : nullptr;
}

// The op's value in float64, rounded to its type.
inline std::vector<double> reference_of(const KernelSpec& spec,
                                        const std::vector<graph::RefTensor>& inputs) {
  std::vector<const graph::RefTensor*> pointers;
  for (const graph::RefTensor& tensor : inputs) pointers.push_back(&tensor);
  graph::RefTensor out{spec.outputs.at(0), {}};
  out.data.resize(static_cast<std::size_t>(out.type.elements()));
  graph::op(spec.name).reference({pointers, spec.attrs, out});
  if (out.type.dtype == graph::DType::bf16)
    for (double& x : out.data) x = graph::round_to_bf16(x);
  return out.data;
}

// Every element within `tolerance` of what is expected, relative to max(1, |expected|).
inline void expect_near(const std::vector<double>& values, const std::vector<double>& expected,
                        double tolerance, const std::string& what) {
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(values[i])) continue;
    if (values[i] == expected[i]) continue;
    const double error = std::abs(values[i] - expected[i]) / std::max(1.0, std::abs(expected[i]));
    ASSERT_LE(error, tolerance) << what << ": element " << i << " is " << values[i] << ", expected "
                                << expected[i];
  }
}

}  // namespace suanli::engine
