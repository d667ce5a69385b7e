#include "suanli/train/local_steps.h"

#include <algorithm>
#include <cmath>

#include "suanli/graph/builder.h"
#include "suanli/train/codecs.h"

namespace suanli::train {
namespace {

using graph::NodeId;

Status config(std::string message) { return fail(ErrorCode::config, std::move(message), "local steps"); }

std::string indexed(std::string_view prefix, int replica, const std::string& name) {
  return std::string(prefix) + "." + std::to_string(replica) + "/" + name;
}

NodeId global_of(graph::Builder& b, const OuterParam& param) {
  return b.state("outer.global/" + param.name, param.type, "zeros");
}
NodeId local_of(graph::Builder& b, const OuterParam& param) { return b.param(param.name, param.type, "zeros"); }

}  // namespace

Status check(const LocalSteps& settings) {
  if (settings.inner_steps < 1) return config("inner_steps is " + std::to_string(settings.inner_steps) + ", expected at least 1");
  if (settings.fragments < 1 || settings.fragments > settings.inner_steps)
    return config("fragments is " + std::to_string(settings.fragments) + ", expected 1 to inner_steps");
  if (settings.delay < 0 || settings.delay >= settings.inner_steps)
    return config("delay is " + std::to_string(settings.delay) + ", expected 0 to less than inner_steps");
  if (!(settings.outer_lr > 0) || !std::isfinite(settings.outer_lr))
    return config("outer_lr is " + std::to_string(settings.outer_lr) + ", expected more than 0");
  if (!(settings.outer_momentum >= 0 && settings.outer_momentum < 1))
    return config("outer_momentum is " + std::to_string(settings.outer_momentum) + ", expected 0 to less than 1");
  if (!(settings.keep_local >= 0 && settings.keep_local < 1))
    return config("keep_local is " + std::to_string(settings.keep_local) + ", expected 0 to less than 1");
  if (settings.keep_local > 0 && settings.delay == 0)
    return config("keep_local is " + std::to_string(settings.keep_local) + " without a delay, expected 0");
  if (settings.codec.kind == graph::Codec::Kind::delta)
    return config("the codec is delta, which is for activations: pseudo-gradients take feedback");
  return {};
}

LocalSteps local_steps_of(const JobConfig& job) {
  return {.inner_steps = job.local.inner_steps,
          .outer_lr = job.local.outer_lr,
          .outer_momentum = job.local.outer_momentum,
          .fragments = static_cast<int>(job.local.fragments),
          .delay = job.local.delay,
          .keep_local = job.local.keep_local,
          .last_step = job.train.steps,
          .codec = codecs_of(job).weights};
}

std::vector<OuterParam> outer_params(const graph::Graph& job) {
  std::vector<OuterParam> params;
  for (const NodeId id : job.nodes_of("param")) params.push_back({job.node(id).name, job.node(id).type});
  return params;
}

std::vector<std::vector<OuterParam>> outer_fragments(std::span<const OuterParam> params, int count) {
  SUANLI_CHECK(count >= 1);
  double all = 0, before = 0;
  for (const OuterParam& param : params) all += static_cast<double>(param.type.elements());
  std::vector<std::vector<OuterParam>> fragments;
  int last = -1;
  for (const OuterParam& param : params) {
    // The fragment in which the middle of the parameter lies.
    const auto size = static_cast<double>(param.type.elements());
    const int own = all == 0 ? 0 : std::min(count - 1, static_cast<int>((before + size / 2) / all * count));
    if (own != last) fragments.emplace_back();
    fragments.back().push_back(param);
    last = own;
    before += size;
  }
  return fragments;
}

Result<graph::Graph> outer_send_graph(std::span<const OuterParam> fragment, const LocalSteps& settings) {
  SUANLI_RETURN_IF_ERROR(check(settings));
  graph::Graph graph;
  graph::Builder b(graph);
  b.set_phase(graph::Phase::update);
  graph::CodecInputs inputs;
  if (settings.codec.needs_key()) inputs.key = b.step_input("outer.key", graph::i32({4}));
  for (const OuterParam& param : fragment) {
    SUANLI_RETURN_IF_ERROR(graph::check(settings.codec, param.type));
    const NodeId global = global_of(b, param), local = local_of(b, param);
    if (settings.codec.has_buffer()) inputs.buffer = b.state("outer.error/" + param.name, param.type, "zeros");
    const graph::Sent sent = graph::send(b, settings.codec, b.sub(global, local), inputs);
    SUANLI_RETURN_IF_ERROR(b.status());
    ++inputs.stream;
    SUANLI_RETURN_IF_ERROR(graph.add_output("delta/" + param.name, sent.packed));
    if (sent.next != graph::kNoNode) SUANLI_RETURN_IF_ERROR(graph.add_update(inputs.buffer, sent.next));
  }
  return graph;
}

Result<graph::Graph> outer_apply_graph(std::span<const OuterParam> fragment, const LocalSteps& settings, int replicas,
                                       OuterPart part) {
  SUANLI_RETURN_IF_ERROR(check(settings));
  SUANLI_CHECK(replicas >= 1);
  graph::Graph graph;
  graph::Builder b(graph);
  b.set_phase(graph::Phase::update);
  for (const OuterParam& param : fragment) {
    SUANLI_RETURN_IF_ERROR(graph::check(settings.codec, param.type));
    const NodeId global = global_of(b, param);
    const NodeId momentum = b.state("outer.momentum/" + param.name, param.type, "zeros");
    NodeId sum = graph::kNoNode;
    for (int replica = 0; replica < replicas; ++replica) {
      const NodeId packed = b.step_input(indexed("delta", replica, param.name), graph::wire_type(settings.codec, param.type));
      const NodeId delta = graph::receive(b, settings.codec, packed, param.type).value;
      sum = replica == 0 ? delta : b.add(sum, delta);
    }
    const NodeId mean = b.scale(sum, 1.0 / replicas);
    const NodeId next_momentum = b.add(b.scale(momentum, settings.outer_momentum), mean);
    const NodeId way = b.add(mean, b.scale(next_momentum, settings.outer_momentum));
    const NodeId next_global = b.sub(global, b.scale(way, settings.outer_lr));
    if (part == OuterPart::check) {
      const NodeId size = b.apply("sum_squares", {next_global});
      SUANLI_RETURN_IF_ERROR(b.status());
      SUANLI_RETURN_IF_ERROR(graph.add_output("next/" + param.name, size));
    } else if (part == OuterPart::local) {
      const NodeId local = local_of(b, param);
      const NodeId next_local = settings.keep_local == 0 ? next_global
                                                         : b.add(b.scale(local, settings.keep_local),
                                                                 b.scale(next_global, 1 - settings.keep_local));
      SUANLI_RETURN_IF_ERROR(b.status());
      SUANLI_RETURN_IF_ERROR(graph.add_update(local, next_local));
    } else {
      SUANLI_RETURN_IF_ERROR(b.status());
      SUANLI_RETURN_IF_ERROR(graph.add_update(momentum, next_momentum));
      SUANLI_RETURN_IF_ERROR(graph.add_update(global, next_global));
    }
  }
  return graph;
}

Status begin_local_steps(engine::State& state, std::span<const OuterParam> params) {
  std::vector<std::byte> bytes;
  for (const OuterParam& param : params) {
    bytes.resize(static_cast<std::size_t>(param.type.bytes().value()));
    SUANLI_RETURN_IF_ERROR(state.read(param.name, bytes));
    SUANLI_RETURN_IF_ERROR(state.add("outer.global/" + param.name, param.type, bytes));
  }
  return {};
}

OuterDue outer_due(const LocalSteps& settings, std::int64_t begun, std::int64_t step) {
  OuterDue due;
  const std::int64_t h = settings.inner_steps;
  const bool is_last = step == settings.last_step;
  due.at_once = settings.delay == 0 || is_last;
  for (int f = 0; f < settings.fragments; ++f) {
    const std::int64_t since = step - begun - f * h / settings.fragments;  // in steps of the fragment's rounds
    const bool is_sent = since >= h && since % h == 0;
    // The delay is less than a round, so at most one is on its way.
    const std::int64_t way = is_sent ? h : since % h;  // since the last was sent, if there was one
    const bool is_on_its_way = since - way >= h && way <= settings.delay;
    if (is_on_its_way && (way == settings.delay || is_last)) due.apply.push_back(f);
    if (is_sent) due.send.push_back(f);
    else if (is_last) due.cut_short.push_back(f);
  }
  return due;
}

}  // namespace suanli::train
