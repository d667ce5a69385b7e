// What an op says about inputs and attributes that break its rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "suanli/graph/builder.h"
#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

using testing::HasSubstr;

struct Wrong {
  std::string op;
  std::vector<TensorType> inputs;
  Attrs attrs;
  std::string message;
};

std::string complaint(const Wrong& wrong) {
  Graph graph;
  Builder b(graph);
  std::vector<NodeId> inputs;
  for (const TensorType& type : wrong.inputs)
    inputs.push_back(b.input("x" + std::to_string(inputs.size()), type));
  EXPECT_TRUE(b.status());
  b.apply(wrong.op, inputs, wrong.attrs);
  if (b.status()) return "no error";
  EXPECT_EQ(b.status().error().code, ErrorCode::graph);
  return b.status().error().to_string();
}

void expect_all(const std::vector<Wrong>& list) {
  for (const Wrong& wrong : list) {
    SCOPED_TRACE(wrong.op + ", wanted: " + wrong.message);
    EXPECT_THAT(complaint(wrong), HasSubstr(wrong.op + ": " + wrong.message));
  }
}

TEST(OpErrors, Elementwise) {
  expect_all({
      {"add", {f32({3, 4}), f32({3})}, {}, "second input f32[3] cannot be repeated"},
      {"mul", {f32({4}), f32({3, 4})}, {}, "second input f32[3x4] cannot be repeated"},
      {"sub", {f32({1, 4}), f32({2, 4})}, {}, "second input f32[2x4] cannot be repeated"},
      {"div", {f32({2}), bf16({2})}, {}, "input 1 is bf16[2], expected f32"},
      {"exp", {i32({2})}, {}, "input 0 is i32[2], expected f32"},
      {"gelu_grad", {f32({2}), f32({1})}, {}, "input 1 is f32[1], expected f32[2]"},
      {"cast", {f32({2})}, {{"dtype", "f8"}}, "'f8' is not an element type"},
      {"cast", {f32({2})}, {{"dtype", "i32"}}, "f32[2] to i32: only f32 to bf16"},
  });
}

TEST(OpErrors, Shapes) {
  const auto window = [](std::int64_t axis, std::int64_t start, std::int64_t size) {
    return Attrs{{"axis", axis}, {"start", start}, {"size", size}};
  };
  expect_all({
      {"fill", {}, {{"shape", Shape{2, -1}}, {"value", 0.0}}, "shape [2x-1] is not valid"},
      {"reshape", {f32({2, 3})}, {{"shape", Shape{7}}}, "f32[2x3] has 6 elements, [7] has 7"},
      {"reshape", {f32({4})}, {{"shape", Shape{-2, -2}}}, "shape [-2x-2] is not valid"},
      {"transpose", {f32({2, 3})}, {{"permutation", Shape{0, 0}}}, "(0 0) does not order"},
      {"transpose", {f32({2, 3})}, {{"permutation", Shape{0}}}, "(0) does not order"},
      {"slice", {f32({2, 3})}, window(2, 0, 1), "axis 2 of f32[2x3] does not exist"},
      {"slice", {f32({2, 3})}, window(-1, 0, 1), "axis -1 of f32[2x3] does not exist"},
      {"slice", {f32({2, 3})}, window(1, 2, 2), "2 elements from 2 lie outside axis 1"},
      {"slice", {f32({2, 3})}, window(1, -1, 2), "2 elements from -1 lie outside axis 1"},
      {"slice",
       {f32({3})},
       window(0, INT64_MAX, 1),
       "1 elements from 9223372036854775807 lie outside axis 0"},
      {"pad",
       {f32({3})},
       {{"axis", 0}, {"before", -1}, {"after", 0}},
       "before is -1, expected 0 to"},
      {"pad",
       {f32({3})},
       {{"axis", 0}, {"before", kMaxElements}, {"after", 0}},
       "shape [1099511627779] is not valid"},
      {"broadcast_to", {f32({3})}, {{"shape", Shape{3, 2}}}, "f32[3] cannot be repeated to [3x2]"},
      {"reduce_to", {f32({3})}, {{"shape", Shape{1, 3}}}, "f32[3] cannot be summed to [1x3]"},
      {"reduce_max", {f32({})}, {}, "input 0 is f32[], expected a last dimension of at least 1"},
      {"reduce_max", {f32({3, 0})}, {}, "input 0 is f32[3x0]"},
  });
}

