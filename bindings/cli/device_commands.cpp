// device and lease: who may sync, and what credits a device has set aside.

#include <memory>

#include "sync_texts.hpp"

namespace tally::cli {
namespace {

using std::chrono::seconds;

/// A subcommand that runs `body` with arguments of its own, which the caller gives options.
template <class Arguments>
std::pair<CLI::App*, std::shared_ptr<Arguments>> add_body(CLI::App& group, Run& run,
                                                          const Manual& manual,
                                                          Exit (*body)(const Arguments&, bool)) {
  CLI::App* command = add_command(group, run, manual);
  auto arguments = std::make_shared<Arguments>();
  command->callback([=, &run] { run.command = [=, &run] { return body(*arguments, run.json); }; });
  return {command, arguments};
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

/// Over all devices, or one of them.
void add_device_command(CLI::App& group, Run& run, const Manual& manual,
                        Exit (*body)(const DeviceArguments&, bool), bool with_device) {
  const auto [command, arguments] = add_body(group, run, manual, body);
  if (with_device)
    command->add_option("device", arguments->device, "Its id, a UUID")
        ->type_name("DEVICE")
        ->required();
  add_pg(command, *arguments);
}

constexpr std::string_view one_row = "The change, in one transaction of canonical's.";

constexpr Manual device_manual{
    .name = "device",
    .what = "Make, list, revoke the devices of canonical",
    .section = Section::sync,
    .does =
        "A device is a mirror that syncs: who it is, what it may do and for whom is kept on "
        "canonical. It shows who it is with a token, of which canonical keeps the hash alone. "
        "These commands want a database user that may write canonical's schema of devices.",
    .related = "sync, lease, status"};

constexpr Manual device_add_manual{
    .name = "add",
    .what = "Make a device, and print its token",
    .does =
        "The token is printed this once. Put it into a file that only its owner reads; tally "
        "sync --token-file takes it from there. An author makes projects and jobs and spends "
        "credits; a worker does the jobs, and is trusted with their price up to the hold; a "
        "service adds credits and users. Give a device what it needs and no more.",
    .on_disk = one_row,
    .examples = {{{"A device over all users, its token into a file",
                   "(umask 077; tally device add --pg tally --name laptop \\\n"
                   "  --capabilities author,worker,service | sed -n 's/^token *//p' > token)"},
                  {"One for Ada's machine alone, as JSON",
                   "tally device add --pg tally --name ada --capabilities author \\\n"
                   "  --user ada00000-0000-4000-8000-000000000001 --json"}}},
    .fine = "The device is made.",
    .refused = "Canonical has no such user.",
    .related = "sync, device list, device rotate, device revoke"};

constexpr Manual device_list_manual{
    .name = "list",
    .what = "List the devices",
    .does =
        "Each with what it may do and for whom, how many operations it has pushed, the credits "
        "that its leases hold, and when it was last seen. No token is kept, so none is shown.",
    .on_disk = "What was there.",
    .examples = {{{"All devices", "tally device list --pg tally"}}},
    .fine = "The devices are listed.",
    .related = "device add, device revoke"};

constexpr Manual device_revoke_manual{
    .name = "revoke",
    .what = "End a device: its token, its claims, its leases",
    .does =
        "The token is refused from now on, the jobs that it had claimed are free, and what "
        "canonical knows to be unspent of its leases goes back to its users. What the device "
        "has not pushed stays in its mirror: enrol that anew to keep it.",
    .on_disk = one_row,
    .examples = {{{"The device that is called ada",
                   "DEVICE=$(tally device list --pg tally | awk '$2 == \"ada\" {print $1}')\n"
                   "tally device revoke \"$DEVICE\" --pg tally"}}},
    .fine = "The device is revoked.",
    .refused = "Canonical has no such device, or it was revoked before.",
    .related = "device list, sync, lease write-off"};

constexpr Manual device_rotate_manual{
    .name = "rotate",
    .what = "Give a device another token, and print it",
    .does =
        "The device stays the same, with what it has pushed, claimed and leased; its former "
        "token is refused at once. A running tally sync --watch takes up the new one when it "
        "is in the token file.",
    .on_disk = one_row,
    .examples = {{{"Another token for the device that is called laptop, into its file",
                   "DEVICE=$(tally device list --pg tally | awk '$2 == \"laptop\" {print $1}')\n"
                   "(umask 077; tally device rotate \"$DEVICE\" --pg tally |\n"
                   "  sed -n 's/^token *//p' > token)"}}},
    .fine = "The new token is printed.",
    .refused = "Canonical has no such device, or it was revoked before.",
    .related = "device add, device revoke, sync"};

}  // namespace

void add_device_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, run, device_manual);
  const auto [add, added] = add_body(group, run, device_add_manual, add_device);
  add_pg(add, *added);
  add->add_option("--name", added->name, "What people call it")->type_name("NAME")->required();
  std::vector<std::string> capabilities = words_of(capability_names);
  std::erase(capabilities, capability_names[static_cast<std::size_t>(Capability::each)]);
  one_of(
      add->add_option("--capabilities", added->capabilities, "What it may do, with commas between"),
      run.manuals, std::move(capabilities))
      ->type_name("LIST")
      ->delimiter(',')
      ->required();
  add->add_option("--user", added->user, "The one user it is for; without it, all")
      ->type_name("USER");
  add->add_option("--reclaim-after", added->reclaim_after_s,
                  "Canonical takes a lease back by itself, so long after its expiry; without it "
                  "only an operator does")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, timeout_max_s));
  add_device_command(group, run, device_list_manual, list_devices, false);
  add_device_command(group, run, device_revoke_manual, revoke_device, true);
  add_device_command(group, run, device_rotate_manual, rotate_token, true);
}

