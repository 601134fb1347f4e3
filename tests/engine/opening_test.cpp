// Opening a mirror: what is made, what is refused, and that what is refused stays as it was.
#include <doctest/doctest.h>

#include <fstream>
#include <thread>

#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

namespace fs = std::filesystem;

Code open_code(const fs::path& path, Options options = TemporaryMirror::fast()) {
  const auto engine = Engine::open(path, std::move(options));
  return engine ? Code::ok : engine.error().code;
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A mirror with some rows that nobody has open.
fs::path closed_mirror(TemporaryMirror& mirror) {
  mirror.check(users_with_jobs(1) + job_to("READY"));
  mirror.close();
  return mirror.path();
}

}  // namespace

TEST_CASE("opening: a new mirror and its companions are readable by their owner alone") {
  TemporaryFolder folder;
  const EverybodysFolder everybodys(folder.path());
  auto engine = Engine::open(folder.path() / "mirror.db", TemporaryMirror::fast());
  REQUIRE(engine.has_value());
  REQUIRE(engine->apply(CreateUser{user_id(1)}).has_value());
  write_bytes(folder.path() / "other", "x");
  CHECK(others_who_may_use(folder.path() / "other") != "");  // Or the test could not fail.
  fs::remove(folder.path() / "other");
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    CAPTURE(utf8(entry.path()));
    CHECK(others_who_may_use(entry.path()) == "");
    ++files;
  }
  CHECK(files == 3);
}

