// For tests: a small GPT as a job, with its programs.
#pragma once

#include <cstdint>

#include "suanli/engine/compile.h"
#include "suanli/model/gpt.h"
#include "suanli/plan/job_host.h"
#include "suanli/plan/job_plan.h"

namespace suanli::plan {

struct JobForTest {
  model::GptConfig model{.layers = 2, .heads = 2, .width = 64, .context = 32, .vocab = 101};
  std::int64_t batch = 4, micro_batches = 6;
  engine::Arithmetic arithmetic = engine::Arithmetic::f32;
  graph::Graph graph = model::gpt_training_graph(model, batch, micro_batches, {}).value();
  engine::Program program = engine::compile(graph, {.arithmetic = arithmetic}).value();
  engine::Program evaluation =
      engine::compile(model::gpt_eval_graph(model, batch).value(), {.arithmetic = arithmetic}).value();

  JobPrograms programs() const {
    return {.step = &program,
            .evaluation = &evaluation,
            .sample = nullptr,
            .parameters = graph::parameter_count(graph),
            .dataset = Bytes(1 << 20)};
  }
  JobWork work() const {
    JobWork work;
    work.shape = {.parameters = static_cast<double>(graph::parameter_count(graph)),
                  .active_parameters = 0,
                  .layers = model.layers,
                  .width = model.width,
                  .heads = model.heads,
                  .context = model.context,
                  .vocab = model.vocab};
    work.flops = step_flops(graph, program);
    work.steps = 1000;
    work.step_tokens = batch * micro_batches * model.context;
    work.evaluations = 10;
    work.evaluation_batches = 2;
    work.evaluation_batch_flops = evaluation.step_flops;
    work.checkpoint_every = 100;
    work.memory = job_memory(program.memory, graph::parameter_count(graph), program.memory.state * std::int64_t{2}, Bytes(1000));
    return work;
  }
};

// Every figure can be followed by hand.
inline JobHost host_for_test() {
  JobHost host;
  host.compute = {8, 10, 14};
  host.evaluation_batch = {1, 1, 1};
  host.start = {2, 2, 2};
  host.snapshot = {.copy = {0.2, 0.2, 0.2}, .stall = {0.5, 0.5, 0.5}, .write = {4, 4, 4}};
  host.dense_peak = 1e9;
  host.watts = {50, 100, 200};
  return host;
}

inline JobTerms terms_for_test() {
  JobTerms terms;
  terms.faults = {{"faults_per_node_day", "", Interval::exactly(0), "1/day", ""},
                  {"software_faults_per_day", "", Interval::exactly(0), "1/day", ""}};
  terms.electricity = {"usd_per_kwh", "", Interval::exactly(0.1), "USD/kWh", ""};
  terms.overhead = {"building_overhead", "", Interval::exactly(1), "1", ""};
  return terms;
}

}  // namespace suanli::plan
