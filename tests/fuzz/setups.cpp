#include "fuzz/setups.hpp"

#include <array>
#include <fstream>
#include <limits>
#include <stdexcept>

namespace tally::fuzz {

std::vector<std::string> lines_of(std::string_view file) {
  const std::string path = TALLY_SOURCE_DIR "/tests/fuzz/" + std::string(file);
  std::ifstream in(path);
  if (!in) throw std::runtime_error("there is no " + path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void apply_all(Engine& engine, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    auto command = parse_trace_line(line);
    const auto receipt = command ? engine.apply_command(std::move(*command)) : Error{};
    if (!receipt) throw std::runtime_error(receipt.error().detail + " must be ok: " + line);
  }
}

sync::Rows rows_of(const std::vector<std::string>& lines) {
  PGresult* result = PQmakeEmptyPGresult(nullptr, PGRES_TUPLES_OK);
  sync::Rows rows(result);
  std::array<std::string, 3> names{"part", "user_id", "fields"};
  std::array<PGresAttDesc, 3> columns{};
  for (std::size_t i = 0; i < columns.size(); ++i) columns[i].name = names[i].data();
  PQsetResultAttrs(result, static_cast<int>(columns.size()), columns.data());
  for (int row = 0; const std::string& line : lines) {
    const std::size_t first = std::min(line.find('|'), line.size());
    const std::size_t second =
        std::min(line.find('|', std::min(first + 1, line.size())), line.size());
    const std::array<std::string, 3> fields{
        line.substr(0, first), first < second ? line.substr(first + 1, second - first - 1) : "",
        second < line.size() ? line.substr(second + 1) : ""};
    for (int i = 0; const std::string& field : fields) {
      const bool is_null = i == 1 && field.empty();
      PQsetvalue(result, row, i++, is_null ? nullptr : const_cast<char*>(field.c_str()),
                 is_null ? -1 : static_cast<int>(field.size()));
    }
    ++row;
  }
  return rows;
}

void make_device(Engine& engine, Replica& replica) {
  const sync::Answer answer = read_answer(rows_of(lines_of("setup.reply")), Push{});
  if (!replica.enrol(answer.device)) throw std::runtime_error("no device can be made");
  const Push push = push_of(replica);
  const sync::Answer fed = read_answer(rows_of(lines_of("setup.reply")), push);
  const auto taken = replica.take(fed.reply);
  if (!taken || !taken->diverged.empty())
    throw std::runtime_error("the setup is not taken: " + (taken ? "" : taken.error().detail));
  apply_all(engine, lines_of("pending.jsonl"));
  push_of(replica);
}

void make_busy_device(Engine& engine, Replica& replica) {
  make_device(engine, replica);
  const auto take = [&](const char* file) {
    const auto taken = replica.take(read_answer(rows_of(lines_of(file)), push_of(replica)).reply);
    if (!taken)
      throw std::runtime_error(std::string(file) + " is not taken: " + taken.error().detail);
  };
  take("rejection.reply");
  apply_all(engine, lines_of("busy.jsonl"));
  std::vector<Uuid> users = engine.users().value();
  users.push_back(Uuid::parse("00000075-0000-7000-8000-000000000003").value());
  const auto subscribed = replica.subscribe(users);
  if (!subscribed) throw std::runtime_error("no subscription: " + subscribed.error().detail);
  take("page.reply");
}

Push push_of(Replica& replica) {
  constexpr std::size_t no_limit = std::numeric_limits<std::int32_t>::max();
  auto push = replica.next_push(no_limit, no_limit);
  if (!push) throw std::runtime_error("no push: " + push.error().detail);
  return std::move(push).value();
}

}  // namespace tally::fuzz
