#include "suanli/engine/compile.h"

#include <algorithm>
#include <map>

#include "suanli/base/text.h"
#include "suanli/engine/compile_exact.h"
#include "suanli/engine/fuse.h"
#include "suanli/engine/lower.h"
#include "suanli/engine/memory_plan.h"
#include "suanli/engine/recompute.h"
#include "suanli/graph/op.h"

namespace suanli::engine {

using graph::Graph;
using graph::kNoNode;
using graph::Node;
using graph::NodeId;
using graph::Phase;

namespace {

// Positions of calls on one timeline: forward, backward, update, then the end at which outputs are read.
class Compiler {
 public:
  Compiler(const Graph& canonical, const Target& target, Lowered lowered)
      : canonical_(canonical), lowered_(std::move(lowered)), graph_(lowered_.graph) {
    program_.target = target;
    program_.micro_batches = canonical_.micro_batches();
  }

  Result<Program> run() && {
    Fused fused = fuse(lowered_, program_.target.fuse);
    make_values();
    std::vector<int> rounds;
    for (const Group& group : fused.update) rounds.push_back(group.round);
    emit(std::move(fused.forward), Phase::forward, program_.forward);
    emit(std::move(fused.backward), Phase::backward, program_.backward);
    emit(std::move(fused.update), Phase::update, program_.update);
    if (!program_.token_sums.empty()) finish_token_sums(rounds);
    name_values();
    make_update_parts(rounds);
    SUANLI_RETURN_IF_ERROR(find_steps());
    find_guards();
    find_index_bounds();
    plan();
    describe();
    return std::move(program_);
  }

 private:
  bool is_exact() const { return program_.target.arithmetic == Arithmetic::exact; }

  bool accumulates(NodeId id) const {
    return graph_.node(id).op->name == "micro_sum" && graph_.micro_batches() > 1;
  }

  void make_values() {
    value_.assign(graph_.size(), -1);
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const NodeId root = root_of(graph_, id);
      if (root != id) {
        value_[id] = value_[root];
        continue;
      }
      const Node& node = graph_.node(id);
      Value value{node.type, Place::work, 0, node.name};
      if (node.op->name == "param" || node.op->name == "state") value.place = Place::state;
      if (node.op->name == "input" || node.op->name == "step_input") value.place = Place::input;
      if (accumulates(id) && !is_exact()) value.place = Place::accumulator;
      value_[id] = add_value(std::move(value));
    }
    if (is_exact()) make_token_sums();
  }

  ValueId add_value(Value value) {
    program_.values.push_back(std::move(value));
    return static_cast<ValueId>(program_.values.size()) - 1;
  }

  // The sums of all micro_sum nodes, and what is known of them.
  void make_token_sums() {
    const std::vector<NodeId> nodes = graph_.nodes_of("micro_sum");
    const auto count = static_cast<std::int64_t>(nodes.size());
    if (nodes.empty()) return;
    for (NodeId id : nodes) {
      const graph::TensorType sum{graph::DType::i64, graph_.node(id).type.shape};
      program_.token_sums.push_back({add_value({sum, Place::accumulator, 0, {}}), value_[id], lowered_.canonical[id]});
      program_.accumulators.push_back(program_.token_sums.back().sum);
    }
    program_.exponents = add_value({graph::i32({count}), Place::state, 0, std::string(kExponents)});
    program_.largest = add_value({graph::i32({count}), Place::accumulator, 0, {}});
    program_.magnitudes = add_value({{graph::DType::i64, {count}}, Place::accumulator, 0, {}});
    program_.accumulators.push_back(program_.largest);
    program_.accumulators.push_back(program_.magnitudes);
  }

  KernelCall call_on(std::string name, const std::vector<ValueId>& inputs, const std::vector<ValueId>& outputs) const {
    KernelCall call;
    call.spec.name = std::move(name);
    call.spec.attrs.set("exact", std::int64_t{1});
    const auto add = [&](const std::vector<ValueId>& ids, std::vector<ValueId>& values, std::vector<graph::TensorType>& types) {
      for (ValueId id : ids) {
        values.push_back(id);
        types.push_back(program_.values[id].type);
        call.bytes += static_cast<double>(types.back().bytes().value());
      }
    };
    add(inputs, call.inputs, call.spec.inputs);
    add(outputs, call.outputs, call.spec.outputs);
    return call;
  }

