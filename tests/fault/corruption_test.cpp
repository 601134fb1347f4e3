// Bytes of the file go bad: a bit, a page, two pages that change places, a file that is cut, in
// every kind of page of every table. Either somebody says so (opening, reading, applying or the
// audit), or every balance is what it was; and what could be read is still there behind what was
// applied.
#include <doctest/doctest.h>
#include <sqlite3.h>
#include <tally/replica.hpp>

#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>

#include "fault/steps.hpp"
#include "model/trace_generator.hpp"

namespace tally::test {
namespace {

namespace fs = std::filesystem;

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// ---- the pages of a file ------------------------------------------------------------------------

/// Which pages there are of each kind: `leaf of tally_entry`, `interior of …`, `overflow`, `free`.
class Pages {
 public:
  Pages(const fs::path& path, const std::string& bytes) : bytes_(bytes) {
    size_ = number(16, 2);
    kinds_["header and schema"].insert(1);
    for (const std::string& row : query(path,
                                        "select name, rootpage from sqlite_schema"
                                        " where rootpage > 0")) {
      const std::size_t bar = row.find('|');
      walk(row.substr(0, bar), static_cast<std::uint32_t>(std::stoul(row.substr(bar + 1))));
    }
    for (std::uint32_t trunk = number(32, 4); trunk != 0; trunk = number(at(trunk), 4)) {
      note("free trunk", trunk);
      for (std::uint32_t i = 0; i < number(at(trunk) + 4, 4); ++i)
        note("free leaf", number(at(trunk) + 8 + 4 * i, 4));
    }
    for (std::uint32_t page = 2; page <= bytes.size() / size_; ++page) {
      if (!seen_.contains(page)) kinds_["overflow"].insert(page);
    }
  }
  const std::map<std::string, std::set<std::uint32_t>>& kinds() const { return kinds_; }
  std::size_t size() const { return size_; }
  std::size_t at(std::uint32_t page) const { return (page - 1) * size_; }

 private:
  std::uint32_t number(std::size_t from, int bytes) const {
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i)
      value = value << 8U | static_cast<unsigned char>(bytes_[from + static_cast<std::size_t>(i)]);
    return value;
  }
  void note(const std::string& kind, std::uint32_t page) {
    kinds_[kind].insert(page);
    seen_.insert(page);
  }
  void walk(const std::string& name, std::uint32_t page) {
    const std::size_t head = at(page);
    const auto type = static_cast<unsigned char>(bytes_[head]);
    const bool is_interior = type == 2 || type == 5;
    note((is_interior ? "interior of " : "leaf of ") + name, page);
    if (!is_interior) return;
    for (std::uint32_t i = 0; i < number(head + 3, 2); ++i)
      walk(name, number(head + number(head + 12 + 2 * i, 2), 4));
    walk(name, number(head + 8, 4));
  }

