// device, sync, status, rejected, lease, claim-next: a mirror kept equal to canonical, what stands
// between them, and who may.

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "commands.hpp"
#include "tally/syncer.hpp"

namespace tally::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t timeout_max_s = 31'536'000;

Timestamp now() {
  return {std::chrono::duration_cast<std::chrono::microseconds>(
              std::chrono::system_clock::now().time_since_epoch())
              .count()};
}

/// `2 min 05 s ago`; a clock that went backwards makes it now.
std::string ago(Timestamp time) {
  return duration(std::max<std::int64_t>(now().us - time.us, 0)) + " ago";
}

JsonValue to_json(const std::optional<Timestamp>& time) {
  return time ? JsonValue(time->text()) : JsonValue(nullptr);
}

/// libpq breaks and indents the lines of its messages.
std::string on_one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_space = c == ' ' || c == '\n' || c == '\t';
    if (!is_space) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

JsonValue parsed(const std::string& text) {
  JsonValue value = JsonValue::parse(text, nullptr, false);
  return value.is_discarded() ? JsonValue(text) : value;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::vector<std::string> names_of(const std::vector<Capability>& capabilities) {
  std::vector<std::string> out;
  for (const Capability capability : capabilities)
    out.emplace_back(capability_names[static_cast<std::size_t>(capability)]);
  return out;
}

std::string scope_text(const std::optional<Uuid>& scope) {
  return scope ? "user " + scope->text() : "all users";
}

/// A command over canonical alone: --pg and --schema.
struct CanonicalArguments {
  std::string pg;
  std::string schema = "public";

  sync::Canonical connect() const { return cli::connect(pg, schema); }
};

void add_pg(CLI::App* command, CanonicalArguments& arguments) {
  command->add_option("--pg", arguments.pg, "Canonical's database")
      ->type_name("CONNINFO")
      ->required();
  add_schema(command, arguments.schema);
}

/// The value; an id that canonical does not know is a refusal, with a sentence of its own.
template <class T>
T take_known(Result<T> result, Code unknown, const std::string& sentence) {
  if (!result && result.error().code == unknown)
    throw Stop{Exit::refused, std::string(name_of(unknown)), sentence};
  if (!result) throw stop_for(result.error(), canonical_hint(result.error().code));
  return std::move(result).value();
}

/// The group that a command's subcommands are in.
CLI::App* add_group(CLI::App& app, const std::string& name, const std::string& what) {
  CLI::App* group = app.add_subcommand(name, what);
  group->require_subcommand(1);
  return group;
}

// ---- device -----------------------------------------------------------------------------------

struct DeviceArguments : CanonicalArguments {
  std::string device;
  std::string name;
  std::vector<std::string> capabilities;
  std::string user;
  std::int64_t reclaim_after_s = 0;
};

void print_token(const Uuid& device_id, const std::string& token, bool json) {
  if (json) {
    print_json({{"device_id", device_id.text()}, {"token", token}});
    return;
  }
  print("device  " + device_id.text() + "\ntoken   " + token + "\n" +
        paint(Paint::dim,
              "It is shown this once: put it into a file that only its owner reads, "
              "for tally sync --token-file.") +
        "\n");
}

Exit add_device(const DeviceArguments& arguments, bool json) {
  sync::NewDevice device;
  device.name = arguments.name;
  for (const std::string& name : arguments.capabilities) {
    for (const Capability each : {Capability::author, Capability::worker, Capability::service}) {
      if (name == capability_names[static_cast<std::size_t>(each)])
        device.capabilities.push_back(each);
    }
  }
  if (!arguments.user.empty()) device.scope = uuid_argument(arguments.user, "--user");
  if (arguments.reclaim_after_s > 0) device.reclaim_after = seconds(arguments.reclaim_after_s);
  sync::Canonical canonical = arguments.connect();
  const sync::DeviceToken made =
      take_known(canonical.add_device(device), Code::user_not_found,
                 "canonical has no user " + arguments.user + " for the device to be of");
  print_token(made.device_id, made.token, json);
  return Exit::fine;
}

Exit list_devices(const DeviceArguments& arguments, bool json) {
  sync::Canonical canonical = arguments.connect();
  auto listed = canonical.devices();
  if (!listed) throw stop_for(listed.error(), canonical_hint(listed.error().code));
  JsonValue devices = JsonValue::array();
  Table table({{"device"},
               {"name"},
               {"capabilities"},
               {"scope"},
               {"pushed", true},
               {"leased", true},
               {"seen"},
               {""}});
  for (const sync::DeviceInfo& device : *listed) {
    devices.push_back({{"device_id", device.device_id.text()},
                       {"name", device.name},
                       {"capabilities", device.capabilities},
                       {"scope", cli::to_json(device.scope)},
                       {"watermark", device.watermark},
                       {"leased", device.leased.value},
                       {"created_at", device.created_at},
                       {"seen_at", cli::to_json(device.seen_at)},
                       {"revoked_at", cli::to_json(device.revoked_at)}});
    table.add({device.device_id.text(), shown(device.name, 30), joined(device.capabilities),
               scope_text(device.scope), thousands(device.watermark),
               thousands(device.leased.value),
               device.seen_at ? short_time(*device.seen_at) : "never",
               device.revoked_at ? paint(Paint::red, "revoked") : ""});
  }
  if (json) {
    print_json({{"devices", std::move(devices)}});
  } else {
    print(listed->empty() ? "No devices; tally device add makes one.\n" : table.text());
  }
  return Exit::fine;
}

std::string unknown_device(const Uuid& device_id) {
  return "canonical has no device " + device_id.text() + ", or it was revoked before";
}

Exit revoke_device(const DeviceArguments& arguments, bool json) {
  const Uuid device_id = uuid_argument(arguments.device, "DEVICE");
  sync::Canonical canonical = arguments.connect();
  take_known(canonical.revoke_device(device_id), Code::unauthorized, unknown_device(device_id));
  if (json) {
    print_json({{"device_id", device_id.text()}, {"revoked", true}});
  } else {
    print("revoked device " + device_id.text() +
          ": its token and claims ended, its leases are written off\n");
  }
  return Exit::fine;
}

Exit rotate_token(const DeviceArguments& arguments, bool json) {
  const Uuid device_id = uuid_argument(arguments.device, "DEVICE");
  sync::Canonical canonical = arguments.connect();
  const std::string token =
      take_known(canonical.rotate_token(device_id), Code::unauthorized, unknown_device(device_id));
  print_token(device_id, token, json);
  return Exit::fine;
}

using DeviceBody = Exit (*)(const DeviceArguments&, bool);

CLI::App* add_device_command(CLI::App& group, Run& run, const std::string& name,
                             const std::string& what, DeviceBody body, bool with_device,
                             std::shared_ptr<DeviceArguments> arguments) {
  CLI::App* command = add_command(group, run, name, what);
  if (with_device)
    command->add_option("device", arguments->device, "Its id, a UUID")
        ->type_name("DEVICE")
        ->required();
  add_pg(command, *arguments);
  command->callback([=, &run] { run.command = [=, &run] { return body(*arguments, run.json); }; });
  return command;
}

void add_device_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, "device", "Make, list, revoke the devices of canonical");
  const auto arguments = [] { return std::make_shared<DeviceArguments>(); };
  const auto added = arguments();
  CLI::App* add = add_device_command(group, run, "add", "Make a device, and print its token",
                                     add_device, false, added);
  add->add_option("--name", added->name, "What people call it")->type_name("NAME")->required();
  add->add_option("--capabilities", added->capabilities,
                  "What it may do: author, worker, service, with commas between")
      ->type_name("LIST")
      ->delimiter(',')
      ->check(CLI::IsMember({"author", "worker", "service"}))
      ->required();
  add->add_option("--user", added->user, "The one user it is for; without it, all")
      ->type_name("USER");
  add->add_option("--reclaim-after", added->reclaim_after_s,
                  "Canonical takes a lease back by itself, so long after its expiry; without it "
                  "only an operator does")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, timeout_max_s));
  add_device_command(group, run, "list", "List the devices", list_devices, false, arguments());
  add_device_command(group, run, "revoke", "End a device: its token, its claims, its leases",
                     revoke_device, true, arguments());
  add_device_command(group, run, "rotate", "Give a device another token, and print it",
                     rotate_token, true, arguments());
}

