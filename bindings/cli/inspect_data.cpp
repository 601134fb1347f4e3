#include "inspect_data.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <limits>

#include "inspect_words.hpp"
#include "reports.hpp"
#include "sync_texts.hpp"
#include "why.hpp"

namespace tally::cli {
namespace {

constexpr std::size_t chart_steps = 400;
constexpr std::size_t found_of_a_kind_max = 8;
constexpr std::size_t newest_jobs = 12;
constexpr auto seq_max = std::numeric_limits<std::int64_t>::max();

/// What people wrote, and what may quote it. Who has a session token owns the draft, so that one is
/// never shown.
constexpr std::string_view never_shown = "session_token";
constexpr std::array<std::string_view, 12> prompts{
    "prompt_text", "transcript_text",    "options",       "settings",       "email",
    "meta",        "raw_user_meta_data", "manifest_json", "artifacts_json", "metadata_json",
    "audio_path",  "notification_prefs"};

void hide(JsonValue& value, bool show_prompts) {
  if (value.is_array()) {
    for (JsonValue& each : value) hide(each, show_prompts);
  }
  if (!value.is_object()) return;
  for (auto& [name, each] : value.items()) {
    const bool is_prompt = std::find(prompts.begin(), prompts.end(), name) != prompts.end();
    if (name != never_shown && (show_prompts || !is_prompt)) {
      hide(each, show_prompts);
    } else if (!each.is_null()) {
      const std::size_t size =
          each.is_string() ? each.get_ref<const std::string&>().size() : each.dump().size();
      each = {{"hidden_bytes", size}};
    }
  }
}

// ---- what is asked ------------------------------------------------------------------------------

std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::map<std::string, std::string, std::less<>> parsed_query(std::string_view text) {
  std::map<std::string, std::string, std::less<>> query;
  for (const std::string& pair : split(text, "&")) {
    const std::size_t equals = pair.find('=');
    if (equals != std::string::npos)
      query[decoded(pair.substr(0, equals))] = decoded(std::string_view(pair).substr(equals + 1));
  }
  return query;
}

template <class Query>
std::string asked(const Query& query, std::string_view name, std::string_view otherwise = {}) {
  const auto found = query.find(name);
  return found == query.end() ? std::string(otherwise) : found->second;
}

/// A number of that name, from 0 on; anything else counts as if it were not there.
template <class Query>
std::int64_t asked_number(const Query& query, std::string_view name, std::int64_t otherwise) {
  const std::string text = asked(query, name);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && number >= 0;
  return is_number ? number : otherwise;
}

/// The statuses whose bits are set; `open` is all that are neither READY nor FAILED.
std::uint32_t statuses_named(const std::string& state) {
  constexpr std::uint32_t all = (1U << job_status_names.size()) - 1;
  const auto bit = [](JobStatus status) { return 1U << static_cast<unsigned>(status); };
  if (state == "open") return all & ~bit(JobStatus::READY) & ~bit(JobStatus::FAILED);
  if (const auto status = job_status_named(state)) return bit(*status);
  return all;
}

// ---- values -------------------------------------------------------------------------------------

JsonValue credits_json(const std::optional<Credits>& credits) {
  return credits ? JsonValue(credits->value) : JsonValue(nullptr);
}

JsonValue line(const Entry& entry) {
  JsonValue out = cli::to_json(entry);
  out["words"] = words_of(entry);
  return out;
}

JsonValue line(const JobLine& job) {
  return {{"job_id", job.job_id.text()},
          {"user_id", job.user_id.text()},
          {"title", job.title},
          {"status", name_of(job.status)},
          {"progress", job.progress},
          {"hold", job.hold.value},
          {"cost_credits_final", credits_json(job.cost_final)},
          {"created_at", to_json(job.created_at)},
          {"started_at", to_json(job.started_at)},
          {"finished_at", to_json(job.finished_at)},
          {"status_message", cli::to_json(job.status_message)},
          {"failed_step", cli::to_json(job.failed_step)},
          {"error_code", cli::to_json(job.error_code)}};
}

JsonValue line(const ChartStep& step) {
  return {{"first_seq", step.first_seq},
          {"last_seq", step.last_seq},
          {"from", step.from.text()},
          {"to", step.to.text()},
          {"balance", step.balance.value},
          {"low", step.low.value},
          {"high", step.high.value},
          {"held", step.held.value},
          {"type", step.entry ? JsonValue(step.entry->type) : JsonValue(nullptr)},
          {"job_id", step.entry ? cli::to_json(step.entry->job_id) : JsonValue(nullptr)},
          {"words", words_of(step)}};
}

/// A pending or rejected operation, with what its code means.
template <class Operation>
JsonValue with_sentence(const Operation& operation) {
  JsonValue out = cli::to_json(operation);
  out["sentence"] =
      operation.code == Code::ok ? JsonValue(nullptr) : row_of(operation.code).sentence;
  return out;
}

template <class Range>
JsonValue lines(const Range& values) {
  JsonValue out = JsonValue::array();
  for (const auto& value : values) out.push_back(line(value));
  return out;
}

std::string title_of(const Engine& engine, const ViewRow& job) {
  const auto project = Uuid::parse(column(job, "project_id").value_or(""));
  if (!project) return {};
  const auto row = engine.project(*project);
  return row ? column(*row, "title").value_or("") : "";
}

JsonValue report_json(const AuditReport& report) { return parsed(texts::audit_text(report)); }

}  // namespace

// ---- the audit ----------------------------------------------------------------------------------

/// One run, in a thread of its own, and what it found. It ends with its object.
class InspectData::AuditRun {
 public:
  AuditRun(const Engine& engine, std::uint64_t change)
      : change_(change), started_(now()), thread_([this, &engine] {
          result_.emplace(engine.audit([this](std::int64_t, std::int64_t) {
            return !is_ended_.load(std::memory_order_relaxed);
          }));
          took_us_ = now().us - started_.us;
          done_.store(true, std::memory_order_release);
        }) {}
  ~AuditRun() {
    end();
    wait();
  }
  AuditRun(const AuditRun&) = delete;
  AuditRun& operator=(const AuditRun&) = delete;

