#include <algorithm>
#include <limits>
#include <numeric>

#include "suanli/engine/cpu/op_test_util.h"
#include "suanli/engine/cpu/region_plan.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;

KernelSpec spec_of(const Region& region, const std::vector<Shape>& shapes = {}) {
  KernelSpec spec{.name = "region", .inputs = {}, .outputs = {}, .attrs = {}, .region = &region};
  for (std::size_t i = 0; i < region.inputs.size(); ++i)
    spec.inputs.push_back(
        {region.inputs[i].dtype, i < shapes.size() ? shapes[i] : Shape{region.inputs[i].elements}});
  for (const RegionOutput& output : region.outputs) {
    spec.outputs.push_back({output.dtype, region.shape});
    if (output.access == Access::row) spec.outputs.back().shape.back() = 1;
  }
  return spec;
}

// The region over `inputs`, one f32 output after the other, all ops in float64 rounded to f32 after
// each.
double apply(RegionOp op, double a, double b, double immediate) {
  switch (op) {
    case RegionOp::add:
      return a + b;
    case RegionOp::sub:
      return a - b;
    case RegionOp::mul:
      return a * b;
    case RegionOp::div:
      return a / b;
    case RegionOp::minimum:
      return a > b ? b : a;
    case RegionOp::maximum:
      return a > b ? a : b;
    case RegionOp::greater:
      return a > b ? 1 : 0;
    case RegionOp::equal:
      return a == b ? 1 : 0;
    case RegionOp::scale:
      return a * immediate;
    case RegionOp::shift:
      return a + immediate;
    case RegionOp::exp:
      return std::exp(a);
    case RegionOp::log:
      return std::log(a);
    case RegionOp::sqrt:
      return std::sqrt(a);
    case RegionOp::rsqrt:
      return 1 / std::sqrt(a);
    case RegionOp::tanh:
      return std::tanh(a);
    case RegionOp::round_bf16:
      return graph::round_to_bf16(a);
    case RegionOp::gelu:
      return a / (1 + std::exp(-1.5957691216057308 * (a + 0.044715 * a * a * a)));
    case RegionOp::row_sum:
    case RegionOp::row_max:
      break;  // not of one element
    case RegionOp::gelu_grad: {
      const double t = std::tanh(0.7978845608028654 * (a + 0.044715 * a * a * a));
      const double bell = (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * a * a);
      return b * (0.5 * (1 + t) + 0.5 * a * bell);
    }
  }
  return 0;
}

std::int64_t element_of(const RegionInput& input, std::int64_t i, std::int64_t columns) {
  switch (input.access) {
    case Access::full:
      return i;
    case Access::scalar:
      return 0;
    case Access::periodic:
      return i % input.elements;
    case Access::row:
      return i / columns;
  }
  return 0;
}

// Register `step` of row ops, from register `x`.
std::vector<double> over_rows(RegionOp op, const std::vector<double>& x, std::size_t columns) {
  std::vector<double> out(x.size());
  for (std::size_t row = 0; row < x.size(); row += columns) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(row);
    const auto end = begin + static_cast<std::ptrdiff_t>(columns);
    const double value =
        op == RegionOp::row_sum ? std::accumulate(begin, end, 0.0) : *std::max_element(begin, end);
    std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(row), columns, static_cast<float>(value));
  }
  return out;
}

std::vector<std::vector<double>> expected(const Region& region,
                                          const std::vector<graph::RefTensor>& inputs) {
  const std::int64_t columns = region.shape.empty() ? 1 : region.shape.back();
  const auto total = static_cast<std::size_t>(graph::element_count(region.shape));
  std::vector<std::vector<double>> r(region.inputs.size(), std::vector<double>(total));
  for (std::size_t k = 0; k < inputs.size(); ++k)
    for (std::size_t i = 0; i < total; ++i)
      r[k][i] = inputs[k].data[element_of(region.inputs[k], static_cast<std::int64_t>(i), columns)];
  for (const RegionInstruction& step : region.code) {
    std::vector<double> out(total);
    if (is_row_op(step.op)) {
      out = over_rows(step.op, r[step.a], static_cast<std::size_t>(columns));
    } else {
      for (std::size_t i = 0; i < total; ++i)
        out[i] = static_cast<float>(apply(step.op, r[step.a][i], r[step.b][i], step.immediate));
    }
    r.push_back(std::move(out));
  }
  std::vector<std::vector<double>> outputs;
  for (const RegionOutput& output : region.outputs) {
    outputs.emplace_back();
    const std::size_t stride = output.access == Access::row ? static_cast<std::size_t>(columns) : 1;
    for (std::size_t i = 0; i < total; i += stride) {
      const double x = r[output.reg][i];
      outputs.back().push_back(output.dtype == DType::bf16 ? graph::round_to_bf16(x) : x);
    }
  }
  return outputs;
}