// ---- what sync and claim-next share -----------------------------------------------------------

struct SyncArguments : CanonicalArguments {
  std::string db;
  std::string token_file;
  std::string device;
  bool watch = false;
  bool enrol_anew = false;
  std::int64_t timeout_s = 0;
  std::int64_t ttl_s = 0;
};

seconds timeout_of(const SyncArguments& arguments) {
  return seconds(arguments.timeout_s > 0 ? arguments.timeout_s : 30);
}

void add_sync_options(CLI::App* command, SyncArguments& arguments) {
  add_db(command, arguments.db);
  add_pg(command, arguments);
  command
      ->add_option("--token-file", arguments.token_file,
                   "The file that holds the device's token and nothing else")
      ->type_name("FILE")
      ->required();
  command->add_option("--device", arguments.device, "Only as this device")->type_name("DEVICE");
  command->add_option("--timeout", arguments.timeout_s)
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, timeout_max_s));
}

/// The token that the file holds. Nothing where it holds none.
std::optional<std::string> read_token(const std::string& path) {
  constexpr std::size_t bytes_max = 4'096;
  std::ifstream file(path, std::ios::binary);
  std::string token(bytes_max, '\0');
  file.read(token.data(), static_cast<std::streamsize>(token.size()));
  token.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  const bool is_token =
      !token.empty() && token.size() < bytes_max &&
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
  return is_token ? std::optional(std::move(token)) : std::nullopt;
}

void warn(const std::string& sentence, bool json) {
  const std::string line = json ? JsonValue{{"warning", sentence}}.dump(
                                      -1, ' ', false, JsonValue::error_handler_t::replace)
                                : "tally: warning: " + shown(sentence, 4'000);
  std::fprintf(stderr, "%s\n", line.c_str());
}

std::string require_token(const std::string& path, bool json) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status))
    throw Stop{Exit::world, "io", path + " is a folder; --token-file wants a file with the token"};
  errno = 0;
  if (!std::ifstream(path).is_open()) {
    throw Stop{Exit::world, "io",
               "cannot read the token file " + path + ": " + std::strerror(errno) +
                   "; tally device add prints a token to put there"};
  }
  auto token = read_token(path);
  if (!token) {
    throw Stop{Exit::world, "unauthorized",
               path +
                   " holds no token; put the one there that tally device add printed, alone on "
                   "one line"};
  }
  constexpr fs::perms others = fs::perms::group_read | fs::perms::others_read;
  if (fs::is_regular_file(status) && (status.permissions() & others) != fs::perms::none)
    warn("others can read the token in " + path + "; chmod 600 makes it its owner's", json);
  return std::move(*token);
}

