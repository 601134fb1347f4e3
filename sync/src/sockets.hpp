#pragma once
// Waiting for a connection's socket, which each system has its own call for: sockets_posix.cpp,
// sockets_windows.cpp.

#include <chrono>

namespace tally::sync {

struct Readiness {
  bool readable = false;
  bool writable = false;
};

/// Whether the socket, within the time, is as wanted, or in trouble; false also where a signal
/// came.
bool await_socket(int socket, Readiness wanted, std::chrono::milliseconds timeout) noexcept;

}  // namespace tally::sync
