#pragma once
// What the commands for sync share: their options, and what they say of devices, rejected
// operations and leases.

#include "commands.hpp"
#include "tally/replica.hpp"

namespace tally::cli {

/// The longest time that an option takes: a year.
inline constexpr std::int64_t timeout_max_s = 31'536'000;

/// A command over canonical: --pg and --schema.
struct CanonicalArguments {
  std::string pg;
  std::string schema = "public";

  sync::Canonical connect() const { return cli::connect(pg, schema); }
};
void add_pg(CLI::App* command, CanonicalArguments& arguments);

/// The value; an id that canonical does not know is a refusal, with a sentence of its own.
template <class T>
T take_known(Result<T> result, Code unknown, const std::string& sentence) {
  if (!result && result.error().code == unknown)
    throw Stop{Exit::refused, std::string(name_of(unknown)), sentence};
  if (!result) throw stop_for(result.error(), canonical_hint(result.error().code));
  return std::move(result).value();
}

Timestamp now();
/// `2 min 05 s ago`; a clock that went backwards makes it now.
std::string ago(Timestamp time);
/// libpq breaks and indents the lines of its messages.
std::string on_one_line(std::string_view text);
std::vector<std::string> names_of(const std::vector<Capability>& capabilities);
std::string scope_text(const std::optional<Uuid>& scope);

/// Whether canonical has not answered for so long that this is worth a word: for a day. Who works
/// offline is away for hours and means it; a day is what canonical's sweep waits for a worker, so
/// behind it jobs and leases may be gone that the mirror still shows.
bool is_stale(const LinkState& link, Timestamp now);

/// Why a mirror is not in sync, in words; empty where it is.
std::string not_in_sync(const LinkState& link);
/// When it is tried again.
std::string next_attempt(const LinkState& link);

JsonValue to_json(const std::optional<Timestamp>& time);
/// With its state: `waiting`, `sent`, `queued` (for canonical's verdict), or `blocked`, and by
/// which code.
JsonValue to_json(const PendingOperation& pending);
JsonValue to_json(const RejectedOperation& rejected);
JsonValue to_json(const std::vector<RejectedOperation>& rejected);
JsonValue to_json(const std::vector<OpenLease>& leases);
std::string rejected_table(const std::vector<RejectedOperation>& rejected);
std::string lease_table(const std::vector<OpenLease>& leases);

void add_device_commands(CLI::App& app, Run& run);
void add_lease_commands(CLI::App& app, Run& run);
void add_status(CLI::App& app, Run& run);
void add_rejected_commands(CLI::App& app, Run& run);

}  // namespace tally::cli