/// With --device, the mirror must be that one, where it is one already.
std::optional<Uuid> require_device(Engine& engine, const std::string& argument, bool enrols_anew) {
  if (argument.empty()) return std::nullopt;
  const Uuid wanted = uuid_argument(argument, "--device");
  const auto link = take(Replica(engine).state());
  if (link && link->enrolment.device_id != wanted && !enrols_anew) {
    throw Stop{Exit::usage, "usage",
               "the mirror is device " + link->enrolment.device_id.text() + ", not " +
                   wanted.text() + "; leave --device out, or give that mirror's file"};
  }
  return wanted;
}

sync::SyncOptions sync_options(const SyncArguments& arguments, Engine& engine, bool json) {
  sync::SyncOptions options;
  options.conninfo = arguments.pg;
  options.schema = arguments.schema;
  options.device_id = require_device(engine, arguments.device, arguments.enrol_anew);
  options.token = require_token(arguments.token_file, json);
  return options;
}

std::string_view sync_hint(const Error& error) {
  switch (error.code) {
    case Code::unauthorized:
      return error.detail == row_of(error.code).sentence
                 ? "put a live token into the token file (tally device add or rotate prints one)"
                 : "check --pg, its user and password";
    case Code::unreachable:
      return "check --pg, and that the server is up; what is pending is kept";
    case Code::device_forked:
      return "make another device with tally device add, and run tally sync --enrol-anew with its "
             "token";
    case Code::busy:
      return "tally status tells how far it is";
    case Code::protocol:
      return error.detail.find("does not exist") == std::string::npos
                 ? ""
                 : "run tally migrate --pg CONNINFO first";
    default:
      return {};
  }
}

Stop sync_stop(Error error, bool with_device) {
  error.detail = on_one_line(error.detail);
  Stop stop = stop_for(error, sync_hint(error));
  // The token turned out to be another device's than --device says.
  const bool is_usage = with_device && error.code == Code::invalid_argument;
  stop.exit = is_usage ? Exit::usage : Exit::world;
  return stop;
}

// ---- rejected operations as texts -------------------------------------------------------------

JsonValue to_json(const RejectedOperation& rejected) {
  const JsonValue operation = parsed(trace_line(rejected.command));
  return {{"number", rejected.number},
          {"op", row_of(rejected.command.operation).name},
          {"op_id", rejected.command.op_id.text()},
          {"code", name_of(rejected.code)},
          {"index", rejected.index ? JsonValue(*rejected.index) : JsonValue(nullptr)},
          {"rejected_at", rejected.rejected_at.text()},
          {"operation", operation}};
}

JsonValue to_json(const std::vector<RejectedOperation>& rejected) {
  JsonValue list = JsonValue::array();
  for (const RejectedOperation& operation : rejected) list.push_back(to_json(operation));
  return list;
}

std::string rejected_table(const std::vector<RejectedOperation>& rejected) {
  Table table({{"number", true}, {"operation"}, {"code"}, {"made"}, {"rejected"}});
  for (const RejectedOperation& operation : rejected) {
    table.add({std::to_string(operation.number),
               std::string(row_of(operation.command.operation).name),
               std::string(name_of(operation.code)), short_time(operation.command.at.text()),
               short_time(operation.rejected_at.text())});
  }
  return table.text();
}

// ---- sync, once -------------------------------------------------------------------------------

/// What one run did.
struct SyncReport {
  std::vector<RejectedOperation> rejected{};
  std::set<Uuid> changed{};
  std::set<Uuid> diverged{};
};

std::int64_t acked_of(const std::optional<LinkState>& link) { return link ? link->acked : 0; }

/// As long as answers come, however many it takes.
Result<sync::SyncState> run_until_synced(sync::Syncer& syncer, const std::uint64_t& answers,
                                         seconds timeout) {
  for (;;) {
    const std::uint64_t before = answers;
    auto done = syncer.run_until_synced(timeout);
    if (done || done.error().code != Code::unreachable || answers == before) return done;
  }
}

void print_sync(const SyncReport& report, std::int64_t pushed, const LinkState& link, bool json) {
  if (json) {
    JsonValue diverged = JsonValue::array();
    for (const Uuid& user : report.diverged) diverged.push_back(user.text());
    print_json({{"device_id", link.enrolment.device_id.text()},
                {"in_sync", link.pending == 0 && link.blocked == 0 && link.rejected == 0},
                {"pushed", pushed},
                {"pulled_users", report.changed.size()},
                {"rejected", to_json(report.rejected)},
                {"diverged", std::move(diverged)},
                {"pending", link.pending},
                {"blocked", link.blocked},
                {"rejected_kept", link.rejected}});
    return;
  }
  const auto count = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
  print("pushed " + counted(pushed, "operation", "operations") + ", " +
        thousands(count(report.rejected)) + " of them rejected; pulled " +
        counted(count(report.changed), "user", "users") + "\n");
  if (!report.rejected.empty()) print("\n" + rejected_table(report.rejected) + "\n");
  for (const Uuid& user : report.diverged)
    print("user " + user.text() + " was not as on canonical, and was fed anew\n");
  if (link.rejected > 0) {
    print(paint(Paint::red,
                counted(link.rejected, "rejected operation is", "rejected operations are") +
                    " kept") +
          "; tally rejected list shows them\n");
  } else if (link.pending > 0) {
    print(paint(Paint::yellow, counted(link.pending, "operation", "operations") +
                                   " came meanwhile and wait for the next sync") +
          "\n");
  } else {
    print(paint(Paint::green, "in sync") + "\n");
  }
}

