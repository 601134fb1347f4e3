// inspect: a mirror as a page, over loopback while the command runs, or kept in a file.

#include <chrono>
#include <memory>

#include "commands.hpp"
#include "inspect_page.hpp"
#include "platform.hpp"
#include "sync_texts.hpp"

namespace tally::cli {
namespace {

struct InspectArguments {
  std::string db;
  std::string html;
  std::uint16_t port = 0;
  std::int64_t timeout_s = 0;
  bool show_prompts = false;
};

Exit keep_page(InspectData& data, const InspectArguments& arguments, bool json) {
  const std::string page = single_page(kept_answers(data));
  Output out(arguments.html);
  out.write(page);
  out.finish();
  if (json) {
    print_json({{"html", arguments.html}, {"bytes", page.size()}});
  } else {
    print("wrote " + arguments.html + ", " +
          counted(static_cast<std::int64_t>(page.size()), "byte", "bytes") + "\n");
  }
  return Exit::fine;
}

Exit serve_page(InspectData& data, const InspectArguments& arguments, bool json) {
  listen_for_the_end();
  constexpr std::string_view api = "api/";
  InspectServer server(arguments.port, make_token(),
                       [&](std::string_view path, std::string_view query) {
                         if (path.substr(0, api.size()) != api) return page_file(path);
                         return data.get(path.substr(api.size()), query);
                       });
  if (json) {
    print_json({{"address", server.address()}});
  } else {
    print(server.address() + "\n");
  }
  finish_output();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(arguments.timeout_s);
  server.run([&] {
    data.tend();
    return end_is_asked() || (arguments.timeout_s > 0 && std::chrono::steady_clock::now() >= end);
  });
  return Exit::fine;
}

Exit run_inspect(const InspectArguments& arguments, bool json) {
  must_not_be_read(arguments.html, "--html", {arguments.db});
  Engine engine = open_mirror_to_read(arguments.db);
  const bool is_kept = !arguments.html.empty();
  InspectData data(engine, arguments.db, arguments.show_prompts, is_kept);
  return is_kept ? keep_page(data, arguments, json) : serve_page(data, arguments, json);
}

constexpr Manual inspect_manual{
    .name = "inspect",
    .what = "Show a mirror as a page in a browser, or keep it in a file",
    .section = Section::mirror,
    .does =
        "It prints an address to open in a browser on this machine, and answers there until it "
        "gets SIGINT or SIGTERM: accounts with what every entry did to the balance, jobs with "
        "their stages and what the credits did, the outbox, rejected operations, sync, an audit "
        "when asked for, and a search by the beginning of an id. The page follows the mirror "
        "while others write to it.\n\n"
        "The address has a token in it: who has the address can read, and nobody can write. "
        "It listens on 127.0.0.1 alone and answers no other origin. Prompts, transcripts, drafts, "
        "settings and e-mail addresses are not sent without --show-prompts, drafts' session "
        "tokens never.\n\n"
        "With --html the same page goes into one file that needs no network: the first hundred "
        "accounts and jobs with all that they lead to, and the audit's verdict.",
    .on_disk =
        "What was there, and with --html that file, whole or not at all. The mirror's file "
        "is opened for reading only; SQLite may leave its companions, -wal and -shm, beside it.",
    .examples = {{{"A mirror in a file to look at or to send",
                   "tally inspect --db mirror.db --html mirror.html"},
                  {"In the browser, for as long as two seconds",
                   "tally inspect --db mirror.db --timeout 2"},
                  {"With prompts, in JSON for a script",
                   "tally inspect --db mirror.db --show-prompts --timeout 1 --json"}}},
    .fine = "It was asked to end, or the file is written.",
    .related = "account, job, status, audit"};

}  // namespace

void add_inspect(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, inspect_manual);
  auto arguments = std::make_shared<InspectArguments>();
  add_db(command, arguments->db);
  CLI::Option* html = command->add_option("--html", arguments->html, "Write the page there instead")
                          ->type_name("OUT");
  command->add_option("--port", arguments->port, "Listen there instead of on a free port")
      ->type_name("PORT")
      ->check(CLI::Range(1, 65'535))
      ->excludes(html);
  command->add_option("--timeout", arguments->timeout_s, "End after so many seconds")
      ->type_name("S")
      ->check(CLI::Range(std::int64_t{1}, timeout_max_s))
      ->excludes(html);
  command->add_flag("--show-prompts", arguments->show_prompts,
                    "Also prompts, drafts, settings and e-mail addresses");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_inspect(*arguments, run.json); }; });
}

}  // namespace tally::cli
