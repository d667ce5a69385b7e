#include "suanli/pool/pool_host.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "suanli/base/clock.h"
#include "suanli/base/text.h"
#include "suanli/pool/control_views.h"

namespace suanli::pool {
namespace {

using nlohmann::ordered_json;

constexpr Seconds kLook{0.05}, kFarewell{0.5};
constexpr std::size_t kTokenDigits = 16;

std::string machine_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

// A folder with anything else in it is somebody's, and is not to be made a pool's by a slip of the pen.
Status check_content(const std::string& folder) {
  const std::set<std::string> own = {".lock", "authority", "key.pem", "numbers.json", "control.sock"};
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed))
    if (const std::string name = entry.path().filename(); !own.contains(name) && !name.starts_with(".tmp-"))
      return fail(ErrorCode::foreign, "the folder holds '" + printable(name) + "', which is not of a pool", folder,
                  "choose a folder of the pool's own");
  if (failed) return tl::unexpected(system_error(failed.value(), "looking into the pool's folder", folder));
  return {};
}

bool is_everywhere(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

}  // namespace

Result<std::unique_ptr<PoolHost>> PoolHost::create(HostOptions options) {
  auto host = std::unique_ptr<PoolHost>(new PoolHost(std::move(options)));
  if (Status started = host->start(); !started) {
    // A pool that has never run is not to stand among the user's pools.
    const PoolPaths paths{host->options_.folder};
    const bool was_made = host->is_new_;
    host.reset();
    std::error_code ignored;
    if (was_made)
      for (const std::string& path : {paths.authority(), paths.folder + "/key.pem", paths.numbers(), paths.socket()})
        std::filesystem::remove_all(path, ignored);
    if (was_made) std::filesystem::remove(paths.folder, ignored);  // if nothing else is in it
    return tl::unexpected(std::move(started).error());
  }
  return host;
}

PoolHost::~PoolHost() = default;

Status PoolHost::start() {
  const PoolPaths paths{options_.folder};
  began_ = real_clock().now();
  // Before anything is made that would have to be made again elsewhere.
  SUANLI_RETURN_IF_ERROR(check_socket_path(paths.socket()));
  SUANLI_RETURN_IF_ERROR(make_folders(options_.folder));
  SUANLI_RETURN_IF_ERROR(check_content(options_.folder));
  if (chmod(options_.folder.c_str(), 0700) != 0)
    return tl::unexpected(system_error(errno, "making the pool's folder its owner's alone", options_.folder));
  if (!std::filesystem::exists(paths.authority() + "/authority.json")) {
    SUANLI_RETURN_IF_ERROR(create_pool(options_.folder, options_.name));
    is_new_ = true;
  }
  ServerOptions server;
  server.folder = options_.folder;
  server.listen = options_.listen;
  server.on_event = [this](const protocol::PoolEvent& event) {
    events_.add(event);
    if (options_.on_event && !ends_) options_.on_event(event);
  };
  {
    // Held while the numbers are raised, so that no other coordinator raises them too; the server takes it over.
    SUANLI_ASSIGN_OR_RETURN(const net::Authority authority, net::Authority::open(paths.authority()));
    if (authority.certificate().pool() != options_.name)
      return fail(ErrorCode::mismatch, "the folder holds the pool '" + printable(authority.certificate().pool()) + "'",
                  options_.folder, "name that pool, or choose another folder");
    SUANLI_ASSIGN_OR_RETURN(PoolNumbers numbers, PoolNumbers::begin(paths.numbers()));
    numbers_ = std::make_unique<PoolNumbers>(std::move(numbers));
  }
  server.first_epoch = numbers_->first_epoch();
  SUANLI_ASSIGN_OR_RETURN(server_, PoolServer::create(std::move(server)));
  jobs_ = std::make_unique<HostedJobs>(*server_, *numbers_);
  SUANLI_ASSIGN_OR_RETURN(socket_,
                          ControlSocket::open(paths.socket(), [this](std::string_view line) { return answer_line(line); }));
  return {};
}

Result<net::JoinToken> PoolHost::make_token(net::TokenTerms terms) {
  terms.address = address();
  if (!options_.advertised.empty())
    terms.address.host = options_.advertised;
  else if (is_everywhere(terms.address.host))
    terms.address.host = machine_name();
  return server_->make_token(terms);
}

int PoolHost::run(train::StopFlag stop) {
  while (!train::is_stopped(stop)) real_clock().sleep_for(kLook);
  const int cancelled = jobs_->end();
  // Who follows a job looks a few times a second, and is to see how it ended.
  if (cancelled > 0) real_clock().sleep_for(kFarewell);
  ends_ = true;
  return cancelled;
}

// ---- answers, on the socket's threads

std::string PoolHost::answer_line(std::string_view line) {
  const auto request = parse_request(line, PoolPaths{options_.folder}.socket());
  if (!request) return print_answer(tl::unexpected(request.error()));
  return print_answer(answer(*request));
}