  void wait() {
    if (thread_.joinable()) thread_.join();
  }
  /// It stops within a moment, without a verdict.
  void end() { is_ended_.store(true, std::memory_order_relaxed); }
  bool is_done() const { return done_.load(std::memory_order_acquire); }

  JsonValue value(std::uint64_t change) const {
    JsonValue out{{"state", state()}, {"started_at", started_.text()}};
    out["took_us"] = is_done() ? took_us_ : now().us - started_.us;
    out["changed_since"] = change != change_;
    if (!is_done()) return out;
    if (*result_) {
      if (const auto& report = **result_) out["report"] = report_json(*report);
    } else {
      out["error"] = stop_for(result_->error()).sentence;
    }
    return out;
  }

 private:
  std::string_view state() const {
    if (!is_done()) return "running";
    return *result_ && !**result_ ? "ended" : "done";
  }

  std::uint64_t change_;
  Timestamp started_;
  std::int64_t took_us_ = 0;
  std::optional<Result<std::optional<AuditReport>>> result_;
  std::atomic<bool> is_ended_{false};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// ---- answers ------------------------------------------------------------------------------------

InspectData::InspectData(Engine& engine, const std::string& db, bool show_prompts, bool is_file)
    : engine_(engine),
      inspection_(engine),
      replica_(engine),
      file_name_(std::filesystem::path(db).filename().string()),
      db_(is_file ? file_name_ : db),
      show_prompts_(show_prompts),
      is_file_(is_file) {
  // What has to be read once is read before the first page is asked for.
  (void)overview_now();
}
InspectData::~InspectData() = default;

JsonValue InspectData::seen(JsonValue value) const {
  hide(value, show_prompts_);
  return value;
}

JsonValue InspectData::changes(const Query&) {
  return {{"change", std::to_string(inspection_.change())},
          {"now", now().text()},
          {"audit_running", audit_ && !audit_->is_done()}};
}

/// Counted anew only where the mirror has changed.
const MirrorOverview& InspectData::overview_now() {
  const std::uint64_t change = inspection_.change();
  if (!overview_ || change != overview_change_) {
    overview_ = take(inspection_.overview());
    overview_change_ = change;
  }
  return *overview_;
}

JsonValue InspectData::overview(const Query& query) {
  const MirrorOverview& counts = overview_now();
  JsonValue jobs = JsonValue::object();
  for (std::size_t i = 0; i < counts.jobs.size(); ++i)
    jobs[std::string(job_status_names[i])] = counts.jobs[i];
  return {{"file", file_name_},
          {"version", version()},
          {"change", std::to_string(overview_change_)},
          {"now", now().text()},
          {"show_prompts", show_prompts_},
          {"users", counts.users},
          {"entries", counts.entries},
          {"projects", counts.projects},
          {"drafts", counts.drafts},
          {"balance", counts.balance},
          {"held", counts.held},
          {"pending", counts.pending_operations},
          {"jobs", std::move(jobs)},
          {"sync", sync(query)},
          {"audit", audit({})}};
}

JsonValue InspectData::line(const AccountLine& account) const {
  return seen({{"user_id", account.user_id.text()},
               {"email", cli::to_json(account.email)},
               {"display_name", cli::to_json(account.display_name)},
               {"balance", account.check.balance.value},
               {"held", account.check.held.value},
               {"entries", account.check.entries},
               {"pending", account.check.pending_operations},
               {"last_entry_at", to_json(account.last_entry_at)}});
}

JsonValue InspectData::accounts(const Query& query) {
  const std::string order = asked(query, "order", "active");
  const auto named = std::find(account_order_names.begin(), account_order_names.end(), order);
  const auto by = named == account_order_names.end()
                      ? AccountOrder::active
                      : static_cast<AccountOrder>(named - account_order_names.begin());
  const auto offset = static_cast<std::size_t>(asked_number(query, "offset", 0));
  JsonValue rows = JsonValue::array();
  for (const AccountLine& account : take(inspection_.accounts(by, offset, inspect_page_rows)))
    rows.push_back(line(account));
  return {{"order", account_order_names[static_cast<std::size_t>(by)]},
          {"offset", offset},
          {"total", overview_now().users},
          {"rows", std::move(rows)}};
}

JsonValue InspectData::account(const Uuid& user_id, const Query&) {
  JsonValue out = line(take(inspection_.account(user_id)));
  out["holds"] = lines(take(inspection_.held_jobs(user_id, newest_jobs)));
  const Account account = take(engine_.account(user_id));
  out["holds_total"] = account.holds.size();
  out["lease"] = account.leases.empty() ? JsonValue() : cli::to_json(account.leases).at(0);
  out["jobs"] = lines(take(inspection_.jobs(statuses_named("all"), {}, user_id, newest_jobs)));
  return out;
}

JsonValue InspectData::entries(const Uuid& user_id, const Query& query) {
  const std::int64_t total = take(inspection_.account(user_id)).check.entries;
  const std::int64_t last = std::min(total, asked_number(query, "before", total + 1) - 1);
  const auto rows = static_cast<std::int64_t>(inspect_page_rows);
  auto entries =
      take(inspection_.entries(user_id, std::max<std::int64_t>(last - rows + 1, 1), last));
  std::reverse(entries.begin(), entries.end());
  return {{"total", total}, {"rows", lines(entries)}};
}

JsonValue InspectData::chart(const Uuid& user_id, const Query& query) {
  const std::int64_t total = take(inspection_.account(user_id)).check.entries;
  const std::int64_t from = std::max<std::int64_t>(asked_number(query, "from", 1), 1);
  const std::int64_t to = std::min(asked_number(query, "to", seq_max), total);
  const Chart chart = take(inspection_.chart(user_id, from, to, chart_steps));
  return {{"total", total},
          {"from", from},
          {"to", to},
          {"before", chart.before.value},
          {"held_before", chart.held_before.value},
          {"steps", lines(chart.steps)}};
}

JsonValue InspectData::jobs(const Query& query) {
  const std::string state = asked(query, "state", "all");
  const std::int64_t before = asked_number(query, "before", 0);
  std::optional<Uuid> user_id;
  if (const std::string user = asked(query, "user"); !user.empty())
    user_id = uuid_argument(user, "user");
  auto rows = take(inspection_.jobs(statuses_named(state),
                                    before > 0 ? std::optional(before) : std::nullopt, user_id,
                                    inspect_page_rows + 1));
  const bool more = rows.size() > inspect_page_rows;
  if (more) rows.pop_back();
  return {{"state", state},
          {"rows", lines(rows)},
          {"next", more ? JsonValue(rows.back().number) : JsonValue(nullptr)}};
}

JsonValue InspectData::job(const Uuid& job_id, const Query&) {
  const JobView view = take(engine_.job(job_id));
  const std::vector<Entry> entries = take(inspection_.entries_of_job(job_id));
  return {{"title", title_of(engine_, view.job)},      {"hold", view.hold.value},
          {"job", seen(cli::to_json(view.job))},       {"steps", seen(cli::to_json(view.steps))},
          {"assets", seen(cli::to_json(view.assets))}, {"entries", lines(entries)},
          {"story", story_of(view, entries)}};
}

JsonValue InspectData::why(const Uuid& job_id, const Query&) {
  const JobFacts facts = facts_of(engine_, job_id, db_);
  return seen(to_json(facts, explain(facts)));
}

JsonValue InspectData::outbox(const Query& query) {
  JsonValue rows = JsonValue::array();
  JsonValue next = nullptr;
  Kept kept;
  take(replica_.each_pending(
      [&](const PendingOperation& pending) {
        const bool has_room = rows.size() < inspect_page_rows;
        if (!has_room) next = rows.back()["number"];
        return has_room && kept.run([&] { rows.push_back(with_sentence(pending)); });
      },
      asked_number(query, "after", 0)));
  kept.rethrow();
  return {{"total", take(engine_.pending_operations())},
          {"rows", seen(std::move(rows))},
          {"next", std::move(next)}};
}

JsonValue InspectData::rejected(const Query& query) {
  const auto all = take(replica_.rejected());
  const std::int64_t after = asked_number(query, "after", 0);
  JsonValue rows = JsonValue::array();
  JsonValue next = nullptr;
  for (const RejectedOperation& each : all) {
    if (each.number <= after) continue;
    if (rows.size() == inspect_page_rows) {
      next = rows.back()["number"];
      break;
    }
    rows.push_back(with_sentence(each));
  }
  return {{"total", all.size()}, {"rows", seen(std::move(rows))}, {"next", std::move(next)}};
}

JsonValue InspectData::sync(const Query&) {
  const auto link = take(replica_.state());
  if (!link) return {{"device_id", nullptr}, {"in_sync", false}};
  JsonValue out = parsed(texts::link_text(*link));
  const std::string why = not_in_sync(*link);
  out["in_sync"] = why.empty();
  out["why"] = why;
  out["next_attempt"] = next_attempt(*link);
  out["leases"] = cli::to_json(take(replica_.leases()));
  return out;
}

JsonValue InspectData::audit(const Query& query) {
  const bool wanted = asked(query, "run") == "1" || (is_file_ && !audit_);
  if (wanted && (!audit_ || audit_->is_done()))
    audit_ = std::make_unique<AuditRun>(engine_, inspection_.change());
  if (audit_ && asked(query, "end") == "1") audit_->end();
  if (is_file_) audit_->wait();
  if (!audit_) return {{"state", "none"}};
  return audit_->value(inspection_.change());
}

JsonValue InspectData::search(const Query& query) {
  JsonValue rows = JsonValue::array();
  for (const Found& found : take(inspection_.find(asked(query, "q"), found_of_a_kind_max))) {
    rows.push_back({{"kind", found_kind_names[static_cast<std::size_t>(found.kind)]},
                    {"id", found.id.text()},
                    {"user_id", cli::to_json(found.user_id)},
                    {"job_id", cli::to_json(found.job_id)},
                    {"seq", found.seq ? JsonValue(*found.seq) : JsonValue(nullptr)}});
  }
  return {{"rows", std::move(rows)}};
}

JsonValue InspectData::route(std::string_view path, const Query& query) {
  static const std::map<std::string_view, Answer> answers{
      {"overview", &InspectData::overview}, {"changes", &InspectData::changes},
      {"accounts", &InspectData::accounts}, {"jobs", &InspectData::jobs},
      {"outbox", &InspectData::outbox},     {"rejected", &InspectData::rejected},
      {"sync", &InspectData::sync},         {"audit", &InspectData::audit},
      {"search", &InspectData::search}};
  static const std::map<std::string_view, AnswerOf> answers_of{{"account", &InspectData::account},
                                                               {"entries", &InspectData::entries},
                                                               {"chart", &InspectData::chart},
                                                               {"job", &InspectData::job},
                                                               {"why", &InspectData::why}};
  if (const auto answer = answers.find(path); answer != answers.end())
    return (this->*answer->second)(query);
  const std::size_t slash = path.find('/');
  const auto answer = answers_of.find(path.substr(0, slash));
  const auto id =
      slash == std::string_view::npos ? std::nullopt : Uuid::parse(path.substr(slash + 1));
  if (answer == answers_of.end() || !id)
    throw Stop{Exit::refused, "not_found", "there is nothing under this address"};
  return (this->*answer->second)(*id, query);
}

JsonValue InspectData::value(std::string_view path, std::string_view query) {
  return route(path, parsed_query(query));
}

void InspectData::tend() {
  // Browsers let a page in the background ask once a minute.
  constexpr std::chrono::seconds silence_max{90};
  if (audit_ && std::chrono::steady_clock::now() - asked_ > silence_max) audit_->end();
}

HttpAnswer InspectData::get(std::string_view path, std::string_view query) {
  asked_ = std::chrono::steady_clock::now();
  try {
    return {200, "application/json", json_text(value(path, query))};
  } catch (const Stop& stop) {
    const unsigned status = stop.exit == Exit::world ? 503 : stop.exit == Exit::usage ? 400 : 404;
    return {status, "application/json", json_text({{"error", stop.sentence}, {"code", stop.code}})};
  }
}

}  // namespace tally::cli
