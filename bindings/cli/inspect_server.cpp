#include "inspect_server.hpp"

// Nothing here is a coroutine.
#define BOOST_ASIO_DISABLE_CO_AWAIT

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "ids.hpp"
#include "output.hpp"

namespace tally::cli {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using Request = http::request<http::empty_body>;
using Response = http::response<http::string_body>;

namespace {

constexpr std::size_t connections_max = 64;
constexpr std::uint32_t header_bytes_max = 8 * 1024;
/// For a request to come whole, for an answer to be taken, and for the next request.
constexpr std::chrono::seconds patience{20};
constexpr std::chrono::milliseconds tick{100};

/// The page may run and show what it came with, and ask here; nothing else.
constexpr const char* policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

/// In a time that does not tell how much of it is right.
bool is_same(std::string_view given, std::string_view token) {
  if (given.size() != token.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < token.size(); ++i) {
    difference |= static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^
                                        static_cast<unsigned char>(token[i]));
  }
  return difference == 0;
}

std::string_view view(boost::string_view text) { return {text.data(), text.size()}; }

HttpAnswer refusal(http::status status, std::string sentence) {
  return {static_cast<unsigned>(status), "text/plain; charset=utf-8", std::move(sentence) + "\n"};
}

/// Who may ask, and what of its handler's.
struct Gatekeeper {
  std::string token;
  std::string port;
  HttpHandler handler;

  bool is_ours(std::string_view host) const {
    return host == "127.0.0.1:" + port || host == "localhost:" + port;
  }

  /// A page of another origin that guesses the address, or has made its own name point here.
  std::optional<HttpAnswer> refuse_stranger(const Request& request) const {
    if (request.count(http::field::host) != 1 || !is_ours(view(request[http::field::host])))
      return refusal(http::status::misdirected_request, "this is 127.0.0.1, under no other name");
    const auto origin = request.find(http::field::origin);
    constexpr std::string_view scheme = "http://";
    if (origin != request.end()) {
      const std::string_view from = view(origin->value());
      if (from.substr(0, scheme.size()) != scheme || !is_ours(from.substr(scheme.size())))
        return refusal(http::status::forbidden, "another origin is answered nothing");
    }
    const std::string_view site = view(request["Sec-Fetch-Site"]);
    if (site == "cross-site" || site == "same-site")
      return refusal(http::status::forbidden, "another site is answered nothing");
    return std::nullopt;
  }

  HttpAnswer answer(const Request& request) const {
    if (auto refused = refuse_stranger(request)) return std::move(*refused);
    if (request.method() != http::verb::get)
      return refusal(http::status::method_not_allowed, "the inspector only reads: GET");
    const std::string_view target = view(request.target());
    const std::string_view path = target.substr(0, target.find('?'));
    const std::string_view query =
        path.size() < target.size() ? target.substr(path.size() + 1) : "";
    const std::size_t slash = path.find('/', 1);
    if (path.empty() || path[0] != '/' || slash == std::string_view::npos ||
        !is_same(path.substr(1, slash - 1), token))
      return refusal(http::status::forbidden, "the address must have the token in it");
    return handler(path.substr(slash + 1), query);
  }
};

Response response_to(const Request& request, HttpAnswer answer) {
  Response response(static_cast<http::status>(answer.status), request.version());
  response.set(http::field::content_type, answer.type);
  response.set(http::field::cache_control, "no-store");
  response.set("Content-Security-Policy", policy);
  response.set("Cross-Origin-Opener-Policy", "same-origin");
  response.set("Cross-Origin-Resource-Policy", "same-origin");
  response.set("Referrer-Policy", "no-referrer");
  response.set("X-Content-Type-Options", "nosniff");
  response.set("X-Frame-Options", "DENY");
  if (answer.status == static_cast<unsigned>(http::status::method_not_allowed))
    response.set(http::field::allow, "GET");
  // A body that came with a refused request is not read, so nothing may follow it.
  response.keep_alive(answer.status < 400 && request.keep_alive());
  response.body() = std::move(answer.body);
  response.prepare_payload();
  return response;
}

/// One connection: a request, its answer, the next request.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const Gatekeeper& gatekeeper, std::size_t& open)
      : stream_(std::move(socket)), gatekeeper_(gatekeeper), open_(open) {
    ++open_;
  }
  ~Session() { --open_; }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(header_bytes_max);
    parser_->body_limit(0);
    stream_.expires_after(patience);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](beast::error_code error, std::size_t) {
                              self->was_read(error);
                            });
  }

 private:
  void was_read(beast::error_code error) {
    if (error == http::error::end_of_stream || error == beast::error::timeout) return;
    if (error && error.category() != http::make_error_code(http::error::bad_method).category())
      return;  // The connection is gone.
    const Request request = error ? Request() : parser_->release();
    write(response_to(request, error ? refusal(http::status::bad_request, "no request of HTTP")
                                     : gatekeeper_.answer(request)));
  }

  void write(Response response) {
    response_ = std::move(response);
    stream_.expires_after(patience);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        if (error) return;
                        if (self->response_.keep_alive()) return self->read();
                        beast::error_code ignored;
                        self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
                      });
  }

  beast::tcp_stream stream_;
  const Gatekeeper& gatekeeper_;
  std::size_t& open_;
  beast::flat_buffer buffer_{header_bytes_max};
  std::optional<http::request_parser<http::empty_body>> parser_;
  Response response_;
};

}  // namespace

struct InspectServer::Listener {
  Gatekeeper gatekeeper;
  std::size_t open = 0;  ///< Connections; before the context, whose end ends them.
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer timer{context};

  void take_next() {
    acceptor.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      // One too many is closed unheard.
      if (!error && open < connections_max)
        std::make_shared<Session>(std::move(socket), gatekeeper, open)->read();
      take_next();
    });
  }

  void wait(const std::function<bool()>& is_over) {
    timer.expires_after(tick);
    timer.async_wait([this, &is_over](beast::error_code) {
      if (is_over()) return context.stop();
      wait(is_over);
    });
  }
};

std::string make_token() {
  std::string token;
  for (const Uuid& id : {random_uuid_v4(), random_uuid_v4()}) {
    for (const char c : id.text()) {
      if (c != '-') token += c;
    }
  }
  return token;
}

InspectServer::InspectServer(std::uint16_t port, std::string token, HttpHandler handler)
    : listener_(std::make_unique<Listener>()) {
  try {
    const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
    listener_->acceptor.open(endpoint.protocol());
    listener_->acceptor.set_option(tcp::acceptor::reuse_address(true));
    listener_->acceptor.bind(endpoint);
    listener_->acceptor.listen();
  } catch (const boost::system::system_error& e) {
    throw Stop{Exit::world, "io",
               "127.0.0.1 port " + std::to_string(port) + " cannot be listened on: " +
                   e.code().message() + "; without --port a free one is taken"};
  }
  const std::string taken = std::to_string(listener_->acceptor.local_endpoint().port());
  listener_->gatekeeper = {std::move(token), taken, std::move(handler)};
  listener_->take_next();
}

InspectServer::~InspectServer() = default;

std::string InspectServer::address() const {
  return "http://127.0.0.1:" + listener_->gatekeeper.port + "/" + listener_->gatekeeper.token + "/";
}

void InspectServer::run(const std::function<bool()>& is_over) {
  listener_->wait(is_over);
  listener_->context.run();
}

}  // namespace tally::cli
