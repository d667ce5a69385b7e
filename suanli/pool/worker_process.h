// A machine in a pool: joins, keeps links to the coordinator and to other workers, and computes the stages that it is given.
//
//   auto worker = WorkerProcess::create(options);  worker->run(stop);
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "suanli/data/shard_cache.h"
#include "suanli/net/join.h"
#include "suanli/net/link_map.h"
#include "suanli/net/node.h"
#include "suanli/pool/event_loop.h"
#include "suanli/pool/job_runner.h"
#include "suanli/pool/message_channel.h"
#include "suanli/pool/shard_peer.h"
#include "suanli/pool/shard_service.h"
#include "suanli/pool/tensor_desk.h"
#include "suanli/protocol/worker.h"
#include "suanli/train/evaluation.h"

namespace suanli::pool {

struct WorkerOptions {
  std::string folder;                   // identity and shards; made if missing
  std::optional<net::JoinToken> token;  // needed the first time
  std::optional<net::Address> listen;   // none: it dials out only
  std::string name, place;
  int threads = 1;
  Bytes memory;
  Bytes cache{std::int64_t{20} << 30};  // the most that shards may take on disk
  double share = 1;
  std::optional<FlopsPerSecond> cap;           // kept in every second
  std::optional<protocol::HoursWindow> hours;  // of this machine's zone; run() ends when they do
  bool asks_urls = true;                       // for shards, where a job names some (shard_urls.h)
  std::optional<net::LinkMap> lines;           // emulated; `place` names where it lies
  std::function<void(const std::string&)> log;
};

class WorkerProcess {
 public:
  // Joins the pool, if it has not yet. Errors: as of net::join_pool; busy (the port, or another worker in the folder); not_found
  // (no token and no identity).
  static Result<std::unique_ptr<WorkerProcess>> create(WorkerOptions options);
  ~WorkerProcess();

  // Until stopped, until the owner's hours are over, or until the pool refuses the worker: that is the error.
  Status run(train::StopFlag stop);

 private:
  explicit WorkerProcess(WorkerOptions options) : options_(std::move(options)) {}
  Status start();
  protocol::Hello facts() const;
  void perform(protocol::WorkerActions actions);
  void perform_one(protocol::WorkerAction& action);
  void dial_coordinator();
  void take_coordinator(std::shared_ptr<net::Link> link);
  void on_coordinator(std::shared_ptr<net::Link> link);
  void on_coordinator_text(const TextReader::Text& text);
  // Tells the owner what a message means for this machine.
  void note(const protocol::ToWorker& message) const;
  void note(const std::string& line) const;
  void meet(const protocol::Peers& news);
  struct Peer {
    protocol::PeerRoute route;
    std::shared_ptr<net::Link> link;
    std::shared_ptr<PeerShards> shards;
    bool is_dialling = false, is_probed = false;
    Seconds dial_at{0};
  };
  bool dials_second(const std::string& peer) const { return options_.listen && own_id_ > peer; }
  void dial_peer(const std::string& id, Peer& peer);
  void take_peer(std::shared_ptr<net::Link> link);
  // Reactor's thread, before the link starts: what every link of a worker serves. The source stands for the peer's shards.
  std::shared_ptr<PeerShards> serve(const std::shared_ptr<net::Link>& link, const std::string& name,
                                    std::function<void(std::uint32_t, std::span<const std::byte>)> other);
  void probe(const std::string& id, Peer& peer);
  void renew_certificate();
  // The first of them are the job's other workers, the last is the coordinator.
  Result<std::unique_ptr<SampleFeed>> make_feed(const protocol::Assign& assign, const train::JobConfig& job,
                                                std::vector<std::shared_ptr<data::ShardSource>> sources,
                                                const route::WorkerOrder& order);
  std::vector<std::shared_ptr<data::ShardSource>> sources_at(const std::vector<std::string>& urls) const;
  void try_prepare();
  void tick();
  void report_lines();
  void say(const protocol::ToCoordinator& message);
  std::optional<net::LineOptions> line_to(const net::PeerId& peer);

  WorkerOptions options_;
  std::optional<FolderLock> lock_;
  std::string own_id_;
  net::Address coordinator_;
  EventLoop loop_;
  TensorDesk desk_{[this](std::function<void()> work) { loop_.post(std::move(work)); }};
  std::unique_ptr<protocol::Worker> machine_;
  std::optional<Status> ended_;
  std::shared_ptr<net::Link> coordinator_link_;
  std::shared_ptr<PeerShards> coordinator_shards_;
  TextReader coordinator_texts_;
  std::optional<Seconds> dial_at_;
  std::map<std::string, Peer> peers_;  // by id
  std::mutex places_mutex_;            // guards the places, which the reactor asks for
  std::map<std::string, std::string> places_;
  std::optional<protocol::PrepareJob> waiting_job_;  // for links to its peers
  Seconds waiting_since_, lines_at_, renew_at_;
  std::unique_ptr<data::ShardCache> cache_;
  std::unique_ptr<ShardService> service_;
  std::unique_ptr<JobRunner> runner_;
  std::unique_ptr<net::Node> node_;  // ends before what its handlers use
};

}  // namespace suanli::pool
