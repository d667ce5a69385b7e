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
// In exact arithmetic the sums over micro-batches are whole numbers of units 2^E that are state, too
// (docs/formats/exact-arithmetic.md, section 7). The first step finds them, and a step whose terms do not fit is repeated:
//   do {
//     executor->begin_step();
//     for each micro-batch: forward, backward;
//   } while (executor->must_repeat_step());
//
// A stage of a pipeline (graph/stage_graph.h) is fed from others, and runs its update in parts:
//   executor->forward(slot, {tokens, or activations}); ... executor->backward(slot, {gradients});
//   for each part of program().update_parts: executor->update_part(i, the step inputs of its round, if they are not given yet);
// Replicas of a stage put their sums together between the last backward and the first part.
//
// A steady step allocates nothing (oneDNN's argument table and a few numbers for each token sum excepted).
// Thread rule: one thread at a time per executor; executors that share a State take turns.
#pragma once

#include <functional>
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
  // Gives the params and states of `graph`, which are there, their initial values again.
  Status reinitialize(const graph::Graph& graph, std::uint64_t seed);
  // Adds a tensor with these bytes, or keeps what it holds if it is there.
  Status add(std::string_view name, const graph::TensorType& type, std::span<const std::byte> initial);
  // Takes the tensor away, if it is there. No executor uses it any more.
  void remove(std::string_view name);

  const std::vector<Tensor>& tensors() const { return tensors_; }
  Tensor* find(std::string_view name);
  // Whole-tensor copies between host and device; a wrong name or size is an error.
  Status write(std::string_view name, std::span<const std::byte> bytes);
  Status read(std::string_view name, std::span<std::byte> bytes);
  // A part of a tensor of this state, from a byte on, to host memory.
  void read_part(const Tensor& tensor, Bytes from, std::span<std::byte> bytes);
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
  Status write_initial(const graph::Node& node, std::uint64_t seed, std::byte* zeros);
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

// The same in other arithmetics: the accumulators' f32 elements, one after the other.
using FloatSums = std::vector<float>;

// What the micro-batches of a step, or some of them, add up to in exact arithmetic. Those of several workers are put together
// by adding the sums and by taking the larger of each two `largest`, in any order.
struct TokenSums {
  std::vector<std::int64_t> sums;      // of all elements of Program::token_sums, one after the other
  std::vector<std::uint32_t> largest;  // for each of those, the bits of the largest |term|
};

class Executor {
 public:
  // Allocates arena and scratch, prepares kernels. A program of exact arithmetic gets its tensor kExponents in the state, if
  // it is not there. Errors: no_memory, unsupported, mismatch (state lacks a tensor).
  static Result<std::unique_ptr<Executor>> create(std::shared_ptr<const Program> program, Device& device, State& state);
  ~Executor();

  const Program& program() const { return *program_; }

  void begin_step();
  // Slots are for several micro-batches in flight: with one micro-batch per step only slot 0 may be used, since its
  // values are the sums that update reads.
  // Copies the inputs of one micro-batch into the slot and runs forward. Every input must be given, with its exact size,
  // and ids must be in range (error names input, position and value).
  // Where find_exponents() is due, it is called with these inputs first (not in a stage that waits for gradients, nor while
  // probing).
  Status forward(int slot, std::span<const HostTensor> inputs);
  // `gradients` are the inputs of the backward phase, if the program has any.
  Status backward(int slot, std::span<const HostTensor> gradients = {});
  // Runs update. Before anything is changed, the f32 scalars among the outputs that sum over micro-batches or come from
  // the update phase (not from the new state) are looked at: NaN or infinite is error not_finite and the state stays
  // as it was. In exact arithmetic so is every term of a sum; error mismatch if the step must be repeated.
  Status update(std::span<const HostTensor> step_inputs);
  // One part of update, in their order. `step_inputs` are those of the part's round if it is the round's first part, else none.
  // What update() promises of refusal holds up to the first part that writes state.
  Status update_part(std::size_t part, std::span<const HostTensor> step_inputs);

  // Exact arithmetic; in others nothing is ever missing and no step repeated.
  // Do sums lack their exponents? Only before the first step.
  Result<bool> lacks_exponents() const;
  // Runs forward and backward of micro-batch 0 of the first step and takes the missing exponents from what it sees; nothing of
  // the run is kept, and the step begins again. Error not_finite.
  Status find_exponents(std::span<const HostTensor> micro_batch_0, int slot = 0);
  // The same in pieces, where others have the inputs of backward: between the two, forward and backward of micro-batch 0 run, and
  // nothing of them is kept. `end_probe` without `begin_probe` is a broken promise.
  void begin_probe();
  Status end_probe();
  // After the last backward of a step: did a term not fit into its sum? Then the exponents have been raised as far as the terms
  // seen ask for, and the step is to be run again from begin_step() on, with the same micro-batches. A step that is not
  // finite is not repeated: update() refuses it.
  Result<bool> must_repeat_step();
  Result<TokenSums> read_token_sums() const;
  // Puts them together with this executor's. Error mismatch if they are of another program.
  Status add_token_sums(const TokenSums& others);
  Status write_token_sums(const TokenSums& sums);

  // What the accumulators hold, and what they shall hold (replicas exchange them). Not of exact arithmetic.
  FloatSums read_float_sums() const;
  Status write_float_sums(const FloatSums& sums);

  // Outputs, valid until the next step (forward outputs: of the last micro-batch in that slot; an output that is a state
  // tensor shows its new value after update).
  Result<double> read_scalar(std::string_view output, int slot = 0) const;
  Status read(std::string_view output, std::span<std::byte> bytes, int slot = 0) const;

  // Runs forward and backward of one micro-batch again, looking at every call's outputs: a sentence naming the first
  // tensor that holds a NaN or infinity (its op, block, phase, element), or nothing.
  Result<std::optional<std::string>> find_not_finite(std::span<const HostTensor> inputs);

  // Called after every call of every phase, when its outputs are there and before anything else runs; empty: nobody. `call`
  // counts in the program's list of the phase.
  using Watch = std::function<void(graph::Phase phase, std::size_t call)>;
  void set_watch(Watch watch) { watch_ = std::move(watch); }
  // A value's bytes in the slot; of values in `work` only what a watch has just seen is sure to be there. write_value is for
  // trials of how a fault is found. `bytes` has the value's size.
  void read_value(ValueId value, std::span<std::byte> bytes, int slot = 0) const;
  void write_value(ValueId value, std::span<const std::byte> bytes, int slot = 0);

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
  Status load(std::span<const HostTensor> tensors, graph::Phase phase, int round, int slot);
  Status check_bounds(const HostTensor& tensor) const;
  Status check_scalars() const;
  Status check_token_sums() const;
  bool waits_for_gradients() const;
  std::vector<std::int32_t> exponents() const;         // of all token sums
  std::vector<std::uint32_t> largest_terms() const;
  Executor(std::shared_ptr<const Program> program, std::unique_ptr<Impl> impl);
  std::shared_ptr<const Program> program_;
  std::unique_ptr<Impl> impl_;
  bool timing_ = false, probing_ = false;
  Watch watch_;
};

}  // namespace suanli::engine
