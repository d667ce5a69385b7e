// Every op of the graph against its reference, from the table of cases; and, at sizes that are cut
// into many tasks, equal bits at any number of threads and in place.
#include "suanli/engine/cpu/op_test_util.h"
#include "suanli/engine/cpu/simd_targets.h"
#include "suanli/engine/cpu/tile_ops.h"

// After simd_targets.h, which says what it is compiled for.
#include <hwy/highway.h>

namespace suanli::engine {
namespace {

using graph::Attrs;
using graph::bf16;
using graph::f32;
using graph::i32;
using graph::OpCase;
using graph::OpDef;
using graph::RefTensor;
using graph::Shape;
using graph::TensorType;

struct Made {
  KernelSpec spec;
  std::vector<RefTensor> inputs;
  std::vector<TestBytes> bytes;
};

Made make(const OpDef& op, const OpCase& c) {
  Made made;
  made.spec = {.name = std::string(op.name), .inputs = {}, .outputs = {}, .attrs = c.attrs};
  for (const graph::CaseInput& input : c.inputs) {
    made.spec.inputs.push_back(input.type);
    made.inputs.push_back(random_ref(input.type, input.low, input.high, 11 + made.inputs.size()));
    made.bytes.push_back(encode(made.inputs.back()));
  }
  const auto type = op.infer(made.spec.inputs, c.attrs);
  EXPECT_TRUE(type) << type.error().to_string();
  if (type) made.spec.outputs = {*type};
  return made;
}

std::string title(const KernelSpec& spec) {
  std::string text(spec.name);
  for (const TensorType& type : spec.inputs) text += " " + type.to_string();
  return text + " ->" + (spec.outputs.empty() ? "" : " " + spec.outputs[0].to_string());
}

void check(const OpDef& op, const OpCase& c) {
  const Made made = make(op, c);
  ASSERT_FALSE(made.spec.outputs.empty()) << op.name;
  const std::unique_ptr<Kernel> kernel = kernel_for(made.spec);
  ASSERT_NE(kernel, nullptr) << "no CPU kernel for " << title(made.spec);
  const std::vector<TestBytes> one = run_op(*kernel, made.spec, made.bytes);
  expect_near(decode(made.spec.outputs[0].dtype, one[0]), reference_of(made.spec, made.inputs),
              c.tolerance, title(made.spec));
  for (const int threads : {2, 3, 4})
    EXPECT_EQ(run_op(*kernel, made.spec, made.bytes, {.threads = threads}), one)
        << title(made.spec) << " with " << threads << " threads";
  for (int input = 0; input < static_cast<int>(c.inputs.size()); ++input) {
    if (!kernel->in_place(input, 0)) continue;
    EXPECT_EQ(made.spec.inputs[input].bytes(), made.spec.outputs[0].bytes()) << title(made.spec);
    EXPECT_EQ(run_op(*kernel, made.spec, made.bytes, {.threads = 2, .in_place = {{input, 0}}}), one)
        << title(made.spec) << " in place of input " << input;
  }
}

TEST(Ops, AgreeWithTheirReferences) {
  for (const OpDef* op : graph::ops().all()) {
    if (op->op_class == graph::OpClass::source) continue;
    ASSERT_NE(op->cases, nullptr) << op->name;
    for (const OpCase& c : op->cases()) check(*op, c);
  }
}

// Sizes of many tasks, tiles and blocks, and not multiples of any of them.
std::vector<std::pair<std::string_view, OpCase>> large_cases() {
  const auto rows = [](std::int64_t n, std::int64_t c) { return f32({n, c}); };
  const Attrs eps = {{"eps", 1e-5}};
  return {
      {"add", {.inputs = {{rows(517, 129)}, {f32({129})}}}},
      {"mul", {.inputs = {{rows(37, 5003)}, {f32({37, 1})}}}},
      {"sub", {.inputs = {{f32({31, 70, 33})}, {f32({31, 1, 33})}}}},
      {"gelu", {.inputs = {{f32({100003}), -9, 9}}}},
      {"gelu_grad", {.inputs = {{f32({100003}), -9, 9}, {f32({100003})}}}},
      {"exp", {.inputs = {{f32({50021}), -30, 3}}}},
      {"cast", {.inputs = {{f32({50021})}}, .attrs = {{"dtype", "bf16"}}}},
      {"cast", {.inputs = {{bf16({50021})}}, .attrs = {{"dtype", "f32"}}}},
      {"cast", {.inputs = {{i32({50021}), -9000, 9000}}, .attrs = {{"dtype", "f32"}}}},
      {"layer_norm",
       {.inputs = {{rows(1031, 65)}, {f32({65})}, {f32({65})}}, .attrs = eps, .tolerance = 1e-4}},
      {"layer_norm_dx",
       {.inputs = {{rows(1031, 65)}, {f32({65})}, {rows(1031, 65)}},
        .attrs = eps,
        .tolerance = 1e-4}},
      {"layer_norm_dgamma",
       {.inputs = {{rows(1031, 65)}, {rows(1031, 65)}}, .attrs = eps, .tolerance = 1e-4}},
      {"softmax_cross_entropy", {.inputs = {{rows(301, 1009), -9, 9}, {i32({301}), -1, 1009}}}},
      {"log_sum_exp", {.inputs = {{rows(301, 1009), -9, 9}}}},
      {"softmax_cross_entropy_grad",
       {.inputs = {{rows(301, 1009), -9, 9}, {i32({301}), -1, 1009}, {f32({301}), 8, 14}, {f32({301})}}}},
      {"count_tokens", {.inputs = {{i32({5003}), -1, 3}}}},
      {"embedding", {.inputs = {{rows(300, 67)}, {i32({2003}), 0, 300}}}},
      {"embedding_grad",
       {.inputs = {{i32({2003}), 0, 300}, {rows(2003, 67)}}, .attrs = {{"rows", 300}}}},
      {"embedding_grad",
       {.inputs = {{i32({999}), 0, 7}, {rows(999, 1500)}}, .attrs = {{"rows", 7}}}},
      {"reduce_to", {.inputs = {{rows(5003, 70)}}, .attrs = {{"shape", Shape{70}}}}},
      {"reduce_to", {.inputs = {{rows(40, 3001)}}, .attrs = {{"shape", Shape{1, 3001}}}}},
      {"reduce_to", {.inputs = {{rows(301, 1009)}}, .attrs = {{"shape", Shape{301, 1}}}}},
      {"reduce_to", {.inputs = {{rows(301, 1009)}}, .attrs = {{"shape", Shape{}}}}},
      {"reduce_to", {.inputs = {{f32({23, 41, 59})}}, .attrs = {{"shape", Shape{41, 1}}}}},
      {"reduce_to", {.inputs = {{f32({23, 41, 59})}}, .attrs = {{"shape", Shape{23, 1, 59}}}}},
      {"reduce_max", {.inputs = {{rows(301, 1009)}}}},
      {"sum_squares", {.inputs = {{f32({300007})}}}},
      {"broadcast_to", {.inputs = {{f32({41, 1})}}, .attrs = {{"shape", Shape{23, 41, 59}}}}},
      {"transpose", {.inputs = {{rows(301, 1009)}}, .attrs = {{"permutation", Shape{1, 0}}}}},
      {"transpose",
       {.inputs = {{f32({5, 37, 6, 41})}}, .attrs = {{"permutation", Shape{0, 2, 1, 3}}}}},
      {"transpose",
       {.inputs = {{f32({5, 37, 6, 41})}}, .attrs = {{"permutation", Shape{3, 0, 2, 1}}}}},
      {"slice",
       {.inputs = {{rows(301, 1009)}}, .attrs = {{"axis", 1}, {"start", 7}, {"size", 900}}}},
      {"pad", {.inputs = {{rows(301, 1009)}}, .attrs = {{"axis", 1}, {"before", 7}, {"after", 3}}}},
      {"one_hot", {.inputs = {{i32({301}), -1, 1009}}, .attrs = {{"depth", 1009}}}},
      {"causal_mask", {.inputs = {{f32({3, 131, 131})}}, .attrs = {{"seq", 131}}}},
      {"fill", {.inputs = {}, .attrs = {{"shape", Shape{50021}}, {"value", -2.5}}}},
      {"adamw_m",
       {.inputs = {{f32({50021})}, {f32({50021})}, {f32({})}}, .attrs = {{"beta1", 0.9}}}},
  };
}

TEST(Ops, AgreeAtSizesOfManyTasks) {
  for (const auto& [name, c] : large_cases()) check(graph::op(name), c);
}

// Machines have other instruction sets than this one: all that run here are tried.
TEST(Ops, AgreeOnEveryInstructionSet) {
  std::vector<std::string> names;
  for (const std::int64_t target : {HWY_SCALAR, HWY_SSE4, HWY_AVX2, HWY_AVX3, HWY_NEON}) {
    hwy::SetSupportedTargetsForTest(0);
    if ((hwy::SupportedTargets() & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    names.push_back(simd_name());
    for (const auto& [name, c] : large_cases()) check(graph::op(name), c);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GE(names.size(), 2U);
  EXPECT_EQ(names.front(), hwy::TargetName(HWY_SCALAR));
  EXPECT_NE(names.front(), names.back());
}

TEST(Ops, OutputsMayBeRoundedToBf16) {
  const auto rounded = [](std::string_view name, const OpCase& c) {
    Made made = make(graph::op(name), c);
    made.spec.outputs[0].dtype = graph::DType::bf16;
    const std::unique_ptr<Kernel> kernel = kernel_for(made.spec);
    ASSERT_NE(kernel, nullptr);
    const auto out = run_op(*kernel, made.spec, made.bytes, {.threads = 2});
    expect_near(decode(graph::DType::bf16, out[0]), reference_of(made.spec, made.inputs), 1.0 / 128,
                title(made.spec));
    for (int input = 0; input < static_cast<int>(c.inputs.size()); ++input)
      EXPECT_FALSE(kernel->in_place(input, 0)) << title(made.spec);
  };
  rounded("layer_norm",
          {.inputs = {{f32({33, 65})}, {f32({65})}, {f32({65})}}, .attrs = {{"eps", 1e-5}}});
  rounded("softmax_cross_entropy_grad",
          {.inputs = {{f32({33, 65})}, {i32({33}), -1, 65}, {f32({33}), 4, 6}, {f32({33})}}});
  rounded("embedding", {.inputs = {{f32({9, 65})}, {i32({33}), 0, 9}}});
}

TEST(Ops, EmptyTensorsDoNothing) {
  check(graph::op("add"), {.inputs = {{f32({0, 5})}, {f32({5})}}});
  check(graph::op("reduce_to"), {.inputs = {{f32({0, 5})}}, .attrs = {{"shape", Shape{5}}}});
  check(graph::op("reduce_to"), {.inputs = {{f32({0, 5})}}, .attrs = {{"shape", Shape{}}}});
  check(graph::op("transpose"),
        {.inputs = {{f32({0, 5})}}, .attrs = {{"permutation", Shape{1, 0}}}});
  check(graph::op("sum_squares"), {.inputs = {{f32({0})}}});
}

TEST(Ops, ForeignElementTypesAreRefused) {
  const KernelSpec spec{
      .name = "add", .inputs = {i32({3}), f32({3})}, .outputs = {f32({3})}, .attrs = {}};
  const auto kernel = cpu_kernels().find("add")(spec);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
  EXPECT_NE(kernel.error().message.find("add(i32[3], f32[3]) -> f32[3]"), std::string::npos)
      << kernel.error().message;
}

// Numbers outside the vocabulary are refused before a step; should one come through, it must show.
TEST(Ops, ForeignIdsGiveNanAndTouchNothing) {
  const auto run = [](std::string_view name, std::vector<TensorType> inputs,
                      std::vector<TestBytes> bytes) {
    KernelSpec spec{
        .name = std::string(name), .inputs = std::move(inputs), .outputs = {}, .attrs = {}};
    spec.outputs = {*graph::op(name).infer(spec.inputs, spec.attrs)};
    return values_of<float>(run_op(*kernel_for(spec), spec, bytes)[0]);
  };
  const TestBytes matrix = bytes_of(std::vector<float>(6, 0.5F));
  const TestBytes ids = bytes_of(std::vector<std::int32_t>{3, -2});
  for (const float x : run("embedding", {f32({2, 3}), i32({2})}, {matrix, ids}))
    EXPECT_TRUE(std::isnan(x));
  for (const float x : run("softmax_cross_entropy", {f32({2, 3}), i32({2})}, {matrix, ids}))
    EXPECT_TRUE(std::isnan(x));
  for (const float x : run("softmax_cross_entropy_grad", {f32({2, 3}), i32({2}), f32({2}), f32({2})},
                           {matrix, ids, bytes_of(std::vector<float>(2, 1.0F)), bytes_of(std::vector<float>(2, 1.0F))}))
    EXPECT_TRUE(std::isnan(x));
}

TEST(Ops, CrossEntropyOfLargeLogitsStaysFinite) {
  KernelSpec spec{.name = "softmax_cross_entropy",
                  .inputs = {f32({2, 3}), i32({2})},
                  .outputs = {f32({2})},
                  .attrs = {}};
  const auto losses =
      values_of<float>(run_op(*kernel_for(spec), spec,
                              {bytes_of(std::vector<float>{1e30F, -1e30F, 0, 1e4F, 1e4F, -1e38F}),
                               bytes_of(std::vector<std::int32_t>{0, 1})})[0]);
  EXPECT_EQ(losses[0], 0.0F);
  EXPECT_NEAR(losses[1], std::log(2.0), 1e-6);
}

}  // namespace
}  // namespace suanli::engine