TEST(OpErrors, Matmul) {
  const auto flags = [](std::int64_t ta, std::int64_t tb) { return Attrs{{"ta", ta}, {"tb", tb}}; };
  const TensorType big = f32({std::int64_t{1} << 30, 1});
  expect_all({
      {"matmul",
       {f32({4, 5}), f32({6, 7})},
       flags(0, 0),
       "inner dimensions differ: f32[4x5] x f32[6x7]"},
      {"matmul",
       {f32({4, 5}), f32({5, 7})},
       flags(0, 1),
       "inner dimensions differ: f32[4x5] x f32[5x7] transposed"},
      {"matmul",
       {f32({2, 4, 5}), f32({3, 5, 7})},
       flags(0, 0),
       "leading dimensions differ: f32[2x4x5] x f32[3x5x7]"},
      {"matmul", {f32({4, 5}), f32({5})}, flags(0, 0), "operands need the same number"},
      {"matmul", {f32({5}), f32({5})}, flags(0, 0), "operands need the same number"},
      {"matmul", {f32({4, 5}), bf16({5, 7})}, flags(0, 0), "input 1 is bf16[5x7], expected f32"},
      {"matmul", {f32({4, 5}), f32({5, 7})}, flags(2, 0), "ta is 2, expected 0 to 1"},
      {"matmul", {big, big}, flags(0, 1), "shape [1073741824x1073741824] is not valid"},
  });
}

TEST(OpErrors, Model) {
  const Attrs eps = {{"eps", 1e-5}};
  const auto heads = [](std::int64_t count, std::int64_t seq) {
    return Attrs{{"heads", count}, {"seq", seq}};
  };
  expect_all({
      {"embedding", {f32({4, 2}), i32({3, 1})}, {}, "input 1 is i32[3x1], expected 1 dimension"},
      {"embedding", {f32({4, 2}), f32({3})}, {}, "input 1 is f32[3], expected i32"},
      {"embedding_grad", {i32({3}), f32({4, 2})}, {{"rows", 5}}, "i32[3] numbers for the rows"},
      {"embedding_grad", {i32({3}), f32({3, 2})}, {{"rows", 0}}, "rows is 0, expected 1 to"},
      {"one_hot", {i32({3})}, {{"depth", 0}}, "depth is 0, expected 1 to"},
      {"layer_norm", {f32({3, 4}), f32({3}), f32({4})}, eps, "input 1 is f32[3], expected f32[4]"},
      {"layer_norm", {f32({3, 0}), f32({0}), f32({0})}, eps, "input 0 is f32[3x0]"},
      {"layer_norm", {f32({3, 1}), f32({1}), f32({1})}, {{"eps", -1.0}}, "eps is -1.0"},
      {"softmax_cross_entropy", {f32({3, 4}), i32({4})}, {}, "input 1 is i32[4], expected i32[3]"},
      {"softmax_cross_entropy_grad",
       {f32({3, 4}), i32({3}), f32({}), f32({3})},
       {},
       "input 2 is f32[], expected f32[3]"},
      {"softmax_cross_entropy_grad",
       {f32({3, 4}), i32({3}), f32({3}), f32({4})},
       {},
       "input 3 is f32[4], expected f32[3]"},
      {"log_sum_exp", {f32({3})}, {}, "input 0 is f32[3]"},
      {"attention",
       {f32({7, 12})},
       heads(2, 4),
       "7 rows of f32[7x12] are not whole sequences of 4"},
      {"attention", {f32({8, 12})}, heads(3, 4), "12 columns of f32[8x12] are not q, k and v of 3"},
      {"attention", {f32({8, 12})}, heads(0, 4), "heads is 0, expected 1 to"},
      {"attention", {f32({8, 12})}, heads(2, 0), "seq is 0, expected 1 to"},
      {"attention_grad",
       {f32({8, 12}), f32({8, 4}), f32({2, 4}), f32({8, 4})},
       heads(2, 4),
       "input 2 is f32[2x4], expected f32[4x4]"},
      {"causal_mask", {f32({4, 5})}, {{"seq", 5}}, "input 0 is f32[4x5], expected the last two"},
  });
}

TEST(OpErrors, Update) {
  expect_all({
      {"adamw_m",
       {f32({3}), f32({4}), f32({})},
       {{"beta1", 0.9}},
       "input 1 is f32[4], expected f32[3]"},
      {"adamw_v",
       {f32({3}), f32({3}), f32({3})},
       {{"beta2", 0.9}},
       "input 2 is f32[3], expected f32[]"},
      {"clip_scale", {f32({}), f32({1})}, {{"max_norm", 1.0}}, "input 1 is f32[1], expected f32[]"},
  });
}

}  // namespace
}  // namespace suanli::graph
