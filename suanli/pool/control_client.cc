#include "suanli/pool/control_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace suanli::pool {
namespace {

// A submitted job is opened before it is answered for, which may take a while for a large model.
constexpr Seconds kAskWithin{30}, kAnsweredWithin{600};

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& path) {
  SUANLI_RETURN_IF_ERROR(check_socket_path(path));
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.number() < 0) return tl::unexpected(system_error(errno, "making a socket", path));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail(ErrorCode::unreachable, std::string("no coordinator answers at the pool's socket: ") + std::strerror(errno), path,
                "start it, as the pool's owner: suanli pool create NAME --listen HOST:PORT");
  return ControlClient(LineStream(std::move(socket), -1, path), path);
}

Result<nlohmann::json> ControlClient::ask(const ControlRequest& request) {
  SUANLI_RETURN_IF_ERROR(stream_.write(print_request(request), kAskWithin));
  SUANLI_ASSIGN_OR_RETURN(const std::string line, stream_.read(kAnsweredWithin));
  return parse_answer(line, path_);
}

}  // namespace suanli::pool
