#include <fstream>
#include <functional>
#include <map>
#include <optional>

#include "fuzz/row_damage.hpp"
#include "fuzz/scratch.hpp"
#include "fuzz/setups.hpp"
#include "fuzz/target.hpp"
#include "support/views.hpp"

namespace tally::fuzz {
namespace {

/// The first byte of an input is which mirror, the others how it is damaged.
class DamagedMirror : public Target {
 public:
  DamagedMirror() {
    add("mirror.db", [](Engine& engine, Replica&) { apply_all(engine, lines_of("setup.jsonl")); });
    add("device.db", make_device, "rejection.reply");
    add("busy.db", make_busy_device, "rest.reply");
  }

  Outcome run(std::string_view bytes) override {
    if (bytes.empty()) return Outcome::refused;
    input_ = bytes;
    const Image& image = images_[static_cast<unsigned char>(bytes[0]) % images_.size()];
    damage(image, bytes.substr(1));
    auto engine = answered(Engine::open(path_, fixed_options()));
    if (!engine) return Outcome::refused;
    Replica replica(*engine);
    sync(*engine, replica, image);
    const bool applied = write_some(*engine, image.books);
    sync(*engine, replica, image);
    read_all(*engine);
    return applied ? Outcome::taken : Outcome::refused;
  }

 protected:
  /// Each user's entries as text, of those whose can be read.
  using Books = std::map<Uuid, std::string>;

  struct Image {
    std::string bytes;
    RowDamage rows;
    Books books;
    std::vector<std::size_t> used;  ///< Where it is not zero: most of a page is free space.

    std::optional<sync::Rows> reply;  ///< What canonical answers a device.

