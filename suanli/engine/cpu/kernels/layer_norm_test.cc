#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::f32;

struct Backward {
  KernelSpec spec;
  std::vector<graph::RefTensor> inputs;
  std::vector<TestBytes> bytes;
};

Backward backward(std::int64_t rows, std::int64_t columns) {
  Backward b;
  b.spec = {.name = "layer_norm_backward",
            .inputs = {f32({rows, columns}), f32({columns}), f32({rows, columns})},
            .outputs = {f32({rows, columns}), f32({columns}), f32({columns})},
            .attrs = {{"eps", 1e-5}}};
  for (const graph::TensorType& type : b.spec.inputs) {
    b.inputs.push_back(random_ref(type, -1, 2, 31 + b.inputs.size()));
    b.bytes.push_back(encode(b.inputs.back()));
  }
  return b;
}

TEST(LayerNorm, FusedBackwardEqualsItsThreeParts) {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 1},
                                      {3, 7},
                                      {16, 64},
                                      {17, 65},
                                      {2050, 33},
                                      {130, 768}}) {
    SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(columns));
    const Backward b = backward(rows, columns);
    const std::unique_ptr<Kernel> kernel = kernel_for(b.spec);
    const auto one = run_op(*kernel, b.spec, b.bytes);
    const auto part = [&](std::string_view name, int output, std::vector<graph::RefTensor> inputs,
                          graph::Attrs attrs) {
      const KernelSpec spec{.name = std::string(name),
                            .inputs = {},
                            .outputs = {b.spec.outputs[output]},
                            .attrs = attrs};
      expect_near(decode(graph::DType::f32, one[output]), reference_of(spec, inputs), 1e-4,
                  std::string(name));
    };
    part("layer_norm_dx", 0, b.inputs, b.spec.attrs);
    part("layer_norm_dgamma", 1, {b.inputs[0], b.inputs[2]}, b.spec.attrs);
    part("reduce_to", 2, {b.inputs[2]}, {{"shape", graph::Shape{columns}}});

    for (const int threads : {2, 3, 4})
      EXPECT_EQ(run_op(*kernel, b.spec, b.bytes, {.threads = threads}), one) << threads;
    for (const int input : {0, 2}) {
      ASSERT_TRUE(kernel->in_place(input, 0));
      EXPECT_EQ(run_op(*kernel, b.spec, b.bytes, {.threads = 2, .in_place = {{input, 0}}}), one);
    }
    EXPECT_FALSE(kernel->in_place(1, 0) || kernel->in_place(0, 1) || kernel->in_place(2, 2));
  }
}

// A row far from zero: the mean must be taken off before squaring.
TEST(LayerNorm, KeepsPrecisionFarFromZero) {
  const KernelSpec spec{.name = "layer_norm",
                        .inputs = {f32({1, 300}), f32({300}), f32({300})},
                        .outputs = {f32({1, 300})},
                        .attrs = {{"eps", 1e-5}}};
  const std::vector<graph::RefTensor> inputs = {random_ref(spec.inputs[0], 9999, 10001, 1),
                                                random_ref(spec.inputs[1], 1, 1.5, 2),
                                                random_ref(spec.inputs[2], -1, 1, 3)};
  const auto out =
      run_op(*kernel_for(spec), spec, {encode(inputs[0]), encode(inputs[1]), encode(inputs[2])});
  expect_near(decode(graph::DType::f32, out[0]), reference_of(spec, inputs), 5e-3, "layer_norm");
}

}  // namespace
}  // namespace suanli::engine
