// Runs a program on a device, step by step.
//
//   State state(device);                       // parameters and optimizer state, by name
//   SUANLI_RETURN_IF_ERROR(state.initialize(graph, seed));
//   SUANLI_ASSIGN_OR_RETURN(auto executor, Executor::create(program, device, state));
//   executor->begin_step();
//   for each micro-batch: executor->forward(0, {{"tokens", ids}, {"targets", targets}}); executor->backward(0);
//   executor->update({{"lr", lr}});            // refuses, and changes nothing, if a value is not finite
//   double loss = *executor->read_scalar("loss");
//
// A steady step allocates nothing (oneDNN's argument table excepted).
// Thread rule: one thread at a time per executor; executors that share a State take turns.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/device.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"

namespace suanli::engine {

// A dense tensor in host memory, not owned.
struct HostTensor {
  std::string_view name;
  const void* data;
  Bytes size;
};

// Parameters and optimizer state on one device, by name, in the order of the graph. Outlives its executors.
class State {
 public:
  explicit State(Device& device) : device_(device) {}
  ~State();  // waits for a capture in flight
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  struct Tensor {
    std::string name;
    graph::TensorType type;
    Buffer buffer;
  };

  // Adds the params and states of `graph` that are not there yet, with their graph::initial_value for the seed.
  // A tensor that is there with another type is an error (mismatch).
  Status initialize(const graph::Graph& graph, std::uint64_t seed);

  const std::vector<Tensor>& tensors() const { return tensors_; }
  Tensor* find(std::string_view name);
  // Whole-tensor copies between host and device; a wrong name or size is an error.
  Status write(std::string_view name, std::span<const std::byte> bytes);
  Status read(std::string_view name, std::span<std::byte> bytes);
  Device& device() { return device_; }

  // A copy of all tensors being made on a stream of its own, while forward and backward run. The next update of any
  // executor waits for it. One capture at a time.
  struct Capture {
    Event done;
  };
  // `to[i]` receives tensors()[i] (host memory of its size, alive until the event is reached).
  Result<Capture> capture(const std::vector<std::byte*>& to);
  const Event& last_capture() const { return last_capture_; }

 private:
  Device& device_;
  std::vector<Tensor> tensors_;
  std::unique_ptr<Stream> copy_stream_;
  Event last_capture_;
};

// Of one call, while timing is on.
struct CallTime {
  std::size_t calls = 0;
  double seconds = 0;       // of all its runs
  double last_start = 0;    // of its last run, on real_clock()
  double last_seconds = 0;
};

class Executor {
 public:
  // Allocates arena and scratch, prepares kernels. Errors: no_memory, unsupported, mismatch (state lacks a tensor).
  static Result<std::unique_ptr<Executor>> create(std::shared_ptr<const Program> program, Device& device, State& state);
  ~Executor();

  const Program& program() const { return *program_; }

  void begin_step();
  // Slots are for several micro-batches in flight: with one micro-batch per step only slot 0 may be used, since its
  // values are the sums that update reads.
  // Copies the inputs of one micro-batch into the slot and runs forward. Every input must be given, with its exact size,
  // and ids must be in range (error names input, position and value).
  Status forward(int slot, std::span<const HostTensor> inputs);
  Status backward(int slot);
  // Runs update. Before anything is changed, the f32 scalars among the outputs that sum over micro-batches or come from
  // the update phase (not from the new state) are looked at: NaN or infinite is error not_finite and the state stays
  // as it was.
  Status update(std::span<const HostTensor> step_inputs);

  // Outputs, valid until the next step (forward outputs: of the last micro-batch in that slot; an output that is a state
  // tensor shows its new value after update).
  Result<double> read_scalar(std::string_view output, int slot = 0) const;
  Status read(std::string_view output, std::span<std::byte> bytes, int slot = 0) const;

  // Runs forward and backward of one micro-batch again, looking at every call's outputs: a sentence naming the first
  // tensor that holds a NaN or infinity (its op, block, phase, element), or nothing.
  Result<std::optional<std::string>> find_not_finite(std::span<const HostTensor> inputs);

  // Times every call while on (adds two clock reads per call).
  void set_timing(bool on) { timing_ = on; }
  // Parallel to program().forward, backward, update.
  const std::vector<CallTime>& call_times(graph::Phase phase) const;
  // The implementation each call runs, parallel to the program's lists.
  std::string implementation(graph::Phase phase, std::size_t index) const;
  Bytes allocated() const;  // arena, accumulators, inputs and scratch; not the state

 private:
  struct Impl;
  void run(graph::Phase phase, int slot, std::size_t first, std::size_t last);
  Status load(std::span<const HostTensor> tensors, std::string_view kind, int slot);
  Status check_bounds(const HostTensor& tensor) const;
  Status check_scalars() const;
  Executor(std::shared_ptr<const Program> program, std::unique_ptr<Impl> impl);
  std::shared_ptr<const Program> program_;
  std::unique_ptr<Impl> impl_;
  bool timing_ = false;
};

}  // namespace suanli::engine
