// What the cores reach with nothing in their way: the limits that kernels are held against. The loops do no useful work.
//
//   products  bf16: the 32 x 32 AMX building block over two panels of K = 256 (16 KiB each) that stay in L1;
//             f32: fused multiply-adds in registers, on the widest vectors that Highway finds
//   read      one pass over memory; copy: memcpy, bytes read and bytes written both counted
//   clock     a chain of dependent additions, one cycle each
//
// All threads run a loop at once. A rate is all their work from when the first begins until the last ends, so that threads
// which wait for a core count for nothing. On a shared machine rates swing within seconds, those of AMX by 2x: sample between
// the runs that are to be judged, and take medians.
// Thread rule: one thread calls; the object has a pool of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "suanli/base/thread_pool.h"
#include "suanli/base/units.h"

namespace suanli::engine {

enum class ProductLoop : std::uint8_t { f32_fma, bf16_amx };
const char* name_of(ProductLoop loop);
// Operations per cycle and core that the loop's instructions could do at most: 1024 for AMX (TDPBF16PS does 16 x 16 x 32
// products in 16 cycles), two FMA ports of the chosen vector width for f32 (64 with AVX-512, 32 with AVX2).
double flops_per_cycle(ProductLoop loop);
// Does this process have what the loop needs: the tile registers for bf16_amx?
bool is_available(ProductLoop loop);

class CalibrationLoops {
 public:
  explicit CalibrationLoops(int threads);

  // As many as the system granted.
  int threads() const { return pool_.size(); }
  // The cores they can have at once: the threads, or those of the process if that is less.
  int cores() const { return cores_; }
  // Only where is_available(loop). Runs for about `duration`, like all below.
  FlopsPerSecond products(ProductLoop loop, Seconds duration);
  // Memory for both is taken on first use: two arrays, each 256 MiB or four times the last cache if that is more (so that
  // little of a pass finds the one before it there), but no more than an eighth of what is free.
  BytesPerSecond read(Seconds duration);
  BytesPerSecond copy(Seconds duration);
  // Cycles per second of one core while all compute, the best of five stretches. Vector and tile code may be clocked lower.
  double clock_hz(Seconds duration);

 private:
  template <typename Burst>
  double rate(Seconds duration, const Burst& burst);
  void make_memory();

  std::int64_t next_piece(int thread);

  ThreadPool pool_;
  const int cores_;
  std::int64_t slice_ = 0;                // bytes of each array and thread
  std::vector<std::int64_t> positions_;  // of each thread in its slice: the next call goes on there
  std::unique_ptr<std::byte[]> from_, to_;
};

}  // namespace suanli::engine
