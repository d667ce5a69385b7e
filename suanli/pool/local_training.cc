#include "suanli/pool/local_training.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "suanli/engine/compile.h"

namespace suanli::pool {

using graph::Phase;
using meter::Cause;
using train::OuterParam;
using train::OuterPart;

namespace {

using Bytevector = std::vector<std::byte>;

std::size_t size_of(const graph::TensorType& type) { return static_cast<std::size_t>(type.bytes().value()); }

std::string sent_name(const std::string& param) { return "outer.sent/" + param; }

// What a lane sends that has not moved; empty: zeros.
Bytevector nothing_sent(const graph::Codec& codec, const graph::TensorType& type) {
  if (codec.kind != graph::Codec::Kind::top_k) return {};
  Bytevector bytes(size_of(graph::wire_type(codec, type)));
  // Places must rise.
  for (std::uint32_t place = 0; place < bytes.size() / 8; ++place) std::memcpy(&bytes[place * 4], &place, sizeof place);
  return bytes;
}

}  // namespace

Status check_lanes(const route::RouteTable& table) {
  const auto wrong = [](std::string message) {
    return fail(ErrorCode::config, std::move(message), "local.inner_steps",
                "with local steps every stage needs as many replicas as the first, each micro-batch one rank of them in all "
                "stages, and each rank a micro-batch: place the job so, or set local.inner_steps = 0");
  };
  const auto& stages = table.placement.stages;
  const std::size_t lanes = stages.front().size();
  for (std::size_t s = 0; s < stages.size(); ++s)
    if (stages[s].size() != lanes)
      return wrong("stage " + std::to_string(s) + " has " + std::to_string(stages[s].size()) + " replicas and stage 0 has " +
                   std::to_string(lanes));
  std::set<std::ptrdiff_t> used;
  for (std::size_t i = 0; i < table.routes.size(); ++i) {
    const auto rank_in = [&](std::size_t s) { return std::ranges::find(stages[s], table.routes[i][s]) - stages[s].begin(); };
    used.insert(rank_in(0));
    for (std::size_t s = 1; s < stages.size(); ++s)
      if (rank_in(s) != rank_in(0))
        return wrong("micro-batch " + std::to_string(i) + " goes from rank " + std::to_string(rank_in(0)) +
                     " of stage 0 to rank " + std::to_string(rank_in(s)) + " of stage " + std::to_string(s));
  }
  if (used.size() != lanes)
    return wrong(std::to_string(lanes - used.size()) + " of " + std::to_string(lanes) + " ranks have no micro-batch");
  return {};
}

OuterTensor outer_begun() { return {std::string(train::kOuterBegun), graph::i32({1}), true}; }

std::vector<OuterTensor> outer_tensors(const OuterParam& param, const train::LocalSteps& settings) {
  std::vector<OuterTensor> tensors = {{"outer.global/" + param.name, param.type, true},
                                      {"outer.momentum/" + param.name, param.type, true}};
  if (settings.codec.has_buffer()) tensors.push_back({"outer.error/" + param.name, param.type});
  tensors.push_back({sent_name(param.name), graph::wire_type(settings.codec, param.type), false,
                     nothing_sent(settings.codec, param.type)});
  return tensors;
}

Error outer_error(const Error& refusal, std::int64_t step) {
  constexpr std::string_view kNext = "next/";
  if (refusal.code != ErrorCode::not_finite || !refusal.place.starts_with(kNext)) return refusal;
  const std::string name = refusal.place.substr(kNext.size());
  return {ErrorCode::not_finite,
          "the outer step after step " + std::to_string(step) + " makes " + name + " what is not finite: a lane has diverged",
          name,
          "go on from the last snapshot with a lower 'train.lr' or 'local.outer_lr', or look at the data of these steps"};
}

struct LocalTraining::Fragment {
  struct Param {
    OuterParam what;
    std::size_t at = 0, size = 0;     // in what a lane sends
    std::string output;               // of the sending graph
    std::vector<std::string> inputs;  // of the applying graph, by rank
  };
  std::vector<Param> params;
  struct Part {
    std::shared_ptr<const engine::Program> program;
    meter::Work work;
  };
  Part send;
  std::array<Part, 3> apply;       // by OuterPart
  std::vector<Bytevector> packed;  // by rank
  // What is sent and not applied to all yet: after which step, whether all of it has come and is finite, and whether the lane's
  // own weights are those after it already.
  std::optional<std::int64_t> sent_at;
  bool has_come = false, is_local = false;
};

LocalTraining::LocalTraining(const Stage& on, const train::LocalSteps& settings, std::uint64_t epoch,
                             std::vector<WorkerIndex> replicas, std::size_t own)
    : on_(on), settings_(settings), epoch_(epoch), replicas_(std::move(replicas)), own_(own) {}
LocalTraining::~LocalTraining() = default;

Result<std::unique_ptr<LocalTraining>> LocalTraining::create(const Stage& on, const graph::Graph& job,
                                                             const graph::StageGraph& stage, const train::LocalSteps& settings,
                                                             engine::Arithmetic arithmetic, std::uint64_t epoch,
                                                             std::vector<WorkerIndex> replicas, std::size_t own) {
  SUANLI_RETURN_IF_ERROR(train::check(settings));
  SUANLI_CHECK(!settings.codec.needs_key());
  auto local = std::unique_ptr<LocalTraining>(new LocalTraining(on, settings, epoch, std::move(replicas), own));
  engine::Target target;
  target.arithmetic = arithmetic == engine::Arithmetic::exact ? arithmetic : engine::Arithmetic::f32;
  const auto compile = [&](const graph::Graph& graph, Fragment::Part& part) -> Status {
    SUANLI_RETURN_IF_ERROR(on.state.initialize(graph, 0));
    SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(graph, target));
    part.work = meter::work_of(graph, Phase::update, program);
    part.program = std::make_shared<const engine::Program>(std::move(program));
    return {};
  };
  const OuterTensor begun = outer_begun();
  SUANLI_RETURN_IF_ERROR(on.state.add(begun.name, begun.type, Bytevector(size_of(begun.type))));
  // Fragments are those of the whole job, so that a weight which two stages hold is in the same one at both.
  for (const std::vector<OuterParam>& whole : train::outer_fragments(train::outer_params(job), settings.fragments)) {
    Fragment& fragment = local->fragments_.emplace_back();
    std::vector<OuterParam> own_params;
    std::size_t size = 0;
    for (const OuterParam& param : whole) {
      if (stage.graph.find(param.name) == graph::kNoNode) continue;
      own_params.push_back(param);
      const std::size_t packed = size_of(graph::wire_type(settings.codec, param.type));
      Fragment::Param& added = fragment.params.emplace_back(Fragment::Param{param, size, packed, "delta/" + param.name, {}});
      for (std::size_t rank = 0; rank < local->replicas_.size(); ++rank)
        added.inputs.push_back("delta." + std::to_string(rank) + "/" + param.name);
      size += packed;
    }
    if (own_params.empty()) continue;
    SUANLI_RETURN_IF_ERROR(train::begin_local_steps(on.state, own_params));
    for (const OuterParam& param : own_params)
      for (OuterTensor& tensor : outer_tensors(param, settings)) {
        tensor.begins.resize(size_of(tensor.type));
        SUANLI_RETURN_IF_ERROR(on.state.add(tensor.name, tensor.type, tensor.begins));
      }
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph send, train::outer_send_graph(own_params, settings));
    SUANLI_RETURN_IF_ERROR(compile(send, fragment.send));
    for (const OuterPart part : {OuterPart::check, OuterPart::local, OuterPart::shared}) {
      SUANLI_ASSIGN_OR_RETURN(const graph::Graph apply, train::outer_apply_graph(
          own_params, settings, static_cast<int>(local->replicas_.size()), part));
      SUANLI_RETURN_IF_ERROR(compile(apply, fragment.apply[static_cast<std::size_t>(part)]));
    }
    fragment.packed.assign(local->replicas_.size(), Bytevector(size));
  }
  return local;
}