  // The call that adds to the sum `id` or rounds it.
  KernelCall token_sum_call(NodeId id, bool adds) const {
    const auto at = std::ranges::find(program_.token_sums, value_[id], &Program::TokenSum::value);
    KernelCall call =
        adds ? call_on("exact_token_sum", {value_[graph_.node(id).inputs[0]], program_.exponents}, {at->sum, program_.largest})
             : call_on("exact_token_sum_value", {at->sum, program_.exponents}, {at->value, program_.magnitudes});
    call.spec.attrs.set("index", std::int64_t{at - program_.token_sums.begin()});
    call.block = graph_.node(id).block;
    if (!adds) return call;
    call.flops = graph::node_cost(graph_, id).flops;
    if (lowered_.canonical[id] != kNoNode) call.origins.push_back(lowered_.canonical[id]);
    return call;
  }

  // Update begins with the values of all sums and ends with the next step's exponents.
  void finish_token_sums(std::vector<int>& rounds) {
    std::vector<KernelCall> values;
    for (NodeId id : graph_.nodes_of("micro_sum")) values.push_back(token_sum_call(id, /*adds=*/false));
    program_.commit_index += values.size();
    program_.update.insert(program_.update.begin(), values.begin(), values.end());
    program_.update.push_back(
        call_on("exact_token_sum_exponents", {program_.exponents, program_.magnitudes}, {program_.exponents}));
    program_.update.back().block = graph::kWholeJob;
    rounds.insert(rounds.begin(), values.size(), 0);
    rounds.push_back(rounds.back());
  }

  // State that a kernel updates in place: the new value, and every view of it, is the old value's buffer.
  void share_state(const Group& group) {
    for (std::size_t i = 0; i < group.outputs.size(); ++i)
      std::replace(value_.begin(), value_.end(), ValueId{value_[group.outputs[i]]},
                   ValueId{value_[group.inputs[i]]});
  }

  void emit(std::vector<Group> groups, Phase phase, std::vector<KernelCall>& calls) {
    for (Group& group : groups) {
      if (group.updates_state) share_state(group);
      if (group.updates_state && !committed_) {
        committed_ = true;
        program_.commit_index = calls.size();
      }
      calls.push_back(make_call(group));
    }
    if (phase == Phase::update) {
      if (!committed_) program_.commit_index = calls.size();
      return;
    }
    if (graph_.micro_batches() == 1) return;
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (accumulates(id) && graph_.node(id).phase == phase) add_accumulation(id, calls);
  }

  // Adds to the sum as soon as the term is there, so that the term's buffer is free again; a product adds its blocks to the
  // sum itself, and the term is never stored.
  void add_accumulation(NodeId id, std::vector<KernelCall>& calls) {
    const NodeId term = graph_.node(id).inputs[0];
    const ValueId value = value_[term];
    std::size_t place = 0;
    for (std::size_t i = 0; i < calls.size(); ++i)
      if (std::count(calls[i].outputs.begin(), calls[i].outputs.end(), value)) place = i + 1;
    if (is_exact()) {
      calls.insert(calls.begin() + static_cast<std::ptrdiff_t>(place), token_sum_call(id, /*adds=*/true));
      return;
    }
    program_.accumulators.push_back(value_[id]);
    if (place > 0 && adds_to(calls[place - 1], id, term)) return;
    Group group{"accumulate", {id}, {term}, {id}, {}, std::nullopt, false};
    calls.insert(calls.begin() + static_cast<std::ptrdiff_t>(place), make_call(group));
  }