Exit sync_once(Engine& engine, const SyncArguments& arguments, sync::SyncOptions options,
               bool json) {
  const Replica replica(engine);
  const std::int64_t acked_before = acked_of(take(replica.state()));
  SyncReport report;
  std::uint64_t answers = 0;
  Progress progress("operations acknowledged", !json);
  options.callbacks.progress = [&](std::int64_t acked, std::int64_t) {
    ++answers;
    progress.show(static_cast<std::uint64_t>(std::max<std::int64_t>(acked - acked_before, 0)));
  };
  options.callbacks.rejected = [&](const RejectedOperation& rejected) {
    report.rejected.push_back(rejected);
  };
  options.callbacks.changed = [&](const std::vector<Uuid>& user_ids) {
    report.changed.insert(user_ids.begin(), user_ids.end());
  };
  options.callbacks.diverged = [&](const Uuid& user_id) { report.diverged.insert(user_id); };
  options.callbacks.state = [&](sync::SyncState state, sync::ErrorClass, std::string_view error) {
    if (json || !is_terminal_error() ||
        (state != sync::SyncState::waiting && state != sync::SyncState::standby))
      return;
    progress.clear();
    std::fprintf(stderr, "%s\n",
                 state == sync::SyncState::standby
                     ? "another process syncs this mirror; waiting for its end"
                     : ("trying again: " + shown(error, 300)).c_str());
  };
  sync::Syncer syncer(engine, std::move(options));
  const auto done = run_until_synced(syncer, answers, timeout_of(arguments));
  progress.clear();
  if (!done) throw sync_stop(done.error(), !arguments.device.empty());
  const auto link = take(replica.state());
  if (!link) throw Stop{Exit::world, "internal", "the mirror is no device after its sync"};
  print_sync(report, link->acked - acked_before, *link, json);
  return link->blocked == 0 && link->rejected == 0 ? Exit::fine : Exit::refused;
}

// ---- sync --watch -----------------------------------------------------------------------------

volatile std::sig_atomic_t end_asked = 0;

