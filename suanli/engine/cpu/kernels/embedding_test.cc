#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;

TEST(EmbeddingGrad, TakesBf16AndAddsToASumInPlace) {
  for (const auto& [ids, rows, columns] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {2003, 300, 67}, {50, 9000, 64}, {999, 7, 1500}})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const bool adds : {false, true}) {
        KernelSpec spec{.name = "embedding_grad",
                        .inputs = {graph::i32({ids}), {dtype, {ids, columns}}},
                        .outputs = {graph::f32({rows, columns})},
                        .attrs = {{"rows", rows}}};
        std::vector<graph::RefTensor> inputs = {
            random_ref(spec.inputs[0], 0, static_cast<double>(rows), 81),
            random_ref(spec.inputs[1], -1, 1, 82)};
        std::vector<double> expected = reference_of(spec, inputs);
        if (adds) {
          spec.inputs.push_back(spec.outputs[0]);
          inputs.push_back(random_ref(spec.inputs[2], -1, 1, 83));
          for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += inputs[2].data[i];
        }
        SCOPED_TRACE(types_of(spec));
        std::vector<TestBytes> bytes;
        for (const graph::RefTensor& tensor : inputs) bytes.push_back(encode(tensor));
        const auto kernel = kernel_for(spec);
        ASSERT_NE(kernel, nullptr);
        const auto one = run_op(*kernel, spec, bytes);
        expect_near(decode(DType::f32, one[0]), expected, 2e-5, "gradient");
        for (const int threads : {2, 3, 4})
          EXPECT_EQ(run_op(*kernel, spec, bytes, {.threads = threads}), one) << threads;
        EXPECT_FALSE(kernel->in_place(0, 0) || kernel->in_place(1, 0));
        if (!adds) continue;
        ASSERT_TRUE(kernel->in_place(2, 0));
        EXPECT_EQ(run_op(*kernel, spec, bytes, {.threads = 2, .in_place = {{2, 0}}}), one);
      }
}

// Ids outside the table touch nothing.
TEST(EmbeddingGrad, LeavesOutUnknownIds) {
  const KernelSpec spec{.name = "embedding_grad",
                        .inputs = {graph::i32({4}), graph::f32({4, 2})},
                        .outputs = {graph::f32({3, 2})},
                        .attrs = {{"rows", std::int64_t{3}}}};
  const auto out = run_op(*kernel_for(spec), spec,
                          {bytes_of(std::vector<std::int32_t>{2, -1, 3, 2}),
                           bytes_of(std::vector<float>{1, 2, 10, 10, 10, 10, 3, 4})});
  EXPECT_EQ(values_of<float>(out[0]), (std::vector<float>{0, 0, 0, 0, 4, 6}));
}

}  // namespace
}  // namespace suanli::engine
