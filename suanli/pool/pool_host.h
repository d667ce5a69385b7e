// A lasting pool as a program: the coordinator, its jobs, and the socket through which commands on this machine speak to it.
//
//   auto host = PoolHost::create({.name = "mypool", .folder = folder, .listen = address});
//   auto token = host->make_token({.lifetime = ..., .uses = ...});  host->run(stop);
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "suanli/pool/control_requests.h"
#include "suanli/pool/control_socket.h"
#include "suanli/pool/event_log.h"
#include "suanli/pool/hosted_jobs.h"
#include "suanli/pool/pool_folder.h"
#include "suanli/pool/pool_server.h"

namespace suanli::pool {

struct HostOptions {
  std::string name;    // of the pool
  std::string folder;  // made if missing
  net::Address listen;
  std::string advertised;  // host that tokens name; empty: that of `listen`, or the machine's name if it listens everywhere
  std::function<void(const protocol::PoolEvent&)> on_event;  // on the server's thread; may be empty
};

// Any thread.
class PoolHost {
 public:
  // Makes the pool, or goes on with the one in the folder. Errors: busy (another coordinator has the folder, or another program
  // the port); mismatch (the folder holds a pool of another name); config (the socket's path is too long); io.
  static Result<std::unique_ptr<PoolHost>> create(HostOptions options);
  ~PoolHost();

  bool is_new() const { return is_new_; }
  const net::Address& address() const { return server_->address(); }
  // The token names the advertised address, whatever `terms` say.
  Result<net::JoinToken> make_token(net::TokenTerms terms);
  // Until stopped: then jobs are cancelled and their states saved. How many were.
  int run(train::StopFlag stop);

 private:
  explicit PoolHost(HostOptions options) : options_(std::move(options)) {}
  Status start();
  std::string answer_line(std::string_view line);
  Result<nlohmann::ordered_json> answer(const ControlRequest& request);
  nlohmann::ordered_json status();
  nlohmann::ordered_json peers();
  nlohmann::ordered_json links();
  nlohmann::ordered_json jobs();
  Result<nlohmann::ordered_json> job(const protocol::JobId& id);
  Result<nlohmann::ordered_json> revoke(const std::string& what);

  HostOptions options_;
  bool is_new_ = false;
  Seconds began_;
  std::atomic<bool> ends_ = false;  // what happens from now on is of our own making
  EventLog events_;
  std::unique_ptr<PoolNumbers> numbers_;
  std::unique_ptr<PoolServer> server_;
  std::unique_ptr<HostedJobs> jobs_;
  std::unique_ptr<ControlSocket> socket_;  // ends first
};

}  // namespace suanli::pool