/// The first signal ends the watch, and a wait under way; a second one ends the process.
void listen_for_the_end() {
  struct sigaction action {};
  action.sa_handler = [](int) { end_asked = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

/// Lines about what happens, each written at once. What the callbacks tell is kept until say(),
/// since they must not throw.
class Watch {
 public:
  explicit Watch(bool json) : json_(json) {}

  void attach(sync::SyncCallbacks& callbacks) {
    callbacks.rejected = [this](const RejectedOperation& rejected) {
      tell({{"event", "rejected"}, {"rejected", to_json(rejected)}},
           "rejected operation " + std::to_string(rejected.number) + ", " +
               std::string(row_of(rejected.command.operation).name) + ": " +
               std::string(name_of(rejected.code)));
    };
    callbacks.progress = [this](std::int64_t acked, std::int64_t pending) {
      if (acked_ && *acked_ != acked) {
        tell({{"event", "pushed"}, {"pushed", acked - *acked_}, {"pending", pending}},
             "pushed " + counted(acked - *acked_, "operation", "operations") + ", " +
                 thousands(pending) + " pending");
      }
      acked_ = acked;
    };
    callbacks.diverged = [this](const Uuid& user_id) {
      tell({{"event", "diverged"}, {"user_id", user_id.text()}},
           "user " + user_id.text() + " was not as on canonical, and is fed anew");
    };
    callbacks.state = [this](sync::SyncState state, sync::ErrorClass error_class,
                             std::string_view error) { on_state(state, error_class, error); };
  }

  void start_from(std::int64_t acked) { acked_ = acked; }

  void end() { tell({{"event", "end"}}, "stopped"); }

  void say() {
    for (const std::string& line : std::exchange(lines_, {})) print(line + "\n");
    finish_output();
  }

 private:
  void on_state(sync::SyncState state, sync::ErrorClass error_class, std::string_view error) {
    // Each poll connects and syncs: nothing to tell.
    if (state == sync::SyncState::connecting || state == sync::SyncState::syncing) return;
    std::string text(name_of(state));
    const bool in_trouble = error_class != sync::ErrorClass::none;
    if (state == sync::SyncState::standby) {
      text += ": another process syncs this mirror";
    } else if (in_trouble) {
      text += ": " + on_one_line(error);
    } else if (state == sync::SyncState::idle) {
      text += ": something is rejected; tally rejected list shows it";
    }
    if (text == told_) return;
    told_ = text;
    const std::optional<std::string> class_name =
        in_trouble ? std::optional(std::string(name_of(error_class))) : std::nullopt;
    const std::optional<std::string> error_text =
        in_trouble ? std::optional(std::string(error)) : std::nullopt;
    tell({{"event", "state"},
          {"state", name_of(state)},
          {"error_class", cli::to_json(class_name)},
          {"error", cli::to_json(error_text)}},
         text);
  }

  void tell(JsonValue event, const std::string& text) {
    if (json_) {
      JsonValue line{{"at", now().text()}};
      line.update(event);
      lines_.push_back(line.dump(-1, ' ', false, JsonValue::error_handler_t::replace));
    } else {
      lines_.push_back(paint(Paint::dim, short_time(now().text())) + "  " + shown(text, 1'000));
    }
  }

  bool json_;
  std::vector<std::string> lines_;
  std::string told_;
  std::optional<std::int64_t> acked_;
};

/// Until the socket is ready, the time is over or a signal comes; that may come just before.
void wait_for(const sync::Wait& wait) {
  constexpr milliseconds longest{500};
  const int time = static_cast<int>(std::clamp(wait.timeout, milliseconds{0}, longest).count());
  pollfd socket{wait.socket,
                static_cast<short>((wait.readable ? POLLIN : 0) | (wait.writable ? POLLOUT : 0)),
                0};
  poll(&socket, wait.socket < 0 ? 0 : 1, time);
}

Exit sync_watch(Engine& engine, const SyncArguments& arguments, sync::SyncOptions options,
                bool json) {
  listen_for_the_end();
  Watch watch(json);
  watch.attach(options.callbacks);
  watch.start_from(acked_of(take(Replica(engine).state())));
  std::string token = options.token;
  sync::Syncer syncer(engine, std::move(options));
  const auto end = std::chrono::steady_clock::now() + seconds(arguments.timeout_s);
  while (end_asked == 0) {
    const sync::Wait wait = syncer.step();
    watch.say();
    if (wait.state == sync::SyncState::stopped)
      throw sync_stop(syncer.run_until_synced(milliseconds{0}).error(), !arguments.device.empty());
    if (wait.state == sync::SyncState::paused) {
      // Another token in the file is the way on.
      if (auto other = read_token(arguments.token_file); other && *other != token) {
        token = *other;
        syncer.resume(token);
        continue;
      }
    }
    if (arguments.timeout_s > 0 && std::chrono::steady_clock::now() >= end) break;
    wait_for(wait);
  }
  watch.end();
  watch.say();
  return Exit::fine;
}

/// What has not been pushed is kept as rejected, for `tally rejected retry`.
void enrol_anew(Engine& engine, const SyncArguments& arguments, const sync::SyncOptions& options) {
  auto enrolled = sync::Syncer(engine, options).enrol_anew(timeout_of(arguments));
  if (enrolled) return;
  if (enrolled.error().code == Code::already_exists) {
    throw Stop{Exit::usage, "usage",
               enrolled.error().detail +
                   "; --enrol-anew wants the token of a new one, which tally "
                   "device add makes"};
  }
  throw sync_stop(enrolled.error(), !arguments.device.empty());
}

Exit run_sync(const SyncArguments& arguments, bool json) {
  Engine engine = open_mirror(arguments.db);
  sync::SyncOptions options = sync_options(arguments, engine, json);
  if (arguments.enrol_anew) enrol_anew(engine, arguments, options);
  return arguments.watch ? sync_watch(engine, arguments, std::move(options), json)
                         : sync_once(engine, arguments, std::move(options), json);
}

void add_sync(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, "sync", "Push what a mirror has pending, and pull");
  auto arguments = std::make_shared<SyncArguments>();
  add_sync_options(command, *arguments);
  command->get_option("--timeout")
      ->description(
          "Give up after so long without an answer (30); with --watch, end after so long");
  command->add_flag("--enrol-anew", arguments->enrol_anew,
                    "A mirror that is a copy, or was restored, becomes the token's device; what it "
                    "has not pushed is kept as rejected, to be retried");
  command->add_flag("--watch", arguments->watch,
                    "Go on until SIGINT or SIGTERM, and print what changes");
  command->footer(
      "A mirror becomes the token's device at its first sync; what it did before is pushed too. "
      "Exit status: 0 in sync, 1 something is rejected or blocked, 3 a failure. One process syncs "
      "a mirror at a time; another with --watch stands by. With --watch, after the token was "
      "refused, another one in the token file is taken up.");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_sync(*arguments, run.json); }; });
}

// ---- claim-next -------------------------------------------------------------------------------

Exit run_claim_next(const SyncArguments& arguments, bool json) {
  Engine engine = open_mirror(arguments.db);
  sync::Syncer syncer(engine, sync_options(arguments, engine, json));
  const auto claimed = syncer.claim_next(arguments.ttl_s, timeout_of(arguments));
  if (!claimed && claimed.error().code == Code::busy) {
    throw Stop{Exit::world, "busy",
               "another process syncs this mirror, and that one alone can claim; end it, or claim "
               "with a mirror and a device of its own"};
  }
  if (!claimed) throw sync_stop(claimed.error(), !arguments.device.empty());
  if (*claimed) {
    if (json) {
      print_json({{"job_id", (*claimed)->text()}});
    } else {
      print((*claimed)->text() + "\n");
    }
    return Exit::fine;
  }
  const auto link = take(Replica(engine).state());
  const auto can = link ? link->enrolment.capabilities : std::vector<Capability>{};
  if (std::find(can.begin(), can.end(), Capability::worker) == can.end()) {
    throw Stop{Exit::refused, "not_permitted",
               "this device claims nothing: it lacks the capability worker; tally device add "
               "--capabilities worker makes one that has it"};
  }
  if (!json) throw Stop{Exit::refused, "job_not_found", "no job waits for a worker; try later"};
  print_json({{"job_id", nullptr}});
  return Exit::refused;
}

