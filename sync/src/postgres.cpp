#include "postgres.hpp"

#include <algorithm>
#include <array>

namespace tally::sync {
namespace {

constexpr std::int32_t text_oid = 25;
constexpr std::int32_t uuid_oid = 2950;

void append_int32(std::string& out, std::int32_t value) {
  const auto bits = static_cast<std::uint32_t>(value);
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>((bits >> shift) & 0xffU);
}

/// What comes before the elements: dimensions, whether NULLs are among them, type, size, first
/// index.
std::string array_header(std::int32_t element_oid, std::size_t count) {
  std::string out;
  append_int32(out, count == 0 ? 0 : 1);
  append_int32(out, 0);
  append_int32(out, element_oid);
  if (count > 0) {
    append_int32(out, static_cast<std::int32_t>(count));
    append_int32(out, 1);
  }
  return out;
}

/// A message of several lines as one sentence.
std::string one_line(std::string_view text) {
  std::string out;
  bool gap = false;
  for (const char c : text) {
    if (c == '\n' || c == '\t' || c == ' ') {
      gap = !out.empty();
    } else {
      if (gap) out += ' ';
      gap = false;
      out += c;
    }
  }
  return out;
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

bool is_schema_missing(std::string_view state, std::string_view message) {
  const bool undefined = state == "3F000" || state == "42883" || state == "42P01";
  return undefined && (message.find("tally") != std::string_view::npos ||
                       message.find("auth") != std::string_view::npos);
}

Code code_of(std::string_view state) {
  const std::string_view state_class = state.substr(0, 2);
  if (state_class == "08" || starts_with(state, "57P")) return Code::unreachable;
  if (state_class == "40" || state == "55P03") return Code::busy;
  if (state == "53100") return Code::full;
  if (state_class == "53") return Code::busy;
  if (state == "25006") return Code::read_only;
  if (state_class == "22") return Code::invalid_argument;
  return Code::internal;
}

}  // namespace

Parameter text_parameter(std::string_view text) { return {std::string(text), false}; }

Parameter text_array(std::span<const std::string> texts) {
  std::string out = array_header(text_oid, texts.size());
  for (const std::string& text : texts) {
    append_int32(out, static_cast<std::int32_t>(text.size()));
    out += text;
  }
  return {std::move(out), true};
}

Parameter uuid_array(std::span<const Uuid> ids) {
  std::string out = array_header(uuid_oid, ids.size());
  for (const Uuid& id : ids) {
    append_int32(out, static_cast<std::int32_t>(id.bytes.size()));
    out.append(id.bytes.begin(), id.bytes.end());
  }
  return {std::move(out), true};
}

Result<Connection> Connection::open(const std::string& conninfo) {
  // What libpq finds under dbname it reads as a URI or a conninfo string; later words win over it.
  const std::array<const char*, 4> words{"fallback_application_name", "dbname", "client_encoding",
                                         nullptr};
  const std::array<const char*, 4> values{"tally", conninfo.c_str(), "UTF8", nullptr};
  Connection opened(PQconnectdbParams(words.data(), values.data(), 1));
  PGconn* connection = opened.connection_.get();
  if (connection == nullptr) return Error{Code::internal, "no memory for a connection"};
  if (PQstatus(connection) != CONNECTION_OK) {
    return Error{Code::unreachable, one_line(PQerrorMessage(connection))};
  }
  PQsetNoticeProcessor(
      connection, [](void*, const char*) {}, nullptr);  // Ours is not to write to stderr.
  return opened;
}

Result<Rows> Connection::query(const char* sql, const std::vector<Parameter>& parameters) {
  for (const Parameter& parameter : parameters) {
    constexpr std::size_t bytes_max = 1'000'000'000;  // The server takes 1 GiB - 1 at the most.
    if (parameter.bytes.size() > bytes_max)
      return Error{Code::invalid_argument, "more than 1 GB in one call; send less at a time"};
  }
  const BoundParameters bound(parameters);
  return checked(PQexecParams(connection_.get(), sql, bound.count(), nullptr, bound.values(),
                              bound.lengths(), bound.formats(), 0));
}

Result<Rows> Connection::script(const std::string& sql) {
  return checked(PQexec(connection_.get(), sql.c_str()));
}

Result<Rows> Connection::checked(PGresult* result) {
  Rows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY)
    return rows;
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  was_deadlock_ = state != nullptr && std::string_view(state) == "40P01";
  return error_of(result);
}

Error Connection::error_of(const PGresult* result) const {
  const auto field = [&](int which) -> std::string_view {
    const char* text = result == nullptr ? nullptr : PQresultErrorField(result, which);
    return text == nullptr ? std::string_view{} : std::string_view(text);
  };
  const std::string_view state = field(PG_DIAG_SQLSTATE);
  const std::string_view message = field(PG_DIAG_MESSAGE_PRIMARY);
  const bool lost = PQstatus(connection_.get()) != CONNECTION_OK;
  if (state.empty()) {
    return {lost ? Code::unreachable : Code::internal, one_line(PQerrorMessage(connection_.get()))};
  }
  if (is_schema_missing(state, message)) {
    return {Code::not_found,
            "the database does not have Tallystick's schema (" + std::string(message) + ")"};
  }
  const Code code = lost ? Code::unreachable : code_of(state);
  std::string detail(message);
  for (const char more : {PG_DIAG_MESSAGE_DETAIL, PG_DIAG_MESSAGE_HINT, PG_DIAG_CONTEXT}) {
    const bool wanted = more != PG_DIAG_CONTEXT || code == Code::internal;
    if (wanted && !field(more).empty()) detail += "; " + std::string(field(more));
  }
  return {code, one_line(detail) + " (SQLSTATE " + std::string(state) + ")"};
}

namespace {

/// An element up to its closing quote, where `text` then begins behind; nothing without one.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string element;
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\') text.remove_prefix(1);
    if (text.empty()) return std::nullopt;
    element += text.front();
    text.remove_prefix(1);
  }
  if (text.empty()) return std::nullopt;
  text.remove_prefix(1);
  return element;
}

}  // namespace

std::optional<std::vector<std::optional<std::string>>> parse_text_array(std::string_view text) {
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::vector<std::optional<std::string>> elements;
  while (!text.empty()) {
    if (text.front() == '"') {
      text.remove_prefix(1);
      auto element = take_quoted(text);
      if (!element) return std::nullopt;
      elements.push_back(std::move(element));
    } else {
      const std::string_view element = text.substr(0, text.find(','));
      if (element.empty() || element.find_first_of("{}\"\\") != std::string_view::npos)
        return std::nullopt;
      elements.push_back(element == "NULL" ? std::nullopt : std::optional(std::string(element)));
      text.remove_prefix(element.size());
    }
    if (text.empty()) break;
    // A comma, and an element behind it.
    if (text.front() != ',' || text.size() == 1) return std::nullopt;
    text.remove_prefix(1);
  }
  return elements;
}

}  // namespace tally::sync