TEST_CASE(
    "opening: a file that is not there is not_found where none may be made, and none is made") {
  TemporaryFolder folder;
  Options options = TemporaryMirror::fast();
  options.create = false;
  CHECK(open_code(folder.path() / "mirror.db", options) == Code::not_found);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("opening: a folder that is not there is a failure") {
  TemporaryFolder folder;
  CHECK(is_failure(open_code(folder.path() / "no" / "mirror.db")));
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("opening: a folder in the mirror's place is a failure") {
  TemporaryFolder folder;
  CHECK(is_failure(open_code(folder.path())));
}

TEST_CASE("opening: a text file is corrupt, and stays as it was") {
  TemporaryFolder folder;
  const std::string text(10'000, 'x');
  write_bytes(folder.path() / "mirror.db", text);
  CHECK(open_code(folder.path() / "mirror.db") == Code::corrupt);
  CHECK(bytes_of(folder.path() / "mirror.db") == text);
}

TEST_CASE("opening: a short text file is corrupt, and stays as it was") {
  TemporaryFolder folder;
  write_bytes(folder.path() / "mirror.db", "hello\n");
  CHECK(open_code(folder.path() / "mirror.db") == Code::corrupt);
  CHECK(bytes_of(folder.path() / "mirror.db") == "hello\n");
}

TEST_CASE(
    "opening: an empty file, as a process killed while it made one leaves it, becomes a mirror") {
  TemporaryMirror mirror;
  mirror.close();
  fs::remove(mirror.path());
  write_bytes(mirror.path(), "");
  mirror.open();
  mirror.make_users(1);
  CHECK(mirror.findings().empty());
}

TEST_CASE("opening: another program's SQLite database is corrupt, and stays as it was") {
  TemporaryMirror mirror;
  mirror.close();
  const fs::path other = mirror.folder() / "other.db";
  write_bytes(other, "");
  tamper(other, "create table notes (text); insert into notes values ('mine')");
  const std::string before = bytes_of(other);
  CHECK(open_code(other) == Code::corrupt);
  CHECK(bytes_of(other) == before);
  CHECK(query(other, "select * from notes") == std::vector<std::string>{"mine"});
}

TEST_CASE(
    "opening: another program's SQLite database with a version of its own is refused, and stays as "
    "it was") {
  for (const std::string version : {"1", "7"}) {
    TemporaryMirror mirror;
    mirror.close();
    const fs::path other = mirror.folder() / "other.db";
    write_bytes(other, "");
    tamper(other,
           "create table notes (text); insert into notes values ('mine'); pragma user_version = " +
               version);
    const std::string before = bytes_of(other);
    CHECK(is_failure(open_code(other)));
    CHECK(bytes_of(other) == before);
  }
}

TEST_CASE("opening: a newer mirror is schema_too_new, and stays as it was") {
  TemporaryMirror mirror;
  const fs::path path = closed_mirror(mirror);
  const std::string version = query(path, "pragma user_version").at(0);
  tamper(path, "pragma user_version = 99; pragma wal_checkpoint(truncate);");
  const std::string before = bytes_of(path);
  CHECK(open_code(path) == Code::schema_too_new);
  CHECK(bytes_of(path) == before);
  tamper(path, "pragma user_version = " + version);
  mirror.open();
  CHECK(mirror.balance() == 5);
}

TEST_CASE("opening: a mirror whose first page is damaged is corrupt") {
  TemporaryMirror mirror;
  const fs::path path = closed_mirror(mirror);
  std::string bytes = bytes_of(path);
  REQUIRE(bytes.size() > 8'192);
  bytes.replace(100, 3'000, std::string(3'000, '\xa5'));
  write_bytes(path, bytes);
  CHECK(open_code(path) == Code::corrupt);
}

TEST_CASE(
    "opening: a mirror that was cut short is a failure when opened or when used, never a wrong "
    "answer") {
  TemporaryMirror mirror;
  const fs::path path = closed_mirror(mirror);
  fs::resize_file(path, fs::file_size(path) / 2);
  auto engine = Engine::open(path, TemporaryMirror::fast());
  if (!engine) {
    CHECK(engine.error().code == Code::corrupt);
    return;
  }
  const auto report = engine->audit();
  const bool noticed = !report || !report->findings.empty();
  CHECK(noticed);
}

TEST_CASE(
    "opening: without the right to write it is a failure, read_only where the file is there") {
  if (!why_not_nobody().empty()) {
    MESSAGE("skipped: " << why_not_nobody());
    return;
  }
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  fs::permissions(mirror.folder(), fs::perms::owner_all | fs::perms::group_read |
                                       fs::perms::group_exec | fs::perms::others_read |
                                       fs::perms::others_exec);
  fs::permissions(mirror.path(), fs::perms::owner_read | fs::perms::owner_write |
                                     fs::perms::group_read | fs::perms::others_read);
  const std::string before = bytes_of(mirror.path());
  const auto opens = [](const Pipes&, const Given& given) {
    if (!become_nobody()) return 80;
    if (!is_failure(open_code(given.path.parent_path() / "new.db"))) return 81;
    return static_cast<int>(open_code(given.path));
  };
  ChildProcess child(opens, {mirror.path()});
  CHECK(child.wait() == static_cast<int>(Code::read_only));
  CHECK(bytes_of(mirror.path()) == before);
  CHECK_FALSE(fs::exists(mirror.folder() / "new.db"));
}

TEST_CASE("opening: where the file or its folder may only be read it is read_only, and as it was") {
  if (!why_not_nobody().empty()) {
    MESSAGE("skipped: " << why_not_nobody());
    return;
  }
  constexpr auto read = fs::perms::group_read | fs::perms::others_read;
  constexpr auto write = fs::perms::group_write | fs::perms::others_write;
  constexpr auto enter = fs::perms::group_exec | fs::perms::others_exec;
  const auto opens = [](const Pipes&, const Given& given) {
    return become_nobody() ? static_cast<int>(open_code(given.path)) : 80;
  };
  for (const bool with_wal : {false, true}) {
    for (const unsigned writes : {0U, 1U, 2U, 3U}) {
      const bool file_writes = (writes & 1U) != 0;
      const bool folder_writes = (writes & 2U) != 0;
      CAPTURE(with_wal);
      CAPTURE(file_writes);
      CAPTURE(folder_writes);
      TemporaryMirror mirror;
      mirror.make_users(1);
      if (!with_wal) mirror.close();
      // As a killed process leaves it.
      const TemporaryFolder folder;
      const fs::path path = folder.path() / "mirror.db";
      copy_mirror(mirror.path(), path);
      mirror.close();
      const fs::path wal = path.string() + "-wal";
      fs::permissions(folder.path(), fs::perms::owner_all | read | enter |
                                         (folder_writes ? write : fs::perms::none));
      const auto rights = fs::perms::owner_read | fs::perms::owner_write | read |
                          (file_writes ? write : fs::perms::none);
      fs::permissions(path, rights);
      REQUIRE(fs::exists(wal) == with_wal);
      if (with_wal) fs::permissions(wal, rights);
      const std::string before = bytes_of(path) + (with_wal ? bytes_of(wal) : "");
      ChildProcess child(opens, {path});
      const bool may_write = file_writes && folder_writes;
      CHECK(child.wait() == static_cast<int>(may_write ? Code::ok : Code::read_only));
      if (!may_write) CHECK(bytes_of(path) + (with_wal ? bytes_of(wal) : "") == before);
      auto engine = Engine::open(path, TemporaryMirror::fast());
      REQUIRE(engine.has_value());
      CHECK(engine->balance(user_id(1)).value() == Credits{10});
    }
  }
}

TEST_CASE("opening: everything is there again after closing, in either durability") {
  for (const Durability durability : {Durability::full, Durability::normal}) {
    Options options;
    options.durability = durability;
    TemporaryMirror mirror(options);
    mirror.check(users_with_jobs(1) + job_to("SCRIPTING"));
    const Dump before = dump(mirror.path());
    const auto account = mirror->check(user_id(1));
    mirror.reopen();
    CHECK(difference(before, dump(mirror.path())) == "");
    CHECK(mirror.balance() == 2);
    CHECK(mirror->check(user_id(1))->held.value == 8);
    CHECK(mirror->check(user_id(1))->entries == account->entries);
    CHECK(mirror->check(user_id(1))->pending_operations == account->pending_operations);
    mirror.check({{"advance_job job_id=j1 to=VOICE_GEN", "ok 2"}});
  }
}

TEST_CASE("opening: a mirror stays the one it was when the process goes to another folder") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(mirror.path().parent_path());
  const auto engine = Engine::open(mirror.path().filename(), TemporaryMirror::fast());
  std::filesystem::current_path(before);
  REQUIRE(engine.has_value());
  CHECK(engine->account(user_id(1)).has_value());
  CHECK(engine->history(user_id(1), 10).has_value());
  CHECK(engine->audit()->findings.empty());
  CHECK_FALSE(std::filesystem::exists(before / mirror.path().filename()));
}

TEST_CASE("opening: two engines of one process on one file see each other's work") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  for (int i = 1; i <= 20; ++i) {
    REQUIRE(other->apply(AddCredits{user_id(1), Credits{1}, "grant"}).has_value());
    CHECK(mirror.balance() == 10 + 2 * i - 1);
    REQUIRE(mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}).has_value());
    CHECK(other->balance(user_id(1))->value == 10 + 2 * i);
  }
  REQUIRE(other->apply(CreateUser{user_id(2)}).has_value());
  CHECK(mirror.balance(2) == 10);
  CHECK(mirror.findings().empty());
}

