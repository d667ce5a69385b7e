#include "suanli/pool/reachable_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

namespace suanli::pool {

net::Address reachable_address(const net::Address& listen, const net::Address& towards) {
  if (listen.host != "0.0.0.0" && listen.host != "::") return listen;
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(towards.host.c_str(), std::to_string(towards.port).c_str(), &hints, &found) != 0) return listen;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
    // Connecting a datagram socket only chooses a route.
    const int socket_number = socket(each->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_number < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    const bool is_known = connect(socket_number, each->ai_addr, each->ai_addrlen) == 0 &&
                          getsockname(socket_number, reinterpret_cast<sockaddr*>(&own), &size) == 0;
    close(socket_number);
    char host[NI_MAXHOST] = {};
    if (is_known &&
        getnameinfo(reinterpret_cast<const sockaddr*>(&own), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0)
      return {host, listen.port};
  }
  return listen;
}

}  // namespace suanli::pool
