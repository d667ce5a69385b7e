#include "suanli/pool/pool_server.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/net/line_probe.h"
#include "suanli/pool/outer_settling.h"
#include "suanli/route/route_json.h"
#include "suanli/train/codecs.h"
#include "suanli/train/local_steps.h"

namespace suanli::pool {
namespace {

constexpr Seconds kTick{0.2};
// Below the least time that a run grants a step (protocol::RunRules::step_limit), with room for the step itself.
constexpr Seconds kMostHeld{40};

// Of a job with local steps.
protocol::Lanes lanes_of(RunRecorder& recorder) {
  const train::JobConfig& job = recorder.job();
  protocol::Lanes lanes{.inner_steps = job.local.inner_steps, .fragments = job.local.fragments, .delay = job.local.delay};
  if (lanes.inner_steps == 0) return lanes;
  for (const train::OuterParam& param : train::outer_params(recorder.graph()))
    lanes.bytes += graph::wire_type(train::codecs_of(job).weights, param.type).bytes();
  std::int32_t begun = 0;
  if (recorder.state().find(train::kOuterBegun) != nullptr &&
      recorder.state().read(train::kOuterBegun, std::as_writable_bytes(std::span(&begun, 1))))
    lanes.begun = begun;
  return lanes;
}

std::string name_of_software() { return "suanli " + std::string(train::suanli_version()); }

}  // namespace

Status create_pool(const std::string& folder, const std::string& name) {
  SUANLI_RETURN_IF_ERROR(make_folders(folder));
  SUANLI_ASSIGN_OR_RETURN(const net::Authority authority,
                          net::Authority::create(PoolFolder{folder}.authority(), name, net::wall_time_now()));
  SUANLI_ASSIGN_OR_RETURN(const net::PrivateKey key, net::PrivateKey::load_or_create(PoolFolder{folder}.key()));
  return {};
}

Result<std::unique_ptr<PoolServer>> PoolServer::create(ServerOptions options) {
  auto server = std::unique_ptr<PoolServer>(new PoolServer(std::move(options)));
  SUANLI_RETURN_IF_ERROR(server->start());
  return server;
}

PoolServer::~PoolServer() {
  savings_.stop();
  // Closed links end fetches that wait; the node, whose thread ends them, goes last.
  if (loop_thread_.joinable())
    loop_.run_and_wait([this] {
      for (const auto& [id, peer] : peers_)
        peer.link->close({ErrorCode::interrupted, "the coordinator ends", "link", "dial again later"});
    });
  if (savings_thread_.joinable()) savings_thread_.join();
  loop_.stop();
  if (loop_thread_.joinable()) loop_thread_.join();
  node_.reset();
}

protocol::Moment PoolServer::now() { return {real_clock().now(), Seconds(static_cast<double>(net::wall_time_now().value()))}; }

Status PoolServer::start() {
  const PoolFolder files{options_.folder};
  SUANLI_ASSIGN_OR_RETURN(authority_, net::Authority::open(files.authority()));
  SUANLI_ASSIGN_OR_RETURN(net::PrivateKey key, net::PrivateKey::load_or_create(files.key()));
  SUANLI_ASSIGN_OR_RETURN(net::Certificate own, authority_->issue(key.id(), net::Role::coordinator, net::wall_time_now()));
  const std::string own_id = key.id().hex();
  SUANLI_ASSIGN_OR_RETURN(const auto context,
                          net::TlsContext::create({authority_->certificate(), std::move(own), std::move(key)}));
  protocol::PoolRules rules;
  rules.pool = authority_->certificate().pool();
  rules.version = train::suanli_version();
  rules.own_id = own_id;
  rules.relays = false;
  rules.first_epoch = options_.first_epoch;
  machine_ = std::make_unique<protocol::Coordinator>(rules, placing_);
  service_ = std::make_unique<ShardService>(std::vector<ShardService::Find>{[this](const Digest& digest) {
                                              const std::lock_guard lock(datasets_mutex_);
                                              for (const auto& [job, shards] : datasets_)
                                                if (auto found = shards->find(digest)) return found;
                                              return std::shared_ptr<const data::Shard>();
                                            }},
                                            ShardServiceOptions{});
  net::NodeOptions node;
  node.link.most_control_bytes = 2 * kMostTextBytes;
  node.line = options_.line;
  node_ = std::make_unique<net::Node>(context, std::move(node));
  node_->serve_renewals(
      [this](const net::PeerId& peer, net::Role role) { return authority_->issue(peer, role, net::wall_time_now()); },
      {.executor = [this](std::function<void()> work) { loop_.post(std::move(work)); }});
  if (!authority_->state().revoked_peers.empty()) SUANLI_RETURN_IF_ERROR(tell_revocations());
  // Admission waits for the authority's disk, so it runs on the loop, which owns the authority.
  net::JoinDoorOptions door;
  door.executor = [this](std::function<void()> work) { loop_.post(std::move(work)); };
  door.software = name_of_software();
  node_->open_door(
      [this](const net::JoinAttempt& attempt) {
        return authority_->admit(attempt.request.token_id, attempt.request.secret, attempt.request.request, net::wall_time_now());
      },
      door);
  SUANLI_ASSIGN_OR_RETURN(
      address_, node_->listen(options_.listen, [this](std::shared_ptr<net::Link> link) { take_link(std::move(link)); }));
  loop_thread_ = std::thread([this] { loop_.run(kTick, [this] { tick(); }); });
  savings_thread_ = std::thread([this] { savings_.run(Seconds(1), [] {}); });
  return {};
}

Result<net::JoinToken> PoolServer::make_token(const net::TokenTerms& terms) {
  Result<net::JoinToken> token = tl::unexpected(Error{ErrorCode::interrupted, "the coordinator has ended", "pool", ""});
  loop_.run_and_wait([&] { token = authority_->make_token(terms, net::wall_time_now()); });
  return token;
}

Status PoolServer::revoke(const net::PeerId& peer) {
  Status revoked = tl::unexpected(Error{ErrorCode::interrupted, "the coordinator has ended", "pool", ""});
  loop_.run_and_wait([&] {
    revoked = authority_->revoke(peer);
    if (revoked) revoked = tell_revocations();
  });
  return revoked;
}

Status PoolServer::tell_revocations() {
  SUANLI_ASSIGN_OR_RETURN(const std::string pem, authority_->revocation_list(net::wall_time_now()));
  SUANLI_ASSIGN_OR_RETURN(net::RevocationList list, net::RevocationList::parse(pem, authority_->certificate()));
  return node_->set_revocation_list(std::move(list));
}

bool PoolServer::with_authority(const std::function<void(net::Authority&)>& use) {
  return loop_.run_and_wait([&] { use(*authority_); });
}

// ---- links

// On the reactor's thread.
void PoolServer::take_link(std::shared_ptr<net::Link> link) {
  const std::string id = link->peer().key().hex();
  net::serve_probes(link);
  link->on_message(
      [this, id, raw = link.get(), weak = std::weak_ptr(link)](std::uint32_t kind, std::span<const std::byte> payload) {
        if (is_shard_kind(kind)) {
          const auto own = weak.lock();
          if (!own) return;
          if (const Status served = service_->on_message(own, kind, payload); !served) own->close(served.error());
          return;
        }
        if (!is_text_kind(kind)) return;
        loop_.post([this, id, raw, kind, bytes = std::vector<std::byte>(payload.begin(), payload.end())] {
          const auto found = peers_.find(id);
          if (found == peers_.end() || found->second.link.get() != raw) return;
          const auto text = found->second.texts.add(kind, bytes);
          if (!text) return found->second.link->close(text.error());
          if (*text) on_text(id, **text);
        });
      });
  link->on_closed([this, id, raw = link.get()](const Error& why) {
    loop_.post([this, id, raw, why] {
      const auto found = peers_.find(id);
      if (found == peers_.end() || found->second.link.get() != raw) return;
      peers_.erase(found);
      perform(machine_->on_lost(id, why, now()));
    });
  });
  loop_.post([this, id, link] {
    if (const auto old = peers_.find(id); old != peers_.end()) old->second.link->close();
    peers_[id] = {link, {}};
    perform(machine_->on_connected(id, now()));
  });
}

void PoolServer::on_text(const std::string& peer, const TextReader::Text& text) {
  const std::shared_ptr<net::Link> link = peers_.at(peer).link;
  const std::string place = "peer " + peer.substr(0, 12);
  if (text.kind == TextKind::request) {
    if (fitting_ == 0) return serve(peer, link, text.text);
    waiting_requests_.push_back([this, peer, link, request = text.text] { serve(peer, link, request); });
    return;
  }
  if (text.kind == TextKind::response) return desk_.on_response(text.text, place);
  const auto message = protocol::parse_to_coordinator(text.text, place);
  if (!message) return perform(machine_->on_garbage(peer, message.error(), now()));
  if (!hold(peer, *message)) perform(machine_->on_message(peer, *message, now()));
}

void PoolServer::serve(const std::string& peer, const std::shared_ptr<net::Link>& link, const std::string& request) {
  const auto giver = [this, peer](const TensorRequest& asked) { return give(peer, asked); };
  if (const Status answered = desk_.on_request(link, request, giver); !answered) link->close(answered.error());
}

bool PoolServer::hold(const std::string& peer, const protocol::ToCoordinator& message) {
  const auto* prepared = std::get_if<protocol::Prepared>(&message);
  if (prepared == nullptr || prepared->outcome != protocol::Outcome::ok) return false;
  const auto found = jobs_.find(prepared->job);
  if (found == jobs_.end() || found->second.epoch != prepared->epoch) return false;
  Job& job = found->second;
  const bool waits = job.saving && prepared->step > *job.saving && job.recorder->dates().is_collected(prepared->step);
  if (!waits || job.released == prepared->step) return false;
  // What no worker of the job can honestly say now is for the machine to judge.
  const auto view = machine_->job(prepared->job);
  const bool is_member = view && std::ranges::find(view->workers, peer) != view->workers.end();
  const bool is_held = std::ranges::any_of(job.held, [&](const auto& each) { return each.first == peer; });
  if (!is_member || is_held || prepared->step > view->committed_step + 2) return false;
  job.ready_since = now().now;
  if (job.held.empty()) job.held_since = job.ready_since;
  job.held.emplace_back(peer, *prepared);
  return true;
}

void PoolServer::release(const protocol::JobId& id) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end() || found->second.held.empty()) return;
  Job& job = found->second;
  job.released = job.held.front().second.step;
  job.held_for = job.held.size() == job.workers ? now().now - job.ready_since : Seconds(0);
  for (const auto& [peer, prepared] : std::exchange(job.held, {}))
    if (peers_.contains(peer)) perform(machine_->on_message(peer, prepared, now()));
}

