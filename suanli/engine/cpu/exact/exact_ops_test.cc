// Every op that exact arithmetic says is exact, by itself: the same bits on every instruction set that runs here, at every
// number of threads, and the same as where the digest below was made. Compilers and their options are held to it too.
#include <bit>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "suanli/base/sha256.h"
#include "suanli/engine/cpu/exact/every_target_test_util.h"
#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;
using graph::TensorType;

// Of all outputs of all cases below. A change of any bit of exact arithmetic is a new version of it, and only then a new digest.
constexpr const char* kGolden = "ccde5ac142f8ed3be75020a91216ff96459cb238bdafa69cc2a2e074db79064d";

struct Case {
  KernelSpec spec;
  std::vector<TestBytes> inputs;
  OpRun how = {};
  Region region = {};  // spec.region, if `has_region`
  bool has_region = false;
};

// What the elements of an input are like.
enum class Mix {
  finite,  // numbers of size 1, with zeros of both signs and subnormals among them
  nasty,   // infinities, NaN of all kinds and any bit pattern besides
};

TestBytes elements(std::int64_t n, DType dtype, Mix mix, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  const std::uint32_t mild[] = {0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00400000, 0x80800000, 0x3F800000, 0xBF800000};
  const std::uint32_t wild[] = {0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7F7FFFFF, 0xFF7FFFFF};
  std::vector<std::uint32_t> words;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    const double choice = random.uniform(4 * at);
    const auto pattern = static_cast<std::uint32_t>(random.uniform(4 * at + 1) * 0x1p32);
    std::uint32_t word = std::bit_cast<std::uint32_t>(static_cast<float>(8 * random.uniform(4 * at + 2) - 4));
    if (choice < 0.08) word = mild[pattern % 8];
    if (mix == Mix::nasty && choice >= 0.08 && choice < 0.14) word = wild[pattern % 8];
    if (mix == Mix::nasty && choice >= 0.14 && choice < 0.3) word = pattern;
    words.push_back(word);
  }
  if (dtype == DType::f32) return bytes_of(words);
  std::vector<std::uint16_t> halves;
  for (const std::uint32_t word : words) halves.push_back(static_cast<std::uint16_t>(word >> 16));
  return bytes_of(halves);
}

TestBytes ids(std::int64_t n, std::int32_t low, std::int32_t high, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  std::vector<std::int32_t> values;
  for (std::int64_t i = 0; i < n; ++i)
    values.push_back(low + static_cast<std::int32_t>((high - low) * random.uniform(static_cast<std::uint64_t>(i))));
  return bytes_of(values);
}

