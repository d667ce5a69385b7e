// What a device sends in one training step, by closed forms (Narayanan et al., 2021; Rajbhandari et al., "ZeRO", 2020), and how
// long that takes if nothing hides it.
#pragma once

#include "suanli/plan/step_time.h"

namespace suanli::plan {

struct Traffic {  // bytes per device and step
  double tensor = 0;    // 4 all-reduces of 2 b s h bytes per layer and micro-batch, 6 if forward is done again
  double pipeline = 0;  // activations and their gradients at stage boundaries
  double data = 0;      // gradients, and weights where they are sharded
  // With links that reach this share of their rate.
  double seconds(const Accelerator& device, const Layout& layout, double efficiency) const;
};

// The setup is complete: shape, layout, batch.
Traffic traffic_of(const TrainingSetup& setup);
// Micro-batches that a replica handles in a step, at least 1.
double micro_batches(const TrainingSetup& setup);
// Share of a step in which stages wait: (p - 1) / (v m + p - 1).
double pipeline_bubble(const TrainingSetup& setup);

}  // namespace suanli::plan
