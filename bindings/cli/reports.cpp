#include "reports.hpp"

#include <algorithm>

namespace tally::cli {
namespace {

/// From one time column to another; nothing where one is NULL.
std::string took(const ViewRow& row, std::string_view from, std::string_view to) {
  const auto start = Timestamp::parse(word(row, from));
  const auto end = Timestamp::parse(word(row, to));
  return start && end ? duration(end->us - start->us) : "";
}

/// Something that happened to a job.
struct Happening {
  std::string at;
  int rank;  ///< Of what has the same time: the job's making, its credits, its stages, its end.
  std::string what;
  std::string took;
  std::string more;
};

Happening of_step(const ViewRow& step) {
  const std::string state = word(step, "state");
  Happening out{word(step, "started_at"), 2, word(step, "step_name"),
                took(step, "started_at", "finished_at"), ""};
  out.more = state + ", " + word(step, "progress_pct") + " %";
  for (const char* name : {"status_message", "error_message"}) {
    if (const auto text = column(step, name); text && !text->empty())
      out.more += " · " + shown(*text);
  }
  return out;
}

Happening of_entry(const Entry& entry) {
  return {entry.created_at.text(), 1, entry.type + " " + signed_credits(entry.amount.value), "",
          shown(entry.note.value_or("")) + ", balance " + thousands(entry.balance_after.value)};
}

std::vector<Happening> happenings(const Engine& engine, const JobView& view, const Uuid& job_id) {
  std::vector<Happening> all;
  all.push_back({word(view.job, "created_at"), 0, "created", "", ""});
  for (const Entry& entry : entries_of_job(engine, view, job_id)) all.push_back(of_entry(entry));
  for (const ViewRow& step : view.steps) {
    if (column(step, "started_at")) all.push_back(of_step(step));
  }
  for (const ViewRow& asset : view.assets) {
    all.push_back({word(asset, "created_at"), 3, "asset " + word(asset, "type"), "",
                   shown(word(asset, "url"))});
  }
  if (column(view.job, "finished_at")) {
    std::string more = word(view.job, "error_code");
    if (const auto text = column(view.job, "error_message"); text && !text->empty())
      more += " · " + shown(*text);
    all.push_back({word(view.job, "finished_at"), 4, word(view.job, "status"), "", more});
  }
  std::stable_sort(all.begin(), all.end(), [](const Happening& a, const Happening& b) {
    return std::tie(a.at, a.rank) < std::tie(b.at, b.rank);
  });
  return all;
}

Paint paint_of_status(const std::string& status) {
  return status == "READY" ? Paint::green : status == "FAILED" ? Paint::red : Paint::yellow;
}

}  // namespace

std::map<Uuid, std::string> titles_of_jobs(const Engine& engine, const Uuid& user_id) {
  std::map<std::string, std::string> titles;
  for (const ViewRow& project : take(engine.rows("projects", user_id))) {
    titles[word(project, "id")] = word(project, "title");
  }
  std::map<Uuid, std::string> out;
  for (const ViewRow& job : take(engine.jobs(user_id))) {
    if (const auto id = Uuid::parse(word(job, "id"))) out[*id] = titles[word(job, "project_id")];
  }
  return out;
}

std::string statement(const Engine& engine, const Uuid& user_id, std::size_t limit) {
  const auto titles = titles_of_jobs(engine, user_id);
  auto entries = take(engine.history(user_id, limit));
  std::reverse(entries.begin(), entries.end());
  Table table({{"date"}, {"what"}, {"amount", true}, {"balance", true}});
  for (const Entry& entry : entries) {
    std::string what = shown(entry.note.value_or(entry.type));
    if (entry.job_id) {
      if (const auto title = titles.find(*entry.job_id); title != titles.end()) {
        what += " · " + shown(title->second, 40);
      }
    }
    const auto amount = entry.amount.value;
    table.add({short_time(entry.created_at.text()), what,
               paint(amount < 0   ? Paint::red
                     : amount > 0 ? Paint::green
                                  : Paint::plain,
                     signed_credits(amount)),
               thousands(entry.balance_after.value)});
  }
  return table.text(2);
}

std::vector<Entry> entries_of_job(const Engine& engine, const JobView& view, const Uuid& job_id) {
  std::vector<Entry> found;
  const auto user = Uuid::parse(word(view.job, "user_id"));
  const auto made = Timestamp::parse(word(view.job, "created_at"));
  if (!user || !made) return found;
  constexpr std::size_t page = 10'000;
  std::optional<std::int64_t> before;
  for (;;) {
    const auto entries = take(engine.history(*user, page, before));
    bool any_after = false;
    for (const Entry& entry : entries) {
      if (entry.job_id == job_id) found.push_back(entry);
      any_after = any_after || entry.created_at >= *made;
    }
    // A page wholly from before the job was made ends the search.
    if (entries.size() < page || !any_after) break;
    before = entries.back().seq;
  }
  std::reverse(found.begin(), found.end());
  return found;
}

std::string job_report(const Engine& engine, const JobView& view, const Uuid& job_id) {
  const std::string status = word(view.job, "status");
  std::string title;
  if (const auto project = Uuid::parse(word(view.job, "project_id"))) {
    if (const auto row = engine.project(*project)) title = " · " + shown(word(*row, "title"));
  }
  std::string out = paint(Paint::bold, "Job " + job_id.text()) + title + "\n  " +
                    paint(paint_of_status(status), status) + ", " + word(view.job, "progress") +
                    " %, reserved " +
                    column(view.job, "cost_credits_reserved").value_or("nothing") + ", charged " +
                    column(view.job, "cost_credits_final").value_or("nothing");
  if (const auto time = took(view.job, "started_at", "finished_at"); !time.empty()) {
    out += ", from start to end " + time;
  }
  Table table({{"when"}, {"what"}, {"took", true}, {""}});
  for (const Happening& happening : happenings(engine, view, job_id)) {
    table.add({short_time(happening.at), happening.what, happening.took, happening.more});
  }
  return out + "\n" + table.text(2);
}

}  // namespace tally::cli