void add_claim_next(CLI::App& app, Run& run) {
  CLI::App* command =
      add_command(app, run, "claim-next", "Sync, and claim the next job that waits for a worker");
  auto arguments = std::make_shared<SyncArguments>();
  add_sync_options(command, *arguments);
  command->get_option("--timeout")->description("Give up after so long without an answer (30)");
  command->add_option("--ttl", arguments->ttl_s, "How long the claim lives")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, ttl_max_s))
      ->required();
  command->footer("Prints the job's id; exit status 1 where no job waits.");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_claim_next(*arguments, run.json); }; });
}

// ---- status -----------------------------------------------------------------------------------

JsonValue to_json(const std::vector<OpenLease>& leases) {
  JsonValue list = JsonValue::array();
  for (const OpenLease& lease : leases) {
    list.push_back({{"lease_id", lease.lease_id.text()},
                    {"user_id", lease.user_id.text()},
                    {"unspent", lease.unspent.value},
                    {"expires_at", lease.expires_at.text()},
                    {"returning", lease.returning}});
  }
  return list;
}

std::string lease_table(const std::vector<OpenLease>& leases) {
  Table table({{"lease"}, {"user"}, {"unspent", true}, {"expires"}, {""}});
  for (const OpenLease& lease : leases) {
    table.add({lease.lease_id.text(), lease.user_id.text(), thousands(lease.unspent.value),
               short_time(lease.expires_at.text()),
               lease.returning                  ? "is being returned"
               : lease.expires_at.us < now().us ? paint(Paint::yellow, "expired")
                                                : ""});
  }
  return table.text();
}

/// Why a mirror is not in sync, in words; empty where it is.
std::string not_in_sync(const LinkState& link) {
  std::vector<std::string> why;
  if (link.pending > 0) why.push_back(thousands(link.pending) + " pending");
  if (link.blocked > 0) why.push_back(thousands(link.blocked) + " blocked");
  if (link.rejected > 0) why.push_back(thousands(link.rejected) + " rejected");
  if (link.error_class) {
    why.push_back(link.attempts == 1 ? std::string("the last attempt failed")
                                     : "the last " + thousands(link.attempts) + " attempts failed");
  }
  if (!link.synced_at) why.emplace_back("canonical has not answered yet");
  return joined(why);
}

Exit status_of_no_device(const Engine& engine, bool json) {
  const std::int64_t pending = take(engine.pending_operations());
  if (json) {
    print_json({{"device_id", nullptr}, {"in_sync", false}, {"pending", pending}});
  } else {
    print("no device yet: tally sync --token-file FILE makes the mirror one\npending  " +
          counted(pending, "operation", "operations") + "\n");
  }
  return Exit::refused;
}

void print_status_json(const LinkState& link, const std::vector<OpenLease>& leases, bool in_sync) {
  const JsonValue lag = link.synced_at
                            ? JsonValue(std::max<std::int64_t>(now().us - link.synced_at->us, 0))
                            : JsonValue(nullptr);
  print_json({{"device_id", link.enrolment.device_id.text()},
              {"capabilities", names_of(link.enrolment.capabilities)},
              {"scope", cli::to_json(link.enrolment.scope)},
              {"in_sync", in_sync},
              {"acked", link.acked},
              {"pending", link.pending},
              {"blocked", link.blocked},
              {"rejected", link.rejected},
              {"cursor", link.cursor ? parsed(*link.cursor) : JsonValue(nullptr)},
              {"synced_at", to_json(link.synced_at)},
              {"lag_us", lag},
              {"leases", to_json(leases)},
              {"attempts", link.attempts},
              {"error_class", cli::to_json(link.error_class)},
              {"error", cli::to_json(link.error)},
              {"next_attempt_at", to_json(link.next_attempt_at)}});
}

std::string next_attempt(const LinkState& link) {
  if (link.next_attempt_at) {
    const std::int64_t left = link.next_attempt_at->us - now().us;
    return left > 0 ? "in " + duration(left) : "due, as soon as a process syncs the mirror";
  }
  if (link.error_class == name_of(sync::ErrorClass::authentication))
    return "after another token is in the token file";
  return link.error_class ? "none before an operator has decided" : "at the next sync";
}

void print_status(const LinkState& link, const std::vector<OpenLease>& leases) {
  print("device        " + link.enrolment.device_id.text() + ", " +
        joined(names_of(link.enrolment.capabilities)) + " for " + scope_text(link.enrolment.scope) +
        "\n");
  print("pending       " + thousands(link.pending) + "\nblocked       " + thousands(link.blocked) +
        "\nrejected      " + thousands(link.rejected) +
        (link.rejected > 0 ? " (tally rejected list)" : "") + "\nacknowledged  " +
        thousands(link.acked) + "\ncursor        " + shown(link.cursor.value_or("none"), 100) +
        "\nlast answer   " + (link.synced_at ? ago(*link.synced_at) : "never") + "\n");
  if (link.error_class) {
    print("last error    " + *link.error_class + ": " +
          shown(on_one_line(link.error.value_or("")), 400) + "\n");
  }
  print("next attempt  " + next_attempt(link) + "\n");
  if (!leases.empty()) print("\n" + lease_table(leases));
  const std::string why = not_in_sync(link);
  print("\n" +
        (why.empty() ? paint(Paint::green, "in sync")
                     : paint(Paint::yellow, "not in sync") + ": " + why) +
        "\n");
}