// Both ends compute the same; the attempt in which the step was committed does not matter.
Label LocalTraining::label(std::size_t fragment, std::int64_t step) const {
  return {epoch_, step, 0, Purpose::outer_step, static_cast<std::int64_t>(fragment), 0};
}

// Made when it is due: between outer steps its memory is free.
Result<std::unique_ptr<engine::Executor>> LocalTraining::start(const std::shared_ptr<const engine::Program>& program) {
  SUANLI_ASSIGN_OR_RETURN(auto executor, engine::Executor::create(program, on_.state.device(), on_.state));
  executor->begin_step();
  return executor;
}

Status LocalTraining::pack(Fragment& fragment) {
  const meter::Ledger::Timer timer(on_.ledger, Cause::update);
  SUANLI_ASSIGN_OR_RETURN(const auto executor, start(fragment.send.program));
  SUANLI_RETURN_IF_ERROR(executor->update({}));
  Bytevector& packed = fragment.packed[own_];
  for (const Fragment::Param& param : fragment.params) {
    const std::span part = std::span(packed).subspan(param.at, param.size);
    SUANLI_RETURN_IF_ERROR(executor->read(param.output, part));
    SUANLI_RETURN_IF_ERROR(on_.state.write(sent_name(param.what.name), part));
  }
  on_.ledger.book(meter::Part::update, fragment.send.work);
  return {};
}

// The receiving ends are open before anything is waited for.
void LocalTraining::exchange(std::size_t index, std::int64_t step, Sent& sent) {
  const meter::Ledger::Timer timer(on_.ledger, Cause::communication);
  Fragment& fragment = fragments_[index];
  fragment.sent_at = step;
  fragment.has_come = fragment.is_local = false;
  const Bytevector& own = fragment.packed[own_];
  for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
    if (rank == own_) continue;
    on_.exchange.expect(replicas_[rank], label(index, step), fragment.packed[rank]);
    if (const Status went = on_.exchange.send(replicas_[rank], label(index, step), own); !went && !sent.broken)
      sent.broken = went.error();
    sent.bytes += Bytes(static_cast<std::int64_t>(own.size()));
  }
}

