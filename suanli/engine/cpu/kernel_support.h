// What the CPU kernel files share: typed access to buffers, refusals, cutting work into tasks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/cpu/bf16.h"
#include "suanli/engine/cpu/tile_ops.h"
#include "suanli/engine/kernel.h"

namespace suanli::engine {

template <typename T>
const T* input(const KernelArgs& args, int index) {
  return reinterpret_cast<const T*>(args.inputs[index]);
}
template <typename T>
T* output(const KernelArgs& args, int index) {
  return reinterpret_cast<T*>(args.outputs[index]);
}

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Calls task(begin, end, worker) for the pieces of [0, total) that are `grain` long, the last one
// shorter. `share` as in ThreadPool::parallel_for: 0 if the pieces only move data.
template <typename Task>
void parallel_ranges(ThreadPool& pool, std::int64_t total, std::int64_t grain, const Task& task, double share = 1) {
  const auto piece = [&](std::int64_t index, int worker) {
    task(index * grain, std::min(total, (index + 1) * grain), worker);
  };
  pool.parallel_for(divide_up(total, grain), piece, share);
}

// Rows per task, so that a task has about 16,384 elements to do: some microseconds.
inline std::int64_t rows_per_task(std::int64_t columns) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, columns));
}

inline std::string types_of(const KernelSpec& spec) {
  std::string text = "(";
  for (const graph::TensorType& type : spec.inputs)
    text += (text.size() > 1 ? ", " : "") + type.to_string();
  text += ") ->";
  for (const graph::TensorType& type : spec.outputs) text += " " + type.to_string();
  return text;
}

inline tl::unexpected<Error> unsupported(const KernelSpec& spec) {
  return fail(ErrorCode::unsupported,
              "no CPU kernel computes " + std::string(spec.name) + types_of(spec));
}

// Do the inputs and outputs have just these element types?
inline bool has_dtypes(const KernelSpec& spec, const std::vector<graph::DType>& inputs,
                       const std::vector<graph::DType>& outputs) {
  const auto same = [](const graph::TensorType& type, graph::DType dtype) {
    return type.dtype == dtype;
  };
  return std::equal(spec.inputs.begin(), spec.inputs.end(), inputs.begin(), inputs.end(), same) &&
         std::equal(spec.outputs.begin(), spec.outputs.end(), outputs.begin(), outputs.end(), same);
}

// A kernel from a function, for those without scratch that may not run in place.
template <typename Run>
std::unique_ptr<Kernel> simple_kernel(std::string implementation, Run run) {
  class Simple final : public Kernel {
   public:
    Simple(std::string implementation, Run run)
        : implementation_(std::move(implementation)), run_(std::move(run)) {}
    void run(const KernelArgs& args) const override { run_(args); }
    std::string implementation() const override { return implementation_; }

   private:
    std::string implementation_;
    Run run_;
  };
  return std::make_unique<Simple>(std::move(implementation), std::move(run));
}

}  // namespace suanli::engine
