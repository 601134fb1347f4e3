#include "trace_generator.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "model.hpp"

namespace tally::model {
namespace {

using Text = std::string;

constexpr std::int64_t second_us = 1000000;
constexpr std::int64_t day_us = 86400 * second_us;
constexpr std::int64_t first_us = 1736035200 * second_us;  // 2025-01-05
constexpr std::int64_t last_us = 1792454400 * second_us;   // 2026-10-20
constexpr std::int64_t credits_max = 2147483647;

/// splitmix64.
class Random {
 public:
  /// The seed is mixed first: seeds one apart would otherwise give the same stream one step apart.
  explicit Random(std::uint64_t seed) : state_(mixed(seed + 0x5851f42d4c957f2du)) {}
  std::uint64_t next() { return mixed(state_ += 0x9e3779b97f4a7c15u); }
  std::size_t below(std::size_t bound) {
    return bound == 0 ? 0 : static_cast<std::size_t>(next() % bound);
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(double share) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < share; }
  template <class List>
  const auto& pick(const List& list) {
    return *(list.begin() + static_cast<std::ptrdiff_t>(below(list.size())));
  }
  Text one_of(std::initializer_list<const char*> list) { return pick(list); }

 private:
  static std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

Text time_text(std::int64_t at) {
  const std::int64_t days = at / day_us + 719468;  // since 0000-03-01
  const std::int64_t era = days / 146097, in_era = days % 146097;
  const std::int64_t year_of_era =
      (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
  const std::int64_t in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t shifted = (5 * in_year + 2) / 153;
  const std::int64_t day = in_year - (153 * shifted + 2) / 5 + 1;
  const std::int64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
  const std::int64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
  const std::int64_t seconds = at % day_us / second_us;
  std::array<char, 160> out{};
  std::snprintf(out.data(), out.size(), "%04lld-%02lld-%02lldT%02lld:%02lld:%02lld.%06lldZ",
                static_cast<long long>(year), static_cast<long long>(month),
                static_cast<long long>(day), static_cast<long long>(seconds / 3600),
                static_cast<long long>(seconds / 60 % 60), static_cast<long long>(seconds % 60),
                static_cast<long long>(at % second_us));
  return out.data();
}

Text upper(Text text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

Text lower(Text text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

Text quoted(std::string_view value) {
  Text out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04X", static_cast<unsigned>(c));
      out += escape.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

Text unquoted(const Text& raw) {
  return raw.size() >= 2 && raw.front() == '"' ? raw.substr(1, raw.size() - 2) : raw;
}

bool looks_like_uuid(const Text& raw) {
  return raw.size() == 38 && raw.front() == '"' && raw[9] == '-' && raw[14] == '-' &&
         raw[24] == '-';
}

/// An operation's members in order, each with its value as JSON text; a batch's ops beside them.
struct Line {
  std::vector<std::pair<Text, Text>> members;
  std::vector<Line> ops;

  const Text* find(std::string_view key) const {
    for (const auto& [name, value] : members) {
      if (name == key) return &value;
    }
    return nullptr;
  }
  Line& set(const Text& key, Text raw) {
    for (auto& [name, value] : members) {
      if (name == key) {
        value = std::move(raw);
        return *this;
      }
    }
    members.emplace_back(key, std::move(raw));
    return *this;
  }
  Line& set(const Text& key, std::int64_t number) { return set(key, std::to_string(number)); }
  Line& put(const Text& key, std::string_view value) { return set(key, quoted(value)); }
  void erase(std::string_view key) {
    members.erase(std::remove_if(members.begin(), members.end(),
                                 [&](const auto& m) { return m.first == key; }),
                  members.end());
  }
  /// A string member's value, a UUID in lower case; empty without one.
  Text get(std::string_view key) const {
    const Text* raw = find(key);
    if (raw == nullptr) return "";
    return looks_like_uuid(*raw) ? lower(unquoted(*raw)) : unquoted(*raw);
  }
  Text op() const { return get("op"); }
};

Line line_of(const Text& op) {
  Line line;
  line.put("op", op);
  return line;
}

bool makes_entries(const Text& op) {
  static const std::set<Text> all{"create_user",
                                  "add_credits",
                                  "expire_credits",
                                  "reserve_credits",
                                  "finalize_job_credits",
                                  "release_job_credits",
                                  "complete_job",
                                  "fail_job",
                                  "retry_job"};
  return all.count(op) > 0;
}

bool takes_reservation(const Text& op) {
  static const std::set<Text> all{
      "advance_job",         "report_progress", "add_asset", "finalize_job_credits",
      "release_job_credits", "complete_job",    "fail_job",  "retry_job"};
  return all.count(op) > 0;
}

bool never_in_batch(const Text& op) {
  return op == "batch" || op == "sweep" || op == "purge_expired_drafts" || op == "lease_credits" ||
         op == "return_lease";
}

bool is_stage(const Text& status) {
  return !status.empty() && status != "PENDING" && status != "QUEUED" && status != "READY" &&
         status != "FAILED";
}

class Generator {
 public:
  explicit Generator(const GeneratorOptions& options)
      : options_(options), random_(options.seed), mega_texts_(1 + options.operations / 10000) {
    const double lines = static_cast<double>(std::max<std::size_t>(options.operations, 1));
    constexpr double span_us = static_cast<double>(last_us - first_us);
    step_us_ = static_cast<std::int64_t>(std::min(60.0 * 1e6, 0.6 * span_us / lines));
    jump_share_ = std::min(0.01, 0.3 * span_us / (lines * 5.0 * static_cast<double>(day_us)));
  }

  std::vector<Text> run() {
    while (out_.size() < options_.operations) step();
    return std::move(out_);
  }

 private:
  using Maker = std::optional<Line> (Generator::*)(const Text& user);

  struct Draft {
    Text id, token, user;
  };
  struct Owned {
    Text id, user;
  };
  struct Paid {
    Text id, op, user, type;
    std::int64_t amount = 0;
  };
  struct Past {
    Line line;
    Text text;
    bool ok = false;
  };

  // ------------------------------------------------------------------------------- one line at a
  // time

  void step() {
    now_ += random_.between(1, 2 * step_us_);
    if (random_.chance(jump_share_)) now_ += random_.between(1, 9) * day_us;
    if (now_ > last_us) now_ = first_us + random_.between(0, 30) * day_us;
    if (random_.chance(0.012)) return emit_no_operation();
    if (random_.chance(0.045) && !past_.empty()) return repeat();
    if (random_.chance(0.04) && !users_.empty()) return emit(stamped(batch()));
    std::optional<Line> line = fresh();
    if (!line) return;
    if (random_.chance(options_.bad)) spoil(*line, false);
    emit(stamped(std::move(*line)));
  }

  std::optional<Line> fresh() {
    const double wanted = std::max(
        0.02, 4.0 * static_cast<double>(options_.users) / static_cast<double>(options_.operations));
    if (users_.empty() ||
        (users_.size() < options_.users && random_.chance(std::min(wanted, 0.5)))) {
      return create_user("");
    }
    return (this->*weighted())(a_user());
  }

  Maker weighted() {
    static const std::vector<std::pair<std::size_t, Maker>> weights{
        {12, &Generator::create_user_again},
        {30, &Generator::update_profile},
        {90, &Generator::add_credits},
        {22, &Generator::expire_credits},
        {35, &Generator::create_draft},
        {30, &Generator::update_draft},
        {25, &Generator::claim_draft},
        {5, &Generator::purge_expired_drafts},
        {35, &Generator::create_project},
        {25, &Generator::update_project},
        {12, &Generator::delete_project},
        {20, &Generator::create_voice_profile},
        {12, &Generator::delete_voice_profile},
        {40, &Generator::create_job},
        {520, &Generator::work_on_job},
        {40, &Generator::any_job_operation},
        {3, &Generator::sweep},
        {6, &Generator::lease}};
    std::size_t total = 0;
    for (const auto& [weight, maker] : weights) total += weight;
    std::size_t rest = random_.below(total);
    for (const auto& [weight, maker] : weights) {
      if (rest < weight) return maker;
      rest -= weight;
    }
    return &Generator::work_on_job;
  }

  Line stamped(Line line) {
    std::int64_t at = now_;
    if (random_.chance(0.03)) at -= random_.between(1, 3 * day_us);
    if (random_.chance(0.02)) at -= at % second_us;
    line.set("at", quoted(time_text(std::max(at, first_us))));
    if (line.find("op_id") == nullptr) line.put("op_id", new_op_id());
    return line;
  }

  void emit(Line line) {
    if (!options_.derived_collisions) keep_ids_apart(line, line.get("user_id"));
    Text text = rendered(line);
    emit_text(std::move(text), std::move(line));
  }

  void emit_text(Text text, Line line) {
    const Text result = model_.apply(text);
    const bool ok = result.find(R"("result":"ok")") != Text::npos;
    if (ok) learn(line);
    past_.push_back({std::move(line), text, ok});
    out_.push_back(std::move(text));
  }

  /// Two operations that append entries must not derive the same ids: same digits but the 13th and
  /// 14th only for the same op_id of the same user. True where an op_id had to be changed.
  bool keep_ids_apart(Line& line, const Text& batch_user) {
    bool changed = false;
    for (Line& op : line.ops)
      changed = keep_ids_apart(op, line.ops.front().get("user_id")) || changed;
    const Text op_id = line.get("op_id");
    if (!makes_entries(line.op()) || op_id.size() != 36) return changed;
    Text user = line.get("user_id");
    if (user.empty()) {
      const auto job = model_.job(line.get("job_id"));
      user = job ? job->owner : batch_user;
    }
    Text stem = op_id;
    stem[14] = stem[15] = '.';
    const auto [known, fresh_stem] = stems_.emplace(stem, user + op_id);
    if (fresh_stem || known->second == user + op_id) return changed;
    line.put("op_id", new_op_id());
    keep_ids_apart(line, batch_user);
    return true;
  }

  /// Keeps the light idea of the state that the makers draw from.
  void learn(const Line& line) {
    for (const Line& op : line.ops) learn(op);
    const Text op = line.op(), user = line.get("user_id");
    if (op == "create_user" && known_users_.insert(user).second) {
      users_.push_back(user);
      if (line.get("email").size() > 4) emails_.push_back(line.get("email"));
    } else if (op == "create_draft") {
      drafts_.push_back({line.get("draft_id"), line.get("session_token"), user});
      if (drafts_.size() > 60) drafts_.erase(drafts_.begin());
    } else if (op == "claim_draft") {
      for (Draft& draft : drafts_) {
        if (draft.token == line.get("session_token") && draft.user.empty()) draft.user = user;
      }
    } else if (op == "create_project") {
      add(projects_, line.get("project_id"), user);
    } else if (op == "delete_project") {
      drop(projects_, line.get("project_id"), freed_projects_);
    } else if (op == "create_voice_profile") {
      add(voices_, line.get("voice_profile_id"), user);
    } else if (op == "delete_voice_profile") {
      drop(voices_, line.get("voice_profile_id"), freed_voices_);
    } else if (op == "create_job") {
      std::vector<Text>& jobs = jobs_[user];
      const Text job_id = line.get("job_id");
      if (std::find(jobs.begin(), jobs.end(), job_id) == jobs.end()) jobs.push_back(job_id);
      if (jobs.size() > 10) jobs.erase(jobs.begin());
    } else if (op == "add_asset") {
      assets_.push_back(line.get("asset_id"));
    } else if (op == "add_credits" || op == "expire_credits") {
      if (!line.get("stripe_payment_id").empty() && line.get("stripe_payment_id") != "null") {
        payments_.push_back({line.get("stripe_payment_id"), op, user, line.get("type"),
                             std::strtoll(line.get("amount").c_str(), nullptr, 10)});
      }
    }
  }

  static void add(std::vector<Owned>& list, const Text& id, const Text& user) {
    const bool known =
        std::any_of(list.begin(), list.end(), [&](const Owned& o) { return o.id == id; });
    if (!known) list.push_back({id, user});
    if (list.size() > 400) list.erase(list.begin());
  }

  static void drop(std::vector<Owned>& list, const Text& id, std::vector<Text>& freed) {
    const auto gone =
        std::remove_if(list.begin(), list.end(), [&](const Owned& o) { return o.id == id; });
    if (gone == list.end()) return;
    list.erase(gone, list.end());
    freed.push_back(id);
  }

  // -----------------------------------------------------------------------------------------
  // rendering

  Text rendered(const Line& line) {
    std::vector<std::pair<Text, Text>> members = line.members;
    if (!line.ops.empty()) {
      Text ops;
      for (const Line& op : line.ops) ops += (ops.empty() ? "" : ",") + rendered(op);
      members.emplace_back("ops", "[" + ops + "]");
    }
    if (random_.chance(0.05)) {
      for (auto& [key, raw] : members) {
        if (looks_like_uuid(raw)) raw = upper(raw);
      }
    }
    if (random_.chance(0.04)) {
      for (std::size_t i = members.size(); i > 1; --i)
        std::swap(members[i - 1], members[random_.below(i)]);
    }
    if (random_.chance(0.03)) {  // a key twice; the last one counts
      const Text key = members[random_.below(members.size())].first;
      members.insert(members.begin(),
                     {key, random_.one_of({"null", "7", "\"x\"", "{}", "[1]", "-1.5"})});
    }
    const Text gap = random_.chance(0.04) ? random_.one_of({" ", "  ", "\t", " \t "}) : "";
    Text out = gap + "{";
    bool first = true;
    for (const auto& [key, raw] : members) {
      if (!first) out += "," + gap;
      first = false;
      out += quoted(key) + gap + ":" + gap + raw;
    }
    return out + "}" + (random_.chance(0.01) ? "\r" : gap);
  }

  // -------------------------------------------------------------------------------------------
  // values

  Text hex(std::size_t digits) {
    Text out;
    while (out.size() < digits) out += "0123456789abcdef"[random_.next() & 15];
    return out;
  }

  Text uuid_of(const Text& digits) {
    return digits.substr(0, 8) + "-" + digits.substr(8, 4) + "-" + digits.substr(12, 4) + "-" +
           digits.substr(16, 4) + "-" + digits.substr(20);
  }

  /// Version 4, and any other version where `any` is given.
  Text random_uuid(bool any = false) {
    Text digits = hex(32);
    if (!any) {
      digits[12] = '4';
      digits[16] = "89ab"[random_.below(4)];
    }
    return uuid_of(digits);
  }

  /// Mostly version 7 at the trace's time, some of any other good version.
  Text new_made_id() {
    Text digits = hex(32);
    if (random_.chance(0.85)) {
      std::int64_t ms = now_ / 1000;
      for (std::size_t i = 12; i-- > 0; ms /= 16) digits[i] = "0123456789abcdef"[ms % 16];
      digits[12] = '7';
    } else {
      digits[12] = random_.chance(0.7) ? '4' : "1234567"[random_.below(7)];
    }
    digits[16] = "89ab"[random_.below(4)];
    return uuid_of(digits);
  }

  Text new_op_id() {
    if (options_.derived_collisions && !past_.empty() && random_.chance(0.03)) {
      Text near = past_[random_.below(past_.size())].line.get("op_id");
      if (near.size() == 36) {
        near[14] = "1234567"[random_.below(7)];
        near[15] = hex(1)[0];
        return near;
      }
    }
    return new_made_id();
  }

  Text new_job_id(const Text& user) {
    if (options_.derived_collisions && !jobs_[user].empty() && random_.chance(0.05)) {
      Text near = random_.pick(jobs_[user]);
      near[14] = "1234567"[random_.below(7)];
      near[15] = hex(1)[0];
      return near;
    }
    return new_made_id();
  }

  /// For rows that take a given id, mostly new, sometimes one that was freed.
  Text new_id(const std::vector<Text>& freed) {
    if (!freed.empty() && random_.chance(0.15)) return random_.pick(freed);
    return random_.chance(0.5)   ? random_uuid()
           : random_.chance(0.8) ? new_made_id()
                                 : random_uuid(true);
  }

  /// A JSON string, odd characters and odd spellings included; never empty.
  Text words() {
    const std::size_t kind = random_.below(14);
    if (kind == 0)
      return random_.one_of({R"("\u00e9t\u00e9 \ud83d\ude00")", R"("a\/b\\c\"d")",
                             R"("\b\f\n\r\t\u0001\u001f")", R"("\u0041\u0042")", R"("tab\there")",
                             R"("\u2028\u007f")"});
    if (kind == 1) return quoted("Ünïcödé 日本語 😀 end");
    if (kind == 2) return quoted("'; DROP TABLE jobs; -- \" \\ % _ $1 {}");
    if (kind == 3) return quoted("line one\nline two\ttab\x01\x7f");
    if (kind == 4) return quoted(random_.one_of({"null", "true", "0", " ", "NaN", "\\x41", "-"}));
    static const std::array<const char*, 12> list{"a",     "short",  "video", "about",
                                                  "never", "giving", "up",    "the",
                                                  "moon",  "and",    "deep",  "sea"};
    Text out;
    for (std::size_t n = 1 + random_.below(5); n > 0; --n)
      out += (out.empty() ? "" : " ") + Text(random_.pick(list));
    return quoted(out);
  }

  Text number_text() {
    return random_.one_of({"0",
                           "-0",
                           "1",
                           "42",
                           "-7",
                           "1.50E+3",
                           "1e2",
                           "1E-2",
                           "-0.0",
                           "0.10",
                           "2.500",
                           "1.5e0",
                           "0e5",
                           "0.00e1",
                           "12e-1",
                           "-3.25E-4",
                           "1e39",
                           "1e-39",
                           "9007199254740993",
                           "123456789012345678901234567890",
                           "0.1234567890123456789012345678901234567",
                           "9999999999999999999999999999999999999999"});
  }

  /// JSON within all limits, on one line.
  Text json_text(std::size_t depth = 0) {
    const std::size_t kind = random_.below(depth > 3 ? 5 : 9);
    switch (kind) {
      case 0:
        return random_.one_of({"true", "false", "{}", "[]"});
      case 1:
        return depth > 0 ? "null" : "{\"n\":null}";
      case 2:
        return number_text();
      case 3:
        return words();
      case 4:
        return "{\"a\":1,\"a\":" + number_text() + "}";
      case 5: {
        Text out;
        for (std::size_t n = random_.below(4); n > 0; --n)
          out += (out.empty() ? "" : ", ") + json_text(depth + 1);
        return "[" + out + "]";
      }
      default:
        break;
    }
    Text out;
    for (std::size_t n = random_.below(5); n > 0; --n) {
      out +=
          (out.empty() ? "" : ",") +
          random_.one_of({"\"b\"", "\"a\"", "\"bb\"", "\"\"", "\"Z\"", "\"\\u0061\"", "\"é\"",
                          "\"long key\"", "\"job_complete\"", "\"low_credits\"", "\"k\\n\\\"\""});
      out += " :" + json_text(depth + 1);  // apart: operands of + are drawn in any order
    }
    return "{" + out + "}";
  }

  /// Sometimes a value, sometimes an explicit null, mostly absent.
  void maybe(Line& line, const Text& key, Text raw, double share) {
    if (random_.chance(share)) {
      line.set(key, std::move(raw));
    } else if (random_.chance(0.07)) {
      line.set(key, Text("null"));
    }
  }

  // ------------------------------------------------------------------------------------ what there
  // is

  Text a_user() {
    if (users_.empty()) return random_uuid();
    if (focus_.empty() || random_.chance(0.12)) focus_ = random_.pick(users_);
    return random_.chance(0.7) ? focus_ : random_.pick(users_);
  }

  Text another_user(const Text& user) {
    for (int i = 0; i < 4 && users_.size() > 1; ++i) {
      if (const Text other = random_.pick(users_); other != user) return other;
    }
    return random_uuid();
  }

  std::optional<Text> owned(const std::vector<Owned>& list, const Text& user) {
    std::vector<Text> mine;
    for (const Owned& one : list) {
      if (one.user == user) mine.push_back(one.id);
    }
    if (mine.empty()) return std::nullopt;
    return mine[mine.size() - 1 - random_.below(std::min<std::size_t>(mine.size(), 6))];
  }

  /// One of the user's latest jobs, rather one on which something is left to do.
  std::optional<Text> a_job(const Text& user) {
    std::vector<Text>& jobs = jobs_[user];
    if (const auto last = model_.job(focus_job_[user]);
        last && last->status != "READY" && random_.chance(0.7)) {
      return focus_job_[user];
    }
    for (int i = 0; i < 4 && !jobs.empty(); ++i) {
      const std::size_t place = random_.chance(0.6) ? jobs.size() - 1 : random_.below(jobs.size());
      const Text job_id = jobs[place];
      const auto view = model_.job(job_id);
      if (!view) {
        freed_jobs_.push_back({job_id, user});
        jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(place));
      } else if (view->status == "READY" && random_.chance(0.5)) {
        jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(place));
      } else {
        focus_job_[user] = job_id;
        return job_id;
      }
    }
    return std::nullopt;
  }

  Text a_session() { return "session-" + std::to_string(random_.below(12 + options_.users)); }

  // -------------------------------------------------------------------------------------------
  // makers

  std::optional<Line> create_user(const Text&) {
    Line line = line_of("create_user");
    line.put("user_id", random_.chance(0.5) ? random_uuid() : new_made_id());
    maybe(line, "email",
          quoted("u" + std::to_string(users_.size()) + "-" + hex(4) + "@example.com"), 0.8);
    maybe(line, "display_name", random_.chance(0.05) ? quoted("") : words(), 0.6);
    return line;
  }

  std::optional<Line> create_user_again(const Text& user) {
    Line line = *create_user("");
    if (emails_.empty() || random_.chance(0.5)) return std::move(line.put("user_id", user));
    return std::move(line.put("email", random_.pick(emails_)));
  }

  std::optional<Line> update_profile(const Text& user) {
    Line line = line_of("update_profile");
    line.put("user_id", user);
    maybe(line, "display_name", random_.chance(0.1) ? quoted("") : words(), 0.5);
    maybe(line, "avatar_url", quoted("https://a.example/" + hex(6)), 0.4);
    maybe(line, "notification_prefs", json_text(), 0.4);
    maybe(line, "stripe_customer_id", quoted("cus_" + hex(8)), 0.3);
    return line;
  }

  std::optional<Line> add_credits(const Text& user) {
    Line line = line_of("add_credits");
    line.put("user_id", user).set("amount", random_.between(1, 120));
    line.put("type", random_.one_of({"purchase", "grant", "subscription", "refund"}));
    if (random_.chance(0.06)) {
      const auto account = model_.account(user);
      const std::int64_t room =
          account ? credits_max - account->balance - account->held : credits_max;
      const std::array<std::int64_t, 4> near{room, room + 1, credits_max, room - 5};
      line.set("amount", std::clamp<std::int64_t>(random_.pick(near), 1, credits_max));
    }
    maybe(line, "note", random_.chance(0.1) ? quoted("") : words(), 0.5);
    pay(line);
    return line;
  }

  std::optional<Line> expire_credits(const Text& user) {
    Line line = line_of("expire_credits");
    const auto account = model_.account(user);
    const std::int64_t balance = account ? account->balance : 0;
    std::int64_t amount = random_.between(1, 30);
    if (balance > 1000000 && random_.chance(0.6)) amount = balance - random_.between(0, 500);
    if (random_.chance(0.15)) amount = balance + random_.between(0, 1);
    line.put("user_id", user).set("amount", std::clamp<std::int64_t>(amount, 1, credits_max));
    maybe(line, "note", words(), 0.5);
    pay(line);
    return line;
  }

  /// A webhook's payment: a new one, one that is delivered again, or one that conflicts.
  void pay(Line& line) {
    if (payments_.empty() || random_.chance(0.6)) {
      return maybe(line, "stripe_payment_id", quoted("pi_" + hex(12)), 0.45);
    }
    if (random_.chance(0.6)) return;
    const Paid& paid = payments_[payments_.size() - 1 -
                                 random_.below(std::min<std::size_t>(payments_.size(), 40))];
    line.put("stripe_payment_id", paid.id);
    if (random_.chance(0.3)) return;
    line.put("op", paid.op).put("user_id", paid.user).set("amount", paid.amount);
    if (paid.op == "add_credits") {
      line.put("type", paid.type);
    } else {
      line.erase("type");
    }
  }

  std::optional<Line> create_draft(const Text& user) {
    Line line = line_of("create_draft");
    line.put("draft_id",
             drafts_.empty() || random_.chance(0.96) ? new_id({}) : random_.pick(drafts_).id);
    line.put("session_token", a_session());
    if (random_.chance(0.2)) line.put("user_id", random_.chance(0.05) ? random_uuid() : user);
    if (random_.chance(0.05)) line.set("user_id", Text("null"));
    line.set("prompt_text", words());
    maybe(line, "template_id", words(), 0.3);
    maybe(line, "options", json_text(), 0.4);
    return line;
  }

  std::optional<Line> update_draft(const Text& user) {
    if (drafts_.empty()) return std::nullopt;
    const Draft& draft = random_.pick(drafts_);
    Line line = line_of("update_draft");
    line.put("draft_id", draft.id);
    const bool by_token = random_.chance(draft.user.empty() ? 0.9 : 0.15);
    if (by_token) line.put("session_token", draft.token);
    if (!by_token || random_.chance(0.1))
      line.put("user_id", draft.user.empty() ? user : draft.user);
    if (random_.chance(0.6)) line.set("prompt_text", words());
    maybe(line, "template_id", words(), 0.4);
    maybe(line, "options", json_text(), 0.4);
    return line;
  }

  std::optional<Line> claim_draft(const Text& user) {
    Line line = line_of("claim_draft");
    return std::move(line.put("session_token", a_session()).put("user_id", user));
  }

  std::optional<Line> purge_expired_drafts(const Text&) { return line_of("purge_expired_drafts"); }

  void project_members(Line& line, const Text& user, double share) {
    if (random_.chance(share)) line.set("title", words());
    if (random_.chance(share)) line.set("prompt_text", words());
    if (random_.chance(share)) {
      line.put("niche_preset", random_.one_of({"motivation", "explainer", "facts", "history",
                                               "finance", "science"}));
    }
    if (random_.chance(share)) line.set("target_minutes", random_.between(1, 10));
    const auto voice = owned(voices_, user);
    maybe(line, "voice_profile_id", quoted(voice ? *voice : random_uuid()), voice ? 0.5 : 0.02);
    maybe(line, "transcript_mode", random_.one_of({"\"auto\"", "\"manual\""}), 0.3);
    maybe(line, "transcript_text", random_.chance(0.1) ? quoted("") : words(), 0.3);
    maybe(line, "settings", json_text(), 0.3);
  }

  std::optional<Line> create_project(const Text& user) {
    Line line = line_of("create_project");
    const auto mine = owned(projects_, user);
    line.put("project_id", mine && random_.chance(0.04) ? *mine : new_id(freed_projects_))
        .put("user_id", user);
    project_members(line, user, 1.0);
    return line;
  }

  std::optional<Line> update_project(const Text& user) {
    const auto project = owned(projects_, user);
    if (!project) return create_project(user);
    Line line = line_of("update_project");
    line.put("project_id", *project).put("user_id", user);
    project_members(line, user, 0.4);
    return line;
  }

  std::optional<Line> delete_project(const Text& user) {
    const auto project = owned(projects_, user);
    if (!project) return create_project(user);
    Line line = line_of("delete_project");
    return std::move(line.put("project_id", *project).put("user_id", user));
  }

  std::optional<Line> create_voice_profile(const Text& user) {
    Line line = line_of("create_voice_profile");
    const auto mine = owned(voices_, user);
    line.put("voice_profile_id", mine && random_.chance(0.05) ? *mine : new_id(freed_voices_));
    line.put("user_id", user).set("name", words()).put("audio_path", "voices/" + hex(6) + ".wav");
    maybe(line, "provider", random_.one_of({"\"custom\"", "\"elevenlabs\"", "\"\""}), 0.4);
    maybe(line, "voice_id", words(), 0.3);
    maybe(line, "settings", json_text(), 0.3);
    return line;
  }

  std::optional<Line> delete_voice_profile(const Text& user) {
    const auto voice = owned(voices_, user);
    if (!voice) return create_voice_profile(user);
    Line line = line_of("delete_voice_profile");
    return std::move(line.put("voice_profile_id", *voice).put("user_id", user));
  }

  std::optional<Line> create_job(const Text& user) {
    const auto project = owned(projects_, user);
    if (!project) return create_project(user);
    Line line = line_of("create_job");
    Text job_id = new_job_id(user);
    // A freed id only for the user who had it: the old job's op_ids are his.
    if (random_.chance(0.15)) {
      for (const Owned& freed : freed_jobs_) {
        if (freed.user == user) job_id = freed.id;
      }
    }
    if (!jobs_[user].empty() && random_.chance(0.03)) job_id = random_.pick(jobs_[user]);
    return std::move(line.put("job_id", job_id).put("project_id", *project).put("user_id", user));
  }

  std::optional<Line> sweep(const Text&) {
    Line line = line_of("sweep");
    const std::array<std::int64_t, 6> graces{
        random_.between(1, 60), 3600, 4 * 3600, 86400, 5 * 86400, 2592000};
    return std::move(line.set("grace", random_.pick(graces)));
  }

  std::optional<Line> lease(const Text& user) {
    if (random_.chance(0.4))
      return std::move(line_of("return_lease").put("lease_id", random_uuid()));
    Line line = line_of("lease_credits");
    line.put("lease_id", random_uuid()).put("user_id", user).set("amount", random_.between(0, 5));
    return std::move(line.set("ttl", 3600));
  }

  // ---------------------------------------------------------------------------------------------
  // jobs

  Line on_job(const Text& op, const Text& job_id) {
    Line line = line_of(op);
    line.put("job_id", job_id);
    return line;
  }

  /// With the reservation that the job has, sometimes; another, rarely.
  Line meant(Line line) {
    if (!takes_reservation(line.op())) return line;
    const auto view = model_.job(line.get("job_id"));
    if (view && view->reservation && random_.chance(0.12))
      line.put("reservation", *view->reservation);
    if (random_.chance(0.02)) line.put("reservation", random_uuid(true));
    if (random_.chance(0.01)) line.set("reservation", Text("null"));
    return line;
  }

  Line reserve(const Text& job_id, const Text& user) {
    Line line = line_of("reserve_credits");
    std::int64_t amount = random_.between(1, 15);
    const auto account = model_.account(user);
    if (account && random_.chance(0.06)) amount = account->balance + random_.between(0, 1);
    return std::move(line.put("user_id", user)
                         .put("job_id", job_id)
                         .set("amount", std::clamp<std::int64_t>(amount, 1, credits_max)));
  }

  Line advance(const Text& job_id, const Text& to) {
    Line line = on_job("advance_job", job_id);
    line.put("to", to);
    maybe(line, "status_message", random_.chance(0.1) ? quoted("") : words(), 0.3);
    return line;
  }

  std::int64_t a_cost(const Text& job_id) {
    const auto view = model_.job(job_id);
    const std::int64_t hold = view ? view->hold : 5;
    if (random_.chance(0.1)) return 0;
    if (random_.chance(0.3)) return hold;
    if (random_.chance(0.15)) return hold + random_.between(1, 4);
    if (view && random_.chance(0.12))
      return std::min(credits_max,
                      hold + model_.account(view->owner)->balance + random_.between(0, 1));
    return random_.between(0, std::max<std::int64_t>(hold, 1));
  }

  Line finalize(const Text& job_id) {
    Line line = on_job("finalize_job_credits", job_id);
    return std::move(line.set("final_cost", a_cost(job_id)));
  }

  Line complete(const Text& job_id) {
    Line line = on_job("complete_job", job_id);
    line.set("final_cost", a_cost(job_id));
    maybe(line, "output_url", quoted("https://out.example/" + hex(8)), 0.7);
    maybe(line, "manifest_json", json_text(), 0.5);
    return line;
  }

  Line fail(const Text& job_id) {
    Line line = on_job("fail_job", job_id);
    line.put("error_code", random_.one_of({"TTS_TIMEOUT", "CANCELLED", "OOM", "é"}));
    maybe(line, "error_message", random_.chance(0.1) ? quoted("") : words(), 0.6);
    return line;
  }

  Line retry(const Text& job_id) {
    Line line = on_job("retry_job", job_id);
    std::int64_t amount = random_.between(1, 12);
    const auto view = model_.job(job_id);
    if (view && random_.chance(0.06))
      amount = model_.account(view->owner)->balance + random_.between(0, 1);
    return std::move(line.set("amount", std::clamp<std::int64_t>(amount, 1, credits_max)));
  }

  Line report(const Text& job_id, const Text& step) {
    Line line = on_job("report_progress", job_id);
    line.put("step_name", step);
    line.set("progress_pct",
             random_.chance(0.15) ? random_.between(0, 5) : random_.between(0, 100));
    maybe(line, "status_message", random_.chance(0.5) ? quoted("working") : words(), 0.3);
    maybe(line, "logs_url", quoted("https://logs.example/" + hex(2)), 0.2);
    maybe(line, "artifacts_json", random_.chance(0.3) ? "{}" : json_text(), 0.2);
    return line;
  }

  Line asset(const Text& job_id) {
    Line line = on_job("add_asset", job_id);
    line.put("asset_id",
             !assets_.empty() && random_.chance(0.06) ? random_.pick(assets_) : new_id({}));
    line.put("type", random_.one_of(
                         {"video", "audio", "image", "captions", "manifest", "zip", "thumbnail"}));
    line.put("url", "https://cdn.example/" + hex(6)).put("storage_path", "p/" + hex(6));
    maybe(line, "size_bytes", random_.one_of({"0", "1048576", "9223372036854775807", "-0"}), 0.6);
    maybe(line, "mime_type", quoted("video/mp4"), 0.5);
    maybe(line, "metadata_json", json_text(), 0.3);
    return line;
  }

  Line claim(const Text& job_id, const Text& op) {
    Line line = on_job(op, job_id);
    if (op == "drop_claim") return line;
    const std::array<std::int64_t, 6> ttls{1, random_.between(1, 900), 1800, 3600, 86400, 2592000};
    return std::move(line.set("ttl", ttls[random_.below(random_.chance(0.97) ? 5 : 6)]));
  }

  /// What a sensible client would do next with one of the user's jobs.
  std::optional<Line> work_on_job(const Text& user) {
    const auto job_id = a_job(user);
    if (!job_id) return create_job(user);
    const Model::JobView view = *model_.job(*job_id);
    const std::size_t roll = random_.below(100);
    if (view.status == "PENDING") return meant(pending(*job_id, view, roll));
    if (view.status == "READY") {
      return meant(roll < 40   ? asset(*job_id)
                   : roll < 65 ? finalize(*job_id)
                   : roll < 80 ? complete(*job_id)
                   : roll < 90 ? claim(*job_id, "drop_claim")
                               : fail(*job_id));
    }
    if (view.status == "FAILED") {
      return meant(roll < 82   ? retry(*job_id)
                   : roll < 88 ? advance(*job_id, "QUEUED")
                   : roll < 93 ? claim(*job_id, "claim_job")
                               : fail(*job_id));
    }
    return meant(running(*job_id, view, roll));
  }

  Line pending(const Text& job_id, const Model::JobView& view, std::size_t roll) {
    if (view.hold == 0) {
      if (roll < 78) return reserve(job_id, view.owner);
      if (roll < 88) return advance(job_id, "QUEUED");
      if (roll < 92) return finalize(job_id);
      return roll < 95 ? on_job("release_job_credits", job_id) : fail(job_id);
    }
    if (roll < 80) return advance(job_id, "QUEUED");
    if (roll < 86) return reserve(job_id, view.owner);
    if (roll < 90) return finalize(job_id);
    return roll < 95 ? on_job("release_job_credits", job_id) : fail(job_id);
  }

  Line running(const Text& job_id, const Model::JobView& view, std::size_t roll) {
    if (roll < 5) return fail(job_id);
    if (roll < 7) return finalize(job_id);
    if (roll < 8) return on_job("release_job_credits", job_id);
    if (roll < 18) {
      return claim(job_id, !view.claimed || random_.chance(0.2) ? "claim_job"
                           : random_.chance(0.6)                ? "renew_claim"
                                                                : "drop_claim");
    }
    if (roll < 25) return asset(job_id);
    if (roll < 45 && is_stage(view.status)) return report(job_id, view.status);
    if (view.status != "PACKAGING") return advance(job_id, view.next_status);
    if (view.hold == 0 && random_.chance(0.3)) return complete(job_id);
    if (view.hold == 0) return view.finalized ? advance(job_id, "READY") : fail(job_id);
    return roll < 80 ? complete(job_id) : roll < 95 ? finalize(job_id) : advance(job_id, "READY");
  }

  /// Any operation on any job, whatever the job's status.
  std::optional<Line> any_job_operation(const Text& user) {
    const auto found = a_job(user);
    const Text job_id = found && random_.chance(0.94) ? *found : random_uuid();
    switch (random_.below(12)) {
      case 0:
        return meant(reserve(job_id, user));
      case 1:
        return meant(finalize(job_id));
      case 2:
        return meant(complete(job_id));
      case 3:
        return meant(fail(job_id));
      case 4:
        return meant(retry(job_id));
      case 5:
        return meant(on_job("release_job_credits", job_id));
      case 6:
        return meant(claim(job_id, random_.one_of({"claim_job", "renew_claim", "drop_claim"})));
      case 7:
        return meant(report(
            job_id, random_.one_of({"SCRIPTING", "PACKAGING", "QUEUED", "scripting", "TIMELINE"})));
      case 8:
        return meant(asset(job_id));
      default:
        return meant(
            advance(job_id, random_.one_of({"PENDING", "QUEUED", "SCRIPTING", "VOICE_GEN",
                                            "ALIGNMENT", "VISUAL_PLAN", "IMAGE_GEN", "TIMELINE",
                                            "RENDERING", "PACKAGING", "READY", "FAILED"})));
    }
  }

  // ------------------------------------------------------------------------------------------
  // batches

  Line batch() {
    Line line = line_of("batch");
    line.put("op_id", new_op_id());
    const Text user = a_user();
    const std::size_t kind = random_.below(100);
    if (kind < 35) {
      pipeline(line.ops, user);
    } else if (kind < 42) {
      for (std::size_t n = 1 + random_.below(3); n > 0; --n) line.ops.push_back(nobodys());
    } else if (kind < 44) {
      for (std::size_t n = 100 + random_.below(300); n > 0; --n) {
        line.ops.push_back(std::move(
            line_of("add_credits").put("user_id", user).set("amount", 1).put("type", "grant")));
      }
    } else {
      for (std::size_t n = 1 + random_.below(6); n > 0; --n) {
        if (auto op = users_own(user)) line.ops.push_back(*op);
      }
    }
    if (line.ops.empty()) pipeline(line.ops, user);
    for (Line& op : line.ops) {
      if (op.find("op_id") == nullptr) op.put("op_id", new_op_id());
    }
    if (random_.chance(2 * options_.bad)) spoil_batch(line, user);
    return line;
  }

  /// From a project to a job at work, each step on what the one before made.
  void pipeline(std::vector<Line>& ops, const Text& user) {
    const auto mine = owned(projects_, user);
    Text project_id = mine ? *mine : random_uuid();
    if (!mine || random_.chance(0.4)) {
      Line project = *create_project(user);
      project_id = project.get("project_id");
      ops.push_back(std::move(project));
    }
    const Text job_id = new_made_id();
    ops.push_back(std::move(line_of("create_job")
                                .put("job_id", job_id)
                                .put("project_id", project_id)
                                .put("user_id", user)));
    if (random_.chance(0.9)) ops.push_back(reserve(job_id, user));
    if (random_.chance(0.8)) ops.push_back(advance(job_id, "QUEUED"));
    if (random_.chance(0.4)) ops.push_back(advance(job_id, "SCRIPTING"));
    if (random_.chance(0.2)) ops.push_back(report(job_id, "SCRIPTING"));
    if (random_.chance(0.2)) ops.push_back(asset(job_id));
    if (random_.chance(0.1)) ops.push_back(fail(job_id));
    if (random_.chance(0.1))
      ops.push_back(
          std::move(line_of("delete_project").put("project_id", project_id).put("user_id", user)));
  }

  Line nobodys() {
    Line line = *create_draft("");
    line.erase("user_id");
    return line;
  }

  /// An operation of just this user, fit for a batch.
  std::optional<Line> users_own(const Text& user) {
    static const std::array<Maker, 12> makers{
        &Generator::update_profile,       &Generator::add_credits,
        &Generator::expire_credits,       &Generator::claim_draft,
        &Generator::create_project,       &Generator::update_project,
        &Generator::create_job,           &Generator::create_voice_profile,
        &Generator::delete_voice_profile, &Generator::delete_project,
        &Generator::work_on_job,          &Generator::work_on_job};
    std::optional<Line> line = (this->*random_.pick(makers))(user);
    const Text named = line ? line->get("user_id") : "";
    if (!named.empty() && named != user) return std::nullopt;  // a payment of somebody else
    return line;
  }

  void spoil_batch(Line& line, const Text& user) {
    const std::size_t place = random_.below(line.ops.size());
    Line& op = line.ops[place];
    switch (random_.below(14)) {
      case 0:
        op = line_of(random_.one_of(
            {"sweep", "purge_expired_drafts", "batch", "mint", "", "lease_credits"}));
        op.put("op_id", new_op_id());
        break;
      case 1:
        op.set("op_id",
               random_.one_of({"null", "7", "\"x\"", "\"00000000-0000-8000-8000-000000000000\""}));
        break;
      case 2:
        op.set("at", quoted(time_text(now_)));
        break;
      case 3:
        op.put("op_id", line.get("op_id"));
        break;
      case 4:
        op = Line(std::move(Line().put("op_id", new_op_id())));
        break;
      case 5:
        line.ops.clear();
        line.set("ops",
                 random_.one_of({"[]", "{}", "null", "7", "[7]", "[null]", "[[]]", "\"ops\""}));
        break;
      case 6:
        line.set("extra", Text("1"));
        break;
      case 7:
        line.ops.push_back(
            std::move(users_own(another_user(user)).value_or(nobodys()).put("op_id", new_op_id())));
        break;
      case 8: {  // the same op twice, or another one under its op_id
        Line again = op;
        if (random_.chance(0.4)) spoil(again, true);
        line.ops.push_back(std::move(again));
        break;
      }
      case 9: {  // one that was applied before the batch
        const Past& past =
            past_[past_.size() - 1 - random_.below(std::min<std::size_t>(past_.size(), 300))];
        Line again = past.line;
        again.erase("at");
        if (again.get("user_id") == user && !never_in_batch(again.op()))
          line.ops.push_back(std::move(again));
        break;
      }
      case 10:
        if (big_text_due()) {
          while (line.ops.size() < 1001)
            line.ops.push_back(std::move(Line(line.ops.front()).put("op_id", new_op_id())));
        }
        break;
      default:
        spoil(op, line.ops.size() > 1);
    }
  }

  // ------------------------------------------------------------------------------------------
  // repeats

  void repeat() {
    const std::size_t back =
        random_.below(random_.chance(0.7) ? std::min<std::size_t>(past_.size(), 60) : past_.size());
    const Past past = past_[past_.size() - 1 - back];
    if (past.text.size() > 20000 && random_.chance(0.9)) return;
    Line line = past.line;
    if (line.members.empty() || random_.chance(0.3)) {
      if (!options_.derived_collisions && keep_ids_apart(line, line.get("user_id")))
        return emit(std::move(line));
      return emit_text(past.text, std::move(line));
    }
    if (random_.chance(0.5)) line.set("at", quoted(time_text(now_)));
    const std::size_t kind = random_.below(10);
    if (kind >= 5 && !line.ops.empty()) {
      change_batch(line);
    } else if (kind == 5 && line.find("user_id") != nullptr) {
      line.put("user_id", another_user(line.get("user_id")));
    } else if (kind == 6) {
      const Text user = line.get("user_id").empty() ? a_user() : line.get("user_id");
      if (auto other = users_own(user)) {
        other->put("op_id", line.get("op_id"));
        line = stamped(std::move(*other));
      }
    } else if (kind >= 7) {
      spoil(line, false);
    }
    emit(std::move(line));
  }

  /// Such that its user can still be told.
  void change_batch(Line& line) {
    if (random_.chance(0.3)) {
      line.set("extra", Text("1"));
    } else if (line.ops.size() > 1) {
      line.ops.pop_back();
    }
  }

  // -------------------------------------------------------------------------------------------
  // spoiling

  bool big_text_due() { return random_.chance(0.05); }

  /// One member made bad, odd, unknown or somebody else's.
  void spoil(Line& line, bool in_batch) {
    const std::size_t kind = random_.below(20);
    if (kind == 0) {
      const Text unknown =
          random_.one_of({"extra", "Op", "amounts", "", "reservation2", "balance"});
      line.set(unknown, random_.one_of({"1", "null", "{}"}));
      return;
    }
    if (kind == 1 && !takes_reservation(line.op())) {
      line.put("reservation", random_uuid());
      return;
    }
    if (kind == 2 && takes_reservation(line.op())) {
      line.set("reservation", random_.chance(0.5) ? quoted(new_op_id())
                                                  : random_.one_of({"7", "\"x\"", "\"\"", "{}"}));
      return;
    }
    if (kind < 5 && line.find("user_id") != nullptr && !in_batch) {
      line.put("user_id", another_user(line.get("user_id")));
      return;
    }
    std::vector<Text> keys;
    for (const auto& [key, raw] : line.members) {
      if (key != "op" && key != "op_id" && key != "at") keys.push_back(key);
    }
    if (keys.empty()) return;
    const Text key = random_.pick(keys);
    const bool tells_user = in_batch && (key == "user_id" || key == "job_id");
    if (kind < 9 && !tells_user) {
      if (kind < 6) return line.erase(key);
      line.set(key, random_.one_of({"null", "\"\"", "7", "true", "[]", "{}", "\"x\"", "1.5"}));
      return;
    }
    if (!tells_user) line.set(key, odd_value(line, key));
  }

  Text odd_value(const Line& line, const Text& key) {
    static const std::set<Text> json{"notification_prefs", "options",       "settings",
                                     "artifacts_json",     "metadata_json", "manifest_json"};
    static const std::map<Text, std::int64_t> integers{{"target_minutes", 10},
                                                       {"progress_pct", 100},
                                                       {"ttl", 2592000},
                                                       {"grace", 2592000},
                                                       {"size_bytes", -1}};
    if (key == "amount" || key == "final_cost") {
      return random_.one_of({"0", "-1", "-0", "2147483647", "2147483648", "4294967297",
                             "99999999999999999999999", "-9223372036854775809", "8.0", "1e2",
                             "\"8\"", "true", "8.5", "1e400"});
    }
    if (integers.count(key) > 0) {
      if (random_.chance(0.3)) return std::to_string(integers.at(key) + random_.between(0, 1));
      return random_.one_of({"0", "-1", "9223372036854775807", "9223372036854775808",
                             "18446744073709551616", "1.0", "1e1", "\"1\"", "false", "-0"});
    }
    if (json.count(key) > 0) return odd_json();
    if (key.size() > 3 && key.substr(key.size() - 3) == "_id" &&
        looks_like_uuid(line.find(key) ? *line.find(key) : "")) {
      return odd_uuid(key);
    }
    if (key == "reservation") return quoted(random_uuid(true));
    if (key == "to" || key == "type" || key == "niche_preset" || key == "transcript_mode" ||
        key == "step_name") {
      return random_.one_of({"\"nonsense\"", "\"queued\"", "\"Video\"", "\"usage\"", "\"reserve\"",
                             "\"\"", "\"READY \"", "\"Facts\"", "\"PENDING\"", "\"a\\u0000b\""});
    }
    return odd_text(key);
  }

  Text odd_uuid(const Text& key) {
    const Text good = random_uuid();
    switch (random_.below(8)) {
      case 0:
        return quoted(good.substr(0, 35));
      case 1:
        return quoted("{" + good + "}");
      case 2:
        return quoted(good.substr(0, 8) + good.substr(9));
      case 3:
        return quoted("g" + good.substr(1));
      case 4:
        return key == "job_id" ? quoted("00000000-0000-0000-0000-000000000000")
                               : quoted(random_uuid(true));
      default:
        return quoted(good);  // nobody's
    }
  }

  Text odd_text(const Text& key) {
    static const std::set<Text> long_ones{"avatar_url",     "url",           "logs_url",
                                          "output_url",     "storage_path",  "audio_path",
                                          "status_message", "error_message", "note"};
    std::size_t limit = long_ones.count(key) > 0 ? 65536 : 255;
    if (key == "prompt_text" || key == "transcript_text") limit = 1048576;
    const std::size_t kind = random_.below(8);
    if (kind == 0) return R"("a\u0000b")";
    if (kind == 1) return "\"\"";
    if (kind == 2) return random_.one_of({"7", "[\"a\"]", "{\"a\":1}", "false"});
    if (limit == 1048576 && mega_texts_ == 0) return words();
    if (limit == 1048576) --mega_texts_;
    if (limit == 65536 && !big_text_due()) return words();
    const std::size_t bytes = limit + (random_.chance(0.5) ? 1 : 0);
    if (kind < 5) return quoted(Text(bytes, 'x'));
    Text out(bytes % 2, 'x');
    while (out.size() < bytes) out += "é";
    return quoted(out);
  }

  Text odd_json() {
    const auto nested = [](std::size_t depth, const Text& open, const Text& close,
                           const Text& inside) {
      Text out;
      for (std::size_t i = 0; i < depth; ++i) out += open;
      out += inside;
      for (std::size_t i = 0; i < depth; ++i) out += close;
      return out;
    };
    switch (random_.below(12)) {
      case 0:
        return nested(32, "[", "]", "");
      case 1:
        return nested(33, "[", "]", "");
      case 2:
        return nested(31, "{\"a\":", "}", "[]");
      case 3:
        return nested(32, "{\"a\":", "}", "{}");
      case 4:
        return nested(200, "[", "]", "1");
      case 5:
        return random_.one_of({"1e40", "1e400", "1e-40", "-1e99999",
                               "12345678901234567890123456789012345678901",
                               "[0.0000000000000000000000000000000000000000]"});
      case 6:
        return R"({"a":"x\u0000y"})";
      case 7:
        return R"({"a\u0000":1})";
      case 8:  // the canonical text is 65,536 bytes long, or one more
        if (big_text_due()) return quoted(Text(65534 + random_.below(2), 'j'));
        return R"("\u00e9\u4e2d\ud83d\ude00")";
      case 9:  // short as written, long in canonical text, by spaces after the commas
        if (big_text_due()) {
          Text out = "[1";
          for (int i = 0; i < 21844 + (random_.chance(0.5) ? 1 : 0); ++i) out += ",1";
          return out + "]";
        }
        return "[1,2,3]";
      case 10:
        return "[1.50E+3,-0,-0.0,1E-2,0e5,0.00e1,{\"b\":1,\"a\":2,\"aa\":3,\"b\":4}]";
      default:
        return random_.one_of(
            {"[true,false,null]", "\"just text\"", "12.340", "false", "{\"\":{}}"});
    }
  }

  void emit_no_operation() {
    std::optional<Line> made = fresh();
    Line line = stamped(made ? *made : line_of("purge_expired_drafts"));
    Text text;
    switch (random_.below(14)) {
      case 0:
        text = random_.one_of(
            {"", " ", "\t", "{", "null", "[]", "7", "\"x\"", "{}", "nonsense", "{,}", "{\"op\"}"});
        break;
      case 1:
        text = rendered(
            std::move(line.put("op", random_.one_of({"mint", "", "Create_user", "create_user "}))));
        break;
      case 2:
        text = rendered(std::move(line.set("op", random_.one_of({"7", "null", "[]", "{}"}))));
        break;
      case 3:
        line.erase(random_.one_of({"op", "op_id", "at"}));
        text = rendered(line);
        break;
      case 4:
      case 5: {
        Text op_id = line.get("op_id");
        op_id[14] = "089abcdef"[random_.below(9)];
        text = plain(std::move(line.put("op_id", op_id)));
        break;
      }
      case 6:
        text = plain(
            std::move(line.set("op_id", random_.one_of({"null", "7", "\"\"", "\"x\"", "[]"}))));
        break;
      case 7:
      case 8:
        text = plain(std::move(line.put(
            "at", random_.one_of({"2025-02-29T00:00:00.000000Z", "2025-13-01T00:00:00.000000Z",
                                  "2025-01-32T00:00:00.000000Z", "2025-01-18T24:00:00.000000Z",
                                  "2025-01-18T23:59:60.000000Z", "2025-01-18T00:60:00.000000Z",
                                  "0000-01-18T00:00:00.000000Z", "2025-01-18T00:00:00Z",
                                  "2025-01-18T00:00:00.000Z", "2025-01-18 00:00:00.000000Z",
                                  "2025-01-18T00:00:00.000000z", "2025-00-10T00:00:00.000000Z",
                                  "2025-01-18T00:00:00.000000+00:00", "20250118T000000.000000Z", "",
                                  "+025-01-18T00:00:00.000000Z", "2025-01-00T00:00:00.000000Z",
                                  "2025-04-31T00:00:00.000000Z"}))));
        break;
      case 9:
        text = plain(std::move(line.set("at", random_.one_of({"null", "1737158400000000", "{}"}))));
        break;
      case 10:
        text = plain(line) + random_.one_of({"}", ",", " x", "{}", " 1", "//c"});
        break;
      case 11:
        text = plain(line);
        text.insert(text.size() - 1, random_.one_of({",\"x\":\"\xff\"", ",\"x\":\"\xc3\x28\"",
                                                     ",\"x\":NaN", ",\"x\":01", ",\"x\":+1", ",",
                                                     ",\"x\":.5", ",\"x\":'a'", ",\"x\":\"\x01\"",
                                                     ",\"x\":1.", ",\"x\":tru", ",\"x\":\"\\q\""}));
        break;
      case 12:
        text = plain(line);
        text.resize(random_.below(text.size()));
        break;
      default:
        text = "[" + plain(line) + "]";
    }
    emit_text(std::move(text), Line{});
  }

  /// Without the variations that could hide what was made bad.
  static Text plain(const Line& line) {
    Text out;
    for (const auto& [key, raw] : line.members)
      out += (out.empty() ? "{" : ",") + quoted(key) + ":" + raw;
    return out + "}";
  }

  GeneratorOptions options_;
  Random random_;
  Model model_;
  std::vector<Text> out_;
  std::vector<Past> past_;
  std::int64_t now_ = first_us + 4 * day_us;
  std::int64_t step_us_ = 0;
  double jump_share_ = 0;
  std::size_t mega_texts_;

  Text focus_;
  std::vector<Text> users_;
  std::set<Text> known_users_;
  std::vector<Text> emails_;
  std::vector<Draft> drafts_;
  std::vector<Owned> projects_, voices_, freed_jobs_;
  std::vector<Text> freed_projects_, freed_voices_;
  std::map<Text, std::vector<Text>> jobs_;  // a user's latest
  std::map<Text, Text> focus_job_;          // the one at work
  std::vector<Text> assets_;
  std::vector<Paid> payments_;
  std::map<Text, Text> stems_;
};

}  // namespace

std::vector<std::string> generate_trace(const GeneratorOptions& options) {
  return Generator(options).run();
}

}  // namespace tally::model