// The machine would take a step that is held for longer for a stuck one; its state then comes later than it should.
void PoolServer::tick() {
  perform(machine_->on_tick(now()));
  std::vector<protocol::JobId> late;
  for (const auto& [id, job] : jobs_)
    if (!job.held.empty() && now().now - job.held_since > kMostHeld) late.push_back(id);
  for (const protocol::JobId& id : late) release(id);
}

// ---- actions

void PoolServer::perform(protocol::Actions actions) {
  for (protocol::Action& action : actions) perform_one(action);
}

void PoolServer::perform_one(protocol::Action& any) {
  std::visit(
      [this](auto& action) {
        using Action = std::remove_reference_t<decltype(action)>;
        if constexpr (std::is_same_v<Action, protocol::Send>) {
          if (const auto* assign = std::get_if<protocol::Assign>(&action.message)) lay_out(*assign);
          if (const auto* commit = std::get_if<protocol::Commit>(&action.message))
            if (const auto job = jobs_.find(commit->job); job != jobs_.end() && commit->then == protocol::Then::snapshot)
              job->second.saving = commit->step;
          const auto found = peers_.find(action.peer);
          if (found == peers_.end()) return;
          const auto text = protocol::encode(action.message);
          if (!text) return found->second.link->close(text.error());
          if (const Status sent = send_text(*found->second.link, TextKind::control, *text); !sent)
            found->second.link->close(sent.error());
        } else if constexpr (std::is_same_v<Action, protocol::Close>) {
          const auto found = peers_.find(action.peer);
          if (found == peers_.end()) return;
          const auto link = found->second.link;
          peers_.erase(found);
          link->close(action.why);
        } else if constexpr (std::is_same_v<Action, protocol::JobChanged>) {
          if (!protocol::is_over(action.state)) return;
          jobs_.erase(action.job);
          const std::lock_guard lock(datasets_mutex_);
          datasets_.erase(action.job);
        } else if constexpr (std::is_same_v<Action, protocol::StepCommitted>) {
          Job& job = jobs_.at(action.job);
          job.recorder->on_step(action.facts, std::exchange(job.held_for, Seconds(0)));
        } else if constexpr (std::is_same_v<Action, protocol::CollectState>) {
          collect(action);
        } else {
          if (options_.on_event) options_.on_event(action);
        }
      },
      any);
}

