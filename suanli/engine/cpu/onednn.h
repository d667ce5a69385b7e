// oneDNN, used in one way only: single-threaded products of fixed shape ("tiles"), called from our
// own threads. oneDNN never sees more than one thread, so its result depends on the tile alone and
// not on how tiles are spread.
//
// oneDNN 2.6 takes its fast path (brgemm; with AMX for bf16) only if C is dense and A is dense or
// exactly transposed; any other stride falls back to a plain GEMM of about half the speed. Callers
// therefore hand over dense tiles.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/graph/types.h"

namespace suanli::engine {

// Around every use of oneDNN: holds it to the calling thread, and marks the time spent inside, so
// that a test which counts allocations can tell oneDNN's own (its table of arguments) from ours.
// Nests.
class OneDnnScope {
 public:
  OneDnnScope();
  ~OneDnnScope();
  OneDnnScope(const OneDnnScope&) = delete;
  OneDnnScope& operator=(const OneDnnScope&) = delete;

 private:
  int threads_;  // OpenMP's setting for this thread, put back at the end
  bool outer_;
};

// Is the calling thread inside a OneDnnScope?
bool inside_onednn();

// C [m, n] f32 = A [m, k] B [k, n], or C += A B. Strides are in elements.
struct TileGemmSpec {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  graph::DType operands = graph::DType::f32;  // of A and B: f32 or bf16
  std::int64_t a_row = 0;                     // A[i][p] lies at i * a_row + p * a_column
  std::int64_t a_column = 1;
  std::int64_t b_row = 0;  // B[p][j] lies at p * b_row + j * b_column, before packing
  std::int64_t b_column = 1;
  std::int64_t c_row = 0;   // C[i][j] lies at i * c_row + j
  bool accumulate = false;  // C += A B
  // 0: B is read where it lies. Else B must have been packed, in the layout that oneDNN likes best
  // for products with `packed_for` rows; products that share a packed B have this number in common,
  // whatever their m.
  std::int64_t packed_for = 0;

  auto operator<=>(const TileGemmSpec&) const = default;
};

// One such product, ready to run. Products of equal spec share one object.
// Thread rule: any number of threads may pack and run at once, each with its own scratch and C.
class TileGemm {
 public:
  // m, n, k >= 1. Error unsupported if this machine cannot.
  static Result<std::shared_ptr<const TileGemm>> make(const TileGemmSpec& spec);
  ~TileGemm();

  // Needed by run; 64-byte aligned.
  Bytes scratch() const;
  // Size of a packed B; 0 if B is read where it lies.
  Bytes packed_size() const;
  void pack(const void* b, void* packed) const;
  // `b` is the packed B if the spec says so. `c` may be uninitialised unless it is added to.
  void run(const void* a, const void* b, float* c, void* scratch) const;
  // oneDNN's name of the code it chose, e.g. "brg:avx512_core_amx_bf16".
  const std::string& implementation() const;

 private:
  struct Impl;
  explicit TileGemm(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace suanli::engine
