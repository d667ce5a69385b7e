#include "suanli/pool/replica_sums.h"

#include <algorithm>
#include <set>
#include <utility>

#include "suanli/engine/compile.h"
#include "suanli/graph/op.h"
#include "suanli/pool/state_layout.h"

namespace suanli::pool {

using graph::NodeId;
using graph::Phase;
using meter::Cause;

namespace {

using Bytevector = std::vector<std::byte>;

std::size_t size_of(const graph::TensorType& type) { return static_cast<std::size_t>(type.bytes().value()); }
Bytes count(const Bytevector& bytes) { return Bytes(static_cast<std::int64_t>(bytes.size())); }

// The sums over micro-batches that reach the new value of `param` through values of its own size alone: what it reads of the norm
// of all gradients is a scalar and is not followed.
std::set<NodeId> gradient_sums(const graph::Graph& job, NodeId new_value, const graph::TensorType& type) {
  std::set<NodeId> sums, seen;
  std::vector<NodeId> open = {new_value};
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    if (job.node(id).type != type || !seen.insert(id).second) continue;
    if (job.node(id).op->name == "micro_sum") {
      sums.insert(id);
    } else {
      open.insert(open.end(), job.node(id).inputs.begin(), job.node(id).inputs.end());
    }
  }
  return sums;
}

struct Compiled {
  std::unique_ptr<engine::Executor> executor;
  meter::Work work;
};

Result<Compiled> compile(const graph::Graph& graph, engine::State& state) {
  engine::Target target;
  target.arithmetic = engine::Arithmetic::f32;
  SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(graph, target));
  Compiled compiled;
  compiled.work = meter::work_of(graph, Phase::update, program);
  SUANLI_ASSIGN_OR_RETURN(compiled.executor,
                          engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)), state.device(),
                                                   state));
  return compiled;
}

Result<graph::Graph> pack_graph(const graph::Codec& codec, const graph::TensorType& type) {
  graph::Graph graph;
  graph::Builder b(graph);
  b.set_phase(Phase::update);
  const NodeId sum = b.step_input("sum", type);
  graph::CodecInputs inputs;
  if (codec.has_buffer()) inputs.buffer = b.step_input("error", type);
  const graph::Sent sent = graph::send(b, codec, sum, inputs);
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("packed", sent.packed));
  if (sent.next != graph::kNoNode) SUANLI_RETURN_IF_ERROR(graph.add_output("next", sent.next));
  return graph;
}

std::string packed_name(std::size_t rank) { return "packed." + std::to_string(rank); }

Result<graph::Graph> unpack_graph(const graph::Codec& codec, const graph::TensorType& type, std::size_t replicas) {
  graph::Graph graph;
  graph::Builder b(graph);
  b.set_phase(Phase::update);
  NodeId sum = graph::kNoNode;
  for (std::size_t rank = 0; rank < replicas; ++rank) {
    const NodeId packed = b.step_input(packed_name(rank), graph::wire_type(codec, type));
    const NodeId term = graph::receive(b, codec, packed, type).value;
    sum = rank == 0 ? term : b.add(sum, term);
  }
  SUANLI_RETURN_IF_ERROR(b.status());
  SUANLI_RETURN_IF_ERROR(graph.add_output("sum", sum));
  return graph;
}

}  // namespace

std::vector<PackedSum> packed_sums(const graph::Graph& job, const WeightCodec& how) {
  std::map<NodeId, std::string> weight_of;
  for (const graph::Update& update : job.updates()) {
    const graph::Node& state = job.node(update.state);
    const bool is_weight = state.op->name == "param" && state.type.dtype == graph::DType::f32;
    if (!is_weight || state.type.elements() < how.least_elements) continue;
    int part = 0;
    for (const NodeId sum : gradient_sums(job, update.value, state.type))
      weight_of[sum] = ++part == 1 ? state.name : state.name + "." + std::to_string(part);
  }
  std::vector<PackedSum> sums;
  for (const auto& [sum, name] : weight_of) sums.push_back({sum, name, job.node(sum).type});
  return sums;
}

Result<meter::Work> packing_work(const std::vector<graph::TensorType>& types, const graph::Codec& codec, std::size_t replicas) {
  meter::Work work;
  for (const graph::TensorType& type : types) {
    if (codec.kind != graph::Codec::Kind::lossless) {
      SUANLI_ASSIGN_OR_RETURN(const graph::Graph pack, pack_graph(codec, type));
      work += meter::work_of(pack, Phase::update);
    }
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph unpack, unpack_graph(codec, type, replicas));
    work += meter::work_of(unpack, Phase::update);
  }
  return work;
}

