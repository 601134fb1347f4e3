#include "sync/watched_device.hpp"

namespace tally::test {

WatchedDevice::WatchedDevice(sync::Canonical& canonical, const std::string& conninfo,
                             std::optional<Uuid> of_scope)
    : Device(canonical, conninfo, Kind{.scope = of_scope}) {
  options.backoff_base = std::chrono::milliseconds{1};
  options.backoff_cap = std::chrono::milliseconds{20};
  options.callbacks.rejected = [this](const RejectedOperation& operation) {
    ++rejected;
    told += std::string(row_of(operation.command.operation).name) + " " +
            std::string(name_of(operation.code)) + "; ";
  };
  options.callbacks.state = [this](sync::SyncState, sync::ErrorClass of_error,
                                   std::string_view text) {
    if (of_error == sync::ErrorClass::none) return;
    error_class = of_error;
    error = text;
  };
  connect();
}

void make_device_role(Session& session, const std::string& role) {
  // Roles are the whole server's, so another database of this file may have made it.
  session.ask("do $$ begin if not exists (select from pg_roles where rolname = '" + role +
              "') then create role " + role +
              " login inherit password 'a device''s' in role tally_device; end if; end $$");
}

std::vector<std::string> open_to(Session& operators, const std::string& conninfo_of_role) {
  Session role(conninfo_of_role);
  const std::string name = role.ask_one("select current_user");
  std::vector<std::string> found;
  const std::string ours = "('public', 'auth', 'tally', 'tally_sync', 'supabase_migrations')";
  for (const std::string& table : operators.ask(
           "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on "
           "n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm') and n.nspname in " +
           ours + " order by 1")) {
    const Answer answer = role.run("select 1 from " + table + " limit 1");
    if (answer.state != "42501") found.push_back(table + " " + answer.text());
  }
  // The one function is told by its name; that it is one, by the count.
  for (const std::string& function : operators.ask(
           "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = "
           "p.pronamespace where n.nspname in " +
           ours + " and p.prorettype <> 'trigger'::regtype and has_schema_privilege('" + name +
           "', n.oid, 'usage') and has_function_privilege('" + name +
           "', p.oid, 'execute') and (n.nspname, p.proname) <> ('tally_sync', 'sync') "
           "order by 1")) {
    found.push_back(function);
  }
  return found;
}

void apply_to_canonical(sync::Canonical& canonical, const std::vector<std::string>& lines) {
  const auto verdicts = canonical.apply(lines);
  REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
  for (std::size_t i = 0; i < lines.size(); ++i)
    REQUIRE_MESSAGE((*verdicts)[i].code == Code::ok, name_of((*verdicts)[i].code), " ", lines[i]);
}

}  // namespace tally::test
