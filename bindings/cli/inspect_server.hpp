#pragma once
// The inspector's HTTP: GET on loopback, for who has the address with the token in it.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace tally::cli {

struct HttpAnswer {
  unsigned status = 200;
  std::string type = "application/json";
  std::string body{};
};

/// The path behind the token, without its slash, and what follows the question mark.
using HttpHandler = std::function<HttpAnswer(std::string_view path, std::string_view query)>;

/// 244 random bits in hex.
std::string make_token();

/// Thread-bound: all is answered by the thread that runs it. Requests, connections and waiting are
/// bounded; who has not the token learns nothing and reaches no handler.
class InspectServer {
 public:
  /// Listens on 127.0.0.1; port 0: one that is free. Throws a Stop where it cannot.
  InspectServer(std::uint16_t port, std::string token, HttpHandler handler);
  ~InspectServer();
  InspectServer(const InspectServer&) = delete;
  InspectServer& operator=(const InspectServer&) = delete;

  /// `http://127.0.0.1:PORT/TOKEN/`
  std::string address() const;
  /// Answers until `is_over`, which is asked several times a second.
  void run(const std::function<bool()>& is_over);

 private:
  struct Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace tally::cli