// Against loops, at 1 to 4 threads, and in place wherever the kernel allows it.
void check(const Region& region, const std::vector<graph::RefTensor>& inputs, double tolerance) {
  SCOPED_TRACE(graph::to_string(region.shape) + ": " + region.to_string());
  const KernelSpec spec = spec_of(region);
  const std::unique_ptr<Kernel> kernel = kernel_for(spec);
  ASSERT_NE(kernel, nullptr);
  std::vector<TestBytes> bytes;
  for (const graph::RefTensor& tensor : inputs) bytes.push_back(encode(tensor));
  const std::vector<TestBytes> one = run_op(*kernel, spec, bytes);
  const auto values = expected(region, inputs);
  for (std::size_t o = 0; o < one.size(); ++o)
    expect_near(decode(region.outputs[o].dtype, one[o]), values[o], tolerance,
                "output " + std::to_string(o));
  for (const int threads : {2, 3, 4})
    EXPECT_EQ(run_op(*kernel, spec, bytes, {.threads = threads}), one) << threads << " threads";
  for (std::size_t i = 0; i < inputs.size(); ++i)
    for (std::size_t o = 0; o < one.size(); ++o) {
      const OpRun how{.threads = 2, .in_place = {{static_cast<int>(i), static_cast<int>(o)}}};
      if (!kernel->in_place(static_cast<int>(i), static_cast<int>(o))) continue;
      EXPECT_EQ(run_op(*kernel, spec, bytes, how), one) << "output " << o << " over input " << i;
    }
}

struct Operand {
  DType dtype;
  Access access;
  std::int64_t elements;
};

Region region_of(Shape shape, const std::vector<Operand>& operands,
                 std::vector<RegionInstruction> code, std::vector<RegionOutput> outputs) {
  Region region{.shape = std::move(shape),
                .inputs = {},
                .code = std::move(code),
                .outputs = std::move(outputs)};
  for (const Operand& o : operands) region.inputs.push_back({o.dtype, o.access, o.elements});
  return region;
}

std::vector<graph::RefTensor> random_inputs(const Region& region, double low, double high) {
  std::vector<graph::RefTensor> inputs;
  for (const RegionInput& input : region.inputs)
    inputs.push_back(random_ref({input.dtype, {input.elements}}, low, high, 71 + inputs.size()));
  return inputs;
}

constexpr RegionOp kLastOp = RegionOp::gelu_grad;  // of those for one element

TEST(Region, EveryOpAgreesWithFloat64) {
  for (int number = 0; number <= static_cast<int>(kLastOp); ++number) {
    const auto op = static_cast<RegionOp>(number);
    const double low =
        op == RegionOp::log || op == RegionOp::sqrt || op == RegionOp::rsqrt ? 1e-3 : -12;
    for (const std::int64_t n : {1, 15, 16, 17, 4096, 9001}) {
      const Region region =
          region_of({n}, {{DType::f32, Access::full, n}, {DType::f32, Access::full, n}},
                    {{op, 0, 1, 1.75F}}, {{2, DType::f32}});
      check(region, random_inputs(region, low, 12), 1e-6);
    }
  }
}