  const std::string& bytes_;
  std::size_t size_ = 0;
  std::map<std::string, std::set<std::uint32_t>> kinds_{};
  std::set<std::uint32_t> seen_{1};
};

// ---- a mirror that has something of everything
// -----------------------------------------------------

/// Pending, rejected and rebased operations, pages of a feed, a lease and a subscription.
void be_a_device(Engine& engine) {
  Replica replica(engine);
  REQUIRE(replica.enrol(
      {id('x', 1), {Capability::author, Capability::worker, Capability::service}, std::nullopt}));
  REQUIRE(replica.next_push(100'000, std::size_t{1} << 30U));
  Reply reply;
  const auto users = engine.users().value();
  reply.watermark = 300;
  for (std::int64_t n = 1; n <= reply.watermark; ++n)
    reply.verdicts.push_back({n, n % 50 == 0 ? Code::internal_error : Code::ok, {}, {}});
  for (const Uuid& user : users) {
    reply.leases.push_back({user, id('l', 1), Credits{3}, time_at(100'000)});
    PulledUser page;
    page.user_id = user;
    page.page = PulledUser::Page::first;
    page.gone.emplace_back("projects", id('p', 999));
    reply.users.push_back(page);
  }
  reply.cursor = "c";
  REQUIRE(replica.take(reply));
  REQUIRE(replica.subscribe(users));
}

void fill(TemporaryMirror& mirror) {
  for (const Row& row : all_operations()) REQUIRE(mirror.apply(row.line) == row.answer);
  model::GeneratorOptions options;
  options.seed = 3;
  options.operations = 1'200;
  options.users = 12;
  for (const std::string& line : model::generate_trace(options)) (void)mirror.apply_line(line);
  const std::string text = json_string(text_of(9'000));
  for (int n = 101; n <= 160; ++n) {
    const std::string p = std::to_string(n);
    REQUIRE(mirror
                .apply("create_project project_id=p" + p + " user_id=u1 title=T prompt_text=" +
                       text + " niche_preset=facts target_minutes=3")
                .starts_with("ok"));
    REQUIRE(mirror
                .apply("create_voice_profile voice_profile_id=v" + p +
                       " user_id=u1 name=N audio_path=A")
                .starts_with("ok"));
    REQUIRE(mirror
                .apply("create_draft draft_id=d" + p + " user_id=u1 session_token=s" + p +
                       " prompt_text=P")
                .starts_with("ok"));
    REQUIRE(
        mirror.apply("create_job job_id=j" + p + " user_id=u1 project_id=p1").starts_with("ok"));
    REQUIRE(mirror.apply("add_asset asset_id=a" + p + " job_id=j1 type=image url=u storage_path=s")
                .starts_with("ok"));
    REQUIRE(mirror
                .apply("add_credits user_id=u1 amount=1 type=grant note=N" + p +
                       " stripe_payment_id=pay" + p)
                .starts_with("ok"));
  }
  be_a_device(mirror.engine());
  for (int n = 141; n <= 160; ++n)
    REQUIRE(mirror.apply("delete_project project_id=p" + std::to_string(n) + " user_id=u1")
                .starts_with("ok"));
}

// ---- what is told of it -------------------------------------------------------------------------

/// What a whole mirror answers; nothing where some call did not.
struct Facts {
  std::map<Uuid, std::string> entries{};  ///< Balance and every amount, by user.
  std::string money{};                    ///< All of them, and the open holds.
  std::string digests{};
};

std::optional<std::string> entries_of(const Engine& engine, const Uuid& user) {
  const auto history = engine.history(user, 10'000);
  if (!history) return std::nullopt;
  std::string text;
  for (auto entry = history->rbegin(); entry != history->rend(); ++entry)
    text += std::to_string(entry->seq) + ":" + std::to_string(entry->amount.value) + "=" +
            std::to_string(entry->balance_after.value) + " ";
  return text;
}

std::optional<Facts> facts_of(const Engine& engine) {
  Facts facts;
  const auto users = engine.users();
  if (!users) return std::nullopt;
  const auto digests = engine.digests(*users);
  if (!digests) return std::nullopt;
  for (std::size_t i = 0; i < users->size(); ++i) {
    const Uuid& user = (*users)[i];
    const auto account = engine.account(user);
    const auto entries = entries_of(engine, user);
    if (!account || !entries) return std::nullopt;
    facts.entries[user] = *entries;
    facts.money +=
        user.text() + " " + std::to_string(account->check.balance.value) + " " + *entries;
    for (const auto& hold : account->holds)
      facts.money += hold.job_id.text() + " " + std::to_string(hold.amount.value) + " ";
    for (const TableDigest& table : (*digests)[i])
      facts.digests += std::to_string(table.rows) + ":" + std::to_string(table.digest) + " ";
  }
  return facts;
}

enum class Outcome {
  said_on_opening,
  said_by_a_read,
  said_by_the_audit,
  same,
  only_other_rows,
  wrong
};
constexpr const char* outcome_names[] = {"opening said so",
                                         "a read said so",
                                         "the audit said so",
                                         "harmless",
                                         "only texts, states and times differ",
                                         "WRONG"};

/// Applies something of every user's; whatever it answers, what could be read stays.
void apply_and_compare(Engine& engine, const Facts& original) {
  for (const auto& of_user : original.entries) {
    const Uuid& user = of_user.first;
    const std::string& entries = of_user.second;
    const bool was_whole = entries_of(engine, user) == entries;
    (void)engine.apply(AddCredits{user, Credits{1}, "grant"});
    if (!was_whole) continue;
    const auto after = entries_of(engine, user);
    // A failure is an answer; another history is none.
    if (after) CHECK_MESSAGE(after->starts_with(entries), user.text());
  }
  (void)engine.apply(CreateUser{user_id(99)});
  (void)engine.audit();
}

Outcome outcome_of(const fs::path& path, const Facts& original) {
  Options options = TemporaryMirror::fast();
  options.create = false;
  auto engine = Engine::open(path, options);
  if (!engine) {
    CHECK(is_failure(engine.error().code));
    CHECK_FALSE(engine.error().detail.empty());
    return Outcome::said_on_opening;
  }
  const auto facts = facts_of(*engine);
  const auto report = engine->audit();
  (void)Replica(*engine).next_push(1'000, 1'000'000);
  apply_and_compare(*engine, original);
  if (!facts) return Outcome::said_by_a_read;
  if (!report || !report->findings.empty()) return Outcome::said_by_the_audit;
  if (facts->money != original.money) return Outcome::wrong;
  return facts->digests == original.digests ? Outcome::same : Outcome::only_other_rows;
}

class Damage {
 public:
  Damage() {
    TemporaryMirror mirror;
    fill(mirror);
    mirror.reopen();
    REQUIRE(mirror.findings() == std::vector<std::string>{});
    original_ = facts_of(mirror.engine()).value();
    mirror.close();
    bytes_ = bytes_of(mirror.path());
    write_bytes(path_, bytes_);
    pages_.emplace(path_, bytes_);
  }
  const Pages& pages() const { return *pages_; }
  const std::string& bytes() const { return bytes_; }

  void with(const std::string& damaged, const std::string& what) {
    CAPTURE(what);
    for (const char* suffix : {"-wal", "-shm"}) fs::remove(path_.string() + suffix);
    write_bytes(path_, damaged);
    const Outcome outcome = outcome_of(path_, original_);
    CHECK(outcome != Outcome::wrong);
    ++outcomes_[static_cast<std::size_t>(outcome)];
  }
  std::string told() const {
    std::string text;
    for (std::size_t i = 0; i < outcomes_.size(); ++i)
      text += std::string(outcome_names[i]) + " " + std::to_string(outcomes_[i]) + "; ";
    return text;
  }
  int count(Outcome outcome) const { return outcomes_[static_cast<std::size_t>(outcome)]; }

 private:
  TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "mirror.db";
  Facts original_;
  std::string bytes_;
  std::optional<Pages> pages_{};
  std::array<int, 6> outcomes_{};
};

/// Pages of a kind to be damaged: all in the long form, else one.
std::vector<std::uint32_t> some_of(const std::set<std::uint32_t>& pages, std::mt19937_64& random) {
  std::vector<std::uint32_t> all(pages.begin(), pages.end());
  if (long_run()) return all;
  return {all[random() % all.size()]};
}

}  // namespace

TEST_CASE(
    "corruption: a bit, a byte, half a page or all of it, in every kind of page of every table") {
  Damage damage;
  std::mt19937_64 random(17);
  const std::size_t size = damage.pages().size();
  int pages = 0;
  for (const auto& [kind, numbers] : damage.pages().kinds()) {
    for (const std::uint32_t page : some_of(numbers, random)) {
      const std::size_t at = damage.pages().at(page);
      const std::string what = kind + ", page " + std::to_string(page);
      const auto changed = [&](const char* how, const std::function<void(std::string&)>& change) {
        std::string bytes = damage.bytes();
        change(bytes);
        damage.with(bytes, what + ": " + how);
      };
      const int flips = long_run() ? 32 : 4;
      for (int i = 0; i < flips; ++i) {
        // Half of them where the page's own structure is.
        const std::size_t place = at + random() % (i % 2 == 0 ? 32 : size);
        changed("a bit", [&](std::string& bytes) {
          bytes[place] = static_cast<char>(bytes[place] ^ (1 << random() % 8));
        });
      }
      changed("zeros",
              [&](std::string& bytes) { bytes.replace(at, size, std::string(size, '\0')); });
      changed("half a page of noise", [&](std::string& bytes) {
        for (std::size_t i = size / 2; i < size; ++i) bytes[at + i] = static_cast<char>(random());
      });
      if (page > 1) {
        changed("in another one's place", [&](std::string& bytes) {
          const std::size_t other = damage.pages().at(
              2 + static_cast<std::uint32_t>(random() % (bytes.size() / size - 1)));
          std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                           bytes.begin() + static_cast<std::ptrdiff_t>(at + size),
                           bytes.begin() + static_cast<std::ptrdiff_t>(other));
        });
      }
      ++pages;
    }
  }
  MESSAGE(pages << " pages of " << damage.pages().kinds().size() << " kinds: " << damage.told());
  CHECK(damage.pages().kinds().size() > 45);
  CHECK(damage.pages().kinds().contains("overflow"));
  CHECK(damage.pages().kinds().contains("free leaf"));
  CHECK(damage.pages().kinds().contains("interior of tally_entry"));
  CHECK(damage.pages().kinds().contains("interior of tally_operation_id"));
  CHECK(damage.count(Outcome::said_by_the_audit) > 20);
}

TEST_CASE("corruption: a file that is cut short anywhere") {
  Damage damage;
  const std::size_t whole = damage.bytes().size();
  const std::size_t size = damage.pages().size();
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{99}, std::size_t{100}, std::size_t{511},
        std::size_t{512}, size - 1, size, size + 1, 2 * size, whole / 3, whole / 2, whole / 2 + 7,
        whole - size - 1, whole - size, whole - 1})
    damage.with(damage.bytes().substr(0, length), "cut to " + std::to_string(length));
  MESSAGE(damage.told());
  CHECK(damage.count(Outcome::only_other_rows) == 0);
}

TEST_CASE("corruption: a schema without a column that the engine names is the file's damage") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  tamper(
      mirror.path(),
      "pragma writable_schema = on;"
      "update sqlite_schema set sql = replace(sql, 'held', 'hexd') where name = 'tally_account'");
  const auto engine = Engine::open(mirror.path());
  REQUIRE_FALSE(engine);
  CHECK(engine.error().code == Code::corrupt);
}

TEST_CASE("corruption: in the WAL it ends what is read of it, at a commit") {
  TemporaryMirror mirror(Options{});
  std::vector<std::string> states;
  mirror.reopen();
  const auto state = [](const Engine& engine) {
    std::string text;
    const auto users = engine.users();
    REQUIRE(users);
    for (const Uuid& user : *users)
      text += user.text() + " " + std::to_string(engine.balance(user)->value) + " ";
    return text + all_digests(engine);
  };
  states.push_back(state(mirror.engine()));
  for (const Row& row : all_operations()) {
    REQUIRE(mirror.apply(row.line) == row.answer);
    states.push_back(state(mirror.engine()));
  }
  const std::string file = bytes_of(mirror.path());
  const std::string wal = bytes_of(mirror.path().string() + "-wal");
  REQUIRE(wal.size() > 100'000);
  std::mt19937_64 random(5);
  int lost = 0;
  const TemporaryFolder folder;
  const auto path = folder.path() / "mirror.db";
  const int trials = long_run() ? 3'000 : 120;
  for (int i = 0; i < trials; ++i) {
    // The header, a frame's header, its data, or where it ends.
    constexpr std::size_t frame = 24 + 2'048;
    const std::size_t frames = (wal.size() - 32) / frame;
    const std::size_t in_frame = 32 + random() % frames * frame;
    const std::size_t places[] = {random() % 32, in_frame + random() % 24,
                                  in_frame + 24 + random() % 2'048, random() % wal.size()};
    const std::size_t place = places[i % 4];
    std::string damaged = wal;
    if (i % 4 == 3) {
      damaged.resize(place);
    } else {
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << random() % 8));
    }
    CAPTURE(i);
    CAPTURE(place);
    for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(path.string() + suffix);
    write_bytes(path, file);
    write_bytes(path.string() + "-wal", damaged);
    Options options = TemporaryMirror::fast();
    options.create = false;
    auto engine = Engine::open(path, options);
    if (!engine) {
      CHECK(is_failure(engine.error().code));
      continue;
    }
    CHECK(engine->audit()->findings.empty());
    const auto found = std::find(states.begin(), states.end(), state(*engine));
    CHECK_MESSAGE(found != states.end(), "it is as after none of the operations");
    lost += found + 1 != states.end() ? 1 : 0;
    CHECK(engine->apply(CreateUser{user_id(99)}));
  }
  MESSAGE(trials << " times damaged; the last commits were not there any more " << lost
                 << " times");
  CHECK(lost > 0);
}

}  // namespace tally::test