Exit run_status(const std::string& db, bool json) {
  Engine engine = open_mirror(db);
  const Replica replica(engine);
  const auto link = take(replica.state());
  if (!link) return status_of_no_device(engine, json);
  const auto leases = take(replica.leases());
  const bool in_sync = not_in_sync(*link).empty();
  if (json) {
    print_status_json(*link, leases, in_sync);
  } else {
    print_status(*link, leases);
  }
  return in_sync ? Exit::fine : Exit::refused;
}

void add_status(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, "status", "Say how far a mirror and canonical are");
  auto db = std::make_shared<std::string>();
  add_db(command, *db);
  command->footer(
      "Reads the mirror only. Exit status: 0 in sync; 1 something is pending, blocked or rejected, "
      "the last attempt failed, or the mirror is no device yet.");
  command->callback([=, &run] { run.command = [=, &run] { return run_status(*db, run.json); }; });
}

// ---- rejected ---------------------------------------------------------------------------------

struct RejectedArguments {
  std::string db;
  std::int64_t number = 0;
};

[[noreturn]] void no_such_rejected(std::int64_t number) {
  throw Stop{Exit::refused, "not_found",
             "no rejected operation " + std::to_string(number) +
                 " is kept; tally rejected list shows those that are"};
}

Exit list_rejected(Replica& replica, const RejectedArguments&, bool json) {
  const auto rejected = take(replica.rejected());
  if (json) {
    print_json({{"rejected", to_json(rejected)}});
  } else {
    print(rejected.empty() ? "Nothing is rejected.\n" : rejected_table(rejected));
  }
  return Exit::fine;
}

Exit show_rejected(Replica& replica, const RejectedArguments& arguments, bool json) {
  for (const RejectedOperation& rejected : take(replica.rejected())) {
    if (rejected.number != arguments.number) continue;
    if (json) {
      print_json(to_json(rejected));
      return Exit::fine;
    }
    const CodeRow& row = row_of(rejected.code);
    print("number     " + std::to_string(rejected.number) + "\ncode       " +
          paint(Paint::red, row.name) + ": " + std::string(row.sentence) + "\n");
    if (rejected.index) {
      print("of batch   its operation " + std::to_string(*rejected.index) + ", from 0\n");
    }
    print("rejected   " + short_time(rejected.rejected_at.text()) + "\noperation  " +
          trace_line(rejected.command) + "\n");
    return Exit::fine;
  }
  no_such_rejected(arguments.number);
}

Exit dismiss_rejected(Replica& replica, const RejectedArguments& arguments, bool json) {
  auto dismissed = replica.dismiss(arguments.number);
  if (!dismissed && dismissed.error().code == Code::not_found) no_such_rejected(arguments.number);
  take(std::move(dismissed));
  if (json) {
    print_json({{"number", arguments.number}, {"dismissed", true}});
  } else {
    print("dismissed operation " + std::to_string(arguments.number) + "\n");
  }
  return Exit::fine;
}

Exit retry_rejected(Replica& replica, const RejectedArguments& arguments, bool json) {
  auto retried = replica.retry(arguments.number);
  if (!retried && retried.error().code == Code::not_found) no_such_rejected(arguments.number);
  if (!retried && !is_failure(retried.error().code)) {
    const Code code = retried.error().code;
    throw Stop{Exit::refused, std::string(name_of(code)),
               "operation " + std::to_string(arguments.number) + " stays rejected, " +
                   std::string(name_of(code)) + " here too: " + std::string(row_of(code).sentence)};
  }
  const Receipt receipt = take(std::move(retried));
  if (json) {
    print_json({{"number", arguments.number},
                {"op_id", receipt.op_id.text()},
                {"balance", receipt.balance ? JsonValue(receipt.balance->value) : nullptr}});
  } else {
    print("operation " + std::to_string(arguments.number) +
          " is applied again here, and pending; the next sync pushes it\n");
  }
  return Exit::fine;
}

using RejectedBody = Exit (*)(Replica&, const RejectedArguments&, bool);

void add_rejected_command(CLI::App& group, Run& run, const std::string& name,
                          const std::string& what, RejectedBody body, bool with_number) {
  CLI::App* command = add_command(group, run, name, what);
  auto arguments = std::make_shared<RejectedArguments>();
  if (with_number) {
    command->add_option("number", arguments->number, "Its number, as tally rejected list has it")
        ->type_name("N")
        ->required();
  }
  add_db(command, arguments->db);
  command->callback([=, &run] {
    run.command = [=, &run] {
      Engine engine = open_mirror(arguments->db);
      Replica replica(engine);
      return body(replica, *arguments, run.json);
    };
  });
}

void add_rejected_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, "rejected", "What canonical did not apply: list, show, settle");
  add_rejected_command(group, run, "list", "List the rejected operations", list_rejected, false);
  add_rejected_command(group, run, "show", "Show one, and why", show_rejected, true);
  add_rejected_command(group, run, "dismiss", "Keep it no longer", dismiss_rejected, true);
  add_rejected_command(group, run, "retry", "Apply it anew on the mirror as it is, to be pushed",
                       retry_rejected, true);
}

// ---- lease ------------------------------------------------------------------------------------

struct LeaseArguments : CanonicalArguments {
  std::string db;
  std::string id;
  std::int64_t amount = 0;
  std::int64_t ttl_s = 0;
};