// The ends of the number line. A result must be as the formula's in f32: overflow to infinity, NaN
// kept.
TEST(Region, EveryOpAtTheEndsOfItsRange) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> x = {0.0,   -0.0,   1e-30F, 1e-40F, 1,      -1,     30,  -30,
                                 88.5,  89,     104,    -87.5,  -103.5, -104.5, 200, -200,
                                 1e10F, -1e10F, 1e30F,  -1e30F, inf,    nan};
  for (const RegionOp op : {RegionOp::exp, RegionOp::log, RegionOp::sqrt, RegionOp::rsqrt,
                            RegionOp::tanh, RegionOp::round_bf16}) {
    const auto n = static_cast<std::int64_t>(x.size());
    const Region region =
        region_of({n}, {{DType::f32, Access::full, n}}, {{op, 0}}, {{1, DType::f32}});
    check(region, {{graph::f32({n}), x}}, 1e-6);
  }
  // The slope of gelu is 0 or 1 far out; x^3 must not overflow into NaN.
  for (const double far : {11.0, 100.0, 1e15, 1e30}) {
    const auto run = [&](RegionOp op, double at) {
      const Region region =
          region_of({1}, {{DType::f32, Access::full, 1}, {DType::f32, Access::full, 1}},
                    {{op, 0, 1}}, {{2, DType::f32}});
      const KernelSpec spec = spec_of(region);
      const TestBytes value = bytes_of(std::vector<float>{static_cast<float>(at)});
      return values_of<float>(
          run_op(*kernel_for(spec), spec, {value, bytes_of(std::vector<float>{1})})[0])[0];
    };
    EXPECT_EQ(run(RegionOp::gelu, far), static_cast<float>(far));
    EXPECT_NEAR(run(RegionOp::gelu, -far), 0, 1e-20);
    EXPECT_EQ(run(RegionOp::gelu_grad, far), 1);
    EXPECT_NEAR(run(RegionOp::gelu_grad, -far), 0, 1e-20);
  }
}

TEST(Region, NanIsKept) {
  for (const RegionOp op : {RegionOp::gelu, RegionOp::gelu_grad, RegionOp::tanh, RegionOp::exp}) {
    const Region region =
        region_of({2}, {{DType::f32, Access::full, 2}}, {{op, 0, 0}}, {{1, DType::bf16}});
    const KernelSpec spec = spec_of(region);
    const auto out =
        run_op(*kernel_for(spec), spec, {bytes_of(std::vector<float>{0.5F, std::nanf("")})});
    EXPECT_FALSE(std::isnan(decode(DType::bf16, out[0])[0])) << name_of(op);
    EXPECT_TRUE(std::isnan(decode(DType::bf16, out[0])[1])) << name_of(op);
  }
}

// Every access on either side, f32 and bf16, with rows shorter, equal to and longer than a tile.
TEST(Region, EveryAccess) {
  const Shape shapes[] = {{1},       {7, 1},    {5, 17},     {33, 64},      {301, 65},
                          {3, 5000}, {2, 8192}, {2, 9, 384}, {4, 3, 1, 77}, {50, 768}};
  for (const Shape& shape : shapes) {
    const std::int64_t total = graph::element_count(shape);
    const std::int64_t columns = shape.back();
    const std::int64_t plane = shape.size() > 1 ? columns * shape[shape.size() - 2] : columns;
    const std::pair<Access, std::int64_t> accesses[] = {{Access::full, total},
                                                        {Access::scalar, 1},
                                                        {Access::periodic, columns},
                                                        {Access::periodic, plane},
                                                        {Access::row, total / columns}};
    for (const auto& [access, elements] : accesses)
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Region region = region_of(
            shape, {{DType::f32, Access::full, total}, {dtype, access, elements}},
            {{RegionOp::sub, 0, 1}, {RegionOp::mul, 1, 2}}, {{3, DType::f32}, {2, DType::bf16}});
        check(region, random_inputs(region, -2, 2), 0);
      }
  }
}

// A row's value lies in a register once for many elements; writing results must not overwrite it.
TEST(Region, RowAndScalarOperandsAlone) {
  const Region region =
      region_of({3, 6000}, {{DType::f32, Access::row, 3}, {DType::f32, Access::scalar, 1}},
                {{RegionOp::add, 0, 1}, {RegionOp::scale, 2, 0, 3.0F}}, {{3, DType::f32}});
  check(region, random_inputs(region, -2, 2), 0);
}

