#include <poll.h>

#include "sockets.hpp"

namespace tally::sync {

bool await_socket(int socket, Readiness wanted, std::chrono::milliseconds timeout) noexcept {
  pollfd asked{};
  asked.fd = socket;
  asked.events =
      static_cast<short>((wanted.readable ? POLLIN : 0) | (wanted.writable ? POLLOUT : 0));
  return poll(&asked, 1, static_cast<int>(timeout.count())) > 0;
}

}  // namespace tally::sync