// The cases of one mix of inputs.
class Cases {
 public:
  explicit Cases(Mix mix) : mix_(mix) {
    for (const std::int64_t n : {1, 37, 1000, 40'003}) elementwise(n);
    broadcasts();
    for (const Shape& shape : {Shape{1, 1}, Shape{5, 37}, Shape{70, 129}, Shape{131, 1000}}) {
      regions(shape);
      layer_norms(shape);
      reductions(shape);
      tables(shape);
    }
    reductions_of_many();
    for (const std::int64_t n : {1, 33, 70'001}) optimizer(n);
    others();
  }
  std::vector<Case> take() { return std::move(cases_); }

 private:
  // All inputs are drawn by `mix`, but those of i32, which are given.
  void add(std::string name, std::vector<TensorType> inputs, std::vector<TensorType> outputs, graph::Attrs attrs = {},
           OpRun how = {}, std::vector<TestBytes> whole = {}) {
    Case c{.spec = {.name = std::move(name),
                    .inputs = std::move(inputs),
                    .outputs = std::move(outputs),
                    .attrs = std::move(attrs)},
           .inputs = {},
           .how = std::move(how)};
    std::size_t next = 0;
    for (const TensorType& type : c.spec.inputs)
      c.inputs.push_back(type.dtype == DType::i32 ? whole.at(next++) : elements(type.elements(), type.dtype, mix_, ++seed_));
    cases_.push_back(std::move(c));
  }
  void add_region(std::string name, std::vector<TensorType> own, Region region, std::vector<TensorType> sums = {},
                  graph::Attrs attrs = {}) {
    std::vector<TensorType> outputs;
    const std::size_t first = own.empty() ? 0 : 1;  // the result of a kernel with an epilogue is no operand
    for (std::size_t i = first; i < region.inputs.size(); ++i)
      own.push_back({region.inputs[i].dtype, {region.inputs[i].elements}});
    for (const RegionOutput& output : region.outputs)
      outputs.push_back({output.dtype, output.access == Access::row ? Shape{region.shape[0], 1} : region.shape});
    outputs.insert(outputs.end(), sums.begin(), sums.end());
    add(std::move(name), std::move(own), std::move(outputs), std::move(attrs));
    cases_.back().region = std::move(region);
    cases_.back().has_region = true;
  }

  void elementwise(std::int64_t n) {
    const TensorType x = graph::f32({n}), half{DType::bf16, {n}};
    for (const char* name : {"exp", "log", "sqrt", "rsqrt", "tanh", "gelu"}) add(name, {x}, {x}, exact_);
    add("gelu", {half}, {x}, exact_);
    add("scale", {x}, {x}, {{"exact", std::int64_t{1}}, {"factor", 0.3}});
    add("shift", {x}, {x}, {{"exact", std::int64_t{1}}, {"offset", -0.7}});
    for (const char* name : {"add", "sub", "mul", "div", "minimum", "maximum", "greater", "equal", "gelu_grad"})
      add(name, {x, x}, {x}, exact_);
    add("cast", {x}, {half}, exact_);
    add("cast", {half}, {x}, exact_);
    add("cast", {{DType::i32, {n}}}, {x}, exact_, {}, {ids(n, -2'000'000'000, 2'000'000'000, 3)});
    add("accumulate", {x}, {x}, {}, {.preset = {elements(n, DType::f32, mix_, 77)}});
  }

  void broadcasts() {
    const TensorType x = graph::f32({5, 7, 33});
    for (const Shape& small : {Shape{33}, Shape{5, 7, 1}, Shape{1}, Shape{5, 1, 33}})
      for (const char* name : {"add", "mul", "div", "maximum"}) add(name, {x, graph::f32(small)}, {x}, exact_);
  }

  static Region operands(const Shape& shape) {
    const std::int64_t n = graph::element_count(shape), columns = shape.back();
    return {.shape = shape,
            .inputs = {{DType::f32, Access::full, n}, {DType::f32, Access::periodic, columns}, {DType::bf16, Access::full, n},
                       {DType::f32, Access::row, n / columns}, {DType::f32, Access::scalar, 1}},
            .code = {},
            .outputs = {},
            .exact = true};
  }
  // Elementwise ops of every kind of operand.
  static Region chain(const Shape& shape) {
    Region region = operands(shape);
    region.code = {{RegionOp::add, 0, 1}, {RegionOp::gelu, 5},      {RegionOp::mul, 6, 3},        {RegionOp::gelu_grad, 5, 2},
                   {RegionOp::sub, 8, 4}, {RegionOp::exp, 7},       {RegionOp::round_bf16, 9},    {RegionOp::tanh, 11},
                   {RegionOp::div, 12, 10}, {RegionOp::log, 7}};
    region.outputs = {{13, DType::f32}, {9, DType::bf16}, {14, DType::f32}};
    return region;
  }
  void regions(const Shape& shape) {
    add_region("region", {}, chain(shape));
    Region rows = operands(shape);  // a softmax, with its row values
    rows.code = {{RegionOp::row_max, 0}, {RegionOp::sub, 0, 5}, {RegionOp::exp, 6}, {RegionOp::row_sum, 7}, {RegionOp::div, 7, 8},
                 {RegionOp::mul, 9, 3}};
    rows.outputs = {{9, DType::f32}, {10, DType::bf16}, {8, DType::f32, Access::row}, {5, DType::f32, Access::row}};
    add_region("region", {}, rows);
  }

  void layer_norms(const Shape& shape) {
    const TensorType x = graph::f32(shape), v = graph::f32({shape[1]}), half{DType::bf16, shape};
    const graph::Attrs eps = {{"eps", 1e-5}};
    add("layer_norm", {x, v, v}, {x}, eps);
    add("layer_norm", {half, v, v}, {x}, eps);
    add("layer_norm", {x, v, v}, {half}, {{"eps", 1e-5}, {"exact", std::int64_t{1}}});
    add("layer_norm_dx", {x, v, x}, {x}, eps);
    add("layer_norm_dgamma", {x, half}, {v}, eps);
    add("layer_norm_backward", {x, v, x}, {x, v, v}, eps);
    add_region("layer_norm", {x, v, v}, chain(shape), {}, eps);
    add_region("layer_norm_backward", {x, v, half}, chain(shape), {v, v}, eps);
  }

  void reductions(const Shape& shape) {
    const TensorType x = graph::f32(shape), half{DType::bf16, shape}, column = graph::f32({shape[0], 1});
    for (const TensorType& from : {x, half})
      for (const Shape& to : {Shape{}, Shape{shape[1]}, Shape{shape[0], 1}}) add("reduce_to", {from}, {graph::f32(to)});
    add("reduce_max", {x}, {column});
  }
  void reductions_of_many() {
    const TensorType x = graph::f32({3, 5, 7, 33});
    for (const Shape& to : {Shape{3, 1, 7, 33}, Shape{3, 1, 7, 1}, Shape{5, 1, 33}, Shape{3, 5, 1, 33}})
      add("reduce_to", {x}, {graph::f32(to)});
    const TensorType tall = graph::f32({1500, 70}), longer = graph::f32({150'001});
    add("reduce_to", {tall}, {graph::f32({70})});
    add("reduce_to", {longer}, {graph::f32({})});
    add("sum_squares", {longer}, {graph::f32({})});
    add("sum_squares", {graph::f32({3})}, {graph::f32({})});
  }

  void tables(const Shape& shape) {
    const std::int64_t tokens = 3 * shape[0], rows = shape[0];
    const TensorType table = graph::f32(shape), list{DType::i32, {tokens}}, dy = graph::f32({tokens, shape[1]});
    const std::vector<TestBytes> known = {ids(tokens, 0, static_cast<std::int32_t>(rows), ++seed_)};
    const std::vector<TestBytes> any = {ids(tokens, -1, static_cast<std::int32_t>(rows + 1), ++seed_)};
    add("embedding", {table, list}, {dy}, exact_, {}, any);
    add("embedding", {table, list}, {{DType::bf16, dy.shape}}, exact_, {}, known);
    add("embedding_grad", {list, dy}, {table}, {}, {}, known);
    add("embedding_grad", {list, {DType::bf16, dy.shape}, table}, {table}, {}, {}, known);
    add("count_tokens", {list}, {graph::f32({})}, {}, {}, any);
    add("one_hot", {list}, {graph::f32({tokens, rows})}, {{"depth", rows}}, {}, any);
  }

  void optimizer(std::int64_t n) {
    const TensorType x = graph::f32({n}), one = graph::f32({});
    const graph::Attrs attrs = {{"beta1", 0.9}, {"beta2", 0.95}, {"eps", 1e-8}, {"decay", 0.1}};
    const auto scalars = [&](std::size_t first) {  // gscale, lr and the corrections are ordinary numbers
      const float values[] = {0.37F, 3e-4F, 0.19F, 0.0975F};
      Case& c = cases_.back();
      for (std::size_t i = first; i < c.inputs.size(); ++i)
        c.inputs[i] = bytes_of(std::vector<float>{values[i - first + (first == 3 ? 1 : 0)]});
    };
    add("adamw", {x, x, x, x, one, one, one, one}, {x, x, x}, attrs, {.in_place = {{0, 0}, {1, 1}, {2, 2}}});
    scalars(4);
    add("adamw_m", {x, x, one}, {x}, attrs);
    scalars(2);
    add("adamw_v", {x, x, one}, {x}, attrs);
    scalars(2);
    add("adamw_w", {x, x, x, one, one, one}, {x}, attrs);
    scalars(3);
    add("normal", {}, {x},
        {{"mean", 0.0},
         {"std", 0.02},
         {"seed", std::int64_t{7}},
         {"stream", static_cast<std::int64_t>(Stream::test)},
         {"step", n}});
    for (int i = 0; i < 8; ++i) add("clip_scale", {one, one}, {one}, {{"max_norm", 1.0}});
    add("clip_scale", {one, one}, {one}, {{"max_norm", 0.25}});
    cases_.back().inputs = {bytes_of(std::vector<float>{1234.5F}), bytes_of(std::vector<float>{7})};
  }

  // Ops that move elements, whatever they are.
  void others() {
    const TensorType x = graph::f32({5, 7, 33});
    add("causal_mask", {graph::f32({3, 33, 33})}, {graph::f32({3, 33, 33})}, {{"seq", std::int64_t{33}}});
    add("transpose", {x}, {graph::f32({33, 5, 7})}, {{"permutation", Shape{2, 0, 1}}});
    add("slice", {x}, {graph::f32({5, 3, 33})},
        {{"axis", std::int64_t{1}}, {"start", std::int64_t{2}}, {"length", std::int64_t{3}}});
    add("pad", {x}, {graph::f32({5, 10, 33})},
        {{"axis", std::int64_t{1}}, {"before", std::int64_t{2}}, {"after", std::int64_t{1}}});
    add("broadcast_to", {graph::f32({7, 1})}, {x});
    add("reshape", {x}, {graph::f32({35, 33})});
    add("fill", {}, {x}, {{"value", 0.1}, {"shape", x.shape}});
  }

  const graph::Attrs exact_ = {{"exact", std::int64_t{1}}};
  Mix mix_;
  std::uint64_t seed_ = 100;
  std::vector<Case> cases_;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases = Cases(Mix::finite).take();
  for (Case& c : Cases(Mix::nasty).take()) cases.push_back(std::move(c));
  for (Case& c : cases)
    if (c.has_region) c.spec.region = &c.region;
  return cases;
}

// Are elements of the output those of an input, bit for bit?
bool moves(const KernelSpec& spec) {
  const std::string& name = spec.name;
  if (name == "embedding_grad" && spec.inputs.size() == 3) return true;  // rows that no id names
  if (name == "cast" && spec.inputs[0].dtype == DType::bf16) return true;
  for (const char* other : {"causal_mask", "transpose", "slice", "pad", "broadcast_to", "reshape", "embedding"})
    if (name == other) return true;
  return false;
}

// Each f32 or bf16 that is not a number has the one form of it.
void expect_canonical(const Case& c, const std::vector<TestBytes>& outputs) {
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    if (c.spec.outputs[o].dtype == DType::f32) {
      for (const std::uint32_t x : values_of<std::uint32_t>(outputs[o]))
        if ((x & 0x7FFFFFFFu) > 0x7F800000u) {
          ASSERT_EQ(x, 0x7FC00000u) << c.spec.name;
        }
    } else {
      for (const std::uint16_t x : values_of<std::uint16_t>(outputs[o]))
        if ((x & 0x7FFFu) > 0x7F80u) {
          ASSERT_EQ(x, 0x7FC0u) << c.spec.name;
        }
    }
  }
}

TEST(ExactOps, HaveTheSameBitsEverywhere) {
  const std::vector<Case> cases = all_cases();
  std::vector<std::vector<TestBytes>> expected;
  const int sets = on_every_target([&](const std::string& target) {
    const bool first = expected.empty();
    for (std::size_t k = 0; k < cases.size(); ++k) {
      const Case& c = cases[k];
      const auto kernel = kernel_for(c.spec);
      ASSERT_NE(kernel, nullptr) << c.spec.name;
      for (const int threads : {1, 2, 3, 4}) {
        OpRun how = c.how;
        how.threads = threads;
        std::vector<TestBytes> outputs = run_op(*kernel, c.spec, c.inputs, how);
        if (first && threads == 1) {
          if (!moves(c.spec)) expect_canonical(c, outputs);
          expected.push_back(std::move(outputs));
          continue;
        }
        ASSERT_EQ(outputs, expected[k]) << "case " << k << ", " << c.spec.name << types_of(c.spec) << " on " << target << " with "
                                        << threads << " threads";
      }
    }
  });
  EXPECT_GE(sets, 2);

  Sha256 digest;
  for (std::size_t k = 0; k < cases.size(); ++k) {
    digest.update_u64(cases[k].spec.name.size());
    digest.update(cases[k].spec.name);
    for (const TestBytes& bytes : expected.at(k)) {
      digest.update_u64(bytes.size());
      digest.update(bytes);
    }
  }
  EXPECT_EQ(digest.finish().hex(), kGolden) << cases.size() << " cases";
}

// A chain of ops in registers, against the same ops as kernels of their own.
TEST(ExactOps, AreTheSameFusedAndAlone) {
  const Shape shape = {9, 77};
  const std::int64_t n = graph::element_count(shape);
  const TensorType x = graph::f32(shape), row = graph::f32({shape[0], 1}), bias = graph::f32({shape[1]});
  const graph::Attrs exact = {{"exact", std::int64_t{1}}};
  for (const Mix mix : {Mix::finite, Mix::nasty}) {
    Region region{.shape = shape,
                  .inputs = {{DType::f32, Access::full, n},
                             {DType::f32, Access::periodic, shape[1]},
                             {DType::f32, Access::row, shape[0]}},
                  .code = {{RegionOp::add, 0, 1}, {RegionOp::gelu, 3}, {RegionOp::gelu_grad, 3, 4}, {RegionOp::mul, 5, 2},
                           {RegionOp::tanh, 6}, {RegionOp::exp, 7}, {RegionOp::log, 6}, {RegionOp::maximum, 8, 9},
                           {RegionOp::row_sum, 10}, {RegionOp::div, 10, 11}},
                  .outputs = {},
                  .exact = true};
    KernelSpec fused{.name = "region", .inputs = {x, bias, row}, .outputs = {}, .attrs = {}, .region = &region};
    for (int reg = 3; reg <= 12; ++reg) {
      if (reg == 11) continue;  // one value for each row
      region.outputs.push_back({reg, DType::f32});
      fused.outputs.push_back(x);
    }
    std::vector<TestBytes> registers = {elements(n, DType::f32, mix, 1), elements(shape[1], DType::f32, mix, 2),
                                        elements(shape[0], DType::f32, mix, 3)};
    std::vector<TensorType> types = {x, bias, row};
    const std::vector<TestBytes> together = run_op(*kernel_for(fused), fused, registers);

    std::size_t output = 0;
    for (const RegionInstruction& step : region.code) {
      const bool sums = step.op == RegionOp::row_sum;
      KernelSpec alone{.name = sums ? "reduce_to" : std::string(name_of(step.op)),
                       .inputs = {types[step.a]},
                       .outputs = {sums ? row : x},
                       .attrs = exact};
      std::vector<TestBytes> inputs = {registers[step.a]};
      if (register_count(step.op) == 2) {
        alone.inputs.push_back(types[step.b]);
        inputs.push_back(registers[step.b]);
      }
      registers.push_back(run_op(*kernel_for(alone), alone, inputs)[0]);
      types.push_back(alone.outputs[0]);
      if (!sums) {
        EXPECT_EQ(registers.back(), together.at(output++)) << name_of(step.op);
      }
    }
  }
}

// No library that we call leaves a thread with subnormals switched off: products by oneDNN run first.
TEST(ExactOps, SubnormalsAreKeptInEveryThread) {
  const graph::TensorType square = graph::f32({64, 64});
  const KernelSpec matmul{.name = "matmul", .inputs = {square, square}, .outputs = {square}, .attrs = {}};
  const auto kernel = kernel_for(matmul);
  TestBuffer a(64 * 64 * 4), b(64 * 64 * 4), c(64 * 64 * 4), scratch(kernel->scratch(4).value());
  ThreadPool pool(4);
  const std::byte* inputs[] = {a.data(), b.data()};
  std::byte* outputs[] = {c.data()};
  kernel->run({inputs, outputs, scratch.data(), pool});
  std::vector<float> halves(1000), doubles(1000);
  pool.parallel_for(1000, [&](std::int64_t i, int) {
    volatile float least_normal = 0x1p-126F, least = 0x1p-149F;
    halves[static_cast<std::size_t>(i)] = least_normal / 2;
    doubles[static_cast<std::size_t>(i)] = least * 0x1p127F;
  });
  EXPECT_EQ(halves, std::vector<float>(1000, 0x1p-127F));
  EXPECT_EQ(doubles, std::vector<float>(1000, 0x1p-22F));
}

}  // namespace
}  // namespace suanli::engine
