// Exact products, attention and cross-entropy straight from docs/formats/exact-arithmetic.md (sections 1, 3, 5 and 6): slow,
// scalar, one element at a time, on nothing of the fast code but the scalar exp and log. What the kernels are held to, bit for
// bit.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "suanli/engine/cpu/exact/math.h"

namespace suanli::engine::exact::reference {

inline float number(float x) { return x == x ? x : std::numeric_limits<float>::quiet_NaN(); }

// The 64 strided partial sums of section 3, and their tree.
inline float strided_sum(const std::vector<float>& x) {
  std::array<float, 64> sums{};
  for (std::size_t i = 0; i < x.size(); ++i) sums[i % 64] += x[i];
  for (std::size_t width = 32; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  return sums[0];
}

struct Digits {
  bool poisoned = false;
  int exponent = 0;  // s = 2^exponent
  std::vector<std::int64_t> h, l;
};

inline void cut(std::int64_t v, Digits& digits) {
  const std::int64_t l = ((v + 64) % 128 + 128) % 128 - 64;
  digits.l.push_back(l);
  digits.h.push_back((v - l) / 128);
}

inline Digits digits_of(const std::vector<float>& x) {
  Digits digits;
  double top = 0;
  for (const float value : x) {
    if (!std::isfinite(value)) digits.poisoned = true;
    top = std::max(top, std::abs(double{value}));
  }
  if (digits.poisoned) return digits;
  if (top > 0) {
    digits.exponent = 20 - std::ilogb(top);
    while (std::nearbyint(std::ldexp(top, digits.exponent)) > 16319) --digits.exponent;
  }
  for (const float value : x) cut(static_cast<std::int64_t>(std::nearbyint(std::ldexp(double{value}, digits.exponent))), digits);
  return digits;
}

inline Digits digits_of_weights(const std::vector<float>& w) {
  Digits digits;
  digits.exponent = 13;
  for (const float value : w) cut(static_cast<std::int64_t>(value), digits);
  return digits;
}

// One block of one element of C.
inline float block_value(const Digits& a, const Digits& b, int terms) {
  std::int64_t hh = 0, cross = 0, ll = 0;
  for (std::size_t p = 0; p < a.h.size(); ++p) {
    hh += a.h[p] * b.h[p];
    cross += a.h[p] * b.l[p] + a.l[p] * b.h[p];
    ll += a.l[p] * b.l[p];
  }
  const std::int64_t t = (hh << 14) + cross * 128 + (terms == 4 ? ll : 0);
  return static_cast<float>(std::ldexp(static_cast<double>(t), -(a.exponent + b.exponent)));
}

using Element = std::function<float(std::int64_t, std::int64_t)>;

struct Product {
  std::int64_t block = 512;
  int terms = 3;
  bool weights = false;  // A is of integers with the fixed scale 2^13
};

// C [m, n], row-major, of A (row, p) and B (p, column), p in [first, last).
inline std::vector<float> product(std::int64_t m, std::int64_t n, std::int64_t first, std::int64_t last, const Element& a,
                                  const Element& b, const Product& how = {}) {
  std::vector<float> c(static_cast<std::size_t>(m * n), 0.0F);
  std::vector<bool> poisoned(c.size(), false);
  for (std::int64_t begin = first; begin < last; begin += how.block) {
    const std::int64_t end = std::min(last, begin + how.block);
    std::vector<Digits> rows, columns;
    std::vector<float> x(static_cast<std::size_t>(end - begin));
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t p = begin; p < end; ++p) x[static_cast<std::size_t>(p - begin)] = a(i, p);
      rows.push_back(how.weights ? digits_of_weights(x) : digits_of(x));
    }
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t p = begin; p < end; ++p) x[static_cast<std::size_t>(p - begin)] = b(p, j);
      columns.push_back(digits_of(x));
    }
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const auto at = static_cast<std::size_t>(i * n + j);
        const Digits &row = rows[static_cast<std::size_t>(i)], &column = columns[static_cast<std::size_t>(j)];
        if (row.poisoned || column.poisoned)
          poisoned[at] = true;
        else
          c[at] += block_value(row, column, how.terms);
      }
  }
  for (std::size_t at = 0; at < c.size(); ++at) c[at] = poisoned[at] ? std::numeric_limits<float>::quiet_NaN() : number(c[at]);
  return c;
}

// ---- attention

struct AttentionSize {
  std::int64_t batch, seq, heads, depth;
  std::int64_t width() const { return heads * depth; }
};

struct AttentionResult {
  std::vector<float> out, stats, dqkv;
};

// The queries of one head: their weights, 0 for keys behind them.
struct Weights {
  std::vector<float> w;  // [seq, seq]
  std::vector<float> n;  // [seq]; NaN for a poisoned query
  std::vector<float> l;
};

