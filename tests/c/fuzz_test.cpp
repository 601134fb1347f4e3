// tally_apply() is given the corpus, and thousands of seeded mutations of it, without a fuzzer.

#include <cstdlib>
#include <fstream>
#include <random>
#include <vector>

#include "apply_json.hpp"
#include "c/support.hpp"

namespace tally::c_test {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::string> lines;
  std::ifstream trace(std::string(TALLY_SOURCE_DIR) + "/tests/traces/demo.jsonl");
  for (std::string line; std::getline(trace, line);) lines.push_back(line);
  // Without what makes a repeat of it, each is an operation of its own.
  for (std::size_t i = 0, count = lines.size(); i < count; ++i) {
    std::string line = lines[i];
    for (const std::string_view key : {"\"op_id\":", "\"at\":"}) {
      const std::size_t at = line.find(key);
      line.erase(at, line.find(',', at) + 1 - at);
    }
    lines.push_back(std::move(line));
  }
  lines.push_back(R"({"op":"update_profile","user_id":"ada00000-0000-4000-8000-000000000001",)"
                  R"("display_name":"Ada","notification_prefs":{"low_credits":true}})");
  lines.push_back(
      R"({"op":"batch","ops":[{"op":"add_credits","user_id":"ada00000-0000-4000-8000-000000000001",)"
      R"("amount":1,"type":"grant"}]})");
  return lines;
}

/// Bytes and words that a parser may stumble over.
const std::vector<std::string> snippets{"null",
                                        "{}",
                                        "[]",
                                        "\"\"",
                                        "0",
                                        "-1",
                                        "1e999",
                                        "2147483648",
                                        "9223372036854775808",
                                        "8.0",
                                        "\\u0000",
                                        "\\ud800",
                                        "\xff",
                                        "\xc0\x80",
                                        "{\"op\":",
                                        "\"ops\":[",
                                        "\"reservation\":null,",
                                        "\"at\":",
                                        "\"op_id\":",
                                        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                                        std::string(1, '\0')};

class Mutator {
 public:
  Mutator(std::uint64_t seed, std::vector<std::string> corpus)
      : random_(seed), corpus_(std::move(corpus)) {}

  std::string next() {
    std::string text = pick(corpus_);
    for (std::size_t i = below(3) + 1; i > 0; --i) below(2) == 0 ? change(text) : nudge(text);
    return text;
  }

 private:
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  const std::string& pick(const std::vector<std::string>& of) { return of[below(of.size())]; }

  /// Without what it is about: a value, a member, a byte, a piece of another line.
  void change(std::string& text) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(12, text.size() - at) + 1);
    switch (below(6)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, pick(snippets));
        break;
      case 2:
        text.replace(at, length, pick(snippets));
        break;
      case 3:
        if (at < text.size()) text[at] = static_cast<char>(random_());
        break;
      case 4: {
        const std::string& other = pick(corpus_);
        const std::size_t from = below(other.size());
        text.insert(at, other.substr(from, below(80)));
        break;
      }
      default:
        change_value(text);
    }
  }
  /// Another digit for one, which mostly leaves an operation.
  void nudge(std::string& text) {
    const std::size_t at = text.find_first_of("0123456789", below(text.size() + 1));
    if (at != std::string::npos) text[at] = static_cast<char>('0' + below(10));
  }
  /// Behind a colon up to the next comma or brace.
  void change_value(std::string& text) {
    const std::size_t colon = text.find(':', below(text.size() + 1));
    if (colon == std::string::npos) return;
    const std::size_t end = std::min(text.find_first_of(",}", colon), text.size());
    text.replace(colon + 1, end - colon - 1, pick(snippets));
  }

  std::mt19937_64 random_;
  std::vector<std::string> corpus_;
};

TEST_CASE("the corpus: whatever a line of the demo's trace is answered with, the rules hold") {
  const test::TemporaryFolder folder;
  fuzz::ApplyJson target(folder.path() / "mirror.db");
  int applied = 0;
  for (const std::string& line : corpus()) {
    if (target.run(line) == TALLY_OK) ++applied;
  }
  CHECK(applied > 40);
}

TEST_CASE("mutations of the corpus: the rules hold, and both kinds of answers come") {
  const test::TemporaryFolder folder;
  fuzz::ApplyJson target(folder.path() / "mirror.db");
  const char* seed = std::getenv("TALLY_TEST_SEED");
  Mutator mutator(seed == nullptr ? 1 : std::stoull(seed), corpus());
  int applied = 0;
  int fields = 0;
  for (int i = 0; i < 2'000; ++i) {
    const std::string json = mutator.next();
    CAPTURE(i);
    const tally_code code = target.run(json);
    if (code == TALLY_OK) ++applied;
    if (code == TALLY_INVALID_ARGUMENT) ++fields;
  }
  CHECK(applied > 20);
  CHECK(fields > 500);
}

}  // namespace
}  // namespace tally::c_test
