#include "suanli/pool/worker_process.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/system.h"
#include "suanli/base/text.h"
#include "suanli/engine/device.h"
#include "suanli/meter/peak.h"
#include "suanli/net/line_probe.h"
#include "suanli/pool/owner_hours.h"
#include "suanli/pool/reachable_address.h"
#include "suanli/pool/shard_feed.h"
#include "suanli/pool/shard_urls.h"
#include "suanli/train/run_folder.h"

namespace suanli::pool {
namespace {

constexpr Seconds kTick{0.1}, kRedial{0.5}, kDialDeadline{10}, kLinksDeadline{60}, kLinesEvery{5}, kDialAnyway{5},
    kRenewEvery{3600};

Seconds monotonic() { return real_clock().now(); }
Seconds wall() { return Seconds(static_cast<double>(net::wall_time_now().value())); }

struct IdentityFiles {
  std::string folder;
  std::string key() const { return folder + "/key.pem"; }
  std::string certificate() const { return folder + "/certificate.pem"; }
  std::string authority() const { return folder + "/authority.pem"; }
  std::string coordinator() const { return folder + "/coordinator"; }
};

// Joins by the token, or takes what an earlier joining left.
Result<net::TlsIdentity> identity_of(const WorkerOptions& options, net::Address& coordinator) {
  const IdentityFiles files{options.folder};
  SUANLI_ASSIGN_OR_RETURN(net::PrivateKey key, net::PrivateKey::load_or_create(files.key()));
  if (options.token) {
    SUANLI_ASSIGN_OR_RETURN(
        const net::Joined joined,
        net::join_pool(*options.token, key, {.software = "suanli " + std::string(train::suanli_version())}, Seconds(30)));
    coordinator = options.token->address;
    // The certificate last: where it is, the others are.
    SUANLI_RETURN_IF_ERROR(write_file_atomic(files.authority(), as_bytes(joined.authority.pem())));
    SUANLI_RETURN_IF_ERROR(write_file_atomic(files.coordinator(), as_bytes(coordinator.to_string())));
    SUANLI_RETURN_IF_ERROR(write_file_atomic(files.certificate(), as_bytes(joined.own.pem())));
    return net::TlsIdentity{joined.authority, joined.own, std::move(key)};
  }
  if (!std::filesystem::exists(files.certificate()))
    return tl::unexpected(Error{ErrorCode::not_found, "this machine has joined no pool yet", options.folder,
                                "ask the pool's operator for a token, then: suanli worker --join TOKEN"});
  SUANLI_ASSIGN_OR_RETURN(net::Certificate own, net::Certificate::load(files.certificate()));
  SUANLI_ASSIGN_OR_RETURN(net::Certificate authority, net::Certificate::load(files.authority()));
  SUANLI_ASSIGN_OR_RETURN(const std::string address, read_file(files.coordinator(), Bytes(1 << 10)));
  SUANLI_ASSIGN_OR_RETURN(coordinator, net::Address::parse(address));
  return net::TlsIdentity{std::move(authority), std::move(own), std::move(key)};
}

protocol::Rates measure_rates(int threads) {
  const auto device = engine::make_cpu_device(threads);
  const meter::PeakOptions quick{.size = 512, .products = 4, .duration = Seconds(0.1)};
  const auto rate = [&](engine::Arithmetic arithmetic) {
    return meter::measure_peak(*device, arithmetic, real_clock(), quick).value_or(FlopsPerSecond(0));
  };
  return {rate(engine::Arithmetic::f32), rate(engine::Arithmetic::bf16), rate(engine::Arithmetic::exact)};
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::create(WorkerOptions options) {
  SUANLI_RETURN_IF_ERROR(make_folders(options.folder));
  auto worker = std::unique_ptr<WorkerProcess>(new WorkerProcess(std::move(options)));
  SUANLI_RETURN_IF_ERROR(worker->start());
  return worker;
}

WorkerProcess::~WorkerProcess() {
  loop_.stop();
  runner_.reset();
}

Status WorkerProcess::start() {
  SUANLI_ASSIGN_OR_RETURN(lock_, FolderLock::acquire(options_.folder));
  SUANLI_ASSIGN_OR_RETURN(net::TlsIdentity identity, identity_of(options_, coordinator_));
  own_id_ = identity.key.id().hex();
  const std::uint64_t seed =
      static_cast<std::uint64_t>(identity.key.id().bytes[0]) << 8 | static_cast<std::uint64_t>(identity.key.id().bytes[1]);
  SUANLI_ASSIGN_OR_RETURN(const auto context, net::TlsContext::create(std::move(identity)));
  net::NodeOptions node;
  node.link.most_control_bytes = 2 * kMostTextBytes;
  node.line = [this](const net::PeerId& peer) { return line_to(peer); };
  SUANLI_ASSIGN_OR_RETURN(cache_, data::ShardCache::open(options_.folder + "/shards", options_.cache));
  service_ = std::make_unique<ShardService>(
      std::vector<ShardService::Find>{[this](const Digest& digest) { return cache_->peek(digest); }}, ShardServiceOptions{});
  node_ = std::make_unique<net::Node>(context, std::move(node));
  node_->accept_relayed([this](std::shared_ptr<net::Link> link) { take_peer(std::move(link)); });
  if (options_.listen) {
    SUANLI_ASSIGN_OR_RETURN(options_.listen, node_->listen(*options_.listen, [this](std::shared_ptr<net::Link> link) {
      take_peer(std::move(link));
    }));
    node_->allow_relay({});
  }
  runner_ = std::make_unique<JobRunner>(
      [this](const protocol::RunnerEvent& event) {
        loop_.post([this, event] { perform(machine_->on_runner(event, monotonic())); });
      },
      desk_);
  machine_ = std::make_unique<protocol::Worker>(protocol::WorkerRules{.seed = seed}, facts());
  return {};
}

protocol::Hello WorkerProcess::facts() const {
  protocol::Hello hello;
  hello.version = train::suanli_version();
  hello.name = options_.name;
  if (options_.listen) hello.listen = reachable_address(*options_.listen, coordinator_).to_string();
  hello.cores = options_.threads;
  hello.memory = options_.memory;
  hello.rates = measure_rates(options_.threads);
  hello.share = options_.share;
  hello.cap = options_.cap;
  hello.hours = options_.hours;
  hello.place = options_.place;
  return hello;
}

Status WorkerProcess::run(train::StopFlag stop) {
  loop_.post([this] { perform(machine_->start(monotonic())); });
  bool is_leaving = false;
  loop_.run(kTick, [&] {
    if (train::is_stopped(stop) && !std::exchange(is_leaving, true))
      perform(machine_->on_leave("it was stopped by its owner", monotonic()));
    if (options_.hours && !is_within(*options_.hours, minute_of_day()) && !std::exchange(is_leaving, true))
      perform(machine_->on_leave("its hours are over; they begin again at " + clock_text(options_.hours->from), monotonic()));
    tick();
  });
  return ended_.value_or(Status());
}

void WorkerProcess::tick() {
  const Seconds now = monotonic();
  perform(machine_->on_tick(now));
  if (dial_at_ && now >= *dial_at_) {
    dial_at_.reset();
    dial_coordinator();
  }
  for (auto& [id, peer] : peers_)
    if (!peer.link && !peer.is_dialling && now >= peer.dial_at) dial_peer(id, peer);
  try_prepare();
  if (now - lines_at_ >= kLinesEvery) {
    lines_at_ = now;
    report_lines();
  }
  if (now >= renew_at_) {
    renew_at_ = now + kRenewEvery;
    renew_certificate();
  }
}

// ---- the coordinator

void WorkerProcess::renew_certificate() {
  const std::string path = IdentityFiles{options_.folder}.certificate();
  const auto own = net::Certificate::load(path);
  if (!coordinator_link_ || !own || !net::is_renewal_due(*own, net::wall_time_now())) return;
  node_->renew(coordinator_link_, kDialDeadline, [path](const Result<net::Certificate>& newer) {
    if (newer) (void)write_file_atomic(path, as_bytes(newer->pem()));
  });
}

std::shared_ptr<PeerShards> WorkerProcess::serve(const std::shared_ptr<net::Link>& link, const std::string& name,
                                                 std::function<void(std::uint32_t, std::span<const std::byte>)> other) {
  auto shards = std::make_shared<PeerShards>(link, name, PeerShardsOptions{});
  // The link owns its handler.
  link->on_message([this, weak = std::weak_ptr(link), source = std::weak_ptr(shards), other = std::move(other)](
                       std::uint32_t kind, std::span<const std::byte> payload) {
    const auto own = weak.lock();
    const auto from = source.lock();
    if (!own) return;
    Status status;
    if (kind == kShardAnswerKind && from)
      status = from->on_answer(payload);
    else if (is_shard_kind(kind))
      status = service_->on_message(own, kind, payload);
    else if (other && is_text_kind(kind))
      other(kind, payload);
    if (!status) own->close(status.error());
  });
  net::serve_probes(link);
  return shards;
}

void WorkerProcess::dial_coordinator() {
  const auto dialled = [this](Result<std::shared_ptr<net::Link>> link) {
    if (link) return take_coordinator(std::move(*link));
    loop_.post([this, why = link.error()] {
      note("the coordinator is not reached: " + why.to_string());
      perform(machine_->on_lost(why, monotonic()));
    });
  };
  node_->connect(coordinator_, {std::nullopt, net::Role::coordinator}, kDialDeadline, dialled);
}

// On the reactor's thread, before the link starts.
void WorkerProcess::take_coordinator(std::shared_ptr<net::Link> link) {
  const net::Link* raw = link.get();
  const auto shards = serve(link, "coordinator", [this, raw](std::uint32_t kind, std::span<const std::byte> payload) {
    loop_.post([this, raw, kind, bytes = std::vector<std::byte>(payload.begin(), payload.end())] {
      if (coordinator_link_.get() != raw) return;
      const auto text = coordinator_texts_.add(kind, bytes);
      if (!text) return coordinator_link_->close(text.error());
      if (*text) on_coordinator_text(**text);
    });
  });
  link->on_closed([this, raw](const Error& why) {
    loop_.post([this, raw, why] {
      if (coordinator_link_.get() != raw) return;
      coordinator_link_.reset();
      note("the coordinator is gone: " + printable(why.message, 300));
      perform(machine_->on_lost(why, monotonic()));
    });
  });
  loop_.post([this, link = std::move(link), shards] {
    coordinator_shards_ = shards;
    on_coordinator(link);
  });
}

void WorkerProcess::on_coordinator(std::shared_ptr<net::Link> link) {
  coordinator_link_ = std::move(link);
  // The coordinator tells anew who is there.
  std::erase_if(peers_, [](const auto& peer) { return !peer.second.link && !peer.second.is_dialling; });
  coordinator_texts_ = {};
  perform(machine_->on_connected(monotonic(), wall()));
}

void WorkerProcess::on_coordinator_text(const TextReader::Text& text) {
  if (text.kind == TextKind::request) {
    const Status answered =
        desk_.on_request(coordinator_link_, text.text, [this](const TensorRequest& request) { return runner_->given(request); });
    if (!answered) coordinator_link_->close(answered.error());
    return;
  }
  if (text.kind == TextKind::response) return desk_.on_response(text.text, "coordinator");
  const auto message = protocol::parse_to_worker(text.text, "coordinator");
  if (!message) {
    const std::shared_ptr<net::Link> link = std::exchange(coordinator_link_, nullptr);
    link->close(message.error());
    return perform(machine_->on_lost(message.error(), monotonic()));
  }
  note(*message);
  perform(machine_->on_message(*message, monotonic()));
}

void WorkerProcess::note(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void WorkerProcess::note(const protocol::ToWorker& message) const {
  if (const auto* welcome = std::get_if<protocol::Welcome>(&message))
    note("in pool '" + printable(welcome->pool, 60) + "' as member " + std::to_string(welcome->member) + ", waiting for work");
  if (const auto* assign = std::get_if<protocol::Assign>(&message))
    note(printable(assign->job, 60) + ": has a part for this machine, and " + std::to_string(assign->peers.size()) + " others");
  if (const auto* begin = std::get_if<protocol::Begin>(&message)) note(printable(begin->job, 60) + ": runs");
  if (const auto* settle = std::get_if<protocol::Settle>(&message))
    note(printable(settle->job, 60) + ": goes on no further; its state after step " + std::to_string(settle->step) + " is kept");
  if (const auto* stop = std::get_if<protocol::Stop>(&message))
    note(printable(stop->job, 60) + ": is over" + (stop->error ? ": " + printable(stop->error->message, 300) : ""));
}

void WorkerProcess::say(const protocol::ToCoordinator& message) {
  if (!coordinator_link_) return;
  const auto text = protocol::encode(message);
  if (!text) return coordinator_link_->close(text.error());
  if (const Status sent = send_text(*coordinator_link_, TextKind::control, *text); !sent) coordinator_link_->close(sent.error());
}

// ---- actions

void WorkerProcess::perform(protocol::WorkerActions actions) {
  for (protocol::WorkerAction& action : actions) perform_one(action);
}

void WorkerProcess::perform_one(protocol::WorkerAction& any) {
  std::visit(
      [this](auto& action) {
        using Action = std::remove_reference_t<decltype(action)>;
        if constexpr (std::is_same_v<Action, protocol::Say>) {
          say(action.message);
        } else if constexpr (std::is_same_v<Action, protocol::Dial>) {
          dial_at_ = monotonic() + action.after;
        } else if constexpr (std::is_same_v<Action, protocol::HangUp>) {
          if (const auto link = std::exchange(coordinator_link_, nullptr)) link->close(action.why);
        } else if constexpr (std::is_same_v<Action, protocol::MeetPeers>) {
          meet(action.now);
        } else if constexpr (std::is_same_v<Action, protocol::PrepareJob>) {
          waiting_job_ = std::move(action);
          waiting_since_ = monotonic();
          try_prepare();
        } else if constexpr (std::is_same_v<Action, protocol::RunStep>) {
          runner_->run_step(action);
        } else if constexpr (std::is_same_v<Action, protocol::CommitStep>) {
          runner_->commit_step(action);
        } else if constexpr (std::is_same_v<Action, protocol::GiveState>) {
          runner_->give_state(action);
        } else if constexpr (std::is_same_v<Action, protocol::LeaveStep>) {
          runner_->leave(action);
        } else if constexpr (std::is_same_v<Action, protocol::DropJob>) {
          waiting_job_.reset();
          runner_->drop(action.why.value_or(Error{ErrorCode::cancelled, "the job is over", "job " + action.job, ""}));
        } else {
          if (action.why) ended_ = tl::unexpected(*action.why);
          loop_.stop();
        }
      },
      any);
}

// ---- other workers

// Of two that both listen, the one of the smaller id dials; the other only after a while, in case it is not reached itself.
void WorkerProcess::meet(const protocol::Peers& news) {
  {
    const std::lock_guard lock(places_mutex_);
    for (const protocol::PeerRoute& route : news.peers) places_[route.id] = route.place;
  }
  for (const protocol::PeerRoute& route : news.peers) {
    Peer& peer = peers_[route.id];
    peer.route = route;
    peer.dial_at = monotonic() + (dials_second(route.id) ? kDialAnyway : Seconds(0));
  }
  for (const std::string& id : news.gone) {
    {
      const std::lock_guard lock(places_mutex_);
      places_.erase(id);
    }
    const auto found = peers_.find(id);
    if (found == peers_.end()) continue;
    if (found->second.link) found->second.link->close();
    peers_.erase(found);
  }
}

void WorkerProcess::dial_peer(const std::string& id, Peer& peer) {
  const auto expected = net::PeerId::from_hex(id);
  peer.dial_at = monotonic() + kRedial;
  const auto dialled = [this, id](Result<std::shared_ptr<net::Link>> link) {
    loop_.post([this, id] {
      if (const auto found = peers_.find(id); found != peers_.end()) found->second.is_dialling = false;
    });
    if (link) take_peer(std::move(*link));
  };
  const auto address_of = [](const Peer& other) {
    return other.route.address ? net::Address::parse(*other.route.address) : tl::unexpected(Error{});
  };
  if (const auto address = address_of(peer); address && expected) {
    peer.is_dialling = true;
    return node_->connect(*address, {*expected, net::Role::worker}, kDialDeadline, dialled);
  }
  // Of two that meet through a relay, the one of the smaller id calls.
  const auto relay = peer.route.relay && own_id_ < id ? peers_.find(*peer.route.relay) : peers_.end();
  if (relay == peers_.end() || !expected) return;
  const auto through = address_of(relay->second);
  const auto relay_id = net::PeerId::from_hex(relay->first);
  if (!through || !relay_id) return;
  peer.is_dialling = true;
  node_->connect_through(*through, {*relay_id, net::Role::worker}, *expected, "neither of the two listens", kDialDeadline,
                         dialled);
}

void WorkerProcess::probe(const std::string& id, Peer& peer) {
  if (peer.is_probed || own_id_ > id) return;  // one of the two, for both directions
  peer.is_probed = true;
  net::probe_line(peer.link, {}, [this, id](const Result<net::LineProbe>& probed) {
    loop_.post([this, id, failed = !probed.has_value()] {
      const auto found = peers_.find(id);
      if (failed && found != peers_.end()) found->second.is_probed = false;
      report_lines();
    });
  });
}

// On the reactor's thread.
void WorkerProcess::take_peer(std::shared_ptr<net::Link> link) {
  const std::string id = link->peer().key().hex();
  {
    // A line cannot be emulated to nobody knows where: who dials tries again.
    const std::lock_guard lock(places_mutex_);
    if (options_.lines && !places_.contains(id))
      return link->close({ErrorCode::busy, "this worker has not been told of you yet", "link", "dial again"});
  }
  const auto shards = serve(link, id.substr(0, 12), nullptr);
  link->on_closed([this, id, raw = link.get()](const Error&) {
    loop_.post([this, id, raw] {
      const auto found = peers_.find(id);
      if (found == peers_.end() || found->second.link.get() != raw) return;
      found->second.link.reset();
      found->second.shards.reset();
      found->second.is_probed = false;
      found->second.dial_at = monotonic() + (dials_second(id) ? kDialAnyway : kRedial);
    });
  });
  loop_.post([this, id, link, shards] {
    Peer& peer = peers_[id];
    if (peer.link && !peer.link->is_closed())
      return link->close({ErrorCode::busy, "there is a link between the two workers already", "link", ""});
    peer.link = link;
    peer.shards = shards;
    probe(id, peer);
    try_prepare();
  });
}

std::optional<net::LineOptions> WorkerProcess::line_to(const net::PeerId& peer) {
  if (!options_.lines) return std::nullopt;
  const std::lock_guard lock(places_mutex_);
  const auto found = places_.find(peer.hex());
  // Nobody but the coordinator has a link before this worker has been told of it.
  const auto from = options_.lines->find(options_.place);
  const auto to = found == places_.end() ? options_.lines->place_of_coordinator() : options_.lines->find(found->second);
  if (!from || !to) return std::nullopt;
  return options_.lines->line(*from, *to);
}

// Begins the job as soon as all its peers are linked.
void WorkerProcess::try_prepare() {
  if (!waiting_job_ || !coordinator_link_) return;
  const protocol::Assign& assign = waiting_job_->assign;
  std::map<WorkerIndex, std::shared_ptr<net::Link>> links;
  std::string missing;
  for (const protocol::PeerRoute& route : assign.peers) {
    const auto found = peers_.find(route.id);
    if (found != peers_.end() && found->second.link && !found->second.link->is_closed())
      links[route.index] = found->second.link;
    else
      missing += (missing.empty() ? "" : ", ") + route.id.substr(0, 12) + (route.address ? " at " + *route.address : "");
  }
  if (!missing.empty()) {
    if (monotonic() - waiting_since_ < kLinksDeadline) return;
    const protocol::Failed failed{
        assign,
        {ErrorCode::unreachable, "no link to " + missing + " after " + format_duration(kLinksDeadline), "worker " + options_.name,
         "let one of the two listen where the other can dial it (--listen)"}};
    waiting_job_.reset();
    return perform(machine_->on_runner(failed, monotonic()));
  }
  // Whoever of the job's peers has a shard already gives it; the coordinator has them all, and is asked last.
  std::vector<std::shared_ptr<data::ShardSource>> sources;
  for (const protocol::PeerRoute& route : assign.peers)
    if (const auto& shards = peers_.at(route.id).shards) sources.push_back(shards);
  sources.push_back(coordinator_shards_);
  JobNeeds needs{.assign = assign,
                 .links = std::move(links),
                 .coordinator = coordinator_link_,
                 .make_feed = [this, sources](const protocol::Assign& job, const train::JobConfig& config,
                                              const route::WorkerOrder& order) { return make_feed(job, config, sources, order); },
                 .threads = options_.threads,
                 .memory_limit = options_.memory,
                 .cap = options_.cap,
                 .folder = options_.folder};
  waiting_job_.reset();
  runner_->prepare(std::move(needs));
}

namespace {

class CachedFeed final : public SampleFeed {
 public:
  explicit CachedFeed(std::unique_ptr<ShardFeed> feed) : feed_(std::move(feed)) {}
  Status fill(train::Batch& batch, std::int64_t step, std::int64_t micro_batch) override {
    return feed_->fill(batch, step, micro_batch);
  }
  void stop() override { feed_->stop(); }

 private:
  std::unique_ptr<ShardFeed> feed_;
};

}  // namespace

Result<std::unique_ptr<SampleFeed>> WorkerProcess::make_feed(const protocol::Assign& assign, const train::JobConfig& job,
                                                             std::vector<std::shared_ptr<data::ShardSource>> sources,
                                                             const route::WorkerOrder& order) {
  const std::string place = "job " + assign.job;
  SUANLI_ASSIGN_OR_RETURN(data::DatasetInfo info, data::parse_dataset(assign.dataset, place + ", dataset"));
  SUANLI_ASSIGN_OR_RETURN(const data::Sampler sampler, sampler_of(assign, job));
  ShardFeedOptions how;
  how.warn = options_.log;
  const auto named = sources_at(job.data.sources);
  sources.insert(sources.end() - 1, named.begin(), named.end());
  SUANLI_ASSIGN_OR_RETURN(auto feed, ShardFeed::create(std::move(info), job.model.context, sampler, job.train.batch, *cache_,
                                                       std::move(sources), std::move(how)));
  std::vector<std::int64_t> mine;
  for (const route::Work& work : order.work)
    if (work.phase == graph::Phase::forward) mine.push_back(work.micro_batch);
  feed->will_need(assign.begin_step - 1, std::move(mine));
  return std::make_unique<CachedFeed>(std::move(feed));
}

// Those that cannot be asked are told of once and left out: there are others.
std::vector<std::shared_ptr<data::ShardSource>> WorkerProcess::sources_at(const std::vector<std::string>& urls) const {
  std::vector<std::shared_ptr<data::ShardSource>> sources;
  for (const std::string& url : urls) {
    if (!options_.asks_urls) continue;
    auto source = source_at(url, environment_of_process);
    if (source)
      sources.push_back(std::move(*source));
    else
      note("shards are not fetched from there: " + source.error().to_string());
  }
  return sources;
}

void WorkerProcess::report_lines() {
  for (auto& [id, peer] : peers_) {
    if (!peer.link) continue;
    probe(id, peer);
    const net::LinkMeasures measures = peer.link->measures();
    if (measures.pings == 0) continue;
    const auto known = [](BytesPerSecond seen, BytesPerSecond probed) { return seen.value() > 0 ? seen : probed; };
    // Who has not probed has nothing to say until there is traffic.
    const BytesPerSecond out = known(measures.rate_out, measures.probed_out), in = known(measures.rate_in, measures.probed_in);
    if (out.value() > 0 && in.value() > 0) perform(machine_->on_line({id, measures.delay_out(), out, in}));
  }
}

}  // namespace suanli::pool
