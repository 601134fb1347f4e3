#pragma once
// What the inspector's page asks for, as JSON: by a path and a query, as it comes over HTTP and
// as it is kept in a file.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "inspect_server.hpp"
#include "output.hpp"
#include "tally/inspection.hpp"
#include "tally/replica.hpp"

namespace tally::cli {

/// The most that one answer lists.
inline constexpr std::size_t inspect_page_rows = 100;

/// Thread-bound. It reads one mirror; an audit, which reads all of it, runs in a thread of its own.
class InspectData {
 public:
  /// `is_file`: for a page that is kept, whose audit is made at once.
  InspectData(Engine& engine, const std::string& db, bool show_prompts, bool is_file);
  ~InspectData();
  InspectData(const InspectData&) = delete;
  InspectData& operator=(const InspectData&) = delete;

  /// The answer to `api/…`; refusals are JSON, too: `{"error":…}`.
  HttpAnswer get(std::string_view path, std::string_view query);
  /// The same answer's body, of one that is there. Throws a Stop.
  JsonValue value(std::string_view path, std::string_view query);
  /// To be called now and then: ends an audit that nobody waits for any more.
  void tend();

 private:
  class AuditRun;
  using Query = std::map<std::string, std::string, std::less<>>;
  using Answer = JsonValue (InspectData::*)(const Query& query);
  using AnswerOf = JsonValue (InspectData::*)(const Uuid& id, const Query& query);

  JsonValue route(std::string_view path, const Query& query);
  JsonValue overview(const Query& query);
  JsonValue changes(const Query& query);
  JsonValue accounts(const Query& query);
  JsonValue jobs(const Query& query);
  JsonValue outbox(const Query& query);
  JsonValue rejected(const Query& query);
  JsonValue sync(const Query& query);
  JsonValue audit(const Query& query);
  JsonValue search(const Query& query);
  JsonValue account(const Uuid& user_id, const Query& query);
  JsonValue entries(const Uuid& user_id, const Query& query);
  JsonValue chart(const Uuid& user_id, const Query& query);
  JsonValue job(const Uuid& job_id, const Query& query);
  JsonValue why(const Uuid& job_id, const Query& query);

  const MirrorOverview& overview_now();
  JsonValue line(const AccountLine& account) const;
  /// With what is not to be seen replaced by how long it is.
  JsonValue seen(JsonValue value) const;

  Engine& engine_;
  Inspection inspection_;
  Replica replica_;
  std::string file_name_;
  std::string db_;  ///< As commands are to name it: a page that is sent tells no folders.
  bool show_prompts_;
  bool is_file_;
  std::unique_ptr<AuditRun> audit_;
  std::chrono::steady_clock::time_point asked_{};  ///< When something was asked for last.
  std::uint64_t overview_change_ = 0;
  std::optional<MirrorOverview> overview_;
};

}  // namespace tally::cli