Result<ordered_json> PoolHost::answer(const ControlRequest& request) {
  switch (request.ask) {
    case Ask::status:
      return status();
    case Ask::peers:
      return peers();
    case Ask::links:
      return links();
    case Ask::jobs:
      return jobs();
    case Ask::job:
      return job(request.name);
    case Ask::revoke:
      return revoke(request.name);
    case Ask::events: {
      ordered_json list = ordered_json::array();
      for (const EventLog::Entry& entry : events_.after(request.after, request.subject)) list.push_back(view_of(entry));
      return list;
    }
    case Ask::token: {
      SUANLI_ASSIGN_OR_RETURN(const net::JoinToken token, make_token({.lifetime = request.lifetime, .uses = request.uses}));
      return ordered_json{
          {"token", token.to_string()}, {"id", token.id}, {"expires", token.expires.value()}, {"uses", request.uses}};
    }
    case Ask::submit: {
      SUANLI_ASSIGN_OR_RETURN(const protocol::JobId id, jobs_->submit(request.job_file, request.resume));
      const auto record = jobs_->record(id);
      return ordered_json{{"job", id}, {"run", record->run}, {"metrics_from", record->metrics_from}};
    }
    case Ask::cancel: {
      SUANLI_RETURN_IF_ERROR(server_->cancel(request.name));
      return job(request.name);
    }
  }
  return fail(ErrorCode::protocol, "there is no such request");
}

ordered_json PoolHost::status() {
  ordered_json view;
  server_->with([&](const protocol::Coordinator& coordinator, protocol::Moment) {
    const protocol::StatusView status = coordinator.status();
    view["pool"] = status.pool;
    view["version"] = status.version;
    view["address"] = address().to_string();
    view["folder"] = options_.folder;
    view["up_seconds"] = (real_clock().now() - began_).value();
    view["workers"] = status.workers;
    view["idle"] = status.idle;
    view["cores"] = status.cores;
    view["memory_bytes"] = status.memory.value();
    view["f32_flops_per_s"] = status.rates.f32.value();
    view["bf16_flops_per_s"] = status.rates.bf16.value();
    view["exact_flops_per_s"] = status.rates.exact.value();
    view["running"] = status.running ? ordered_json(*status.running) : ordered_json(nullptr);
    view["queued"] = status.queued;
    view["dropped_messages"] = status.dropped_messages;
  });
  return view;
}

ordered_json PoolHost::peers() {
  ordered_json list = ordered_json::array();
  server_->with([&](const protocol::Coordinator& coordinator, protocol::Moment at) {
    for (const protocol::WorkerView& worker : coordinator.workers(at)) list.push_back(view_of(worker));
  });
  return list;
}

ordered_json PoolHost::links() {
  ordered_json list = ordered_json::array();
  server_->with([&](const protocol::Coordinator& coordinator, protocol::Moment at) {
    const WorkerNames names = names_of(coordinator.workers(at));
    for (const protocol::LineFacts& line : coordinator.lines()) list.push_back(view_of(line, names, at.now));
  });
  return list;
}

ordered_json PoolHost::jobs() {
  ordered_json list = ordered_json::array();
  server_->with([&](const protocol::Coordinator& coordinator, protocol::Moment at) {
    const WorkerNames names = names_of(coordinator.workers(at));
    for (const protocol::JobView& job : coordinator.jobs()) list.push_back(view_of(job, jobs_->record(job.id), names));
  });
  return list;
}

Result<ordered_json> PoolHost::job(const protocol::JobId& id) {
  std::optional<ordered_json> view;
  std::vector<std::string> ids;
  server_->with([&](const protocol::Coordinator& coordinator, protocol::Moment at) {
    if (const auto job = coordinator.job(id)) view = view_of(*job, jobs_->record(id), names_of(coordinator.workers(at)));
    for (const protocol::JobView& each : coordinator.jobs()) ids.push_back(each.id);
  });
  if (view) return *view;
  return fail(ErrorCode::not_found,
              "there is no job '" + printable(id) + "' since the coordinator began" + did_you_mean(id, ids),
              "pool " + options_.name,
              ids.empty() ? "it has had none; the run of an earlier one is in its folder, and --resume goes on with it"
                          : "`suanli status` lists them");
}

// A token by its id; or else a worker: by its name, if it is connected, or by the start of its id.
Result<ordered_json> PoolHost::revoke(const std::string& what) {
  std::set<net::PeerId> found;
  bool is_token = false;
  Status revoked;
  server_->with([&](const protocol::Coordinator& coordinator, protocol::Moment at) {
    for (const protocol::WorkerView& worker : coordinator.workers(at))
      if (worker.hello.name == what)
        if (const auto id = net::PeerId::from_hex(worker.peer)) found.insert(*id);
  });
  const bool has_ended = !server_->with_authority([&](net::Authority& authority) {
    const auto& tokens = authority.state().tokens;
    is_token = what.size() == kTokenDigits && std::ranges::find(tokens, what, &net::IssuedToken::id) != tokens.end();
    if (is_token) {
      revoked = authority.revoke_token(what);
      return;
    }
    if (!found.empty() || what.size() < 4) return;
    for (const net::IssuedCertificate& each : authority.state().certificates)
      if (each.role == net::Role::worker && each.peer.hex().starts_with(what)) found.insert(each.peer);
  });
  if (has_ended) return fail(ErrorCode::interrupted, "the coordinator ends", "pool " + options_.name);
  SUANLI_RETURN_IF_ERROR(revoked);
  if (is_token) return ordered_json{{"kind", "token"}, {"id", what}};
  if (found.empty())
    return fail(ErrorCode::not_found, "no worker or token of the pool is called '" + printable(what) + "'",
                "pool " + options_.name, "`suanli pool peers` lists the workers; of others give at least 4 digits of the id");
  if (found.size() > 1)
    return fail(ErrorCode::usage, std::to_string(found.size()) + " workers are called '" + printable(what) + "'",
                "pool " + options_.name, "give more digits of the id, which `suanli pool peers --json` prints");
  SUANLI_RETURN_IF_ERROR(server_->revoke(*found.begin()));
  return ordered_json{{"kind", "worker"}, {"id", found.begin()->hex()}};
}

}  // namespace suanli::pool
