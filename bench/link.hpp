#pragma once
// A connection to PostgreSQL for the benchmarks.

#include <libpq-fe.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace tally::bench {

/// A connection on which an error ends the benchmark.
class Link {
 public:
  explicit Link(const std::string& conninfo)
      : connection_(PQconnectdb(conninfo.c_str()), PQfinish) {
    if (PQstatus(connection_.get()) != CONNECTION_OK)
      throw std::runtime_error(PQerrorMessage(connection_.get()));
    PQsetNoticeProcessor(
        connection_.get(), [](void*, const char*) {}, nullptr);
  }
  /// The first value, or nothing.
  std::string run(const std::string& sql) { return first(PQexec(connection_.get(), sql.c_str())); }
  /// A statement that the connection knows by name, as an application's pool would.
  void prepare(const char* name, const char* sql) {
    first(PQprepare(connection_.get(), name, sql, 0, nullptr));
  }
  std::string call(const char* name, const std::vector<std::string>& values) {
    std::vector<const char*> texts;
    for (const std::string& value : values) texts.push_back(value.c_str());
    return first(PQexecPrepared(connection_.get(), name, static_cast<int>(texts.size()),
                                texts.data(), nullptr, nullptr, 0));
  }

  PGconn* handle() const { return connection_.get(); }

 private:
  static std::string first(PGresult* raw) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(raw, PQclear);
    const ExecStatusType status = PQresultStatus(raw);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
      throw std::runtime_error(PQresultErrorMessage(raw));
    return PQntuples(raw) > 0 && PQnfields(raw) > 0 ? PQgetvalue(raw, 0, 0) : "";
  }
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

}  // namespace tally::bench