TEST(Region, PassesInputsOn) {
  for (const Access access : {Access::full, Access::scalar, Access::row, Access::periodic}) {
    const std::int64_t elements = access == Access::full       ? 6 * 700
                                  : access == Access::row      ? 6
                                  : access == Access::periodic ? 700
                                                               : 1;
    const Region region = region_of({6, 700}, {{DType::f32, access, elements}}, {},
                                    {{0, DType::bf16}, {0, DType::f32}});
    check(region, random_inputs(region, -2, 2), 0);
    EXPECT_FALSE(kernel_for(spec_of(region))->in_place(0, 1));
  }
}

// Random programs of ops that are exact in f32, so that every bit can be asked for: slots shared by
// liveness, results written early, several outputs.
TEST(Region, RandomProgramsHaveTheBitsOfLoops) {
  constexpr RegionOp kExact[] = {
      RegionOp::add,     RegionOp::sub,   RegionOp::mul,   RegionOp::minimum, RegionOp::maximum,
      RegionOp::greater, RegionOp::equal, RegionOp::scale, RegionOp::shift,   RegionOp::round_bf16};
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Philox random(seed, Stream::test);
    std::uint64_t next = 0;
    const auto below = [&](std::uint64_t bound) { return random.below(bound, next++); };
    const Shape shape = {static_cast<std::int64_t>(1 + below(40)),
                         static_cast<std::int64_t>(1 + below(900))};
    const std::int64_t total = shape[0] * shape[1];
    Region region{.shape = shape, .inputs = {}, .code = {}, .outputs = {}};
    const int inputs = static_cast<int>(1 + below(5));
    for (int i = 0; i < inputs; ++i) {
      const auto access = static_cast<Access>(below(4));
      const std::int64_t elements[] = {total, 1, shape[1], shape[0]};
      region.inputs.push_back(
          {below(3) == 0 ? DType::bf16 : DType::f32, access, elements[static_cast<int>(access)]});
    }
    const int steps = static_cast<int>(1 + below(12));
    for (int k = 0; k < steps; ++k)
      region.code.push_back({kExact[below(std::size(kExact))], static_cast<int>(below(inputs + k)),
                             static_cast<int>(below(inputs + k)), 0.75F});
    region.outputs.push_back({inputs + steps - 1, below(2) == 0 ? DType::bf16 : DType::f32});
    while (below(2) == 0)
      region.outputs.push_back(
          {static_cast<int>(below(inputs + steps)), below(2) == 0 ? DType::bf16 : DType::f32});
    check(region, random_inputs(region, -1.5, 1.5), 0);
  }
}

const Shape kRowShapes[] = {{1, 1},      {7, 1},    {5, 17},   {33, 64},
                            {2, 9, 384}, {301, 65}, {3, 8192}, {4}};

// A layer norm written by hand: mean and 1 / deviation also leave the region, one for each row.
TEST(Region, RowOpsMakeALayerNorm) {
  for (const Shape& shape : kRowShapes)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::int64_t total = graph::element_count(shape), columns = shape.back();
      const float scale = 1.0F / static_cast<float>(columns);
      const Region region = region_of(shape,
                                      {{dtype, Access::full, total},
                                       {dtype, Access::periodic, columns},
                                       {DType::f32, Access::row, total / columns}},
                                      {{RegionOp::row_sum, 0},
                                       {RegionOp::scale, 3, 0, scale},  // r4: mean
                                       {RegionOp::sub, 0, 4},
                                       {RegionOp::mul, 5, 5},
                                       {RegionOp::row_sum, 6},
                                       {RegionOp::scale, 7, 0, scale},
                                       {RegionOp::shift, 8, 0, 1e-3F},
                                       {RegionOp::rsqrt, 9},  // r10: 1 / deviation
                                       {RegionOp::mul, 5, 10},
                                       {RegionOp::mul, 11, 1},
                                       {RegionOp::add, 12, 2}},
                                      {{13, dtype},
                                       {4, dtype, Access::row},
                                       {10, dtype, Access::row},
                                       {10, dtype},
                                       {11, dtype}});
      check(region, random_inputs(region, -1, 2), dtype == DType::f32 ? 2e-4 : 1.0 / 100);
    }
}

