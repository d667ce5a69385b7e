#include "suanli/pool/outer_settling.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "suanli/engine/compile.h"
#include "suanli/pool/local_training.h"
#include "suanli/pool/state_layout.h"

namespace suanli::pool {

using train::OuterParam;
using train::OuterPart;

namespace {

using Bytevector = std::vector<std::byte>;

Result<Bytevector> read(engine::State& state, const std::string& name) {
  const engine::State::Tensor* tensor = state.find(name);
  if (tensor == nullptr) return fail(ErrorCode::mismatch, "the state has no tensor of this name", name);
  Bytevector bytes(static_cast<std::size_t>(tensor->type.bytes().value()));
  SUANLI_RETURN_IF_ERROR(state.read(name, bytes));
  return bytes;
}

// One parameter's. Beside the state: one at a time takes little memory.
class OneParam {
 public:
  OneParam(engine::State& whole, const OuterParam& param, std::size_t lanes)
      : whole_(whole), param_(param), lanes_(lanes), own_(whole.device()) {}

  Status take(const train::LocalSteps& settings, engine::Arithmetic arithmetic, bool changes_momentum) {
    const std::string global = "outer.global/" + param_.name, momentum = "outer.momentum/" + param_.name;
    SUANLI_ASSIGN_OR_RETURN(Bytevector bytes, read(whole_, param_.name));
    SUANLI_RETURN_IF_ERROR(own_.add(global, param_.type, bytes));
    SUANLI_ASSIGN_OR_RETURN(bytes, read(whole_, momentum));
    SUANLI_RETURN_IF_ERROR(own_.add(momentum, param_.type, bytes));
    for (std::size_t lane = 0; lane < lanes_; ++lane) {
      names_.push_back("delta." + std::to_string(lane) + "/" + param_.name);
      SUANLI_ASSIGN_OR_RETURN(deltas_.emplace_back(), read(whole_, replica_name(lane, "outer.sent/" + param_.name)));
    }
    engine::Target target;
    target.arithmetic = arithmetic == engine::Arithmetic::exact ? arithmetic : engine::Arithmetic::f32;
    for (const OuterPart part : {OuterPart::check, OuterPart::shared}) SUANLI_RETURN_IF_ERROR(run(settings, target, part));
    SUANLI_ASSIGN_OR_RETURN(bytes, read(own_, global));
    SUANLI_RETURN_IF_ERROR(whole_.write(param_.name, bytes));
    for (std::size_t lane = 0; lane < lanes_; ++lane)
      SUANLI_RETURN_IF_ERROR(whole_.write(replica_name(lane, param_.name), bytes));
    if (!changes_momentum) return {};
    SUANLI_ASSIGN_OR_RETURN(bytes, read(own_, momentum));
    return whole_.write(momentum, bytes);
  }

 private:
  Status run(const train::LocalSteps& settings, const engine::Target& target, OuterPart part) {
    SUANLI_ASSIGN_OR_RETURN(const graph::Graph graph,
                            train::outer_apply_graph({&param_, 1}, settings, static_cast<int>(lanes_), part));
    SUANLI_ASSIGN_OR_RETURN(engine::Program program, engine::compile(graph, target));
    SUANLI_ASSIGN_OR_RETURN(const auto executor,
                            engine::Executor::create(std::make_shared<const engine::Program>(std::move(program)),
                                                     own_.device(), own_));
    std::vector<engine::HostTensor> inputs;
    for (std::size_t lane = 0; lane < lanes_; ++lane)
      inputs.push_back({names_[lane], deltas_[lane].data(), Bytes(static_cast<std::int64_t>(deltas_[lane].size()))});
    executor->begin_step();
    SUANLI_RETURN_IF_ERROR(executor->update(inputs));
    own_.device().synchronize(own_.device().compute());
    return {};
  }

  engine::State& whole_;
  const OuterParam& param_;
  const std::size_t lanes_;
  engine::State own_;
  std::vector<std::string> names_;
  std::vector<Bytevector> deltas_;
};

}  // namespace

Status take_outer_step(engine::State& whole, std::span<const OuterParam> params, const train::LocalSteps& settings,
                       engine::Arithmetic arithmetic, std::size_t lanes, std::int64_t step) {
  SUANLI_CHECK(lanes > 0);
  std::int32_t begun = 0;
  SUANLI_RETURN_IF_ERROR(whole.read(train::kOuterBegun, std::as_writable_bytes(std::span(&begun, 1))));
  const train::OuterDue due = train::outer_due(settings, begun, step);
  if (!due.at_once) return {};
  // The mean of what the lanes have.
  train::LocalSteps mean = settings;
  mean.outer_lr = 1;
  mean.outer_momentum = 0;
  const auto fragments = train::outer_fragments(params, settings.fragments);
  for (std::size_t f = 0; f < fragments.size(); ++f) {
    const bool is_short = std::ranges::count(due.cut_short, static_cast<int>(f)) > 0;
    if (!is_short && std::ranges::count(due.send, static_cast<int>(f)) == 0) continue;
    for (const OuterParam& param : fragments[f])
      if (const Status taken = OneParam(whole, param, lanes).take(is_short ? mean : settings, arithmetic, !is_short); !taken)
        return tl::unexpected(outer_error(taken.error(), step));
  }
  if (step != settings.last_step) return {};
  begun = static_cast<std::int32_t>(step);
  return whole.write(train::kOuterBegun, std::as_bytes(std::span(&begun, 1)));
}

}  // namespace suanli::pool
