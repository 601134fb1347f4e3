#include "support/proxy.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <system_error>

namespace tally::test {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t held_back_max = 256U << 10U;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_un address_of(const std::filesystem::path& folder) {
  const std::string path = (folder / ".s.PGSQL.5432").string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("too long: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int new_socket() {
  const int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made < 0) fail("socket");
  return made;
}

void set_nonblocking(int socket) { fcntl(socket, F_SETFL, O_NONBLOCK); }

}  // namespace

/// One direction of a connection: what was read and is still to be written.
struct Proxy::Flow {
  Direction direction;
  int from;
  int to;
  struct Chunk {
    Clock::time_point due;
    std::string bytes;
  };
  std::deque<Chunk> chunks{};
  std::size_t held_back = 0;
  bool at_end = false;  ///< Nothing more comes; when all is written, so it is told.
  bool told = false;
};

struct Proxy::Link {
  Flow flows[2];
  bool broken = false;

  Link(int client, int server)
      : flows{{Direction::to_server, client, server}, {Direction::to_client, server, client}} {}
  ~Link() {
    close(flows[0].from);
    close(flows[0].to);
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
};

Proxy::Proxy(const std::filesystem::path& server_folder) : server_(server_folder) {
  std::array<int, 2> pipe{};
  if (pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) fail("pipe");
  wake_read_ = pipe[0];
  wake_write_ = pipe[1];
  listener_ = new_socket();
  set_nonblocking(listener_);
  const sockaddr_un address = address_of(folder_.path());
  if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("bind");
  if (listen(listener_, 64) != 0) fail("listen");
  thread_ = std::thread([this] { run(); });
}

Proxy::~Proxy() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  links_.clear();
  close(listener_);
  close(wake_read_);
  close(wake_write_);
}

void Proxy::cut_after(Direction direction, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  fault_ = Fault::cut;
  fault_direction_ = direction;
  fault_left_ = bytes;
}

void Proxy::stall_after(Direction direction, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  fault_ = bytes == 0 ? Fault::none : Fault::stall;
  stalled_ = bytes == 0;
  fault_direction_ = direction;
  fault_left_ = bytes;
  changed_.notify_all();
}

void Proxy::resume() {
  {
    const std::lock_guard lock(mutex_);
    fault_ = Fault::none;
    stalled_ = false;
  }
  wake();
}

void Proxy::throttle(std::size_t bytes_each_ms) {
  const std::lock_guard lock(mutex_);
  bytes_each_ms_ = bytes_each_ms;
}

void Proxy::delay(milliseconds each_way) {
  const std::lock_guard lock(mutex_);
  delay_ = each_way;
}

std::uint64_t Proxy::bytes(Direction direction) const {
  const std::lock_guard lock(mutex_);
  return forwarded_[static_cast<std::size_t>(direction)];
}

std::uint64_t Proxy::cuts() const {
  const std::lock_guard lock(mutex_);
  return cuts_;
}

bool Proxy::stalled() const {
  const std::lock_guard lock(mutex_);
  return stalled_;
}

bool Proxy::wait_until_stalled(milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return stalled_; });
}

void Proxy::wake() const {
  if (write(wake_write_, "w", 1) < 0) return;  // Full: it wakes anyway.
}

void Proxy::accept_one() {
  const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = new_socket();
  const sockaddr_un address = address_of(server_);
  if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(client);
    close(server);
    return;
  }
  set_nonblocking(client);
  set_nonblocking(server);
  links_.push_back(std::make_unique<Link>(client, server));
}

void Proxy::read_into(Link& link, Flow& flow) {
  std::array<char, 16'384> bytes{};
  const ssize_t got = read(flow.from, bytes.data(), bytes.size());
  if (got < 0) {
    if (errno != EAGAIN && errno != EINTR) link.broken = true;
    return;
  }
  if (got == 0) {
    flow.at_end = true;
    return;
  }
  const auto size = static_cast<std::size_t>(got);
  flow.chunks.push_back({Clock::now() + delay_, std::string(bytes.data(), size)});
  flow.held_back += size;
}

/// What is due, up to the fault's byte.
void Proxy::write_from(Link& link, Flow& flow) {
  while (!flow.chunks.empty() && flow.chunks.front().due <= Clock::now()) {
    std::string& bytes = flow.chunks.front().bytes;
    std::size_t size = bytes.size();
    const bool limited = fault_ != Fault::none && fault_direction_ == flow.direction;
    if (limited) size = static_cast<std::size_t>(std::min<std::uint64_t>(size, fault_left_));
    if (bytes_each_ms_ > 0) size = std::min(size, bytes_each_ms_);
    if (size > 0) {
      const ssize_t put = send(flow.to, bytes.data(), size, MSG_NOSIGNAL);
      if (put < 0) {
        if (errno != EAGAIN && errno != EINTR) link.broken = true;
        return;
      }
      size = static_cast<std::size_t>(put);
      bytes.erase(0, size);
      flow.held_back -= size;
      forwarded_[static_cast<std::size_t>(flow.direction)] += size;
      if (bytes.empty()) flow.chunks.pop_front();
      if (bytes_each_ms_ > 0 && !flow.chunks.empty())
        flow.chunks.front().due = Clock::now() + milliseconds{1};
      if (limited) fault_left_ -= size;
    }
    // At the byte itself, and not when one more comes: the last one of an exchange can be it.
    if (!limited || fault_left_ > 0) continue;
    if (fault_ == Fault::cut) {
      link.broken = true;
      ++cuts_;
    } else {
      stalled_ = true;
    }
    fault_ = Fault::none;
    changed_.notify_all();
    return;
  }
  if (flow.at_end && flow.chunks.empty() && !flow.told) {
    shutdown(flow.to, SHUT_WR);
    flow.told = true;
  }
}

void Proxy::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::vector<pollfd> sockets{{wake_read_, POLLIN, 0}, {listener_, POLLIN, 0}};
    Clock::time_point next = Clock::now() + std::chrono::hours(1);
    for (const auto& link : links_) {
      for (const Flow& flow : link->flows) {
        const bool reads = !stalled_ && !flow.at_end && flow.held_back < held_back_max;
        const bool is_due =
            !stalled_ && !flow.chunks.empty() && flow.chunks.front().due <= Clock::now();
        if (!stalled_ && !flow.chunks.empty() && !is_due)
          next = std::min(next, flow.chunks.front().due);
        // One that is watched for nothing would still be told of a hang-up, for ever.
        sockets.push_back({reads ? flow.from : -1, POLLIN, 0});
        sockets.push_back({is_due ? flow.to : -1, POLLOUT, 0});
      }
    }
    const auto wait = std::chrono::ceil<milliseconds>(next - Clock::now());
    lock.unlock();
    poll(sockets.data(), sockets.size(), static_cast<int>(std::max<std::int64_t>(wait.count(), 0)));
    lock.lock();

    std::array<char, 64> ignored{};
    while (read(wake_read_, ignored.data(), ignored.size()) > 0) {
    }
    const std::size_t links = links_.size();
    if (sockets[1].revents != 0) accept_one();
    for (std::size_t i = 0; i < links; ++i) {
      Link& link = *links_[i];
      for (std::size_t f = 0; f < 2 && !stalled_ && !link.broken; ++f) {
        Flow& flow = link.flows[f];
        if (sockets[2 + i * 4 + f * 2].revents != 0) read_into(link, flow);
        if (!link.broken) write_from(link, flow);
      }
    }
    std::erase_if(links_, [](const auto& link) {
      return link->broken || (link->flows[0].told && link->flows[1].told);
    });
  }
}

}  // namespace tally::test
