// device and lease: who may sync, and what credits a device has set aside.

#include <memory>

#include "sync_texts.hpp"

namespace tally::cli {
namespace {

using std::chrono::seconds;

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

}  // namespace

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

}  // namespace

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

}  // namespace tally::cli
