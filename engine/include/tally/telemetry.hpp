#pragma once
// What the engine and sync tell of themselves while they work: measurements and log events, each
// list in one table, with OpenTelemetry's names and units. They come through callbacks of the host
// (Callbacks in engine.hpp), on the thread whose call they are about; nothing is counted, kept or
// timed where there is no callback, and reading a balance is never measured.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tally {

/// What a host makes of a metric's values: it adds them up, sorts them into buckets, or keeps the
/// latest.
enum class MetricKind : std::uint8_t { counter, histogram, gauge };
inline constexpr std::array<std::string_view, 3> metric_kind_names{"counter", "histogram", "gauge"};

enum class Metric : std::uint8_t {
  operations,
  commit_duration,
  commit_operations,
  sync_verdicts,
  outbox_pending,
  outbox_blocked,
  outbox_rejected,
  client_duration,
};

struct MetricRow {
  Metric metric;
  std::string_view name;  ///< As in OpenTelemetry.
  std::string_view word;  ///< For constants: `COMMIT_DURATION`.
  MetricKind kind;
  std::string_view unit;        ///< UCUM, as OpenTelemetry has it.
  std::string_view attributes;  ///< Their names, with commas between.
  std::string_view sentence;
};

/// Numbers are positions, and never reused. `db.client.operation.duration` and its attributes are
/// those of OpenTelemetry's semantic conventions for databases.
inline constexpr std::array metrics{
    MetricRow{Metric::operations, "tally.operations", "OPERATIONS", MetricKind::counter,
              "{operation}", "tally.operation, tally.result",
              "Operations that the mirror answered, by name and code; a batch counts as one."},
    MetricRow{Metric::commit_duration, "tally.commit.duration", "COMMIT_DURATION",
              MetricKind::histogram, "s", "error.type",
              "How long a commit took from its first check to the disk, with all who shared it."},
    MetricRow{Metric::commit_operations, "tally.commit.operations", "COMMIT_OPERATIONS",
              MetricKind::histogram, "{operation}", "",
              "How many operations shared a commit, refused ones included."},
    MetricRow{Metric::sync_verdicts, "tally.sync.verdicts", "SYNC_VERDICTS", MetricKind::counter,
              "{operation}", "tally.result",
              "Canonical's verdicts that were taken: ok, or the code of what it rejected."},
    MetricRow{Metric::outbox_pending, "tally.outbox.pending", "OUTBOX_PENDING", MetricKind::gauge,
              "{operation}", "", "Operations that wait for canonical's verdict."},
    MetricRow{Metric::outbox_blocked, "tally.outbox.blocked", "OUTBOX_BLOCKED", MetricKind::gauge,
              "{operation}", "", "Those of them that have no effect on the mirror any more."},
    MetricRow{Metric::outbox_rejected, "tally.outbox.rejected", "OUTBOX_REJECTED",
              MetricKind::gauge, "{operation}", "",
              "Rejected operations that nobody has dismissed or retried yet."},
    MetricRow{Metric::client_duration, "db.client.operation.duration", "CLIENT_DURATION",
              MetricKind::histogram, "s", "db.system.name, db.stored_procedure.name, error.type",
              "How long a call to canonical took, from its first byte out to its last byte in."},
};

constexpr const MetricRow& row_of(Metric metric) noexcept {
  return metrics[static_cast<std::size_t>(metric)];
}
constexpr std::string_view name_of(MetricKind kind) noexcept {
  return metric_kind_names[static_cast<std::size_t>(kind)];
}

/// Both end with a zero, which is not counted. They are gone when the callback returns.
struct Attribute {
  std::string_view name;
  std::string_view value;
};

/// One value of one metric. Seconds are seconds, with the clock's resolution; counts are whole.
struct Measurement {
  Metric metric = Metric::operations;
  double value = 0;
  std::span<const Attribute> attributes{};
};

/// What a line of the log is about: it begins with the event's name and a colon.
enum class LogEvent : std::uint8_t { commit_failed, wal_grows };
struct LogEventRow {
  LogEvent event;
  std::string_view name;
  std::string_view sentence;
};
inline constexpr std::array log_events{
    LogEventRow{LogEvent::commit_failed, "tally.commit.failed",
                "A commit failed, and nothing of it happened; its callers were told."},
    LogEventRow{LogEvent::wal_grows, "tally.wal.grows",
                "The WAL could not be moved into the file; it grows until it can be."},
};
constexpr std::string_view name_of(LogEvent event) noexcept {
  return log_events[static_cast<std::size_t>(event)].name;
}

}  // namespace tally