  // Makes the call that computes `term` for the sum `id` alone add to that sum, if its kernel can: a product by an epilogue,
  // an embedding's gradient by its third operand.
  bool adds_to(KernelCall& call, NodeId id, NodeId term) {
    const graph::TensorType& type = graph_.node(term).type;
    const bool is_product = call.spec.name == "matmul" && !call.region && type.shape.size() == 2;
    const bool is_embedding = call.spec.name == "embedding_grad" && call.inputs.size() == 2;
    if (!(is_product || is_embedding) || call.outputs[0] != value_[term] || type != graph_.node(id).type ||
        is_read_besides(term, id))
      return false;
    if (is_product) {
      Region region{.shape = type.shape, .inputs = {}, .code = {{RegionOp::add, 0, 1}}, .outputs = {{2, type.dtype}}};
      region.inputs.assign(2, {type.dtype, Access::full, type.elements()});
      call.region = std::make_shared<const Region>(std::move(region));
      call.spec.region = call.region.get();
    }
    call.inputs.push_back(value_[id]);
    call.spec.inputs.push_back(type);
    call.outputs[0] = value_[id];
    call.origins.push_back(lowered_.canonical[id]);
    std::sort(call.origins.begin(), call.origins.end());
    call.flops += graph::node_cost(graph_, id).flops;
    call.bytes += static_cast<double>(type.bytes().value());
    return true;
  }

  bool is_read_besides(NodeId term, NodeId reader) const {
    for (NodeId id = 0; id < graph_.size(); ++id)
      for (NodeId input : graph_.node(id).inputs)
        if (id != reader && value_[input] == value_[term]) return true;
    return std::any_of(graph_.outputs().begin(), graph_.outputs().end(),
                       [&](const graph::Output& output) { return value_[output.node] == value_[term]; });
  }

  KernelCall make_call(const Group& group) {
    KernelCall call;
    call.spec.name = group.kernel;
    for (NodeId id : group.inputs) {
      call.inputs.push_back(value_[id]);
      call.spec.inputs.push_back(graph_.node(id).type);
    }
    for (NodeId id : group.outputs) {
      call.outputs.push_back(value_[id]);
      call.spec.outputs.push_back(graph_.node(id).type);
    }
    call.spec.attrs = group.attrs;
    if (group.region) {
      Region region = *group.region;
      region.exact = is_exact();
      call.region = std::make_shared<const Region>(std::move(region));
      call.spec.region = call.region.get();
    }
    if (is_exact()) ask_for_exact(canonical_, lowered_, group, call.spec);
    call.block = graph_.node(group.nodes.front()).block;
    for (NodeId id : group.nodes) {
      call.flops += graph::node_cost(graph_, id).flops;
      if (lowered_.canonical[id] != kNoNode) call.origins.push_back(lowered_.canonical[id]);
    }
    for (const auto& types : {call.spec.inputs, call.spec.outputs})
      for (const graph::TensorType& type : types)
        call.bytes += static_cast<double>(type.bytes().value());
    return call;
  }

  static Phase phase_of_source(const Node& node) {
    if (node.op->name == "step_input") return Phase::update;
    return node.op->name == "input" ? node.phase : Phase::forward;
  }

  static int round_of(const Node& source) {
    return source.op->name == "step_input" ? static_cast<int>(source.attrs.integer("round", 0)) : 0;
  }

  void name_values() {
    for (NodeId id = 0; id < graph_.size(); ++id)
      if (is_source(graph_.node(id)))
        program_.sources.push_back(
            {graph_.node(id).name, value_[id], phase_of_source(graph_.node(id)), round_of(graph_.node(id))});
    // A token sum has its value, one for all slots, from update.
    const auto phase_of = [&](NodeId id) {
      return is_exact() && accumulates(id) ? Phase::update : graph_.node(id).phase;
    };
    for (const graph::Output& output : graph_.outputs())
      program_.outputs.push_back({output.name, value_[output.node], phase_of(output.node)});
    for (const graph::Update& update : graph_.updates())
      if (value_[update.state] != value_[update.value])
        program_.state_copies.push_back({value_[update.state], value_[update.value]});
    program_.value_of_node.assign(canonical_.size(), -1);
    for (NodeId id = 0; id < canonical_.size(); ++id)
      if (lowered_.lowered[id] != kNoNode) {
        const ValueId value = value_[lowered_.lowered[id]];
        program_.value_of_node[id] = is_written(value) ? value : -1;
      }
  }

