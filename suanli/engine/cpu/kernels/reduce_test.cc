#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;

// Every cut of a tensor into kept and summed dimensions, in both element types, at 1 to 4 threads.
TEST(ReduceTo, SumsAnyDimensionsOfF32AndBf16) {
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{2053, 70}, {70}},         // columns, many blocks of rows
      {{16, 40, 96}, {40, 96}},   // columns, one block of rows, many strips
      {{7, 3001}, {7, 1}},        // rows
      {{30001}, {}},              // all
      {{3, 1, 5}, {3, 1, 5}},     // nothing
      {{9, 21, 33}, {9, 1, 33}},  // a strip in the middle
      {{5, 600, 3, 17}, {5, 1, 1, 17}},
      {{4, 6, 5, 1100}, {6, 1, 1100}},  // before and behind a kept one
      {{4, 6, 5, 7}, {1, 6, 1, 1}},
      {{4, 6, 5, 7}, {4, 1, 5, 1}},
      {{2, 3, 1, 4, 5}, {3, 1, 1, 5}},
      {{0, 5}, {5}},
      {{5, 0}, {5, 1}},
      {{5, 0}, {1, 0}},
  };
  for (const auto& [from, to] : cases)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const KernelSpec spec{.name = "reduce_to",
                            .inputs = {{dtype, from}},
                            .outputs = {graph::f32(to)},
                            .attrs = {{"shape", to}}};
      SCOPED_TRACE(spec.inputs[0].to_string() + " -> " + spec.outputs[0].to_string());
      const std::vector<graph::RefTensor> inputs = {random_ref(spec.inputs[0], -1, 1, 61)};
      const auto kernel = kernel_for(spec);
      ASSERT_NE(kernel, nullptr);
      const auto one = run_op(*kernel, spec, {encode(inputs[0])});
      expect_near(decode(DType::f32, one[0]), reference_of(spec, inputs), 2e-5, "sum");
      for (const int threads : {2, 3, 4})
        EXPECT_EQ(run_op(*kernel, spec, {encode(inputs[0])}, {.threads = threads}), one) << threads;
    }
}

// Long columns do not lose what single-precision running sums would.
TEST(ReduceTo, LongColumnsKeepTheirPrecision) {
  const std::int64_t rows = 300'000;
  const KernelSpec spec{.name = "reduce_to",
                        .inputs = {graph::f32({2, rows, 3})},
                        .outputs = {graph::f32({2, 1, 3})},
                        .attrs = {{"shape", Shape{2, 1, 3}}}};
  const std::vector<graph::RefTensor> inputs = {random_ref(spec.inputs[0], 0.9, 1, 62)};
  const auto out = run_op(*kernel_for(spec), spec, {encode(inputs[0])});
  expect_near(decode(DType::f32, out[0]), reference_of(spec, inputs), 2e-5, "sum");
}

}  // namespace
}  // namespace suanli::engine