inline Weights weights_of(std::int64_t seq, std::int64_t depth, const Element& q, const Element& k) {
  const auto size = static_cast<std::size_t>(seq);
  Weights result{std::vector<float>(size * size, 0.0F), std::vector<float>(size), std::vector<float>(size)};
  const float r = 1.0F / std::sqrt(static_cast<float>(depth));
  std::vector<float> s = product(seq, seq, 0, depth, q, [&](std::int64_t p, std::int64_t j) { return k(j, p); });
  for (std::size_t i = 0; i < size; ++i) {
    float top = -std::numeric_limits<float>::infinity();
    bool poisoned = false;
    for (std::size_t j = 0; j <= i; ++j) {
      float& score = s[i * size + j];
      score *= r;
      poisoned = poisoned || score != score;
      top = score > top ? score : top;
    }
    poisoned = poisoned || std::isinf(top);
    std::int64_t z = 0;
    for (std::size_t j = 0; j <= i && !poisoned; ++j) {
      const double w = std::nearbyint(double{exp(s[i * size + j] - top)} * 8192);
      result.w[i * size + j] = static_cast<float>(w);
      z += static_cast<std::int64_t>(w);
    }
    result.n[i] = poisoned ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(z);
    result.l[i] = poisoned ? std::numeric_limits<float>::quiet_NaN() : number(top + log(result.n[i] / 8192));
  }
  return result;
}

// dqkv only if dy is given.
inline AttentionResult attention(const AttentionSize& c, const std::vector<float>& qkv, const std::vector<float>& y = {},
                                 const std::vector<float>& dy = {}) {
  AttentionResult result{std::vector<float>(static_cast<std::size_t>(c.batch * c.seq * c.width())),
                         std::vector<float>(static_cast<std::size_t>(c.batch * c.heads * c.seq)), std::vector<float>(qkv.size())};
  for (std::int64_t task = 0; task < c.batch * c.heads; ++task) {
    const std::int64_t row = task / c.heads * c.seq, column = task % c.heads * c.depth;
    const auto qkv_at = [&, row, column](std::int64_t part, std::int64_t t, std::int64_t x) {
      return static_cast<std::size_t>((row + t) * 3 * c.width() + part * c.width() + column + x);
    };
    const auto at = [&, row, column](std::int64_t t, std::int64_t x) {
      return static_cast<std::size_t>((row + t) * c.width() + column + x);
    };
    const auto part = [&](std::int64_t index) {
      return [&, index](std::int64_t t, std::int64_t x) { return qkv[qkv_at(index, t, x)]; };
    };
    const auto transposed = [](const auto& f) { return [f](std::int64_t a, std::int64_t b) { return f(b, a); }; };
    const Weights weights = weights_of(c.seq, c.depth, part(0), part(1));
    const auto w = [&](std::int64_t i, std::int64_t j) { return weights.w[static_cast<std::size_t>(i * c.seq + j)]; };
    const auto n = [&](std::int64_t i) { return weights.n[static_cast<std::size_t>(i)]; };
    for (std::int64_t i = 0; i < c.seq; ++i) {
      result.stats[static_cast<std::size_t>(task * c.seq + i)] = weights.l[static_cast<std::size_t>(i)];
      const std::int64_t end = std::min(c.seq, (i / 128 + 1) * 128);
      const auto u = product(1, c.depth, 0, end, [&](std::int64_t, std::int64_t j) { return w(i, j); }, part(2),
                             {.block = 128, .weights = true});
      for (std::int64_t x = 0; x < c.depth; ++x) result.out[at(i, x)] = number(u[static_cast<std::size_t>(x)] / (n(i) / 8192));
    }
    if (dy.empty()) continue;
    const float r = 1.0F / std::sqrt(static_cast<float>(c.depth));
    const auto dy_at = [&](std::int64_t t, std::int64_t x) { return dy[at(t, x)]; };
    const auto p = [&](std::int64_t i, std::int64_t j) { return j <= i ? w(i, j) / n(i) : 0; };
    const auto dp = product(c.seq, c.seq, 0, c.depth, dy_at, transposed(part(2)));
    std::vector<float> delta;
    for (std::int64_t i = 0; i < c.seq; ++i) {
      std::vector<float> terms;
      for (std::int64_t x = 0; x < c.depth; ++x) terms.push_back(dy[at(i, x)] * y[at(i, x)]);
      delta.push_back(strided_sum(terms));
    }
    const auto ds = [&](std::int64_t i, std::int64_t j) {
      return j <= i ? p(i, j) * (dp[static_cast<std::size_t>(i * c.seq + j)] - delta[static_cast<std::size_t>(i)]) : 0;
    };
    for (std::int64_t t = 0; t < c.seq; ++t) {
      const std::int64_t block = t / 128 * 128, end = std::min(c.seq, block + 128);
      const auto dq =
          product(1, c.depth, 0, end, [&](std::int64_t, std::int64_t j) { return ds(t, j); }, part(1), {.block = 128});
      const auto dk =
          product(1, c.depth, block, c.seq, [&](std::int64_t, std::int64_t i) { return ds(i, t); }, part(0), {.block = 128});
      const auto dv =
          product(1, c.depth, block, c.seq, [&](std::int64_t, std::int64_t i) { return p(i, t); }, dy_at, {.block = 128});
      for (std::int64_t x = 0; x < c.depth; ++x) {
        const auto index = static_cast<std::size_t>(x);
        result.dqkv[qkv_at(0, t, x)] = number(dq[index] * r);
        result.dqkv[qkv_at(1, t, x)] = number(dk[index] * r);
        result.dqkv[qkv_at(2, t, x)] = dv[index];
      }
    }
  }
  return result;
}

