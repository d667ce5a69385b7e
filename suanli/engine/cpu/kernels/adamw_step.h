// The numbers of one AdamW step, the same for every element.
#pragma once

namespace suanli::engine {

struct AdamWStep {
  float beta1 = 0, rest1 = 0;  // rest = 1 - beta
  float beta2 = 0, rest2 = 0;
  float gscale = 0;  // factor on the gradient
  float rate = 0;
  float keep = 0;  // 1 - rate * decay
  float correction1 = 0, correction2 = 0;
  float eps = 0;
};

}  // namespace suanli::engine