  // `rounds` are those of the calls of update.
  void make_update_parts(const std::vector<int>& rounds) {
    auto& parts = program_.update_parts;
    const std::size_t end = program_.update.size();
    int last = 0;
    for (const Program::NamedValue& source : program_.sources) last = std::max(last, source.step);
    for (std::size_t at = 0, round = 0; static_cast<int>(round) <= last; ++round) {
      std::size_t next = at;
      while (next < end && rounds[next] <= static_cast<int>(round)) ++next;
      const std::size_t commit = std::clamp(program_.commit_index, at, next);
      // A round without a call still waits for its step inputs.
      const bool is_empty = next == at, is_late = at >= program_.commit_index;
      if (commit > at || (is_empty && !is_late)) parts.push_back({at, commit, static_cast<int>(round), false});
      if (next > commit || (is_empty && is_late)) parts.push_back({commit, next, static_cast<int>(round), true});
      at = next;
    }
    // State is written, if only by copies, in a part of its own kind.
    if (!parts.back().writes_state) parts.push_back({end, end, last, true});
  }

  // The parts of update that make the outputs.
  Status find_steps() {
    const std::vector<int> rounds = rounds_of(graph_);
    for (std::size_t i = 0; i < program_.outputs.size(); ++i) {
      Program::NamedValue& output = program_.outputs[i];
      for (std::size_t part = 0; part < program_.update_parts.size(); ++part) {
        const auto [first, last, round, writes_state] = program_.update_parts[part];
        for (std::size_t call = first; call < last; ++call)
          if (std::ranges::count(program_.update[call].outputs, output.value) > 0) output.step = static_cast<int>(part);
      }
      const int round = program_.update_parts[static_cast<std::size_t>(output.step)].round;
      if (output.phase == Phase::update && round > rounds[graph_.outputs()[i].node])
        return fail(ErrorCode::unsupported,
                    "round " + std::to_string(round) + " of the update would make a value that is due in round " +
                        std::to_string(rounds[graph_.outputs()[i].node]),
                    "output " + output.name, "compile without fusion, or cut elsewhere");
    }
    return {};
  }

  void find_guards() {
    const auto& update = program_.update;
    const auto late = update.begin() + static_cast<std::ptrdiff_t>(program_.commit_index);
    for (std::size_t i = 0; i < program_.outputs.size(); ++i) {
      const Node& node = graph_.node(graph_.outputs()[i].node);
      if (node.type != graph::f32({})) continue;
      if (node.phase != Phase::update && node.op->name != "micro_sum") continue;
      const ValueId value = program_.outputs[i].value;
      const bool is_late = std::any_of(late, update.end(), [&](const KernelCall& call) {
        return std::count(call.outputs.begin(), call.outputs.end(), value) > 0;
      });
      if (!is_late) program_.guards.push_back(i);
    }
  }

  bool is_written(ValueId value) const {
    const Place place = program_.values[value].place;
    if (place != Place::work) return true;
    for (const auto* calls : {&program_.forward, &program_.backward, &program_.update})
      for (const KernelCall& call : *calls)
        if (std::count(call.outputs.begin(), call.outputs.end(), value)) return true;
    return false;
  }

  void bound(NodeId ids, std::int64_t low, std::int64_t high, NodeId reader) {
    const NodeId root = root_of(graph_, ids);
    if (graph_.node(root).op->name == "input")
      program_.index_bounds.push_back(
          {graph_.node(root).name, low, high, lowered_.canonical[reader]});
  }

  void find_index_bounds() {
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_.node(id);
      const auto rows = [&](int input, int axis) {
        return graph_.node(node.inputs[input]).type.shape[axis];
      };
      if (node.op->name == "embedding") bound(node.inputs[1], 0, rows(0, 0), id);
      if (node.op->name == "softmax_cross_entropy") bound(node.inputs[1], -1, rows(0, 1), id);
      if (node.op->name == "one_hot") bound(node.inputs[0], -1, node.attrs.integer("depth"), id);
    }
  }

  struct Use {
    int first = -1, last = -1;
    bool in_forward = false, in_backward = false;
  };