namespace {

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

/// `id_name` is empty where it is about no single one.
std::pair<CLI::App*, std::shared_ptr<LeaseArguments>> add_lease_command(
    CLI::App& group, Run& run, const Manual& manual, Exit (*body)(const LeaseArguments&, bool),
    const std::string& id_name) {
  auto added = add_body(group, run, manual, body);
  if (!id_name.empty())
    added.first->add_option("id", added.second->id, "Its id, a UUID")
        ->type_name(id_name)
        ->required();
  return added;
}

constexpr std::string_view in_the_outbox =
    "The operation, in the mirror's outbox; canonical follows it at the next sync.";

constexpr Manual lease_manual{
    .name = "lease",
    .what = "Credits set aside for a device, to be spent offline",
    .section = Section::sync,
    .does =
        "Credits that a device reserves from its lease are never rejected for lack of credits "
        "when it syncs later, while the lease is open. Meanwhile nobody else can spend them. A "
        "device has one lease for a user at the most.\n\n"
        "A lease ends when the device returns it or an operator writes it off; its expiry only "
        "ends what the device may draw. Canonical takes the rest back by itself where the "
        "device was made with --reclaim-after.",
    .related = "sync, device, account"};

constexpr Manual lease_open_manual{
    .name = "open",
    .what = "Open a lease of a user's credits, or add to it",
    .does =
        "The mirror asks canonical for the credits at its next sync; until then nothing can be "
        "drawn. Where the device has a lease of that user, its credits are added to it. One "
        "lease open a sync: a second one before canonical has shown the first is another "
        "lease, and canonical rejects it.",
    .on_disk = in_the_outbox,
    .examples = {{{"50 of Ada's credits for a day",
                   "tally lease open ada00000-0000-4000-8000-000000000001 --amount 50 \\\n"
                   "  --ttl 86400 --db mirror.db\n"
                   "tally sync --db mirror.db --pg tally --token-file token"}}},
    .fine = "The credits are asked for.",
    .refused =
        "The mirror is no device, lacks the capability, knows no such user, or is returning "
        "that user's lease.",
    .related = "lease list, lease return, sync"};

constexpr Manual lease_return_manual{
    .name = "return",
    .what = "Give back what is unspent of a lease",
    .does =
        "From now on the mirror draws nothing on it; the rest goes back to its user when "
        "canonical follows, at the next sync.",
    .on_disk = in_the_outbox,
    .examples = {{{"The first of the mirror's leases",
                   "LEASE=$(tally lease list --db mirror.db | awk 'NR == 2 {print $1}')\n"
                   "tally lease return \"$LEASE\" --db mirror.db"}}},
    .fine = "The lease is being returned.",
    .refused = "The device has no such lease open.",
    .related = "lease open, lease list, sync"};

constexpr Manual lease_list_manual{
    .name = "list",
    .what = "List the leases that a mirror's device has open",
    .does =
        "Each with its user, what is unspent of it, and when it expires, as canonical last "
        "showed it, less what was drawn here since.",
    .on_disk = reads_mirror_only,
    .examples = {{{"A mirror's leases", "tally lease list --db mirror.db"}}},
    .fine = "The leases are listed.",
    .related = "lease open, status"};

constexpr Manual lease_write_off_manual{
    .name = "write-off",
    .what = "End a lease whose device does not come back",
    .does =
        "What canonical knows to be unspent goes back to the user at once. What the device "
        "spent offline and pushes later is then judged against the balance, and may be "
        "rejected.",
    .on_disk = one_row,
    .examples = {{{"A lease that a mirror still shows",
                   "LEASE=$(tally lease list --db mirror.db | awk 'NR == 2 {print $1}')\n"
                   "tally lease write-off \"$LEASE\" --pg tally"}}},
    .fine = "The lease is ended.",
    .refused = "Canonical has no such lease open.",
    .related = "device revoke, lease return"};

}  // namespace

void add_lease_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, run, lease_manual);
  const auto [open, opened] = add_lease_command(group, run, lease_open_manual, open_lease, "USER");
  open->add_option("--amount", opened->amount, "How many credits")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, Credits::max))
      ->required();
  open->add_option("--ttl", opened->ttl_s, "How long the device may draw on it")
      ->type_name("SECONDS")
      ->check(CLI::Range(std::int64_t{1}, ttl_max_s))
      ->required();
  add_db(open, opened->db);
  const auto [back, returned] =
      add_lease_command(group, run, lease_return_manual, return_lease, "LEASE");
  add_db(back, returned->db);
  const auto [list, listed] = add_lease_command(group, run, lease_list_manual, list_leases, "");
  add_db(list, listed->db);
  const auto [write_off, written_off] =
      add_lease_command(group, run, lease_write_off_manual, write_off_lease, "LEASE");
  add_pg(write_off, *written_off);
}

}  // namespace tally::cli
