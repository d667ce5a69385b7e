// A command's side of the coordinator's socket (control_socket.h).
//
//   auto client = ControlClient::connect(PoolPaths{folder}.socket());
//   auto view = client->ask({.ask = Ask::job, .name = "job-3"});
#pragma once

#include <memory>
#include <string>

#include "suanli/pool/control_requests.h"
#include "suanli/pool/control_socket.h"

namespace suanli::pool {

class ControlClient {
 public:
  // Error unreachable: no coordinator runs in that folder.
  static Result<ControlClient> connect(const std::string& path);
  // The coordinator's answer, or its error. One at a time.
  Result<nlohmann::json> ask(const ControlRequest& request);

 private:
  ControlClient(LineStream stream, std::string path) : stream_(std::move(stream)), path_(std::move(path)) {}
  LineStream stream_;
  std::string path_;
};

}  // namespace suanli::pool