  // First and last position of every value, and in which phases it is touched.
  std::vector<Use> uses() const {
    std::vector<Use> uses(program_.values.size());
    int position = 0;
    const auto touch = [&](ValueId value, Phase phase) {
      Use& use = uses[value];
      if (use.first < 0) use.first = position;
      use.last = position;
      if (phase == Phase::forward) use.in_forward = true;
      if (phase == Phase::backward) use.in_backward = true;
    };
    const auto walk = [&](const std::vector<KernelCall>& calls, Phase phase) {
      for (const KernelCall& call : calls) {
        for (ValueId value : call.inputs) touch(value, phase);
        for (ValueId value : call.outputs) touch(value, phase);
        ++position;
      }
    };
    walk(program_.forward, Phase::forward);
    walk(program_.backward, Phase::backward);
    walk(program_.update, Phase::update);
    for (const Program::StateCopy& copy : program_.state_copies) touch(copy.from, Phase::update);
    for (const Program::NamedValue& output : program_.outputs) touch(output.value, output.phase);
    return uses;
  }

  void plan() {
    std::vector<Use> use = uses();
    std::int64_t state = 0, accumulators = 0, inputs = 0;
    const auto append = [](Value& value, std::int64_t& end) {
      value.offset = end;
      end += (value.type.bytes().value() + kAlignment - 1) / kAlignment * kAlignment;
    };
    std::vector<ValueId> stash, work;
    for (ValueId id = 0; id < static_cast<ValueId>(program_.values.size()); ++id) {
      Value& value = program_.values[id];
      if (value.place == Place::state) state += value.type.bytes().value();
      if (value.place == Place::accumulator) append(value, accumulators);
      if (value.place == Place::input) append(value, inputs);
      if (value.place != Place::work || use[id].first < 0) continue;
      const bool crosses = use[id].in_forward && use[id].in_backward;
      const bool forward_output = use[id].in_forward && is_output(id);
      if (program_.target.slots > 1 && (crosses || forward_output)) {
        value.place = Place::stash;
        stash.push_back(id);
      } else {
        work.push_back(id);
      }
    }
    share_in_place(use, work);
    const ArenaPlan stash_plan = place(stash, use);
    const ArenaPlan work_plan = place(work, use);
    program_.memory = {Bytes(state),     Bytes(accumulators), Bytes(inputs) * std::int64_t{program_.target.slots},
                       stash_plan.size,  work_plan.size,      stash_plan.least + work_plan.least};
  }

  bool is_output(ValueId id) const {
    return std::any_of(program_.outputs.begin(), program_.outputs.end(),
                       [&](const Program::NamedValue& output) { return output.value == id; });
  }

  // An output of a region may take over the buffer of an input that dies there and that only the region reads, element for
  // element.
  void share_in_place(std::vector<Use>& use, const std::vector<ValueId>& work) {
    holder_.resize(program_.values.size());
    for (ValueId id = 0; id < static_cast<ValueId>(holder_.size()); ++id) holder_[id] = id;
    std::vector<bool> in_work(program_.values.size(), false);
    for (ValueId id : work) in_work[id] = true;
    int position = 0;
    for (const auto* calls : {&program_.forward, &program_.backward, &program_.update})
      for (const KernelCall& call : *calls) {
        if (call.region) share_call(call, position, use, in_work);
        ++position;
      }
  }

  void share_call(const KernelCall& call, int position, std::vector<Use>& use,
                  const std::vector<bool>& in_work) {
    // The operands of a head come first and are no inputs of its region, whose own begin with the head's result.
    const bool has_head = call.spec.name != "region";
    const std::size_t own = has_head ? call.inputs.size() - (call.region->inputs.size() - 1) : 0;
    // One value may be several operands, through views: the node and its reshape.
    const auto may_lie_in = [&](ValueId input, std::size_t output) {
      for (std::size_t i = 0; i < call.inputs.size(); ++i)
        if (call.inputs[i] == input && (i < own || !call.region->in_place(i - own + (has_head ? 1 : 0), output))) return false;
      return true;
    };
    std::vector<ValueId> given;
    for (std::size_t o = 0; o < call.region->outputs.size(); ++o) {
      const ValueId output = call.outputs[o];
      if (!in_work[output] || use[output].first != position) continue;
      for (ValueId input : call.inputs) {
        const bool dies = in_work[input] && use[input].last == position &&
                          std::find(given.begin(), given.end(), input) == given.end();
        if (!dies || !may_lie_in(input, o)) continue;
        given.push_back(input);
        holder_[output] = holder_[input];
        break;
      }
    }
    // The holder lives as long as the last of those it holds.
    for (ValueId output : call.outputs) {
      Use& holder = use[holder_[output]];
      if (holder_[output] != output) holder.last = std::max(holder.last, use[output].last);
    }
  }

