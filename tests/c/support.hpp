#pragma once
// What the tests of the C ABI share. They see tally.h alone: the engine that they call is the one
// in the shared library.

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "support/folder.hpp"
#include "tally.h"

namespace tally::c_test {

using nlohmann::json;

/// `letter` and `n` as a UUID of version 7, as the engine's tests have it.
inline tally_uuid id(char letter, std::uint64_t n) {
  tally_uuid made{};
  made.bytes[3] = static_cast<std::uint8_t>(letter);
  made.bytes[6] = 0x70;
  made.bytes[8] = 0x80;
  for (std::size_t i = 0; i < 6; ++i) made.bytes[15 - i] = static_cast<std::uint8_t>(n >> (8 * i));
  return made;
}
inline std::string text_of(const tally_uuid& id) {
  char text[37];
  tally_uuid_format(&id, text);
  return text;
}
inline bool operator==(const tally_uuid& a, const tally_uuid& b) {
  return std::memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

/// What a reading function brought, and its end.
inline std::string taken(tally_text* text) {
  std::string out(tally_text_data(text), tally_text_length(text));
  CHECK(tally_text_data(text)[out.size()] == '\0');
  tally_text_free(text);
  return out;
}
/// `read(tally_text**)` must be ok.
template <class Read>
json read_json(Read read) {
  tally_text* text = nullptr;
  REQUIRE(read(&text) == TALLY_OK);
  return json::parse(taken(text));
}

/// An error that a call is to fill in.
struct Told : tally_error {
  Told() : tally_error(TALLY_ERROR_INIT) {}
  std::string name() const { return tally_code_name(code); }
  bool says(std::string_view part) const {
    return std::string_view(detail).find(part) != std::string_view::npos;
  }
};

/// Without an fsync for each commit.
inline tally_options fast() {
  tally_options options = TALLY_OPTIONS_INIT;
  options.durability = TALLY_DURABILITY_NORMAL;
  return options;
}

inline tally_engine* opened(const std::filesystem::path& path, const tally_options& options) {
  tally_engine* engine = nullptr;
  Told error;
  const std::string name = path.string();
  REQUIRE_MESSAGE(
      tally_engine_open(name.data(), name.size(), &options, &engine, &error) == TALLY_OK,
      error.detail);
  return engine;
}

/// A mirror in a folder of its own with the users u1 … and their 10 credits, each with project p1 …
/// and jobs j1 …: job jN is user uN's.
class Mirror {
 public:
  explicit Mirror(int users = 1, const tally_options& options = fast())
      : path_(folder_.path() / "mirror.db"), engine_(opened(path_, options)) {
    for (int n = 1; n <= users; ++n) make_user(static_cast<std::uint64_t>(n));
  }
  ~Mirror() { tally_engine_free(engine_); }
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  operator tally_engine*() const { return engine_; }
  const std::filesystem::path& path() const { return path_; }
  void reopen(const tally_options& options = fast()) {
    tally_engine_free(engine_);
    engine_ = opened(path_, options);
  }

  tally_code apply(const json& operation, tally_receipt* receipt = nullptr,
                   tally_error* error = nullptr) const {
    const std::string text = operation.dump();
    return tally_apply(engine_, text.data(), text.size(), receipt, error);
  }
  void must_apply(const json& operation) const {
    Told error;
    REQUIRE_MESSAGE(apply(operation, nullptr, &error) == TALLY_OK, error.detail);
  }
  std::int64_t balance(std::uint64_t user = 1) const {
    const tally_uuid user_id = id('u', user);
    return tally_engine_balance_value(engine_, &user_id);
  }
  void make_user(std::uint64_t n) const {
    const std::string user = text_of(id('u', n));
    must_apply({{"op", "create_user"}, {"user_id", user}});
    must_apply({{"op", "create_project"},
                {"project_id", text_of(id('p', n))},
                {"user_id", user},
                {"title", "Rome"},
                {"prompt_text", "Why did Rome fall?"},
                {"niche_preset", "history"},
                {"target_minutes", 3}});
    make_job(n, n);
  }
  void make_job(std::uint64_t job, std::uint64_t n) const {
    must_apply({{"op", "create_job"},
                {"job_id", text_of(id('j', job))},
                {"project_id", text_of(id('p', n))},
                {"user_id", text_of(id('u', n))}});
  }

 private:
  test::TemporaryFolder folder_;
  std::filesystem::path path_;
  tally_engine* engine_;
};

}  // namespace tally::c_test