std::string error_name(std::size_t rank, const std::string& weight) {
  return replica_name(rank, "error/" + weight);
}

struct ReplicaSums::Coder {
  Compiled pack, unpack;  // no `pack` if the codec is lossless
  std::vector<std::string> names;
};

struct ReplicaSums::Weight {
  PackedSum what;
  engine::ValueId value;  // the stage's accumulator
  Coder* coder;
  std::string error;               // its name in the state; empty if the codec keeps none
  std::vector<Bytevector> packed;  // by rank
  Bytevector next;                 // the error after this step
};

ReplicaSums::ReplicaSums(const Stage& on, const WeightCodec& how, std::vector<WorkerIndex> replicas, std::size_t own)
    : on_(on), how_(how), replicas_(std::move(replicas)), own_(own) {}
ReplicaSums::~ReplicaSums() = default;

Result<std::unique_ptr<ReplicaSums>> ReplicaSums::create(const Stage& on, const graph::Graph& job, const graph::StageGraph& stage,
                                                         const WeightCodec& how, std::vector<WorkerIndex> replicas,
                                                         std::size_t own) {
  SUANLI_CHECK(!how.codec.needs_key() && !how.codec.receiver_has_buffer());
  auto sums = std::unique_ptr<ReplicaSums>(new ReplicaSums(on, how, std::move(replicas), own));
  const engine::Program& program = on.executor.program();
  SUANLI_CHECK(program.token_sums.empty());
  std::set<engine::ValueId> packed;
  for (const PackedSum& sum : packed_sums(job, how)) {
    const auto node = std::ranges::find(stage.canonical, sum.sum);
    if (node == stage.canonical.end()) continue;
    const engine::ValueId value = program.value_of_node[static_cast<std::size_t>(node - stage.canonical.begin())];
    if (std::ranges::find(program.accumulators, value) == program.accumulators.end() || !packed.insert(value).second) continue;
    SUANLI_RETURN_IF_ERROR(sums->add(sum, value));
  }
  for (const engine::ValueId value : program.accumulators)
    if (!packed.contains(value)) sums->small_.push_back(value);
  return sums;
}

Status ReplicaSums::add(const PackedSum& sum, engine::ValueId value) {
  SUANLI_RETURN_IF_ERROR(graph::check(how_.codec, sum.type));
  std::unique_ptr<Coder>& coder = coders_[sum.type.to_string()];
  if (!coder) {
    coder = std::make_unique<Coder>();
    if (how_.codec.kind != graph::Codec::Kind::lossless) {
      SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, pack_graph(how_.codec, sum.type));
      SUANLI_ASSIGN_OR_RETURN(coder->pack, compile(graph, on_.state));
    }
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph, unpack_graph(how_.codec, sum.type, replicas_.size()));
    SUANLI_ASSIGN_OR_RETURN(coder->unpack, compile(graph, on_.state));
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) coder->names.push_back(packed_name(rank));
  }
  Weight weight{sum, value, coder.get(), "", {}, {}};
  weight.packed.assign(replicas_.size(), Bytevector(size_of(graph::wire_type(how_.codec, sum.type))));
  if (how_.codec.has_buffer()) {
    weight.error = error_name(own_, sum.name);
    weight.next.resize(size_of(sum.type));
    SUANLI_RETURN_IF_ERROR(on_.state.add(weight.error, sum.type, weight.next));
  }
  work_ += coder->pack.work;
  work_ += coder->unpack.work;
  weights_.push_back(std::move(weight));
  return {};
}

Bytes ReplicaSums::memory() const {
  Bytes bytes;
  const auto add = [&](const engine::Executor* executor) {
    if (executor != nullptr) bytes += executor->program().memory.total(1) - executor->program().memory.state;
  };
  for (const auto& [type, coder] : coders_) {
    add(coder->pack.executor.get());
    add(coder->unpack.executor.get());
  }
  for (const Weight& weight : weights_) {
    for (const Bytevector& packed : weight.packed) bytes += count(packed);
    if (!weight.error.empty()) bytes += weight.what.type.bytes() + count(weight.next);
  }
  return bytes;
}

