// Places a job on a pool's workers by what they measured of themselves and of their lines: the pool's seam to the planner
// (route/balance.h, Placer).
#pragma once

#include <memory>

#include "suanli/protocol/job.h"
#include "suanli/route/balance.h"

namespace suanli::pool {

class SimplePlacing final : public protocol::Placing {
 public:
  explicit SimplePlacing(std::shared_ptr<const route::Placer> placer = std::make_shared<route::BalancedPlacer>())
      : placer_(std::move(placer)) {}
  // Besides the placer's errors: those of the job file.
  Result<protocol::Placed> place(const protocol::JobRequest& job, protocol::Epoch epoch,
                                 const std::vector<protocol::WorkerFacts>& workers,
                                 const std::vector<protocol::LineFacts>& lines) const override;

 private:
  std::shared_ptr<const route::Placer> placer_;
};

}  // namespace suanli::pool