  ArenaPlan place(const std::vector<ValueId>& ids, const std::vector<Use>& use) {
    if (holder_.empty()) holder_.resize(program_.values.size());
    std::vector<Lifetime> lifetimes;
    std::map<ValueId, std::size_t> index;
    for (ValueId id : ids)
      if (holder_[id] == id) {
        index[id] = lifetimes.size();
        lifetimes.push_back({program_.values[id].type.bytes().value(), use[id].first, use[id].last, 0});
      }
    const ArenaPlan plan = plan_arena(lifetimes);
    for (ValueId id : ids) program_.values[id].offset = lifetimes[index.at(holder_[id])].offset;
    return plan;
  }

  void describe() {
    const std::vector<bool> live = canonical_.live();
    for (NodeId id = 0; id < canonical_.size(); ++id)
      if (live[id] && !is_source(canonical_.node(id))) ++program_.canonical_nodes;
    program_.step_flops = graph::step_cost(canonical_).flops;
  }

  const Graph& canonical_;
  Lowered lowered_;
  const Graph& graph_;
  Program program_;
  std::vector<ValueId> value_;   // lowered node -> value
  std::vector<ValueId> holder_;  // value -> the value whose buffer it uses
  bool committed_ = false;
};

Result<Program> compile_with(const Graph& graph, Target target, const Lowered& lowered, const Recomputation& what) {
  target.recompute = what;
  SUANLI_ASSIGN_OR_RETURN(Lowered again, recompute(lowered, what));
  return Compiler(graph, target, std::move(again)).run();
}

Bytes size_of(const Program& program) { return program.memory.total(program.target.slots); }

bool fits(const Program& program) {
  const Bytes limit = program.target.memory_limit;
  return limit == Bytes(0) || size_of(program) <= limit;
}

// The program with the least recomputation that keeps the limit, or else the smallest; `first` is the one without.
Result<Program> fit(const Graph& graph, const Target& target, const Lowered& lowered, Program first) {
  int low = target.recompute.blocks, high = recomputable_blocks(lowered.graph);
  Program best = std::move(first);
  bool cheap = target.recompute.cheap;
  if (!cheap) {
    SUANLI_ASSIGN_OR_RETURN(Program program, compile_with(graph, target, lowered, {.cheap = true, .blocks = low}));
    cheap = size_of(program) <= size_of(best);
    if (cheap) best = std::move(program);
  }
  if (fits(best) || low >= high) return best;
  SUANLI_ASSIGN_OR_RETURN(Program most, compile_with(graph, target, lowered, {.cheap = cheap, .blocks = high}));
  if (!fits(most)) return size_of(most) < size_of(best) ? std::move(most) : std::move(best);
  best = std::move(most);
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    SUANLI_ASSIGN_OR_RETURN(Program program, compile_with(graph, target, lowered, {.cheap = cheap, .blocks = middle}));
    if (fits(program)) {
      high = middle;
      best = std::move(program);
    } else {
      low = middle;
    }
  }
  return best;
}

Status check_limit(const Program& program) {
  if (fits(program)) return {};
  const Bytes limit = program.target.memory_limit, size = size_of(program);
  return fail(ErrorCode::no_memory,
              "the plan needs " + format_bytes(size) + " even with everything recomputed that can be, " +
                  format_bytes(size - limit) + " more than the limit of " + format_bytes(limit),
              "memory plan",
              "use a smaller train.batch (with more train.micro_batches), a smaller model, or a higher limit");
}

}  // namespace

Result<Program> compile(const Graph& graph, const Target& target) {
  if (target.slots < 1)
    return fail(ErrorCode::graph, "slots = " + std::to_string(target.slots) + " is below 1", "target");
  SUANLI_ASSIGN_OR_RETURN(const Lowered lowered, lower(graph, target.arithmetic));
  SUANLI_ASSIGN_OR_RETURN(Program program, compile_with(graph, target, lowered, target.recompute));
  if (!fits(program)) {
    SUANLI_ASSIGN_OR_RETURN(program, fit(graph, target, lowered, std::move(program)));
  }
  SUANLI_RETURN_IF_ERROR(check_limit(program));
  return program;
}

}  // namespace suanli::engine
