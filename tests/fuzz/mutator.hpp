#pragma once
// A corpus, and seeded mutations of it: what a fuzzer does, without one.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "support/folder.hpp"

namespace tally::fuzz {

/// The committed files of a target, in the order of their names.
inline std::vector<std::string> corpus(const std::string& target) {
  std::vector<std::filesystem::path> files;
  const std::string folder = TALLY_SOURCE_DIR "/tests/fuzz/corpus/" + target;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> inputs;
  for (const std::filesystem::path& file : files) inputs.push_back(test::bytes_of(file));
  return inputs;
}

inline std::uint64_t seed() {
  const char* text = std::getenv("TALLY_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

/// Bytes and words that a parser may stumble over.
inline constexpr std::array<std::string_view, 21> snippets{
    "null",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "1e999",
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
    "2147483648",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "9223372036854775808",
    std::string_view("\0", 1)};

class Mutator {
 public:
  explicit Mutator(std::vector<std::string> corpus) : random_(seed()), corpus_(std::move(corpus)) {}

  std::string next() {
    std::string text = corpus_[below(corpus_.size())];
    for (std::size_t i = below(3) + 1; i > 0; --i) below(2) == 0 ? change(text) : nudge(text);
    return text;
  }

 private:
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::string_view snippet() { return snippets[below(snippets.size())]; }

  /// Without what it is about: a value, a member, a byte, a piece of another input.
  void change(std::string& text) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(12, text.size() - at) + 1);
    switch (below(6)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, snippet());
        break;
      case 2:
        text.replace(at, length, snippet());
        break;
      case 3:
        if (at < text.size()) text[at] = static_cast<char>(random_());
        break;
      case 4: {
        const std::string& other = corpus_[below(corpus_.size())];
        const std::size_t from = below(other.size() + 1);
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
  /// Behind a colon or comma up to the next comma or brace.
  void change_value(std::string& text) {
    const std::size_t before = text.find_first_of(":,", below(text.size() + 1));
    if (before == std::string::npos) return;
    const std::size_t end = std::min(text.find_first_of(",}", before + 1), text.size());
    text.replace(before + 1, end - before - 1, snippet());
  }

  std::mt19937_64 random_;
  std::vector<std::string> corpus_;
};

}  // namespace tally::fuzz
