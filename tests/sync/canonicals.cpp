#include "sync/canonicals.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "support/fixture.hpp"
#include "sync/machines.hpp"

namespace tally::test {
namespace {

// ---- answers as texts ---------------------------------------------------------------------------

std::string text_of(const std::optional<Uuid>& id) { return id ? id->text() : "none"; }

std::string text_of(const PulledState& state) {
  return "state since " + std::to_string(state.since) + " and " +
         std::to_string(state.since_entries) + (state.with_pages ? " with pages" : "") + ": " +
         std::to_string(state.entries) + " entries, balance " + std::to_string(state.balance) +
         ", held " + std::to_string(state.held) + ", " + state.email.value_or("no e-mail") + ", " +
         state.meta.value_or("no meta") + (state.with_email ? "" : ", not told");
}

void tell(const PulledUser& user, std::vector<std::string>& out) {
  const std::string who = "user " + user.user_id.text() + ' ';
  std::vector<std::string> rows;
  for (const PulledUser::Row& row : user.rows) {
    std::string text = who + row.table;
    for (const auto& column : row.texts) text += " | " + column.value_or("NULL");
    rows.push_back(text);
  }
  for (const auto& [table, gone] : user.gone)
    rows.push_back(who + table + ' ' + gone.text() + " is gone");
  std::sort(rows.begin(), rows.end());
  out.insert(out.end(), rows.begin(), rows.end());
  if (user.page != PulledUser::Page::none)
    out.push_back(who + (user.page == PulledUser::Page::first ? "first page" : "next page"));
  if (user.state) out.push_back(who + text_of(*user.state));
}

std::vector<std::string> texts_of(const sync::Answer& answer) {
  if (answer.trouble.error_class != sync::ErrorClass::none)
    return {"refused: " + std::string(name_of(answer.trouble.error.code))};
  std::vector<std::string> out{
      "watermark " + std::to_string(answer.reply.watermark), "claimed " + text_of(answer.claimed),
      answer.more ? "more" : "no more",
      "device " + answer.device.device_id.text() + " of " + text_of(answer.device.scope)};
  for (const Capability capability : answer.device.capabilities)
    out.push_back("capability " + std::to_string(static_cast<int>(capability)));
  if (const auto& range = answer.reply.complete)
    out.push_back("complete behind " + range->after.text() + " to " + text_of(range->to));
  for (const PulledVerdict& verdict : answer.reply.verdicts)
    out.push_back("verdict " + std::to_string(verdict.number) + ' ' +
                  std::string(name_of(verdict.code)) + ' ' + text_of(verdict.id) + ' ' +
                  std::to_string(verdict.index ? static_cast<int>(*verdict.index) : -1));
  for (const PulledLease& lease : answer.reply.leases)
    out.push_back("lease " + lease.lease_id.text() + " of " + lease.user_id.text() + ' ' +
                  std::to_string(lease.unspent.value) + " to " + lease.expires_at.text());
  for (const TableDigest& table : answer.digest)
    out.push_back("digest " + table.table + ' ' + std::to_string(table.rows) + ' ' +
                  std::to_string(table.digest));
  // In no order, each.
  std::sort(
      out.end() - static_cast<std::ptrdiff_t>(answer.reply.leases.size() + answer.digest.size()),
      out.end());
  for (const PulledUser& user : answer.reply.users) tell(user, out);
  return out;
}

std::vector<std::string> leases_of(const model::Canonical& canonical) {
  std::vector<std::string> out;
  for (const auto& lease : canonical.open_leases())
    out.push_back(lease.lease_id.text() + ' ' + std::to_string(lease.unspent));
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

std::string difference(const std::vector<std::string>& there,
                       const std::vector<std::string>& model) {
  for (std::size_t i = 0; i < std::max(there.size(), model.size()); ++i) {
    const std::string a = i < there.size() ? there[i] : "nothing";
    const std::string b = i < model.size() ? model[i] : "nothing";
    if (a != b) return "\n  PostgreSQL: " + a + "\n  model:      " + b;
  }
  return {};
}

std::string text_of(const std::vector<PushedOperation>& operations) {
  std::string text;
  for (const PushedOperation& operation : operations)
    text += "\n  " + std::to_string(operation.number) + ' ' + text_of(operation.user_id) + ' ' +
            operation.leases + ' ' + operation.line;
  return text;
}

// ---- canonical twice ----------------------------------------------------------------------------

Canonicals::Canonicals()
    : session_([this] {
        database_.migrate();
        return database_.session();
      }()) {
  session_.ask(read_source("tests/sync/still.sql"));
  session_.ask("set session_replication_role = replica");
}

void Canonicals::begin() {
  session_.ask(
      "truncate auth.users, public.profiles, public.credit_ledger, public.draft_prompts, "
      "public.projects, public.jobs, public.job_steps, public.assets, public.voice_profiles, "
      "tally.accounts, tally.applied_operations, tally.payments, tally.job_state, "
      "tally_sync.devices, tally_sync.revisions, tally_sync.marks, tally_sync.changes, "
      "tally_sync.verdicts, tally_sync.leases; update still.world set ids = 0; "
      "set session_replication_role = origin");
  model_ = model::Canonical(0);
  set_clock(still_start_s);
}

void Canonicals::end() { session_.ask("set session_replication_role = replica"); }

void Canonicals::set_clock(std::int64_t now_s) {
  session_.ask("update still.world set at = '" + time_at(now_s).text() + "'");
  model_.set_clock(time_at(now_s));
}

Answers Canonicals::call(const model::Call& call,
                         const std::optional<std::string>& cursor_on_postgres) {
  model::Call there = call;
  there.push.cursor = cursor_on_postgres;
  std::string told;
  Answers answers{call_canonical(session_, there, told), model_.sync(call)};
  ++calls_;
  note(answers.on_model);
  REQUIRE_MESSAGE(answers.on_postgres.trouble.error.code != Code::unreachable, told);
  const std::string differs = difference(texts_of(answers.on_postgres), texts_of(answers.on_model));
  REQUIRE_MESSAGE(differs.empty(), "the answers differ: ", differs,
                  "\n  asked of the model: ", call.push.cursor.value_or("from the start"),
                  text_of(call.push.operations));
  // No answer tells of another device's.
  const std::string other_leases =
      difference(session_.ask("select lease_id || ' ' || unspent from tally_sync.leases "
                              "where closed_at is null order by 1"),
                 leases_of(model_));
  REQUIRE_MESSAGE(other_leases.empty(), "the open leases differ: ", other_leases,
                  text_of(call.push.operations));
  return answers;
}

std::string Canonicals::apply(const std::string& line) {
  const std::string on_postgres = session_.ask_one(
      "select '{\"op_id\":' || coalesce('\"' || op_id || '\"', 'null') || ',\"result\":\"' || "
      "result || '\",\"balance\":' || coalesce(balance::text, 'null') || coalesce(',\"id\":\"' "
      "|| id || '\"', '') || coalesce(',\"index\":' || index, '') || '}' from "
      "tally.apply_operations(array['" +
      line + "'])");
  const std::string on_model = model_.apply(line);
  REQUIRE_MESSAGE(on_postgres == on_model, line);
  return on_model;
}

sync::DeviceToken Canonicals::add_device(const sync::NewDevice& device) {
  std::string capabilities;
  for (const Capability capability : device.capabilities) {
    capabilities += (capabilities.empty() ? "'" : ", '") +
                    std::string(capability_names[static_cast<std::size_t>(capability)]) + "'";
  }
  const std::string made = session_.ask_one(
      "select device_id || ' ' || token from tally_sync.add_device('device', array[" +
      capabilities + "], " + (device.scope ? "'" + device.scope->text() + "'" : "null") + ", " +
      (device.reclaim_after ? "'" + std::to_string(device.reclaim_after->count()) + " s'"
                            : "null") +
      ")");
  const sync::DeviceToken token = model_.add_device(device);
  REQUIRE(made == token.device_id.text() + ' ' + token.token);
  return token;
}

void Canonicals::revoke(const Uuid& device_id) {
  const bool done =
      session_.run("select tally_sync.revoke_device('" + device_id.text() + "')").ok();
  REQUIRE(done == model_.revoke_device(device_id));
}

bool Canonicals::write_off(const Uuid& lease_id) {
  const Answer answer = session_.run("select tally_sync.write_off('" + lease_id.text() + "')");
  const auto unspent = model_.write_off(lease_id);
  REQUIRE(answer.ok() == unspent.has_value());
  if (unspent) REQUIRE(answer.text() == std::to_string(unspent->value));
  return unspent.has_value();
}

void Canonicals::compare(const Uuid& user_id) {
  std::vector<std::string> on_model;
  for (const TableDigest& table : model_.digest(user_id))
    on_model.push_back(table.table + ' ' + std::to_string(table.rows) + ' ' +
                       std::to_string(table.digest));
  const auto on_postgres =
      session_.ask("select table_name || ' ' || rows || ' ' || digest from tally.digest('" +
                   user_id.text() + "')");
  const std::string differs = difference(on_postgres, on_model);
  REQUIRE_MESSAGE(differs.empty(), "the rows of ", user_id.text(), " differ: ", differs);
}

void Canonicals::compare_leases_and_accounts() {
  std::vector<std::string> leases, accounts;
  for (const auto& lease : model_.open_leases())
    leases.push_back(lease.lease_id.text() + ' ' + lease.user_id.text() + ' ' +
                     lease.device_id.text() + ' ' + std::to_string(lease.unspent));
  std::sort(leases.begin(), leases.end());
  CHECK(difference(session_.ask("select lease_id || ' ' || user_id || ' ' || device_id || ' ' || "
                                "unspent from tally_sync.leases where closed_at is null "
                                "order by lease_id"),
                   leases) == "");
  for (const auto& account : model_.accounts())
    accounts.push_back(account.user_id.text() + ' ' + std::to_string(account.balance) + ' ' +
                       std::to_string(account.held + account.leased));
  CHECK(difference(session_.ask("select user_id || ' ' || balance || ' ' || held "
                                "from tally.accounts order by user_id"),
                   accounts) == "");
}

void Canonicals::check_audit() {
  for (const std::string& finding : session_.ask("select explanation from tally.audit()"))
    CHECK_MESSAGE(false, finding);
}

void Canonicals::note(const sync::Answer& answer) {
  if (answer.trouble.error_class != sync::ErrorClass::none)
    ++met_[std::string(name_of(answer.trouble.error.code))];
  for (const PulledVerdict& verdict : answer.reply.verdicts)
    ++met_[std::string(name_of(verdict.code))];
  for (const PulledUser& user : answer.reply.users) {
    if (user.page == PulledUser::Page::next) ++met_["next page"];
    if (!user.gone.empty()) ++met_["gone"];
  }
  if (answer.claimed) ++met_["claimed"];
  if (answer.reply.complete) ++met_["complete"];
}

}  // namespace tally::test
