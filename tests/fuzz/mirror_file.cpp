#include <fstream>
#include <optional>

#include "fuzz/scratch.hpp"
#include "fuzz/setups.hpp"
#include "fuzz/target.hpp"
#include "support/views.hpp"

namespace tally::fuzz {
namespace {

/// The changes are a sequence of: a place (3 bytes), how many bytes less one, and those bytes.
class MirrorFile : public Target {
 public:
  MirrorFile() {
    {
      Engine engine = Engine::open(path_, fixed_options()).value();
      apply_all(engine, lines_of("setup.jsonl"));
    }
    {
      Engine engine = Engine::open(device_path_, fixed_options()).value();
      Replica replica(engine);
      make_device(engine, replica);
    }
    images_ = {read(path_), read(device_path_)};
    for (const Image& image : images_) {
      if (image.bytes.empty()) throw std::runtime_error("the last to close left the mirror empty");
    }
  }

  Outcome run(std::string_view bytes) override {
    if (bytes.empty()) return Outcome::refused;
    const bool is_device = (bytes[0] & 1) != 0;
    const Image& image = images_[is_device ? 1 : 0];
    write(changed(image, bytes.substr(1)));
    auto engine = Engine::open(path_, fixed_options());
    if (!engine) return Outcome::refused;
    Replica replica(*engine);
    if (is_device) sync(replica);
    const bool applied = write_some(*engine);
    if (is_device) sync(replica);
    read_all(*engine);
    return applied ? Outcome::taken : Outcome::refused;
  }

 private:
  struct Image {
    std::string bytes;
    std::vector<std::size_t> used;  ///< Where it is not zero: most of a page is free space.
  };

  static Image read(const std::filesystem::path& path) {
    Image image{test::bytes_of(path), {}};
    for (std::size_t i = 0; i < image.bytes.size(); ++i) {
      if (image.bytes[i] != '\0') image.used.push_back(i);
    }
    return image;
  }

  static std::string changed(const Image& image, std::string_view changes) {
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
    return out;
  }

  void write(const std::string& bytes) {
    for (const char* of : {"-wal", "-shm"}) std::filesystem::remove(path_.string() + of);
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  void read_all(const Engine& engine) const {
    const auto users = engine.users();
    for (const Uuid& user : users ? *users : std::vector<Uuid>{}) {
      (void)engine.balance(user);
      (void)engine.account(user);
      (void)engine.history(user);
      (void)engine.digest(user);
    }
    for (const char* view : test::views) (void)engine.rows(view);
    (void)engine.job(job_);
    (void)engine.audit();
  }

  bool write_some(Engine& engine) const {
    bool applied = false;
    for (const std::string& line : operations_)
      applied = engine.apply_command(*parse_trace_line(line)).has_value() || applied;
    return applied;
  }

  void sync(Replica& replica) const {
    (void)replica.state();
    (void)replica.leases();
    (void)replica.rejected();
    (void)replica.subscriptions();
    (void)replica.refill({Credits{20}, Credits{10}, std::chrono::hours{1}});
    const auto push = replica.next_push(1000, 1'000'000);
    if (push) (void)replica.take(read_answer(reply_, *push).reply);
  }

  const test::TemporaryFolder folder_{test::memory_folder()};
  const std::filesystem::path path_ = folder_.path() / "mirror.db";
  const std::filesystem::path device_path_ = folder_.path() / "device.db";
  std::array<Image, 2> images_{};
  const std::vector<std::string> operations_ = lines_of("operations.jsonl");
  /// The verdict on the first of what is pending, which undoes it, and other rows of its user.
  const sync::Rows reply_ = rows_of(lines_of("rejection.reply"));
  const Uuid job_ = Uuid::parse("0000006a-0000-7000-8000-000000000003").value();
};

}  // namespace

std::unique_ptr<Target> make_mirror_file() { return std::make_unique<MirrorFile>(); }

}  // namespace tally::fuzz