Engine open_device(const std::string& db) {
  Engine engine = open_mirror(db);
  if (!take(Replica(engine).state())) {
    throw Stop{Exit::refused, "not_permitted",
               "this mirror is no device yet, and leases are devices'; tally sync --token-file "
               "FILE makes it one"};
  }
  return engine;
}

Exit open_lease(const LeaseArguments& arguments, bool json) {
  const Uuid user_id = uuid_argument(arguments.id, "USER");
  Engine engine = open_device(arguments.db);
  LeaseCredits operation{new_uuid_v7(), user_id, Credits{arguments.amount}, arguments.ttl_s};
  bool adds = false;
  for (const OpenLease& lease : take(Replica(engine).leases())) {
    if (lease.user_id != user_id) continue;
    if (lease.returning) {
      throw Stop{Exit::refused, "already_exists",
                 "lease " + lease.lease_id.text() +
                     " of this user is being returned; sync, then open another"};
    }
    operation.lease_id = lease.lease_id;
    adds = true;
  }
  const Receipt receipt = take(engine.apply(operation));
  if (json) {
    print_json({{"lease_id", operation.lease_id.text()},
                {"user_id", user_id.text()},
                {"amount", arguments.amount},
                {"ttl_s", arguments.ttl_s},
                {"op_id", receipt.op_id.text()}});
  } else {
    print("lease " + operation.lease_id.text() + ": " + thousands(arguments.amount) +
          " credits are asked for" + (adds ? ", beside what it has" : "") +
          "; it takes effect at the next sync\n");
  }
  return Exit::fine;
}

Exit return_lease(const LeaseArguments& arguments, bool json) {
  const Uuid lease_id = uuid_argument(arguments.id, "LEASE");
  Engine engine = open_device(arguments.db);
  auto returned = engine.apply(ReturnLease{lease_id});
  if (!returned && returned.error().code == Code::lease_not_found) {
    throw Stop{Exit::refused, "lease_not_found",
               "this device has no open lease " + lease_id.text() +
                   "; tally lease list shows those that it has"};
  }
  const Receipt receipt = take(std::move(returned));
  if (json) {
    print_json({{"lease_id", lease_id.text()}, {"op_id", receipt.op_id.text()}});
  } else {
    print("lease " + lease_id.text() +
          ": nothing is drawn on it any more; what is unspent goes back at the next sync\n");
  }
  return Exit::fine;
}

Exit list_leases(const LeaseArguments& arguments, bool json) {
  Engine engine = open_mirror(arguments.db);
  const auto leases = take(Replica(engine).leases());
  if (json) {
    print_json({{"leases", to_json(leases)}});
  } else {
    print(leases.empty() ? "No open leases.\n" : lease_table(leases));
  }
  return Exit::fine;
}

Exit write_off_lease(const LeaseArguments& arguments, bool json) {
  const Uuid lease_id = uuid_argument(arguments.id, "LEASE");
  sync::Canonical canonical = arguments.connect();
  const Credits returned = take_known(canonical.write_off(lease_id), Code::lease_not_found,
                                      "canonical has no open lease " + lease_id.text());
  if (json) {
    print_json({{"lease_id", lease_id.text()}, {"returned", returned.value}});
  } else {
    print("lease " + lease_id.text() + " is written off: " + thousands(returned.value) +
          " credits went back to its user\n");
  }
  return Exit::fine;
}

using LeaseBody = Exit (*)(const LeaseArguments&, bool);

std::pair<CLI::App*, std::shared_ptr<LeaseArguments>> add_lease_command(
    CLI::App& group, Run& run, const std::string& name, const std::string& what, LeaseBody body,
    const std::string& id_name) {
  CLI::App* command = add_command(group, run, name, what);
  auto arguments = std::make_shared<LeaseArguments>();
  if (!id_name.empty())
    command->add_option("id", arguments->id, "Its id, a UUID")->type_name(id_name)->required();
  command->callback([=, &run] { run.command = [=, &run] { return body(*arguments, run.json); }; });
  return {command, arguments};
}

void add_lease_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, "lease", "Credits set aside for a device, to be spent offline");
  const auto [open, opened] = add_lease_command(
      group, run, "open", "Open a lease of a user's credits, or add to it", open_lease, "USER");
  open->add_option("--amount", opened->amount, "How many credits")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, Credits::max))
      ->required();
  open->add_option("--ttl", opened->ttl_s, "How long the device may draw on it")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, ttl_max_s))
      ->required();
  add_db(open, opened->db);
  const auto [back, returned] = add_lease_command(
      group, run, "return", "Give back what is unspent of a lease", return_lease, "LEASE");
  add_db(back, returned->db);
  const auto [list, listed] = add_lease_command(
      group, run, "list", "List the leases that a mirror's device has open", list_leases, "");
  add_db(list, listed->db);
  const auto [write_off, written_off] =
      add_lease_command(group, run, "write-off", "End a lease whose device does not come back",
                        write_off_lease, "LEASE");
  add_pg(write_off, *written_off);
  write_off->footer(
      "What the device spent offline and pushes later is then judged against the balance, and may "
      "be rejected.");
}

}  // namespace

void add_sync_commands(CLI::App& app, Run& run) {
  add_device_commands(app, run);
  add_sync(app, run);
  add_status(app, run);
  add_rejected_commands(app, run);
  add_lease_commands(app, run);
  add_claim_next(app, run);
}

}  // namespace tally::cli
