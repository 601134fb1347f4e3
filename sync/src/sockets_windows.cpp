#include <winsock2.h>

#include "sockets.hpp"

namespace tally::sync {

// libpq has started Winsock, for it made the socket.
bool await_socket(int socket, Readiness wanted, std::chrono::milliseconds timeout) noexcept {
  WSAPOLLFD asked{};
  asked.fd = static_cast<SOCKET>(socket);
  asked.events =
      static_cast<short>((wanted.readable ? POLLIN : 0) | (wanted.writable ? POLLOUT : 0));
  return WSAPoll(&asked, 1, static_cast<int>(timeout.count())) > 0;
}

}  // namespace tally::sync
