// The host's SQLite and the engine's, of different versions, both at work in one program.
#include <sqlite3.h>

#include <cstdio>
#include <string>
#include <tally/engine.hpp>

int main() {
  const std::string ours(tally::sqlite_version()), hosts = sqlite3_libversion();
  if (hosts != SQLITE_VERSION) return std::printf("the host runs on SQLite %s\n", hosts.c_str()), 1;
  if (ours == hosts) return std::printf("both run on SQLite %s\n", ours.c_str()), 1;

  auto engine = tally::Engine::open("two_sqlites.db");
  if (!engine) return std::puts(engine.error().detail.c_str()), 1;
  const auto user = tally::new_uuid_v7();
  if (!engine->apply(tally::CreateUser{user})) return std::puts("the engine's does not work"), 1;

  sqlite3* host = nullptr;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_open(":memory:", &host) != SQLITE_OK ||
      sqlite3_prepare_v2(host, "select sqlite_version()", -1, &statement, nullptr) != SQLITE_OK ||
      sqlite3_step(statement) != SQLITE_ROW ||
      hosts != reinterpret_cast<const char*>(sqlite3_column_text(statement, 0)))
    return std::puts("the host's does not work"), 1;
  sqlite3_finalize(statement);
  sqlite3_close(host);
  std::puts("both");
}
