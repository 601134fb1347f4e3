#include "telemetry.hpp"

#include <cerrno>
#include <cstring>

#include "sync_texts.hpp"

namespace tally::cli {

Measurements::Measurements(const std::string& path) : path_(path) {
  if (path == "-") {
    out_ = stdout;
  } else if (!path.empty()) {
    file_.reset(std::fopen(path.c_str(), "ab"));
    if (!file_) fail(errno);
    out_ = file_.get();
  }
}

std::function<void(const Measurement&)> Measurements::listener() {
  if (out_ == nullptr) return {};
  return [this](const Measurement& measured) { write(measured); };
}

void Measurements::write(const Measurement& measured) noexcept {
  try {
    const MetricRow& row = row_of(measured.metric);
    JsonValue attributes = JsonValue::object();
    for (const Attribute& attribute : measured.attributes)
      attributes[std::string(attribute.name)] = attribute.value;
    const bool is_whole = row.unit != "s";
    const JsonValue line{{"at", now().text()},
                         {"metric", row.name},
                         {"kind", name_of(row.kind)},
                         {"unit", row.unit},
                         {"value", is_whole ? JsonValue(static_cast<std::int64_t>(measured.value))
                                            : JsonValue(measured.value)},
                         {"attributes", std::move(attributes)}};
    const std::string text = json_text(line) + "\n";
    const bool is_whole_line = std::fwrite(text.data(), 1, text.size(), out_) == text.size();
    if (!is_whole_line && error_ == 0) error_ = errno;
  } catch (...) {
    if (error_ == 0) error_ = ENOMEM;
  }
}

void Measurements::flush() {
  if (out_ == nullptr) return;
  if (std::fflush(out_) != 0 && error_ == 0) error_ = errno;
  if (error_ != 0) fail(error_);
}

void Measurements::fail(int error) const {
  const bool is_unread = out_ == stdout && error == EPIPE;
  if (is_unread) throw Stop{Exit::world, "closed_output", ""};
  throw Stop{Exit::world, "io",
             "cannot write the measurements to " + (path_ == "-" ? "standard output" : path_) +
                 ": " + std::strerror(error)};
}

CLI::Option* add_metrics(CLI::App* command, std::string& path, std::string_view instead) {
  return command
      ->add_option("--metrics", path,
                   "Measurements as JSON Lines, added to that file; - is standard output, and " +
                       std::string(instead))
      ->type_name("FILE");
}

namespace {

Exit run_telemetry(bool json) {
  if (json) {
    JsonValue rows = JsonValue::array();
    for (const MetricRow& row : metrics) {
      rows.push_back({{"metric", row.name},
                      {"kind", name_of(row.kind)},
                      {"unit", row.unit},
                      {"attributes", row.attributes},
                      {"sentence", row.sentence}});
    }
    JsonValue events = JsonValue::array();
    for (const LogEventRow& row : log_events)
      events.push_back({{"event", row.name}, {"sentence", row.sentence}});
    print_json({{"metrics", std::move(rows)}, {"log_events", std::move(events)}});
    return Exit::fine;
  }
  const std::size_t width = page_width();
  const auto say = [&](std::string_view text) { print("  " + wrapped(text, width - 2, 2) + "\n"); };
  for (const MetricRow& row : metrics) {
    print(paint(Paint::bold, row.name) + "  " + std::string(name_of(row.kind)) + ", " +
          std::string(row.unit) + "\n");
    say(row.sentence);
    if (!row.attributes.empty()) say("With " + std::string(row.attributes) + ".");
  }
  print("\nLines of the log begin with one of these and a colon:\n\n");
  for (const LogEventRow& row : log_events) {
    print(paint(Paint::bold, row.name) + "\n");
    say(row.sentence);
  }
  return Exit::fine;
}

constexpr Manual telemetry_manual{
    .name = "telemetry",
    .what = "List what is measured, with OpenTelemetry's names and units",
    .section = Section::tools,
    .does =
        "A host of the engine gets measurements through a callback, and makes of them what it "
        "wants: "
        "counters are added up, histograms sorted into buckets, of gauges the latest is kept. "
        "Nothing is measured where nobody listens, and reading a balance never is. tally replay "
        "and "
        "tally sync write them with --metrics.",
    .on_disk = "What was there.",
    .examples = {{{"What there is", "tally telemetry"},
                  {"How long the commits of a replay took",
                   "tally operations --trace > trace.jsonl\n"
                   "tally replay trace.jsonl --db measured.db --batch 1 \\\n"
                   "  --results results.jsonl --metrics - | grep tally.commit.duration"}}},
    .fine = "It is listed.",
    .related = "replay, sync, codes"};

}  // namespace

void add_telemetry(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, telemetry_manual);
  command->callback([&run] { run.command = [&run] { return run_telemetry(run.json); }; });
}

}  // namespace tally::cli
