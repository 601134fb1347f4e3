#pragma once
// A canonical with one user and some work, and devices of that user.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sync/device.hpp"

namespace tally::test {

/// A canonical with user u1, project p1 and jobs j1 to j4, and so many credits.
struct World {
  Database database{};
  std::optional<sync::Canonical> canonical{};
  Session session;
  LineMaker lines{};

  explicit World(int credits = 10) : session(make()) {
    apply("create_user user_id=u1 email=ann@x");
    if (credits > 10)
      apply("add_credits user_id=u1 amount=" + std::to_string(credits - 10) + " type=grant");
    apply(
        "create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
        "target_minutes=1");
    for (int n = 1; n <= 4; ++n)
      apply("create_job job_id=j" + std::to_string(n) + " project_id=p1 user_id=u1");
  }
  std::string make() {
    database.migrate();
    auto connected = sync::Canonical::connect(database.conninfo());
    REQUIRE(connected.has_value());
    canonical.emplace(std::move(connected).value());
    return database.conninfo();
  }
  /// Straight on canonical, as a trace.
  std::string apply(const std::string& line) {
    const std::vector<std::string> one{lines.line(line)};
    const auto verdicts = canonical->apply(one);
    REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
    return std::string(name_of(verdicts->front().code));
  }
  std::unique_ptr<Device> device(std::vector<Capability> capabilities = {Capability::author,
                                                                         Capability::worker},
                                 SpendPolicy policy = SpendPolicy::optimistic) {
    auto made = std::make_unique<Device>(*canonical, database,
                                         Kind{std::move(capabilities), user_id(1), policy});
    made->mirror.lines = lines;  // Ids and times that no other device has are the caller's.
    made->sync();
    return made;
  }
  std::int64_t balance() {
    return std::stoll(session.ask_one("select get_credit_balance('" + user_id(1).text() + "')"));
  }
  std::vector<std::string> notes() {
    return session.ask(
        "select coalesce(note, type) || ' ' || amount from credit_ledger order by seq");
  }
  void check_whole() {
    for (const std::string& finding : session.ask("select explanation from tally.audit()"))
      CHECK_MESSAGE(false, finding);
  }
};

/// Applies a line to a device; op_ids differ between devices by their letter.
inline std::string apply(Device& device, char letter, int n, const std::string& line) {
  return device.mirror.apply(line + " op_id=" + letter + std::to_string(n));
}

}  // namespace tally::test