// Once for each placement.
void PoolServer::lay_out(const protocol::Assign& assign) {
  Job& job = jobs_.at(assign.job);
  if (job.layout && job.epoch == assign.epoch) return;
  const auto table = route::parse_route_table(assign.route, "own table");
  SUANLI_CHECK(table.has_value());
  const bool is_exact = job.recorder->job().train.dtype == "exact";
  const ReplicaState replicas = replica_state(job.recorder->job(), table->placement);
  auto layout = StateLayout::create(job.recorder->graph(), table->placement.cut, is_exact, replicas);
  SUANLI_CHECK(layout.has_value());
  job.layout = std::move(*layout);
  job.epoch = assign.epoch;
  job.saving.reset();
  job.held.clear();
  job.released = 0;
  job.held_for = Seconds(0);
  std::set<route::WorkerIndex> holders;
  for (const auto& stage : table->placement.stages) holders.insert(stage.begin(), stage.end());
  job.workers = holders.size();
  const Status counted = job.recorder->count_codecs(table->placement);
  SUANLI_CHECK(counted.has_value());
  announce(assign.job);
  job.replicas = replicas.replicas;
  fit(assign);
}

// The tensors of replicas may be many copies of the model, and the state may just be saved: beside the loop, in turn. What
// workers ask for waits so long.
void PoolServer::fit(const protocol::Assign& assign) {
  const Job& job = jobs_.at(assign.job);
  ++fitting_;
  savings_.post([this, id = assign.job, epoch = assign.epoch, from = assign.from_snapshot, recorder = job.recorder,
                 layout = *job.layout] {
    const auto begun = layout.fit(recorder->state());
    loop_.post([this, id, epoch, from, recorder, begun] {
      const auto found = jobs_.find(id);
      const bool is_wanted = found != jobs_.end() && found->second.epoch == epoch;
      if (is_wanted && begun && !begun->empty() && from.value_or(0) > 0)
        recorder->warn({ErrorCode::mismatch,
                        "the snapshot of step " + std::to_string(*from) + " lacks " +
                            std::to_string(begun->size()) + " tensors of replicas, from " + begun->front() +
                            " on: errors of codecs begin at zero, new lanes with the weights that all share",
                        "job " + id, "this is as it should be where the number of replicas has changed"});
      if (is_wanted && !begun) {
        // No worker could begin.
        recorder->warn(begun.error());
        if (auto actions = machine_->on_cancel(id, now())) perform(std::move(*actions));
      }
      if (--fitting_ > 0) return;
      for (const auto& request : std::exchange(waiting_requests_, {})) request();
    });
  });
}