TEST_CASE("opening: closing one of two engines of one process leaves the other at work") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  {
    auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
    REQUIRE(other.has_value());
    REQUIRE(other->apply(AddCredits{user_id(1), Credits{1}, "grant"}).has_value());
  }
  CHECK(mirror.balance() == 11);
  REQUIRE(mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}).has_value());
  mirror.reopen();
  CHECK(mirror.balance() == 12);
}

TEST_CASE("opening: a path may hold what a URI or a shell would take for its own") {
  TemporaryFolder folder;
  for (const std::u8string name :
       {u8"a b.db", u8"a#b.db", u8"a%20b.db", u8"\u00e9\u4e2d.db", u8"'quoted'.db", u8"-dash.db",
        u8";semi.db", u8"a?mode=memory.db", u8"file:x.db"}) {
    CAPTURE(utf8(name));
    const fs::path path = folder.path() / name;
    // Windows has no such names; `file:x.db` is a stream of a file `file` there.
    if constexpr (fs::path::preferred_separator == '\\') {
      if (name.find_first_of(u8"?:") != std::u8string::npos) continue;
    }
    auto engine = Engine::open(path, TemporaryMirror::fast());
    REQUIRE(engine.has_value());
    REQUIRE(engine->apply(CreateUser{user_id(1)}).has_value());
    CHECK(fs::exists(path));
  }
}

TEST_CASE("opening: eight processes that make the same mirror at once all get it") {
  TemporaryFolder folder;
  const fs::path path = folder.path() / "mirror.db";
  const auto makes_it = [](const Pipes& pipes, const Given& given) {
    if (!pipes.wait()) return 1;
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine) return 2;
    return engine->apply(CreateUser{user_id(given.numbers[0])}) ? 0 : 3;
  };
  Children children;
  for (std::uint64_t p = 1; p <= 8; ++p) children.add(makes_it, {path, {p}});
  children.go_on();
  for (const int status : children.wait()) CHECK(status == 0);
  auto engine = Engine::open(path, TemporaryMirror::fast());
  REQUIRE(engine.has_value());
  CHECK(engine->users()->size() == 8);
}

TEST_CASE(
    "busy: while another process keeps the file locked a write fails with busy, and nothing is "
    "written") {
  Options options = TemporaryMirror::fast();
  options.busy_timeout = std::chrono::milliseconds(50);
  TemporaryMirror mirror(options);
  mirror.make_users(1);
  mirror.close();
  const auto locks = [](const Pipes& pipes, const Given& given) {
    RawTransaction transaction(given.path);
    pipes.write(1);
    return pipes.wait() ? 0 : 1;
  };
  ChildProcess child(locks, {mirror.path()});
  REQUIRE(child.read().has_value());
  mirror.open();
  CHECK(mirror.balance() == 10);
  const auto refused = mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}, {op_id(1), {}});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == Code::busy);
  CHECK(mirror.balance() == 10);
  CHECK(mirror->account(user_id(1)).has_value());
  child.go_on();
  CHECK(child.wait() == 0);
  const auto receipt = mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}, {op_id(1), {}});
  REQUIRE(receipt.has_value());
  CHECK(receipt->balance == Credits{11});
}

TEST_CASE("the library says its version and that its SQLite is one that does not lose commits") {
  CHECK_FALSE(version().empty());
  CHECK_FALSE(sqlite_version().empty());
}

}  // namespace tally::test
