// The unit of execution: a kernel, prepared once for fixed shapes, run many times on fixed buffers.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/thread_pool.h"
#include "suanli/base/units.h"
#include "suanli/engine/region.h"
#include "suanli/graph/attrs.h"
#include "suanli/graph/types.h"

namespace suanli::engine {

// What a kernel is asked to compute. The name is an op's name (graph/ops) with that op's inputs and one output, or one of
// the fused kernels with several outputs:
//   region      inputs and outputs of `region`
//   matmul      (a, b) -> c. If one operand is bf16 the product is of bf16 operands: a f32 operand is rounded first. With
//               attr column_sums = 1 (ta only): -> c, sums; sums [N] f32 = column sums of b, which
//               is of one type with a
//   attention   (qkv) -> out, stats            both of attention and attention_stats; stats is optional
//   adamw       (w, m, v, g, gscale, lr, correction1, correction2) -> w, m, v   in place: outputs are the same buffers
//               as inputs 0..2; attrs beta1, beta2, eps, decay
//   layer_norm_backward (x, gamma, dy) -> dx, dgamma, dbeta      attrs eps
//   accumulate  (x) -> sum                     sum += x, in place
//   softmax_cross_entropy (logits, targets) -> losses, lse      lse, the value of log_sum_exp, is optional
//   vocabulary_loss       (x, w, targets) -> losses, lse        of logits x w^T, not stored; lse is optional
//   vocabulary_loss_grad  (x, w, targets, lse, dlosses) -> dx, dw      one output: dw alone
//   normal      () -> x                        attrs mean, std, seed, stream, step: how parameters begin
//   embedding_grad (ids, dy[, sum]) -> [sum +] gradient     in place over sum
// Exact arithmetic (docs/formats/exact-arithmetic.md) asks for exact_NAME where NAME computes products (compile.h), and gives
// every kernel attr exact = 1; exact_matmul has attr terms, 3 or 4. Its sums over micro-batches, k of them in a program, of
// which attr index names one (exponents, largest and magnitudes are [k]: i32, i32, i64):
//   exact_token_sum           (x, exponents) -> sum, largest        the i64 sum += x, in place; largest[index]: the bits of
//               the largest |x| so far
//   exact_token_sum_value     (sum, exponents) -> x, magnitudes     magnitudes[index] |= all |sum|
//   exact_token_sum_exponents (exponents, magnitudes) -> exponents  those of the next step, in place
// Activations and their gradients may be f32 or bf16 wherever a kernel reads rows of them.
//
// An epilogue: matmul, layer_norm, layer_norm_backward, attention and attention_grad may carry a `region` whose input 0 is
// their first result (f32, not stored). Then `inputs` are the kernel's own and after them the region's inputs 1..; `outputs`
// are the region's outputs and after them the kernel's second and third.
struct KernelSpec {
  std::string name;
  std::vector<graph::TensorType> inputs;
  std::vector<graph::TensorType> outputs;
  graph::Attrs attrs;
  const Region* region = nullptr;  // copied by the kernel
};

struct KernelArgs {
  const std::byte* const* inputs;
  std::byte* const* outputs;
  std::byte* scratch;  // scratch() bytes, 64-byte aligned
  ThreadPool& pool;
};

// Buffers are dense, row-major and 64-byte aligned. Results depend on the inputs only, never on the number of threads:
// work is cut into tiles by shape, and sums run in an order fixed by shape. run() allocates nothing (oneDNN's own
// argument table excepted) and cannot fail: all that can fail was done in the factory.
// Thread rule: run() may be called by one thread at a time per scratch; it uses the pool itself.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const KernelArgs& args) const = 0;
  // Bytes of scratch one run needs with a pool of `workers`.
  virtual Bytes scratch(int workers) const { (void)workers; return Bytes(0); }
  // The implementation really chosen, e.g. "brg:avx512_core_amx_bf16 tiles 256x768".
  virtual std::string implementation() const = 0;
  // May output `output` share the buffer of input `input` (same size, full access)?
  virtual bool in_place(int input, int output) const { (void)input; (void)output; return false; }
};

// Makes a kernel, or says why this device cannot (unsupported).
using KernelFactory = Result<std::unique_ptr<Kernel>> (*)(const KernelSpec&);

class KernelTable {
 public:
  void add(std::string_view name, KernelFactory factory);
  KernelFactory find(std::string_view name) const;
  std::vector<std::string_view> names() const;

 private:
  std::vector<std::pair<std::string_view, KernelFactory>> factories_;
};

// All CPU kernels.
const KernelTable& cpu_kernels();

}  // namespace suanli::engine