// The run's record begins with the threads of the workers that it was placed on.
void PoolServer::announce(const protocol::JobId& job) {
  const auto view = machine_->job(job);
  if (!view) return;
  std::int64_t threads = 0;
  for (const protocol::WorkerView& worker : machine_->workers(now()))
    if (std::ranges::find(view->workers, worker.peer) != view->workers.end()) threads += worker.hello.cores;
  jobs_.at(job).recorder->announce(static_cast<int>(threads));
}

// Fetches each tensor from its first holder, beside the loop.
void PoolServer::collect(const protocol::CollectState& what) {
  const Job& job = jobs_.at(what.job);
  struct Part {
    std::shared_ptr<net::Link> link;
    std::string holder;
    std::vector<protocol::TensorFacts> tensors;
  };
  const StateLayout& layout = *job.layout;
  std::set<std::string> offered, wanted, taken;
  for (const protocol::StateHolder& holder : what.holders)
    if (peers_.contains(holder.peer))
      for (const protocol::TensorFacts& tensor : holder.tensors) offered.insert(tensor.name);
  // Of lanes, those that are whole; of other replicas what all have and what there is of the rest: a run goes on without
  // (docs/formats/codecs.md, section 5).
  const std::size_t ranks = *std::ranges::max_element(job.replicas);
  std::vector<std::size_t> lanes = layout.whole_lanes(offered);
  for (std::size_t stage = 0; stage < job.replicas.size(); ++stage)
    for (std::size_t rank = 0; rank < job.replicas[stage]; ++rank)
      if (!layout.has_lanes() || std::ranges::count(lanes, rank) > 0)
        wanted.insert(layout.owned(stage, rank).begin(), layout.owned(stage, rank).end());
  std::vector<Part> parts;
  for (const protocol::StateHolder& holder : what.holders) {
    const auto peer = peers_.find(holder.peer);
    if (peer == peers_.end()) continue;
    Part part{peer->second.link, holder.peer.substr(0, 12), {}};
    for (const protocol::TensorFacts& tensor : holder.tensors)
      if ((wanted.contains(tensor.name) || !layout.has_lanes()) && taken.insert(tensor.name).second)
        part.tensors.push_back(tensor);
    if (!part.tensors.empty()) parts.push_back(std::move(part));
  }
  std::vector<std::string> lost;
  std::ranges::set_difference(wanted, taken, std::back_inserter(lost));
  const bool is_enough = std::ranges::includes(wanted, taken) && std::ranges::all_of(lost, is_of_one_replica) && !wanted.empty();
  for (const std::string& name : layout.has_lanes() ? layout.names_of_lanes_from(lanes.size()) : std::vector<std::string>())
    lost.push_back(name);
  if (is_enough && layout.has_lanes() && lanes.size() < ranks)
    job.recorder->warn({ErrorCode::unreachable,
                        "of the state after step " + std::to_string(what.step) + " " + std::to_string(lanes.size()) + " of " +
                            std::to_string(ranks) + " lanes are left whole: they are kept, and counted anew",
                        "job " + what.job, "a lane that is new when the run goes on begins with the weights that all share"});
  savings_.post([this, what, parts, is_enough, lost, lanes, recorder = job.recorder, layout = layout] {
    const auto name_kept = [&](std::string name) {
      for (std::size_t to = 0; to < lanes.size(); ++to)
        if (name.starts_with(replica_name(lanes[to], ""))) return layout.lane_name(name, lanes[to], to);
      return name;
    };
    const auto save = [&]() -> Status {
      if (!is_enough)
        return suanli::fail(ErrorCode::protocol, "the workers do not offer all tensors of the state, and no others",
                            "step " + std::to_string(what.step), "check that all workers run the same version of suanli");
      // An earlier state may have been one of fewer lanes.
      if (layout.has_lanes()) SUANLI_RETURN_IF_ERROR(Status(layout.fit(recorder->state()).map([](const auto&) {})));
      for (const Part& part : parts) {
        TensorRequest request;
        static_cast<protocol::JobEpoch&>(request) = {what.job, what.epoch};
        request.step = what.step;
        std::vector<std::vector<std::byte>> tensors;
        std::vector<std::span<std::byte>> buffers;
        for (const protocol::TensorFacts& facts : part.tensors) {
          SUANLI_ASSIGN_OR_RETURN(const Bytes size, layout.size_of(facts.name, recorder->state()));
          if (facts.bytes != size)
            return suanli::fail(ErrorCode::protocol,
                                "worker " + part.holder + " offers " + std::to_string(facts.bytes.value()) + " bytes of tensor " +
                                    facts.name + ", which has " + std::to_string(size.value()),
                                "step " + std::to_string(what.step), "check that all workers run the same version of suanli");
          request.names.push_back(facts.name);
          tensors.emplace_back(static_cast<std::size_t>(facts.bytes.value()));
        }
        for (std::vector<std::byte>& tensor : tensors) buffers.emplace_back(tensor);
        SUANLI_RETURN_IF_ERROR(desk_.fetch(*part.link, request, buffers));
        for (std::size_t i = 0; i < tensors.size(); ++i) {
          if (sha256(tensors[i]) != part.tensors[i].digest)
            return suanli::fail(
                ErrorCode::corrupt,
                "tensor " + part.tensors[i].name + " of worker " + part.holder + " does not have the digest that it said",
                "step " + std::to_string(what.step), "look at that machine's memory and network");
          SUANLI_RETURN_IF_ERROR(layout.write(name_kept(part.tensors[i].name), tensors[i], recorder->state()));
        }
      }
      for (const std::string& name : lost) recorder->state().remove(name);
      if (layout.has_lanes()) {
        SUANLI_ASSIGN_OR_RETURN(const engine::Arithmetic arithmetic, train::arithmetic_of(recorder->job()));
        SUANLI_RETURN_IF_ERROR(take_outer_step(recorder->state(), train::outer_params(recorder->graph()),
                                               train::local_steps_of(recorder->job()), arithmetic, lanes.size(), what.step));
      }
      return recorder->save(what.step);
    };
    Status saved = save();
    // Another holder's may be tried next, for which all of the layout must be there.
    if (!saved && !lost.empty())
      if (const auto fits = layout.fit(recorder->state()); !fits) saved = tl::unexpected(fits.error());
    loop_.post([this, job = what.job, step = what.step, saved = std::move(saved)] {
      const auto found = jobs_.find(job);
      if (!saved && found != jobs_.end()) found->second.recorder->warn(saved.error());
      if (found != jobs_.end() && found->second.saving == step) found->second.saving.reset();
      perform(machine_->on_saved(job, step, saved, now()));
      release(job);
    });
  });
}

