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

  /// The calls are all sent before the first answer is read; each a transaction of its own, or all
  /// of them one.
  void pipeline(const char* name, const std::vector<std::vector<std::string>>& calls,
                bool each_commits) {
    require(PQenterPipelineMode(connection_.get()) == 1);
    for (const std::vector<std::string>& values : calls) {
      std::vector<const char*> texts;
      for (const std::string& value : values) texts.push_back(value.c_str());
      require(PQsendQueryPrepared(connection_.get(), name, static_cast<int>(texts.size()),
                                  texts.data(), nullptr, nullptr, 0) == 1);
      if (each_commits) require(PQpipelineSync(connection_.get()) == 1);
    }
    if (!each_commits) require(PQpipelineSync(connection_.get()) == 1);
    for (std::size_t left = each_commits ? calls.size() : 1; left > 0;) {
      PGresult* result = PQgetResult(connection_.get());
      require(result != nullptr || PQstatus(connection_.get()) == CONNECTION_OK);
      if (result == nullptr) continue;  // The end of one call's answer.
      if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        --left;
      } else {
        first(result);
      }
    }
    require(PQexitPipelineMode(connection_.get()) == 1);
  }

  PGconn* handle() const { return connection_.get(); }

 private:
  void require(bool done) const {
    if (!done) throw std::runtime_error(PQerrorMessage(connection_.get()));
  }
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
