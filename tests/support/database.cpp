#include "support/database.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

namespace tally::test {
namespace {

const ThrowawayPostgres& server() {
  static const ThrowawayPostgres server;
  return server;
}

}  // namespace

Session::Session(const std::string& conninfo)
    : connection_(PQconnectdb(conninfo.c_str()), PQfinish) {
  REQUIRE_MESSAGE(PQstatus(handle()) == CONNECTION_OK, std::string(PQerrorMessage(handle())));
  PQsetNoticeProcessor(
      handle(), [](void*, const char*) {}, nullptr);
}

Answer Session::run(const std::string& sql) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(handle(), sql.c_str()),
                                                             PQclear);
  Answer answer;
  const ExecStatusType status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
    answer.state = state == nullptr ? "08006" : state;
    const char* message = PQresultErrorField(result.get(), PG_DIAG_MESSAGE_PRIMARY);
    answer.message = message == nullptr ? PQerrorMessage(handle()) : message;
    return answer;
  }
  for (int row = 0; row < PQntuples(result.get()); ++row)
    answer.lines.emplace_back(PQgetvalue(result.get(), row, 0));
  return answer;
}

std::vector<std::string> Session::ask(const std::string& sql) {
  Answer answer = run(sql);
  REQUIRE_MESSAGE(answer.ok(), answer.state, " ", answer.message, " in: ", sql.substr(0, 300));
  return std::move(answer.lines);
}

std::string Session::ask_one(const std::string& sql) {
  const auto lines = ask(sql);
  REQUIRE_MESSAGE(lines.size() == 1, "not one row: ", sql.substr(0, 300));
  return lines.front();
}

Database::Database() {
  static int count = 0;
  name_ = "test_" + std::to_string(++count);
  Session(server().conninfo()).ask("create database " + name_);
  conninfo_ = server().conninfo(name_);
}

const std::filesystem::path& Database::server_folder() { return server().folder(); }

void Database::migrate_to(const std::string& version) {
  const auto script = sync::migration_script({.shim = true, .to = version});
  REQUIRE(script.has_value());
  session().ask(*script);
}

void Database::migrate() {
  auto canonical = sync::Canonical::connect(conninfo_);
  REQUIRE(canonical.has_value());
  const auto migrated = canonical->migrate({.shim = true});
  REQUIRE_MESSAGE(migrated.has_value(), (migrated ? "" : migrated.error().detail));
}

std::string read_source(const std::string& path) {
  const std::ifstream file(std::string(TALLY_SOURCE_DIR) + "/" + path);
  REQUIRE_MESSAGE(file.good(), path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace tally::test