// ---- cross-entropy

struct CrossEntropy {
  float loss, total;  // the loss of the target, L
};

inline CrossEntropy cross_entropy(const float* x, std::int64_t columns, std::int32_t target) {
  std::vector<float> tops, sums;
  for (std::int64_t first = 0; first < columns; first += 512) {
    const std::int64_t n = std::min<std::int64_t>(512, columns - first);
    float top = -std::numeric_limits<float>::infinity();
    bool not_a_number = false;
    for (std::int64_t v = 0; v < n; ++v) {
      not_a_number = not_a_number || std::isnan(x[first + v]);
      top = x[first + v] > top ? x[first + v] : top;
    }
    std::vector<float> terms;
    for (std::int64_t v = 0; v < n; ++v) terms.push_back(exp(x[first + v] - top));
    const bool empty = top == -std::numeric_limits<float>::infinity();
    tops.push_back(top);
    sums.push_back(not_a_number ? std::numeric_limits<float>::quiet_NaN() : empty ? 0 : strided_sum(terms));
  }
  const float m = *std::max_element(tops.begin(), tops.end());
  float a = 0;
  for (std::size_t c = 0; c < sums.size(); ++c) a += sums[c] * exp(tops[c] - m);
  const float b = log(a);
  float loss = target == -1 ? 0 : std::numeric_limits<float>::quiet_NaN();
  if (target >= 0 && target < columns) loss = number(b - (x[target] - m));
  return {loss, number(m + b)};
}

struct VocabularyResult {
  std::vector<float> losses, totals, dx, dw;
};

// dx and dw of these L and dlosses, if there are any.
inline VocabularyResult vocabulary_loss(std::int64_t rows, std::int64_t width, std::int64_t vocabulary,
                                        const std::vector<float>& x, const std::vector<float>& w,
                                        const std::vector<std::int32_t>& targets, const std::vector<float>& totals = {},
                                        const std::vector<float>& dlosses = {}) {
  const auto x_at = [&](std::int64_t n, std::int64_t c) { return x[static_cast<std::size_t>(n * width + c)]; };
  const auto w_at = [&](std::int64_t v, std::int64_t c) { return w[static_cast<std::size_t>(v * width + c)]; };
  const auto target = [&](std::int64_t n) { return targets[static_cast<std::size_t>(n)]; };
  const auto logits = product(rows, vocabulary, 0, width, x_at, [&](std::int64_t c, std::int64_t v) { return w_at(v, c); });
  VocabularyResult result;
  for (std::int64_t n = 0; n < rows; ++n) {
    const CrossEntropy row = cross_entropy(logits.data() + n * vocabulary, vocabulary, target(n));
    result.losses.push_back(row.loss);
    result.totals.push_back(row.total);
  }
  if (totals.empty()) return result;
  const auto in_range = [&](std::int64_t n) { return target(n) >= 0 && target(n) < vocabulary; };
  const auto nothing = [&](std::int64_t n) { return target(n) == -1 ? 0 : std::numeric_limits<float>::quiet_NaN(); };
  const auto p = [&](std::int64_t n, std::int64_t v) {
    if (!in_range(n)) return nothing(n);
    return exp(logits[static_cast<std::size_t>(n * vocabulary + v)] - totals[static_cast<std::size_t>(n)]);
  };
  const auto y = [&](std::int64_t n, std::int64_t c) {
    return target(n) == -1 ? 0 : number(x_at(n, c) * dlosses[static_cast<std::size_t>(n)]);
  };
  result.dx = product(rows, width, 0, vocabulary, p, w_at);
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t c = 0; c < width; ++c) {
      float& dx = result.dx[static_cast<std::size_t>(n * width + c)];
      dx = in_range(n) ? number((dx - w_at(target(n), c)) * dlosses[static_cast<std::size_t>(n)]) : nothing(n);
    }
  result.dw = product(vocabulary, width, 0, rows, [&](std::int64_t v, std::int64_t n) { return p(n, v); }, y, {.terms = 4});
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t c = 0; c < width && in_range(n); ++c) {
      float& dw = result.dw[static_cast<std::size_t>(target(n) * width + c)];
      dw = number(dw - y(n, c));
    }
  return result;
}

}  // namespace suanli::engine::exact::reference
