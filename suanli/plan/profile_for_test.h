// For tests: a small profile with round figures, of a machine that is none.
#pragma once

#include "suanli/plan/profile.h"

namespace suanli::plan {

inline Profile profile_for_test() {
  Profile p;
  p.machine = "Test CPU";
  p.host = "nowhere";
  p.build = "0.1.0";
  p.time = "2026-11-22T03:34:00Z";
  p.quick = true;
  p.threads = 2;
  p.cores = 2;
  p.memory = Bytes(std::int64_t{8} << 30);
  p.l2 = Bytes(2 << 20);
  p.l3 = Bytes(32 << 20);
  p.clock_hz = {2.9e9, 3e9, 3.1e9};
  p.read = {18e9, 20e9, 22e9};
  p.copy = {18e9, 20e9, 22e9};
  p.elementwise = {90e9, 100e9, 110e9};
  p.launch_seconds = {1e-6, 1e-6, 2e-6};
  p.peaks = {{engine::Arithmetic::f32, "f32 FMA in registers", {90e9, 100e9, 110e9}, 192e9},
             {engine::Arithmetic::bf16, "bf16 AMX tiles fed from L1", {0.8e12, 1e12, 1.2e12}, 6.1e12}};
  p.step_overheads = {{engine::Arithmetic::f32, {1, 1.01, 1.02}}, {engine::Arithmetic::bf16, {1, 1.02, 1.05}}};
  p.matmuls = {{engine::Arithmetic::f32, "square", 1024, 1024, 1024, {70e9, 80e9, 90e9}},
               {engine::Arithmetic::bf16, "square", 1024, 1024, 1024, {0.3e12, 0.4e12, 0.5e12}}};
  p.kernels = {{"matmul forward", engine::Arithmetic::f32, {256, 256, 256}, 33.6e6, 786e3, {0.5e-3, 0.6e-3, 0.7e-3}},
               {"matmul forward", engine::Arithmetic::bf16, {256, 256, 256}, 33.6e6, 524e3, {0.1e-3, 0.12e-3, 0.15e-3}},
               {"adamw", engine::Arithmetic::f32, {1e6}, 357e3, 1e6, {40e-6, 50e-6, 60e-6}},
               {"adamw", engine::Arithmetic::bf16, {1e6}, 357e3, 1e6, {40e-6, 50e-6, 60e-6}}};
  p.disk = DiskRate{{1e8, 2e8, 3e8}, {1e9, 2e9, 3e9}, true, {1e-3, 2e-3, 3e-3}};
  p.idle_watts = Interval{20, 25, 30};
  return p;
}

}  // namespace suanli::plan
