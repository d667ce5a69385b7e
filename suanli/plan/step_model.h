// The arithmetic of the step-time model, in plain numbers of SI units (bytes, seconds, FLOP). step_time.h is its door.
//
// A step is `passes` micro-batches through `pipeline` stages:
//
//   step = passes * pass + bubble + exchange + update
//   pass = products + attention + memory traffic + launches + tensor-parallel exchange + gathering of sharded weights
//   bubble = pass * (pipeline - 1) / interleave          Narayanan et al., "Efficient Large-Scale Language Model Training on
//                                                        GPU Clusters", 2021, section 2.2
//
// Products run at a share of the device's *measured* matmul rate; the memory traffic of all else is that of the activations that
// Korthikanti et al., 2022, count, times a constant; exchange is that of rings.
#pragma once

#include <span>

#include "suanli/plan/step_constants.h"
#include "suanli/plan/transformer.h"

namespace suanli::plan {

struct StepInputs {
  // Device.
  double matmul_rate = 0;          // FLOP/s of large bf16 or fp16 products, measured or assumed
  bool is_fp8 = false;
  bool is_systolic = false;        // a TPU: its products keep their rate whatever the balance of the device
  double bandwidth = 0;            // B/s of its memory
  double node_link = 0;            // B/s per device and direction, inside a machine
  double cluster_link = 0;         // between machines
  double per_node = 8;
  // Model.
  double layers = 0, width = 0, heads = 0, context = 0, vocab = 0;
  double parameters = 0, active = 0;
  // Layout.
  double tensor = 1, pipeline = 1, data = 1, context_parallel = 1, interleave = 1;
  double gather_group = 0;         // devices that share one copy of sharded weights
  int shard = 0;
  bool sequence_parallel = false;
  // How it computes.
  double micro_batch = 1;          // sequences per pass
  double passes = 1;               // micro-batches per step and replica
  Recomputation recomputation = Recomputation::none;
  bool flash = true;
  bool overlaps = false;           // tensor- and data-parallel exchange with computation
  bool gathers_over_own_port = false;  // each device through its own port, parameter by parameter: ZeRO-3 as of 2021
};

struct StepSeconds {
  double products = 0, attention = 0, traffic = 0, launches = 0, tensor_parallel = 0, gathering = 0;  // of all passes
  double bubble = 0, exchange = 0, update = 0;
  double total() const;
};
StepSeconds step_seconds(const StepInputs& in, const StepConstants& constants);

// Bytes of one device. Sharded weights, gathered in each pass for forward and for backward, their gradients scattered, all in
// bf16: `active` parameters over `group` devices.
double gathered_bytes(double active, double tensor, double group);
// Once per step: gradients of `held` parameters reduced in f32, weights gathered in bf16.
double exchanged_bytes(double held, double replicas);
// Of a ring over machines: each device of a machine takes part through its own port.
double ring_link(double node_link, double cluster_link, double per_node, double tensor, double members);

// Every part of a step with its name.
struct StepPart {
  const char* name;
  double StepSeconds::*seconds;
};
std::span<const StepPart> step_parts();

}  // namespace suanli::plan
