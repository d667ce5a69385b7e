// A pool's coordinator as a program: listens, lets machines join, drives the state machine (protocol/coordinator.h) by what comes
// over links, and collects and records what jobs make.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "suanli/data/shard_source.h"
#include "suanli/net/authority.h"
#include "suanli/net/node.h"
#include "suanli/pool/event_loop.h"
#include "suanli/pool/message_channel.h"
#include "suanli/pool/run_recorder.h"
#include "suanli/pool/shard_service.h"
#include "suanli/pool/simple_placing.h"
#include "suanli/pool/state_layout.h"
#include "suanli/pool/tensor_desk.h"
#include "suanli/protocol/coordinator.h"

namespace suanli::pool {

struct ServerOptions {
  std::string folder;  // of the pool: authority and identity
  net::Address listen;
  protocol::Epoch first_epoch = 1;                           // above all epochs of the pool's earlier coordinators
  std::function<void(const protocol::PoolEvent&)> on_event;  // on the server's thread
  // The line that goes from here to a worker, if it is emulated; on the reactor's thread. May be empty.
  std::function<std::optional<net::LineOptions>(const net::PeerId&)> line;
};

// What a pool's folder holds (made by create_pool).
struct PoolFolder {
  std::string folder;
  std::string authority() const { return folder + "/authority"; }
  std::string key() const { return folder + "/key.pem"; }
};

// A new pool with its authority. Error busy: the folder holds one.
Status create_pool(const std::string& folder, const std::string& name);

class PoolServer {
 public:
  // Errors: not_found (no pool in the folder), busy (the port; another coordinator in the folder).
  static Result<std::unique_ptr<PoolServer>> create(ServerOptions options);
  ~PoolServer();

  const net::Address& address() const { return address_; }
  // Any thread, as all below.
  Result<net::JoinToken> make_token(const net::TokenTerms& terms);
  Status revoke(const net::PeerId& peer);
  // Runs `use` on the server's thread. False if it has ended.
  bool with_authority(const std::function<void(net::Authority&)>& use);

  // The recorder lives until the job is over. The job's id: `id`, or one that is new to this coordinator.
  Result<protocol::JobId> submit(std::shared_ptr<RunRecorder> recorder, std::int64_t least_workers,
                                 std::optional<protocol::JobId> id = {});
  Status cancel(const protocol::JobId& job);
  std::optional<protocol::JobView> job(const protocol::JobId& job);
  // Runs `look` on the server's thread.
  void with(const std::function<void(const protocol::Coordinator&, protocol::Moment)>& look);

 private:
  explicit PoolServer(ServerOptions options) : options_(std::move(options)) {}
  struct Peer {
    std::shared_ptr<net::Link> link;
    TextReader texts;
  };
  struct Job {
    std::shared_ptr<RunRecorder> recorder;
    std::optional<StateLayout> layout;  // of the newest placement, which has this epoch and so many replicas of each stage
    protocol::Epoch epoch = 0;
    std::size_t workers = 0;
    std::vector<std::size_t> replicas;
    // Workers keep one copy of a state beside it. So a step whose state is wanted too does not commit before the state that was
    // asked for before it is here and saved: this is the step of that, and these are the workers' words that wait for it.
    std::optional<std::int64_t> saving{};
    std::vector<std::pair<std::string, protocol::Prepared>> held{};
    Seconds held_since{0}, ready_since{0};  // the first and the last of them came
    std::int64_t released = 0;              // a step that is not held again
    Seconds held_for{0};                    // since all had come, of the step in flight
  };

  Status start();
  Status tell_revocations();
  void announce(const protocol::JobId& job);
  void take_link(std::shared_ptr<net::Link> link);
  void on_text(const std::string& peer, const TextReader::Text& text);
  void perform(protocol::Actions actions);
  void perform_one(protocol::Action& action);
  bool hold(const std::string& peer, const protocol::ToCoordinator& message);
  void release(const protocol::JobId& job);
  void tick();
  void collect(const protocol::CollectState& what);
  void lay_out(const protocol::Assign& assign);
  void fit(const protocol::Assign& assign);
  void serve(const std::string& peer, const std::shared_ptr<net::Link>& link, const std::string& request);
  Result<std::vector<SharedBytes>> give(const std::string& peer, const TensorRequest& request);
  static protocol::Moment now();

  ServerOptions options_;
  net::Address address_;
  std::optional<net::Authority> authority_;
  SimplePlacing placing_;
  std::unique_ptr<protocol::Coordinator> machine_;
  EventLoop loop_;
  TensorDesk desk_{[this](std::function<void()> work) { loop_.post(std::move(work)); }};
  std::map<std::string, Peer> peers_;  // by id
  std::map<protocol::JobId, Job> jobs_;
  std::int64_t submitted_ = 0;
  std::mutex datasets_mutex_;  // guards the datasets of jobs, which the service's thread looks into
  std::map<protocol::JobId, std::shared_ptr<data::FolderShards>> datasets_;
  std::unique_ptr<ShardService> service_;
  EventLoop savings_;  // collects, saves and fits states, beside the loop
  // States that are being fitted to a placement, and what workers ask for meanwhile.
  int fitting_ = 0;
  std::vector<std::function<void()>> waiting_requests_;
  std::thread loop_thread_, savings_thread_;
  std::unique_ptr<net::Node> node_;
};

}  // namespace suanli::pool