// Of a fragment that was sent: until all lanes' is here, and may be applied.
Status LocalTraining::arrive(std::size_t index) {
  Fragment& fragment = fragments_[index];
  if (fragment.has_come) return {};
  {
    const meter::Ledger::Timer timer(on_.ledger, Cause::communication);
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank)
      if (rank != own_) SUANLI_RETURN_IF_ERROR(on_.exchange.wait(replicas_[rank], label(index, *fragment.sent_at)));
  }
  if (const Status finite = apply(fragment, OuterPart::check); !finite)
    return tl::unexpected(outer_error(finite.error(), *fragment.sent_at));
  fragment.has_come = true;
  return {};
}

Status LocalTraining::apply(Fragment& fragment, OuterPart which) {
  const meter::Ledger::Timer timer(on_.ledger, Cause::update);
  const Fragment::Part& part = fragment.apply[static_cast<std::size_t>(which)];
  std::vector<engine::HostTensor> inputs;
  for (const Fragment::Param& param : fragment.params)
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank)
      inputs.push_back({param.inputs[rank], &fragment.packed[rank][param.at], Bytes(static_cast<std::int64_t>(param.size))});
  SUANLI_ASSIGN_OR_RETURN(const auto executor, start(part.program));
  SUANLI_RETURN_IF_ERROR(executor->update(inputs));
  on_.state.device().synchronize(on_.state.device().compute());
  on_.ledger.book(meter::Part::update, part.work);
  return {};
}

bool LocalTraining::is_here(int fragment) const {
  const auto index = static_cast<std::size_t>(fragment);
  return index < fragments_.size() && !fragments_[index].params.empty();
}

// What the restored state has on its way is sent again.
Status LocalTraining::begin(std::int64_t steps_done, Sent& sent) {
  std::int32_t begun = 0;
  SUANLI_RETURN_IF_ERROR(on_.state.read(train::kOuterBegun, std::as_writable_bytes(std::span(&begun, 1))));
  begun_ = begun;
  for (std::int64_t step = std::max<std::int64_t>(1, steps_done - settings_.delay + 1); step <= steps_done; ++step)
    for (const int due : train::outer_due(settings_, *begun_, step).send) {
      if (!is_here(due)) continue;
      const auto index = static_cast<std::size_t>(due);
      for (const Fragment::Param& param : fragments_[index].params)
        SUANLI_RETURN_IF_ERROR(
            on_.state.read(sent_name(param.what.name), std::span(fragments_[index].packed[own_]).subspan(param.at, param.size)));
      exchange(index, step, sent);
    }
  return {};
}

Result<LocalTraining::Sent> LocalTraining::before_step(std::int64_t steps_done) {
  Sent sent;
  if (!begun_) SUANLI_RETURN_IF_ERROR(begin(steps_done, sent));
  if (settings_.delay > 0) return sent;
  for (std::size_t index = 0; index < fragments_.size(); ++index) {
    Fragment& fragment = fragments_[index];
    if (!fragment.sent_at || fragment.is_local) continue;
    SUANLI_RETURN_IF_ERROR(arrive(index));
    SUANLI_RETURN_IF_ERROR(apply(fragment, OuterPart::local));
    fragment.is_local = true;
  }
  return sent;
}

Status LocalTraining::before_commit(std::int64_t step) {
  for (const int f : train::outer_due(settings_, *begun_, step).apply)
    if (is_here(f)) SUANLI_RETURN_IF_ERROR(arrive(static_cast<std::size_t>(f)));
  return {};
}

Result<LocalTraining::Sent> LocalTraining::after_step(std::int64_t step) {
  Sent sent;
  const train::OuterDue due = train::outer_due(settings_, *begun_, step);
  for (std::size_t index = 0; index < fragments_.size(); ++index) {
    Fragment& fragment = fragments_[index];
    const bool is_due = std::ranges::count(due.apply, static_cast<int>(index)) > 0;
    if (!fragment.sent_at || (settings_.delay > 0 && !is_due)) continue;
    SUANLI_CHECK(fragment.has_come);
    if (!fragment.is_local) SUANLI_RETURN_IF_ERROR(apply(fragment, OuterPart::local));
    SUANLI_RETURN_IF_ERROR(apply(fragment, OuterPart::shared));
    fragment.sent_at.reset();
  }
  for (const auto* fragments : {&due.send, &due.cut_short})
    for (const int f : *fragments) {
      if (!is_here(f)) continue;
      SUANLI_RETURN_IF_ERROR(pack(fragments_[static_cast<std::size_t>(f)]));
      // No step follows the last: who collects the state has what all lanes have packed.
      if (step != settings_.last_step) exchange(static_cast<std::size_t>(f), step, sent);
    }
  return sent;
}

}  // namespace suanli::pool
