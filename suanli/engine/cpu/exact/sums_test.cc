// Sums, norms and the optimizer against docs/formats/exact-arithmetic.md, sections 3 and 4, taken at its word: one element at a
// time, on nothing of the kernels. And sums that another kernel makes on its way, against the sum as a kernel of its own.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "suanli/engine/cpu/kernel_support.h"
#include "suanli/engine/cpu/op_test_util.h"

namespace suanli::engine {
namespace {

using graph::DType;
using graph::Shape;
using Floats = std::vector<float>;

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

// S of section 3.
float row_sum_of(const Floats& x) {
  std::array<float, 64> s{};
  for (std::size_t i = 0; i < x.size(); ++i) s[i % 64] += x[i];
  for (std::size_t w = 32; w > 0; w /= 2)
    for (std::size_t j = 0; j < w; ++j) s[j] += s[j + w];
  return s[0];
}

// C of section 3.
float sum_of_rows(const Floats& column) {
  float sum = 0;
  for (std::size_t first = 0; first < column.size(); first += 256) {
    float run = column[first];
    for (std::size_t i = first + 1; i < std::min(column.size(), first + 256); ++i) run += column[i];
    sum = first == 0 ? run : sum + run;
  }
  return sum;
}

float sum_to_one(const Floats& x) {
  double total = 0;
  for (std::size_t block = 0; block < x.size(); block += 65536) {
    double sum = 0;
    const std::size_t end = std::min(x.size(), block + 65536);
    for (std::size_t run = block; run < end; run += 4096)
      sum += row_sum_of({x.begin() + static_cast<std::ptrdiff_t>(run),
                         x.begin() + static_cast<std::ptrdiff_t>(std::min(end, run + 4096))});
    total += sum;
  }
  return static_cast<float>(total);
}

// Blocks of rows of one column, then the blocks.
template <typename Block>
float sum_of_blocks(const Floats& column, const Block& sum_of_block) {
  const std::size_t rows = std::max<std::size_t>(32, (column.size() + 63) / 64);
  Floats sums;
  for (std::size_t first = 0; first < column.size(); first += rows)
    sums.push_back(sum_of_block(Floats(column.begin() + static_cast<std::ptrdiff_t>(first),
                                       column.begin() + static_cast<std::ptrdiff_t>(std::min(column.size(), first + rows)))));
  return sum_of_rows(sums);
}

// reduce_to of [a, b, c, d], of which the dimensions with `summed` become 1; sizes of 1 are dropped and neighbours joined by
// taking at most one summed dimension before, and one behind, a kept one.
Floats reduced(const Floats& x, const Shape& shape, const std::array<bool, 4>& summed) {
  std::vector<std::pair<std::int64_t, bool>> axes;
  for (std::size_t i = 0; i < 4; ++i) {
    if (shape[i] == 1) continue;
    if (!axes.empty() && axes.back().second == summed[i])
      axes.back().first *= shape[i];
    else
      axes.push_back({shape[i], summed[i]});
  }
  while (axes.size() < 4) axes.insert(axes.begin(), {1, !axes.empty() && !axes.front().second});
  std::int64_t kept = 1;
  for (const auto& [size, is_summed] : axes) kept *= is_summed ? 1 : size;
  if (kept == 1) return {sum_to_one(x)};
  // Alternating: [p, q, r, s] with q and s of the kind of the last, p and r of the other.
  const std::int64_t p = axes[0].first, q = axes[1].first, r = axes[2].first, s = axes[3].first;
  const auto at = [&](std::int64_t i, std::int64_t j, std::int64_t k, std::int64_t l) {
    return x[index(((i * q + j) * r + k) * s + l)];
  };
  Floats result;
  if (axes[3].second) {  // q and s summed
    for (std::int64_t i = 0; i < p; ++i)
      for (std::int64_t k = 0; k < r; ++k) {
        double total = 0;
        for (std::int64_t j = 0; j < q; ++j) {
          Floats row;
          for (std::int64_t l = 0; l < s; ++l) row.push_back(at(i, j, k, l));
          total += row_sum_of(row);
        }
        result.push_back(static_cast<float>(total));
      }
    return result;
  }
  for (std::int64_t j = 0; j < q; ++j)  // p and r summed
    for (std::int64_t l = 0; l < s; ++l) {
      float sum = 0;
      for (std::int64_t i = 0; i < p; ++i) {
        Floats column;
        for (std::int64_t k = 0; k < r; ++k) column.push_back(at(i, j, k, l));
        const float part = q == 1 ? sum_of_blocks(column, sum_of_rows) : sum_of_rows(column);
        sum = i == 0 ? part : sum + part;
      }
      result.push_back(sum);
    }
  return result;
}

Floats random_floats(std::int64_t n, std::uint64_t seed) {
  const Philox random(seed, Stream::test);
  Floats x(index(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.normal(i));
  return x;
}

std::vector<Floats> run(const KernelSpec& spec, const std::vector<Floats>& inputs) {
  std::vector<TestBytes> bytes;
  for (const Floats& input : inputs) bytes.push_back(bytes_of(input));
  std::vector<Floats> outputs;
  for (const TestBytes& output : run_op(*kernel_for(spec), spec, bytes, {.threads = 2}))
    outputs.push_back(values_of<float>(output));
  return outputs;
}

Floats reduce_to(const Floats& x, const Shape& from, const Shape& to) {
  return run({.name = "reduce_to", .inputs = {graph::f32(from)}, .outputs = {graph::f32(to)}, .attrs = {}}, {x})[0];
}

TEST(ExactSums, ReduceToIsTheDefinition) {
  for (const Shape& shape : {Shape{3, 4, 5, 6}, Shape{1, 1, 1, 9000}, Shape{1, 1, 700, 30}, Shape{2, 1, 300, 70},
                             Shape{1, 5, 1, 140}, Shape{9, 3, 40, 1}, Shape{1, 1, 20'000, 3}, Shape{1, 1, 70'000, 1}})
    for (unsigned kept = 0; kept < 16; ++kept) {
      Shape to = shape;
      std::array<bool, 4> summed{};
      for (std::size_t i = 0; i < 4; ++i) {
        summed[i] = (kept >> i & 1) == 0;
        if (summed[i]) to[i] = 1;
      }
      const Floats x = random_floats(graph::element_count(shape), kept);
      EXPECT_EQ(reduce_to(x, shape, to), reduced(x, shape, summed)) << kept << " of " << graph::f32(shape).to_string();
    }
}

// The same value as a kernel of its own and within a region or a norm's backward.
TEST(ExactSums, AreTheSameWithinOtherKernels) {
  for (const Shape& shape : {Shape{1, 5000}, Shape{1, 8192}, Shape{1, 100}, Shape{3, 5000}}) {
    const std::int64_t n = graph::element_count(shape);
    const Region region{.shape = shape,
                        .inputs = {{DType::f32, Access::full, n}},
                        .code = {{RegionOp::row_sum, 0}},
                        .outputs = {{1, DType::f32, Access::row}},
                        .exact = true};
    const Floats x = random_floats(n, 1);
    const KernelSpec spec{.name = "region",
                          .inputs = {graph::f32(shape)},
                          .outputs = {graph::f32({shape[0], 1})},
                          .attrs = {},
                          .region = &region};
    EXPECT_EQ(run(spec, {x})[0], reduce_to(x, shape, {shape[0], 1})) << graph::f32(shape).to_string();
  }
  for (const Shape& shape : {Shape{1, 1}, Shape{40, 1}, Shape{5000, 1}, Shape{1, 9}, Shape{40, 9}, Shape{3000, 70},
                             Shape{20'000, 3}}) {
    const graph::TensorType x = graph::f32(shape), v = graph::f32({shape[1]});
    const Floats dy = random_floats(x.elements(), 2);
    const auto gradients =
        run({.name = "layer_norm_backward", .inputs = {x, v, x}, .outputs = {x, v, v}, .attrs = {{"eps", 1e-5}}},
            {random_floats(x.elements(), 3), random_floats(shape[1], 4), dy});
    EXPECT_EQ(gradients[2], reduce_to(dy, shape, {shape[1]})) << x.to_string();
  }
}

struct Norm {
  Floats h;
  float r;
};
Norm norm_of(const Floats& x, float eps) {
  const auto n = static_cast<float>(x.size());
  const float mean = row_sum_of(x) / n;
  Floats c, squares;
  for (const float value : x) c.push_back(value - mean);
  for (const float value : c) squares.push_back(value * value);
  const float r = 1 / std::sqrt(row_sum_of(squares) / n + eps);
  for (float& value : c) value = value * r;
  return {c, r};
}

TEST(ExactSums, NormsAreTheDefinition) {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{70, 129}, Shape{2100, 64}, Shape{17'000, 2}}) {
    const std::int64_t rows = shape[0], n = shape[1];
    const graph::TensorType type = graph::f32(shape), v = graph::f32({n});
    const Floats x = random_floats(rows * n, 1), gamma = random_floats(n, 2), beta = random_floats(n, 3),
                 dy = random_floats(rows * n, 4);
    Floats y, dx;
    std::vector<Floats> gammas(index(n));  // what each row adds, by column
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto part = [&](const Floats& from) {
        return Floats(from.begin() + row * n, from.begin() + (row + 1) * n);
      };
      const Norm norm = norm_of(part(x), 1e-5F);
      const Floats d = part(dy);
      Floats g, gh;
      for (std::size_t i = 0; i < d.size(); ++i) {
        y.push_back(norm.h[i] * gamma[i] + beta[i]);
        gammas[i].push_back(d[i] * norm.h[i]);
        g.push_back(d[i] * gamma[i]);
        gh.push_back(g[i] * norm.h[i]);
      }
      const float mean_g = row_sum_of(g) / static_cast<float>(n), mean_gh = row_sum_of(gh) / static_cast<float>(n);
      for (std::size_t i = 0; i < d.size(); ++i) dx.push_back(norm.r * ((g[i] - mean_g) - norm.h[i] * mean_gh));
    }
    Floats dgamma;
    for (const Floats& column : gammas)
      dgamma.push_back(sum_of_blocks(column, [](const Floats& block) {
        float sum = 0;
        for (const float term : block) sum += term;
        return sum;
      }));
    const graph::Attrs eps = {{"eps", 1e-5}};
    EXPECT_EQ(run({.name = "layer_norm", .inputs = {type, v, v}, .outputs = {type}, .attrs = eps}, {x, gamma, beta})[0], y);
    const auto all = run({.name = "layer_norm_backward", .inputs = {type, v, type}, .outputs = {type, v, v}, .attrs = eps},
                         {x, gamma, dy});
    EXPECT_EQ(all[0], dx) << type.to_string();
    EXPECT_EQ(all[1], dgamma) << type.to_string();
    EXPECT_EQ(run({.name = "layer_norm_dx", .inputs = {type, v, type}, .outputs = {type}, .attrs = eps}, {x, gamma, dy})[0], dx);
    EXPECT_EQ(run({.name = "layer_norm_dgamma", .inputs = {type, type}, .outputs = {v}, .attrs = eps}, {x, dy})[0], dgamma);
  }
}

TEST(ExactSums, TheOptimizerIsTheDefinition) {
  constexpr std::int64_t n = 1000;
  const Floats w = random_floats(n, 1), m = random_floats(n, 2), g = random_floats(n, 4);
  Floats v = random_floats(n, 3);
  for (float& value : v) value = std::abs(value);
  const float scale = 0.37F, lr = 3e-4F, c1 = 0.19F, c2 = 0.0975F;
  const auto b1 = static_cast<float>(0.9), b2 = static_cast<float>(0.95), eps = static_cast<float>(1e-8);
  const auto rest1 = static_cast<float>(1 - double{b1}), rest2 = static_cast<float>(1 - double{b2});
  const auto keep = static_cast<float>(1 - double{lr} * 0.1);
  std::vector<Floats> expected(3);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const float scaled = g[i] * scale;
    const float next_m = b1 * m[i] + rest1 * scaled, next_v = b2 * v[i] + rest2 * (scaled * scaled);
    expected[0].push_back(w[i] * keep - lr * (next_m / c1) / (std::sqrt(next_v / c2) + eps));
    expected[1].push_back(next_m);
    expected[2].push_back(next_v);
  }
  const graph::TensorType x = graph::f32({n}), one = graph::f32({});
  const graph::Attrs attrs = {{"beta1", 0.9}, {"beta2", 0.95}, {"eps", 1e-8}, {"decay", 0.1}};
  const KernelSpec fused{
      .name = "adamw", .inputs = {x, x, x, x, one, one, one, one}, .outputs = {x, x, x}, .attrs = attrs};
  std::vector<TestBytes> inputs;
  for (const Floats& input : {w, m, v, g, Floats{scale}, Floats{lr}, Floats{c1}, Floats{c2}}) inputs.push_back(bytes_of(input));
  const auto found = run_op(*kernel_for(fused), fused, inputs, {.in_place = {{0, 0}, {1, 1}, {2, 2}}});
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(values_of<float>(found[i]), expected[i]) << i;

  for (const double limit : {0.0, 0.25, 1e9})
    for (const float count : {0.0F, 1.0F, 7.0F}) {
      const double tokens = count > 1 ? double{count} : 1, norm = std::sqrt(double{1234.5F}) / tokens, q = limit / (norm + 1e-6);
      const auto factor = static_cast<float>((limit <= 0 || q >= 1 ? 1 : q) / tokens);
      EXPECT_EQ(run({.name = "clip_scale", .inputs = {one, one}, .outputs = {one}, .attrs = {{"max_norm", limit}}},
                    {{1234.5F}, {count}})[0],
                Floats{factor});
    }
  Floats squares = random_floats(70'001, 5);
  const Floats plain = squares;
  for (float& value : squares) value = value * value;
  EXPECT_EQ(run({.name = "sum_squares", .inputs = {graph::f32({70'001})}, .outputs = {one}, .attrs = {}}, {plain})[0],
            Floats{sum_to_one(squares)});
}

}  // namespace
}  // namespace suanli::engine
