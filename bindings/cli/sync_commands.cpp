// sync and claim-next: a mirror and canonical brought together, once or for as long as it runs.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <utility>

#include "platform.hpp"
#include "sync_texts.hpp"
#include "tally/syncer.hpp"
#include "telemetry.hpp"

namespace tally::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- what sync and claim-next share -----------------------------------------------------------

struct SyncArguments : CanonicalArguments {
  std::string db;
  std::string token_file;
  std::string device;
  bool watch = false;
  bool enrol_anew = false;
  std::int64_t timeout_s = 0;
  std::int64_t ttl_s = 0;
  std::vector<std::string> only;
  bool all_users = false;
  std::string metrics;
  std::int64_t lease = 0;
  std::int64_t lease_low_water = -1;
  std::int64_t lease_ttl_s = 604'800;
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
  const std::string line =
      json ? json_text({{"warning", sentence}}) : "tally: warning: " + shown(sentence, 4'000);
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

sync::SyncOptions sync_options(const SyncArguments& arguments, Engine& engine, std::string token) {
  sync::SyncOptions options;
  options.conninfo = arguments.pg;
  options.schema = arguments.schema;
  options.device_id = require_device(engine, arguments.device, arguments.enrol_anew);
  options.token = std::move(token);
  if (arguments.lease > 0) {
    const std::int64_t low = arguments.lease_low_water;
    options.lease =
        LeaseTarget{Credits{arguments.lease}, Credits{low >= 0 ? low : (arguments.lease + 1) / 2},
                    seconds(arguments.lease_ttl_s)};
  }
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

// ---- sync, once -------------------------------------------------------------------------------

/// What one run did.
struct SyncReport {
  std::vector<RejectedOperation> rejected{};
  std::set<Uuid> changed{};
  std::set<Uuid> diverged{};
};

std::int64_t acked_of(const std::optional<LinkState>& link) { return link ? link->acked : 0; }

/// As long as answers come, however many it takes, and no signal asks for the end.
Result<sync::SyncState> run_until_synced(sync::Syncer& syncer, const std::uint64_t& answers,
                                         seconds timeout) {
  using Clock = std::chrono::steady_clock;
  std::uint64_t seen = answers;
  auto deadline = Clock::now() + timeout;
  while (!end_is_asked()) {
    const sync::Wait wait = syncer.step();
    if (wait.state == sync::SyncState::synced || wait.state == sync::SyncState::idle)
      return wait.state;
    if (std::exchange(seen, answers) != answers) deadline = Clock::now() + timeout;
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    const bool is_over = left <= milliseconds{0} || wait.state == sync::SyncState::paused ||
                         wait.state == sync::SyncState::stopped;
    if (is_over) return syncer.run_until_synced(milliseconds{0});  // It says why.
    constexpr milliseconds longest{500};
    wait_for_socket(wait.socket, wait.readable, wait.writable,
                    std::clamp(std::min(wait.timeout, left), milliseconds{0}, longest));
  }
  return Error{Code::unreachable, ""};
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
  listen_for_the_end();
  const Replica replica(engine);
  const std::int64_t acked_before = acked_of(take(replica.state()));
  SyncReport report;
  std::uint64_t answers = 0;
  Progress progress("operations acknowledged", !json);
  options.callbacks.progress = [&](std::int64_t acked, std::int64_t pending) {
    ++answers;
    const auto done = static_cast<std::uint64_t>(std::max<std::int64_t>(acked - acked_before, 0));
    progress.show(done, done + static_cast<std::uint64_t>(pending));
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
  const auto link = take(replica.state());
  stop_if_asked("pushed " + counted(acked_of(link) - acked_before, "operation", "operations") +
                ", and every answer that came was taken whole; the next sync goes on from there");
  if (!done) throw sync_stop(done.error(), !arguments.device.empty());
  if (!link) throw Stop{Exit::world, "internal", "the mirror is no device after its sync"};
  print_sync(report, link->acked - acked_before, *link, json);
  return link->blocked == 0 && link->rejected == 0 ? Exit::fine : Exit::refused;
}

// ---- sync --watch -----------------------------------------------------------------------------

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
      lines_.push_back(json_text(line));
    } else {
      lines_.push_back(paint(Paint::dim, short_time(now().text())) + "  " + shown(text, 1'000));
    }
  }

  bool json_;
  std::vector<std::string> lines_;
  std::string told_;
  std::optional<std::int64_t> acked_;
};

Exit sync_watch(Engine& engine, const SyncArguments& arguments, sync::SyncOptions options,
                Measurements& measurements, bool json) {
  listen_for_the_end();
  Watch watch(json);
  watch.attach(options.callbacks);
  watch.start_from(acked_of(take(Replica(engine).state())));
  std::string token = options.token;
  sync::Syncer syncer(engine, std::move(options));
  const auto end = std::chrono::steady_clock::now() + seconds(arguments.timeout_s);
  while (!end_is_asked()) {
    const sync::Wait wait = syncer.step();
    watch.say();
    measurements.flush();
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
    constexpr milliseconds longest{500};
    wait_for_socket(wait.socket, wait.readable, wait.writable,
                    std::clamp(wait.timeout, milliseconds{0}, longest));
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

void subscribe(Engine& engine, const SyncArguments& arguments) {
  if (arguments.only.empty() && !arguments.all_users) return;
  std::optional<std::vector<Uuid>> users;
  for (const std::string& user : arguments.only) {
    if (!users) users.emplace();
    users->push_back(uuid_argument(user, "--only"));
  }
  take(Replica(engine).subscribe(users));
}

Exit run_sync(const SyncArguments& arguments, bool json) {
  // A new machine's mirror is made, but not for want of a token.
  std::string token = require_token(arguments.token_file, json);
  must_not_be_read(arguments.metrics, "--metrics", {arguments.db, arguments.token_file});
  if (arguments.metrics == "-") print_to_standard_error();
  Measurements measurements(arguments.metrics);
  Callbacks callbacks;
  callbacks.metric = measurements.listener();
  Engine engine = open_mirror(arguments.db, true, std::move(callbacks));
  sync::SyncOptions options = sync_options(arguments, engine, std::move(token));
  if (arguments.enrol_anew) enrol_anew(engine, arguments, options);
  subscribe(engine, arguments);
  const Exit exit = arguments.watch
                        ? sync_watch(engine, arguments, std::move(options), measurements, json)
                        : sync_once(engine, arguments, std::move(options), json);
  measurements.flush();
  return exit;
}

constexpr Manual sync_manual{
    .name = "sync",
    .what = "Push what a mirror has pending, and pull",
    .section = Section::sync,
    .does =
        "It pushes the operations that wait, in order and each once, takes canonical's verdicts "
        "and whatever changed there, and ends when nothing is left to do. What canonical rejects "
        "is undone on the mirror and kept for tally rejected. The mirror can be used all the "
        "while, and a server that is away costs nothing but time.\n\n"
        "A mirror becomes the token's device at its first sync, which makes the file where there "
        "is none; what it did before is pushed too. One process syncs a mirror at a time: another "
        "one with --watch stands by and takes over, others wait up to --timeout.\n\n"
        "With --watch it goes on and prints what changes. One signal ends it in good order, a "
        "second one at once, and neither loses anything. After the token was refused, another one "
        "in the token file is taken up.",
    .on_disk =
        "Every answer of canonical's that was taken, each whole, and no answer half; what "
        "was not answered is pushed again, and counts once.",
    .examples = {{{"Once: push, pull, in sync",
                   "tally sync --db mirror.db --pg tally --token-file token"},
                  {"For as long as it runs, here two seconds",
                   "tally sync --db mirror.db --pg tally --token-file token --watch --timeout 2"},
                  {"Keep the leases that the device has at 50 credits",
                   "tally sync --db mirror.db --pg tally --token-file token --lease 50"}}},
    .fine = "In sync; with --watch, ended by a signal or by --timeout.",
    .refused = "Something is rejected or blocked.",
    .related = "status, rejected, device add, lease"};

void add_sync(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, sync_manual);
  auto arguments = std::make_shared<SyncArguments>();
  add_sync_options(command, *arguments);
  command->get_option("--timeout")
      ->description(
          "Give up after so long without an answer, 30 if not given; with --watch, end after "
          "so long");
  add_metrics(command, arguments->metrics, "what sync tells goes to standard error");
  command->add_flag("--enrol-anew", arguments->enrol_anew,
                    "A mirror that is a copy, or was restored, becomes the token's device; what it "
                    "has not pushed is kept as rejected, to be retried");
  command->add_flag("--watch", arguments->watch,
                    "Go on until SIGINT or SIGTERM, and print what changes");
  auto* only = command
                   ->add_option("--only", arguments->only,
                                "Of a device over all users: from now on only these are fed, and "
                                "others go from the mirror; kept until --all")
                   ->type_name("USER");
  command->add_flag("--all", arguments->all_users, "From now on all users are fed again")
      ->excludes(only);
  command->add_option("--lease", arguments->lease, "Keep the device's leases at so many credits")
      ->type_name("CREDITS")
      ->check(CLI::Range(std::int64_t{1}, Credits::max));
  command
      ->add_option("--lease-low-water", arguments->lease_low_water,
                   "Ask for more below so many, half of --lease if not given")
      ->type_name("CREDITS")
      ->check(CLI::Range(std::int64_t{0}, Credits::max))
      ->needs("--lease");
  command
      ->add_option("--lease-ttl", arguments->lease_ttl_s, "How long they last; a week if not given")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{2'592'000}))
      ->needs("--lease");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_sync(*arguments, run.json); }; });
}

