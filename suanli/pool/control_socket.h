// The unix-domain socket through which commands on the coordinator's machine speak to it: in the pool's folder, for the folder's
// owner alone (mode 0600 in a folder of mode 0700). Lines of text, a request and its answer each.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::pool {

// An open file descriptor, closed with the object.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int number() const { return number_; }

 private:
  int number_ = -1;
};

// One end of a connection that carries lines. One thread.
class LineStream {
 public:
  // `stop`: a descriptor that is readable when waiting shall end; -1: none.
  LineStream(Descriptor socket, int stop, std::string place)
      : socket_(std::move(socket)), stop_(stop), place_(std::move(place)) {}

  // The next line without its newline. Errors: unreachable (closed), timed_out, protocol (longer than kMostControlLine),
  // interrupted (stopped).
  Result<std::string> read(Seconds deadline);
  Status write(std::string_view line, Seconds deadline);

 private:
  Status wait(short events, Seconds until);
  Descriptor socket_;
  int stop_;
  std::string place_, held_;
};

// The address of a socket in the file system. Error config: the path is longer than the 107 bytes that the system takes.
Status check_socket_path(const std::string& path);

class ControlSocket {
 public:
  // Called on the connections' threads, several at a time.
  using Answer = std::function<std::string(std::string_view line)>;

  // Replaces a socket that an earlier process has left: the caller holds the pool's folder. Errors: config (path), io.
  static Result<std::unique_ptr<ControlSocket>> open(const std::string& path, Answer answer);
  // Ends all connections; waits for answers that are being made.
  ~ControlSocket();

 private:
  ControlSocket(std::string path, Descriptor listener, Descriptor stop, Answer answer);
  struct Connection {
    std::thread thread;
    std::atomic<bool> has_ended = false;
  };
  void accept();
  void serve(Descriptor socket);

  const std::string path_;
  Descriptor listener_, stop_;
  const Answer answer_;
  std::list<Connection> connections_;  // the accepting thread's own
  std::thread thread_;
};

}  // namespace suanli::pool