Status ReplicaSums::pack(Weight& weight) {
  const meter::Ledger::Timer timer(on_.ledger, Cause::update);
  Bytevector sum(size_of(weight.what.type));
  on_.executor.read_value(weight.value, sum);
  Bytevector& packed = weight.packed[own_];
  if (!weight.coder->pack.executor) {
    packed = std::move(sum);
    return {};
  }
  std::vector<engine::HostTensor> inputs = {{"sum", sum.data(), count(sum)}};
  if (!weight.error.empty()) {
    SUANLI_RETURN_IF_ERROR(on_.state.read(weight.error, weight.next));
    inputs.push_back({"error", weight.next.data(), count(weight.next)});
  }
  engine::Executor& executor = *weight.coder->pack.executor;
  executor.begin_step();
  SUANLI_RETURN_IF_ERROR(executor.update(inputs));
  SUANLI_RETURN_IF_ERROR(executor.read("packed", packed));
  return weight.error.empty() ? Status() : executor.read("next", weight.next);
}

Status ReplicaSums::unpack(Weight& weight) {
  const meter::Ledger::Timer timer(on_.ledger, Cause::update);
  std::vector<engine::HostTensor> inputs;
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank)
    inputs.push_back({weight.coder->names[rank], weight.packed[rank].data(), count(weight.packed[rank])});
  engine::Executor& executor = *weight.coder->unpack.executor;
  executor.begin_step();
  SUANLI_RETURN_IF_ERROR(executor.update(inputs));
  Bytevector sum(size_of(weight.what.type));
  SUANLI_RETURN_IF_ERROR(executor.read("sum", sum));
  on_.executor.write_value(weight.value, sum);
  return {};
}

Result<Bytes> ReplicaSums::add_up_small(const Label& step) {
  const auto& values = on_.executor.program().values;
  const auto size_of_value = [&](engine::ValueId id) {
    return static_cast<std::size_t>(values[static_cast<std::size_t>(id)].type.elements());
  };
  std::size_t elements = 0;
  for (const engine::ValueId id : small_) elements += size_of_value(id);
  std::vector<float> sums(elements);
  const auto each = [&](const auto& use) {
    std::span<float> rest(sums);
    for (const engine::ValueId id : small_) {
      use(id, rest.first(size_of_value(id)));
      rest = rest.subspan(size_of_value(id));
    }
  };
  each([&](engine::ValueId id, std::span<float> part) { on_.executor.read_value(id, std::as_writable_bytes(part)); });
  Label label = step;
  label.purpose = Purpose::sums;
  SUANLI_RETURN_IF_ERROR(all_reduce(on_.exchange, {replicas_, own_}, label, sums, [](float a, float b) { return a + b; }));
  each([&](engine::ValueId id, std::span<float> part) { on_.executor.write_value(id, std::as_bytes(part)); });
  const std::size_t ranks = replicas_.size();
  return Bytes(static_cast<std::int64_t>(sums.size() * sizeof(float) * 2 * (ranks - 1) / ranks));
}

// Packed weights travel while the next ones are packed.
Result<Bytes> ReplicaSums::add_up(const Label& step) {
  const auto label = [&](std::size_t weight) {
    Label own = step;
    own.purpose = Purpose::packed_sums;
    own.number = static_cast<std::int64_t>(weight);
    own.port = weights_[weight].what.sum;
    return own;
  };
  Bytes sent;
  for (std::size_t w = 0; w < weights_.size(); ++w)
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank)
      if (rank != own_) on_.exchange.expect(replicas_[rank], label(w), weights_[w].packed[rank]);
  for (std::size_t w = 0; w < weights_.size(); ++w) {
    SUANLI_RETURN_IF_ERROR(pack(weights_[w]));
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      if (rank == own_) continue;
      sent += count(weights_[w].packed[own_]);
      SUANLI_RETURN_IF_ERROR(on_.exchange.send(replicas_[rank], label(w), weights_[w].packed[own_]));
    }
  }
  has_next_ = true;
  SUANLI_ASSIGN_OR_RETURN(const Bytes small, add_up_small(step));
  for (std::size_t w = 0; w < weights_.size(); ++w) {
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank)
      if (rank != own_) SUANLI_RETURN_IF_ERROR(on_.exchange.wait(replicas_[rank], label(w)));
    SUANLI_RETURN_IF_ERROR(unpack(weights_[w]));
  }
  return sent + small;
}

Status ReplicaSums::commit() {
  if (!std::exchange(has_next_, false)) return {};
  for (const Weight& weight : weights_)
    if (!weight.error.empty()) SUANLI_RETURN_IF_ERROR(on_.state.write(weight.error, weight.next));
  return {};
}

}  // namespace suanli::pool