    explicit Image(const std::filesystem::path& path) : bytes(test::bytes_of(path)), rows(path) {
      if (bytes.empty()) throw std::runtime_error("the last to close left the mirror empty");
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] != '\0') used.push_back(i);
      }
    }
  };

  /// Leaves the damaged mirror in its file.
  virtual void damage(const Image& image, std::string_view changes) const = 0;

  const std::filesystem::path& path() const { return path_; }
  const std::vector<Image>& images() const { return images_; }

  void write(const std::string& bytes) const {
    for (const char* of : {"-wal", "-shm"}) std::filesystem::remove(path_.string() + of);
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  void add(const char* name, const std::function<void(Engine&, Replica&)>& make,
           const char* reply = nullptr) {
    const std::filesystem::path path = folder_.path() / name;
    {
      Engine engine = Engine::open(path, fixed_options()).value();
      Replica replica(engine);
      make(engine, replica);
    }
    Image& image = images_.emplace_back(path);
    image.books = books_of(Engine::open(path, fixed_options()).value());
    if (reply != nullptr) image.reply = rows_of(lines_of(reply));
  }

  /// Rows that contradict each other broke one as they were written to, which ends the engine's
  /// writing.
  static bool is_broken_invariant(const Error& error) {
    return error.detail.find("an earlier invariant failed") != std::string::npos;
  }

  static bool blames_the_file(const Error& error) {
    return error.code != Code::internal ||
           error.detail.find("or the file is damaged") != std::string::npos;
  }

  /// A failure says why, and blames the file.
  template <class T>
  Result<T> answered(Result<T> answer) const {
    if (answer) return answer;
    const Error& error = answer.error();
    const std::string told = std::string(name_of(error.code)) + " " + error.detail;
    if (!blames_the_file(error) && !is_broken_invariant(error))
      throw Broken("a damaged file is answered " + told, input_);
    if (is_failure(error.code) && error.detail.empty())
      throw Broken("a failure does not say why: " + told, input_);
    return answer;
  }

  Books books_of(const Engine& engine) const {
    Books books;
    const auto users = answered(engine.users());
    for (const Uuid& user : users ? *users : std::vector<Uuid>{}) {
      const auto history = answered(engine.history(user, entries_max));
      if (!history) continue;
      std::string& text = books[user];
      for (auto entry = history->rbegin(); entry != history->rend(); ++entry)
        text += std::to_string(entry->seq) + ":" + std::to_string(entry->amount.value) + "=" +
                std::to_string(entry->balance_after.value) + " ";
    }
    return books;
  }

  /// What could be read before a call that changed nothing is so behind it, where it can be read.
  void check_unchanged(const Books& before, const Engine& engine) const {
    const Books after = books_of(engine);
    for (const auto& [user, entries] : before) {
      const auto found = after.find(user);
      if (found != after.end() && found->second != entries)
        throw Broken("a call that failed changed the entries of " + user.text(), input_);
    }
  }

  /// Who had all entries of the mirror that was damaged has them still, and new ones behind them.
  void check_appended(const Books& before, const Books& whole, const Engine& engine) const {
    const Books after = books_of(engine);
    for (const auto& [user, entries] : before) {
      const auto original = whole.find(user);
      const auto found = after.find(user);
      if (original == whole.end() || !entries.starts_with(original->second)) continue;
      if (found != after.end() && !found->second.starts_with(entries))
        throw Broken("an operation changed earlier entries of " + user.text(), input_);
    }
  }

  void check_sums(const Engine& engine) const {
    const auto users = engine.users();
    for (const Uuid& user : users ? *users : std::vector<Uuid>{}) {
      const auto balance = engine.balance(user);
      const auto history = engine.history(user, entries_max);
      std::int64_t sum = 0;
      for (const Entry& entry : history ? *history : std::vector<Entry>{})
        sum += entry.amount.value;
      if (!balance || !history || balance->value != sum)
        throw Broken(
            "the audit finds nothing, and the balance is not the entries' sum, of " + user.text(),
            input_);
    }
  }

  void read_all(const Engine& engine) const {
    const auto users = answered(engine.users());
    for (const Uuid& user : users ? *users : std::vector<Uuid>{}) {
      (void)answered(engine.balance(user));
      (void)answered(engine.account(user));
      (void)answered(engine.digest(user));
      (void)answered(engine.jobs(user));
      (void)answered(engine.drafts(user));
    }
    for (const char* view : test::views) (void)answered(engine.rows(view));
    (void)answered(engine.job(job_));
    const auto report = answered(engine.audit());
    if (report && report->findings.empty()) check_sums(engine);
  }

  bool write_some(Engine& engine, const Books& whole) const {
    bool applied = false;
    for (const std::string& line : operations_) {
      const Books before = books_of(engine);
      if (answered(engine.apply_command(*parse_trace_line(line)))) {
        applied = true;
        check_appended(before, whole, engine);
      } else {
        check_unchanged(before, engine);
      }
    }
    return applied;
  }

  void sync(Engine& engine, Replica& replica, const Image& image) const {
    if (!image.reply) return;
    (void)answered(replica.state());
    (void)answered(replica.leases());
    (void)answered(replica.subscriptions());
    (void)answered(replica.each_pending([](const PendingOperation&) { return true; }));
    (void)answered(replica.refill({Credits{20}, Credits{10}, std::chrono::hours{1}}));
    const auto push = answered(replica.next_push(1000, 1'000'000));
    if (!push) return;
    Books before = books_of(engine);
    if (!answered(replica.take(read_answer(*image.reply, *push).reply)))
      check_unchanged(before, engine);
    const auto rejected = answered(replica.rejected());
    if (!rejected || rejected->empty()) return;
    before = books_of(engine);
    if (!answered(replica.retry(rejected->front().number))) check_unchanged(before, engine);
  }

  static constexpr std::size_t entries_max = 10'000;

  const test::TemporaryFolder folder_{test::memory_folder()};
  const std::filesystem::path path_ = folder_.path() / "damaged.db";
  std::vector<Image> images_;
  std::string_view input_{};  ///< Of the run under way.
  const std::vector<std::string> operations_ = lines_of("operations.jsonl");
  const Uuid job_ = Uuid::parse("0000006a-0000-7000-8000-000000000003").value();
};

/// The changes are a sequence of: a place (3 bytes), how many bytes less one, and those bytes.
class MirrorFile final : public DamagedMirror {
  void damage(const Image& image, std::string_view changes) const override {
    std::string out = image.bytes;
    constexpr std::size_t head = 4;
    while (changes.size() > head) {
      const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(changes[i]); };
      const std::size_t place = byte(0) * 0x10000U + byte(1) * 0x100U + byte(2);
      const std::size_t at = image.used[place % image.used.size()];
      const std::string_view values = changes.substr(head, byte(3) % 16U + 1U);
      out.replace(at, std::min(values.size(), out.size() - at), values.substr(0, out.size() - at));
      changes.remove_prefix(head + values.size());
    }
    write(out);
  }
};

class MirrorRow final : public DamagedMirror {
 public:
  std::vector<std::string> single_changes() const {
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i < images().size(); ++i) {
      write(images()[i].bytes);
      for (const std::string& change : images()[i].rows.single_changes(path()))
        inputs.push_back(static_cast<char>(i) + change);
    }
    return inputs;
  }

 private:
  void damage(const Image& image, std::string_view changes) const override {
    write(image.bytes);
    image.rows.inflict(path(), changes);
  }
};

}  // namespace

std::unique_ptr<Target> make_mirror_file() { return std::make_unique<MirrorFile>(); }

std::unique_ptr<Target> make_mirror_row() { return std::make_unique<MirrorRow>(); }

std::vector<std::string> single_row_changes() { return MirrorRow().single_changes(); }

}  // namespace tally::fuzz