// The state that a job begins from, to its workers.
Result<std::vector<SharedBytes>> PoolServer::give(const std::string& peer, const TensorRequest& request) {
  const auto found = jobs_.find(request.job);
  const auto view = machine_->job(request.job);
  if (!view || view->epoch != request.epoch || std::ranges::find(view->workers, peer) == view->workers.end())
    return suanli::fail(ErrorCode::unauthorised, "this worker has no part in the job", "job " + request.job,
                        "wait to be given one");
  // Later the state changes beside this thread, and nobody who is honest asks.
  if (found == jobs_.end() || !found->second.layout || view->state != protocol::JobState::preparing ||
      found->second.recorder->steps_done() != request.step)
    return suanli::fail(ErrorCode::not_found, "the state of step " + std::to_string(request.step) + " is not kept here",
                        "job " + request.job, "ask for the job's newest snapshot");
  std::vector<SharedBytes> tensors;
  for (const std::string& name : request.names) {
    SUANLI_ASSIGN_OR_RETURN(std::vector<std::byte> bytes, found->second.layout->read(name, found->second.recorder->state()));
    tensors.push_back(std::make_shared<const std::vector<std::byte>>(std::move(bytes)));
  }
  return tensors;
}

// ---- jobs

Result<protocol::JobId> PoolServer::submit(std::shared_ptr<RunRecorder> recorder, std::int64_t least_workers,
                                           std::optional<protocol::JobId> given) {
  Result<protocol::JobId> id = tl::unexpected(Error{ErrorCode::interrupted, "the coordinator has ended", "pool", ""});
  loop_.run_and_wait([&] {
    const train::JobConfig& job = recorder->job();
    protocol::JobRequest request;
    request.id = given ? *given : "job-" + std::to_string(++submitted_);
    request.name = job.run.dir;
    request.job_file = train::print_job(job);
    request.dataset = data::print_dataset(recorder->dataset().info());
    request.last_step = job.train.steps;
    if (recorder->steps_done() > 0 || !job.train.init.empty()) request.from_snapshot = recorder->steps_done();
    request.snapshot_every = recorder->dates().every();
    request.least_workers = least_workers;
    request.lanes = lanes_of(*recorder);
    jobs_[request.id].recorder = recorder;
    {
      const std::lock_guard lock(datasets_mutex_);
      datasets_[request.id] = std::make_shared<data::FolderShards>(recorder->dataset().folder(), recorder->dataset().info());
    }
    const protocol::JobId own = request.id;
    auto actions = machine_->on_submit(std::move(request), now());
    if (!actions) {
      jobs_.erase(own);
      const std::lock_guard lock(datasets_mutex_);
      datasets_.erase(own);
      id = tl::unexpected(actions.error());
      return;
    }
    id = own;
    perform(std::move(*actions));
  });
  return id;
}

Status PoolServer::cancel(const protocol::JobId& job) {
  Status cancelled = tl::unexpected(Error{ErrorCode::interrupted, "the coordinator has ended", "pool", ""});
  loop_.run_and_wait([&] {
    auto actions = machine_->on_cancel(job, now());
    cancelled = actions ? Status() : Status(tl::unexpected(actions.error()));
    if (actions) perform(std::move(*actions));
  });
  return cancelled;
}

std::optional<protocol::JobView> PoolServer::job(const protocol::JobId& job) {
  std::optional<protocol::JobView> view;
  loop_.run_and_wait([&] { view = machine_->job(job); });
  return view;
}

void PoolServer::with(const std::function<void(const protocol::Coordinator&, protocol::Moment)>& look) {
  loop_.run_and_wait([&] { look(*machine_, now()); });
}

}  // namespace suanli::pool