TEST(Region, RowOpsMakeASoftmax) {
  for (const Shape& shape : kRowShapes) {
    const std::int64_t total = graph::element_count(shape);
    const Region region = region_of(shape, {{DType::f32, Access::full, total}},
                                    {{RegionOp::row_max, 0},
                                     {RegionOp::sub, 0, 1},
                                     {RegionOp::exp, 2},
                                     {RegionOp::row_sum, 3},
                                     {RegionOp::div, 3, 4}},
                                    {{5, DType::f32}});
    check(region, random_inputs(region, -9, 9), 1e-5);
    EXPECT_TRUE(kernel_for(spec_of(region))->in_place(0, 0));
  }
}

// Sums of what is one value all along the row, and of operands that lie in shared tiles.
TEST(Region, RowOpsOfRepeatedOperands) {
  const Region region =
      region_of({5, 40},
                {{DType::f32, Access::row, 5},
                 {DType::f32, Access::scalar, 1},
                 {DType::f32, Access::periodic, 40}},
                {{RegionOp::row_sum, 0},
                 {RegionOp::add, 3, 1},
                 {RegionOp::row_sum, 4},
                 {RegionOp::row_max, 2},
                 {RegionOp::add, 5, 6}},
                {{7, DType::f32}, {7, DType::f32, Access::row}, {1, DType::f32, Access::row}});
  check(region, random_inputs(region, -2, 2), 1e-4);
  EXPECT_FALSE(kernel_for(spec_of(region))->in_place(0, 1));
}

TEST(Region, ARowTooLongForRowOpsIsRefused) {
  const Region region =
      region_of({2, kLongestRow + 1}, {{DType::f32, Access::full, 2 * (kLongestRow + 1)}},
                {{RegionOp::row_sum, 0}}, {{1, DType::f32}});
  EXPECT_FALSE(cpu_kernels().find("region")(spec_of(region)));
}

TEST(Region, TilesFitTheCacheAndSlotsAreShared) {
  Region chain = region_of({4096, 384}, {{DType::f32, Access::full, 4096 * 384}}, {}, {});
  for (int k = 0; k < 20; ++k) chain.code.push_back({RegionOp::tanh, k});
  chain.outputs = {{20, DType::f32}};
  const RegionPlan plan = plan_region(chain);
  EXPECT_EQ(plan.slot_count, 1);
  EXPECT_EQ(plan.tile % 384, 0) << "whole rows";
  EXPECT_TRUE(plan.is_direct[0]);
  EXPECT_TRUE(kernel_for(spec_of(chain))->in_place(0, 0));

  // An input read after the output is made: the output must wait.
  const Region late =
      region_of({64}, {{DType::f32, Access::full, 64}}, {{RegionOp::exp, 0}, {RegionOp::add, 1, 0}},
                {{1, DType::f32}, {2, DType::f32}});
  EXPECT_FALSE(plan_region(late).is_direct[0]);
  EXPECT_TRUE(plan_region(late).is_direct[1]);
}

TEST(Region, ToStringIsReadable) {
  const Region region =
      region_of({8, 4}, {{DType::bf16, Access::full, 32}, {DType::f32, Access::periodic, 4}},
                {{RegionOp::add, 0, 1}, {RegionOp::gelu, 2}, {RegionOp::scale, 3, 0, 0.5F}},
                {{4, DType::bf16}, {2, DType::f32}});
  EXPECT_EQ(region.to_string(), "r2=add(r0,r1) r3=gelu(r2) r4=scale(r3,0.5) -> bf16 r4 f32 r2");
}

TEST(Region, OpNamesRoundTrip) {
  for (int number = 0; number <= static_cast<int>(RegionOp::row_max); ++number) {
    const auto op = static_cast<RegionOp>(number);
    EXPECT_EQ(region_op_from_name(name_of(op)), op);
  }
  EXPECT_EQ(region_op_from_name("matmul"), std::nullopt);
}

}  // namespace
}  // namespace suanli::engine
