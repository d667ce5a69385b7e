// The codecs that a job's [codec] keys name (graph/codec.h): what crosses between its stages and between replicas of a stage.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/graph/codec.h"
#include "suanli/train/job.h"

namespace suanli::train {

struct JobCodecs {
  graph::Codec forward;   // activations, from a stage to the next
  graph::Codec backward;  // their gradients, back
  graph::Codec weights;   // between the replicas of a stage
};

// The values of the keys: "none", "aq4", "direct8", "ef4", "topk".
std::vector<std::string> forward_codec_names();
std::vector<std::string> backward_codec_names();
std::vector<std::string> weight_codec_names();

// Of a name in one of the lists.
//   aqN      delta, rounded to nearest: 2 bits stay below the error for which AQ-SGD is proven
//   directN  to nearest for activations; at random, so unbiased, for gradients
//   efN      feedback, to nearest
//   topk     feedback, the largest 1/64
JobCodecs codecs_of(const JobConfig& job);

}  // namespace suanli::train
