// A whole pool on this machine: a coordinator in this process and workers as processes of their own, linked over loopback as they
// would be over a network, with lines emulated between them if wanted.
#pragma once

#include <string>

#include "suanli/pool/pool_server.h"
#include "suanli/train/trainer.h"

namespace suanli::pool {

struct LocalPoolOptions {
  int workers = 1;
  std::string lines;    // file of emulated lines; empty: none
  std::string program;  // the suanli command, which the workers run
  int threads = 0;      // of each worker; 0: the machine's cores shared among them, at least one
  std::function<void(const protocol::PoolEvent&)> on_event;
};

// Trains the job on such a pool, in its run folder, where the workers' logs stay (pool/worker-N.log). Errors: as of train::train;
// config (fewer than 1 worker, more than 64); those of the links file; unreachable (a worker ended by itself: its last words).
Result<train::TrainReport> train_on_local_pool(const train::JobConfig& job, const LocalPoolOptions& pool,
                                               const train::TrainOptions& options);

}  // namespace suanli::pool
