// What a job asks of the workers that it is placed on, codecs included, and what is left of a worker's memory for its stage's
// program: both by the formula of route/stage_memory.h. Its figures of codecs are made here (docs/formats/codecs.md, section 6).
//
//   codec.forward = aqN  at a sample's first visit its activation crosses in full; both ends note the new one of every
//                        micro-batch until the step is committed; either end's program reads what is kept, writes what is next
//   direct, backward     the program packs and unpacks
//   codec.weights        errors e and e' (8 bytes an element), packed sums of every replica, what packing and adding up work with
//   local.inner_steps    weights that all share, their momentum, the error, what is on its way; packed changes of every lane
//
// The buffers that AQ-SGD keeps from step to step take codec.memory of each worker, but no more than a quarter of its memory.
#pragma once

#include "suanli/base/error.h"
#include "suanli/graph/graph.h"
#include "suanli/route/balance.h"
#include "suanli/route/route_table.h"
#include "suanli/train/job.h"

namespace suanli::pool {

// All but workers and lines. `graph` is train::training_graph(job).
route::Demand demand_of(const train::JobConfig& job, const graph::Graph& graph);

// Of a worker's memory, what its stage's program may take. `table` is checked. Error no_memory says what is taken beside.
Result<Bytes> memory_for_program(const route::Demand& demand, const route::RouteTable& table, route::WorkerIndex self,
                                 Bytes memory);

}  // namespace suanli::pool
