#include "fuzz/scratch.hpp"

#include <atomic>
#include <stdexcept>

namespace tally::fuzz {

Timestamp fixed_time() { return Timestamp::parse("2026-01-19T00:00:00.000000Z").value(); }

Options fixed_options() {
  Options options;
  options.durability = Durability::normal;
  options.clock = fixed_time;
  options.new_id = [next = std::make_shared<std::atomic<std::uint32_t>>(0)] {
    Uuid id = Uuid::parse("f0220000-0000-7000-8000-000000000000").value();
    const std::uint32_t n = ++*next;
    for (unsigned i = 0; i < 4; ++i) id.bytes[15 - i] = static_cast<std::uint8_t>(n >> (8 * i));
    return id;
  };
  return options;
}

Rewinder::Rewinder(const std::filesystem::path& mirror) {
  sqlite3* db = nullptr;
  const int opened = sqlite3_open_v2(mirror.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr);
  db_.reset(db);
  if (opened != SQLITE_OK) throw std::runtime_error("the mirror cannot be opened once more");
  execute("attach ':memory:' as kept");
  std::vector<std::string> tables;
  {
    const Statement names = prepare("select name from main.sqlite_schema where type = 'table'");
    while (step(names.get()) == SQLITE_ROW)
      tables.emplace_back(reinterpret_cast<const char*>(sqlite3_column_text(names.get(), 0)));
  }
  for (const std::string& table : tables)
    execute("create table kept." + table + " as select * from main." + table);
  rewind_.push_back(prepare("begin immediate"));
  for (const std::string& table : tables) {
    rewind_.push_back(prepare("delete from main." + table));
    rewind_.push_back(prepare("insert into main." + table + " select * from kept." + table));
  }
  set_epoch_ = prepare("update main.tally_meta set value = ? where name = 'epoch'");
  {
    const Statement epoch = prepare("select value from main.tally_meta where name = 'epoch'");
    step(epoch.get());
    epoch_ = sqlite3_column_int64(epoch.get(), 0);
  }
  data_version_ = prepare("pragma main.data_version");
  seen_ = data_version();
}

bool Rewinder::was_written() {
  const sqlite3_int64 now = data_version();
  const bool changed = now != seen_;
  seen_ = now;
  return changed;
}

void Rewinder::rewind() {
  for (const Statement& statement : rewind_) step(statement.get());
  // Numbers are given out again, which only an epoch of its own tells the engines. An epoch that
  // one of them saw before would not: what they have counted on is left behind.
  epoch_ += 1'000'000;
  sqlite3_bind_int64(set_epoch_.get(), 1, epoch_);
  step(set_epoch_.get());
  execute("commit");
  seen_ = data_version();
}

void Rewinder::execute(const std::string& sql) { step(prepare(sql).get()); }

Rewinder::Statement Rewinder::prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql.c_str(), -1, &statement, nullptr) != SQLITE_OK)
    throw std::runtime_error(sql + ": " + sqlite3_errmsg(db_.get()));
  return Statement(statement);
}

/// One row at most: then the statement is at its start again.
int Rewinder::step(sqlite3_stmt* statement) {
  const int result = sqlite3_step(statement);
  if (result != SQLITE_ROW) sqlite3_reset(statement);
  if (result != SQLITE_ROW && result != SQLITE_DONE)
    throw std::runtime_error(sqlite3_errmsg(db_.get()));
  return result;
}

sqlite3_int64 Rewinder::data_version() {
  step(data_version_.get());
  const sqlite3_int64 version = sqlite3_column_int64(data_version_.get(), 0);
  sqlite3_reset(data_version_.get());
  return version;
}

}  // namespace tally::fuzz
