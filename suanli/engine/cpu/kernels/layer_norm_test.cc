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

// Kernel name, whether its result has an epilogue, and the dtypes of x and dy.
struct EpilogueCase {
  std::string name;
  graph::DType x, dy;
  bool epilogue;
  std::int64_t rows, columns;
};

// result r0 -> f32 r0 + residual, bf16 of (r0 + residual) * column: as lowering makes them for a
// residual stream.
Region residual_region(std::int64_t rows, std::int64_t columns) {
  return {.shape = {rows, columns},
          .inputs = {{graph::DType::f32, Access::full, rows * columns},
                     {graph::DType::f32, Access::full, rows * columns},
                     {graph::DType::bf16, Access::periodic, columns}},
          .code = {{.op = RegionOp::add, .a = 0, .b = 1}, {.op = RegionOp::mul, .a = 3, .b = 2}},
          .outputs = {{3, graph::DType::f32}, {4, graph::DType::bf16}}};
}

void check_rows(const EpilogueCase& c) {
  SCOPED_TRACE(c.name + " " + std::to_string(c.rows) + "x" + std::to_string(c.columns) + " x " +
               std::string(graph::name_of(c.x)) + " dy " + std::string(graph::name_of(c.dy)) +
               (c.epilogue ? " with epilogue" : ""));
  const bool backward = c.name != "layer_norm";
  const graph::TensorType vector = f32({c.columns});
  const graph::Shape shape = {c.rows, c.columns};
  const Region region = residual_region(c.rows, c.columns);
  KernelSpec spec{
      .name = c.name, .inputs = {{c.x, shape}, vector}, .outputs = {}, .attrs = {{"eps", 1e-5}}};
  spec.inputs.push_back(backward ? graph::TensorType{c.dy, shape} : vector);
  if (c.epilogue) {
    spec.region = &region;
    spec.inputs.push_back(f32(shape));
    spec.inputs.push_back(graph::bf16({c.columns}));
    spec.outputs = {f32(shape), graph::bf16(shape)};
  } else {
    spec.outputs = {graph::bf16(shape)};
  }
  if (c.name == "layer_norm_backward") spec.outputs.insert(spec.outputs.end(), 2, vector);

  std::vector<graph::RefTensor> inputs;
  std::vector<TestBytes> bytes;
  for (const graph::TensorType& type : spec.inputs) {
    inputs.push_back(random_ref(type, -1, 2, 51 + inputs.size()));
    bytes.push_back(encode(inputs.back()));
  }
  const std::unique_ptr<Kernel> kernel = kernel_for(spec);
  ASSERT_NE(kernel, nullptr);
  const auto one = run_op(*kernel, spec, bytes);
  for (const int threads : {2, 3, 4})
    EXPECT_EQ(run_op(*kernel, spec, bytes, {.threads = threads}), one) << threads << " threads";
  for (int in = 0; in < static_cast<int>(inputs.size()); ++in)
    for (int out = 0; out < static_cast<int>(spec.outputs.size()); ++out) {
      if (!kernel->in_place(in, out)) continue;
      ASSERT_EQ(spec.inputs[in].dtype, spec.outputs[out].dtype);
      EXPECT_EQ(run_op(*kernel, spec, bytes, {.threads = 2, .in_place = {{in, out}}}), one)
          << "output " << out << " over input " << in;
    }
  EXPECT_EQ(kernel->in_place(0, 0), spec.inputs[0].dtype == spec.outputs[0].dtype);
  EXPECT_FALSE(kernel->in_place(1, 0));

  KernelSpec plain{.name = backward ? "layer_norm_dx" : "layer_norm",
                   .inputs = {},
                   .outputs = {f32(shape)},
                   .attrs = spec.attrs};
  std::vector<double> expected = reference_of(plain, {inputs[0], inputs[1], inputs[2]});
  if (c.epilogue) {
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += inputs[3].data[i];
    expect_near(decode(graph::DType::f32, one[0]), expected, 1e-4, "sum");
    for (std::size_t i = 0; i < expected.size(); ++i)
      expected[i] *= inputs[4].data[i % static_cast<std::size_t>(c.columns)];
    expect_near(decode(graph::DType::bf16, one[1]), expected, 1.0 / 200, "scaled");
  } else {
    expect_near(decode(graph::DType::bf16, one[0]), expected, 1.0 / 200, "rounded");
  }
  if (c.name != "layer_norm_backward") return;
  const std::size_t first = one.size() - 2;
  plain = {.name = "layer_norm_dgamma", .inputs = {}, .outputs = {vector}, .attrs = spec.attrs};
  expect_near(decode(graph::DType::f32, one[first]), reference_of(plain, {inputs[0], inputs[2]}),
              1e-4, "dgamma");
  plain = {.name = "reduce_to",
           .inputs = {},
           .outputs = {vector},
           .attrs = {{"shape", graph::Shape{c.columns}}}};
  expect_near(decode(graph::DType::f32, one[first + 1]), reference_of(plain, {inputs[2]}), 1e-4,
              "dbeta");
}

TEST(LayerNorm, ReadsF32AndBf16RowsAndRunsItsEpilogue) {
  using graph::DType;
  for (const auto& [rows, columns] :
       {std::pair<std::int64_t, std::int64_t>{1, 1}, {5, 48}, {131, 65}, {17, 5003}})
    for (const bool epilogue : {false, true})
      for (const DType x : {DType::f32, DType::bf16}) {
        check_rows({"layer_norm", x, x, epilogue, rows, columns});
        for (const DType dy : {DType::f32, DType::bf16})
          for (const std::string name : {"layer_norm_dx", "layer_norm_backward"})
            check_rows({name, x, dy, epilogue, rows, columns});
      }
}

TEST(LayerNorm, RefusesAnEpilogueOfAnotherShape) {
  const Region region = residual_region(7, 5);
  const KernelSpec spec{.name = "layer_norm",
                        .inputs = {f32({5, 7}), f32({7}), f32({7}), f32({5, 7}), graph::bf16({5})},
                        .outputs = {f32({5, 7}), graph::bf16({5, 7})},
                        .attrs = {{"eps", 1e-5}},
                        .region = &region};
  EXPECT_FALSE(cpu_kernels().find("layer_norm")(spec));
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