// ---- claim-next -------------------------------------------------------------------------------

Exit run_claim_next(const SyncArguments& arguments, bool json) {
  Engine engine = open_mirror(arguments.db);
  sync::Syncer syncer(engine,
                      sync_options(arguments, engine, require_token(arguments.token_file, json)));
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

constexpr Manual claim_next_manual{
    .name = "claim-next",
    .what = "Sync, and claim the next job that waits for a worker",
    .section = Section::sync,
    .does =
        "It syncs, and claims on canonical the next job that is queued or that nobody works on "
        "any more, so that no other device takes it. It prints the job's id. While the claim "
        "lives only this device moves the job on; renew it with renew_claim, and give it up "
        "with drop_claim.",
    .on_disk = "The claim, on canonical and in the mirror.",
    .examples = {{{"A job for five minutes",
                   "tally claim-next --db mirror.db --pg tally --token-file token --ttl 300"}}},
    .fine = "A job is claimed.",
    .refused = "No job waits, or the device is no worker.",
    .related = "job, sync, device add"};

void add_claim_next(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, claim_next_manual);
  auto arguments = std::make_shared<SyncArguments>();
  add_sync_options(command, *arguments);
  command->get_option("--timeout")
      ->description("Give up after so long without an answer, 30 if not given");
  command->add_option("--ttl", arguments->ttl_s, "How long the claim lives")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, ttl_max_s))
      ->required();
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_claim_next(*arguments, run.json); }; });
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
