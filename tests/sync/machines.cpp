#include "sync/machines.hpp"
#include "support/views.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace tally::test {
namespace {

constexpr std::size_t page_size = 4096;

std::string text_of(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += part + '\n';
  return out;
}

std::string key_of(const Push& push) {
  std::string key =
      std::to_string(push.acked) + '\n' + push.chain + '\n' + push.cursor.value_or("none");
  for (const PushedOperation& operation : push.operations) {
    key += '\n' + std::to_string(operation.number) + ' ' +
           operation.user_id.value_or(Uuid{}).text() + ' ' + operation.leases + ' ' +
           operation.line;
  }
  return key;
}

std::string row_text(const std::string& table, const std::vector<std::optional<std::string>>& row) {
  std::string text = table;
  for (const auto& column : row) text += " | " + column.value_or("NULL");
  return text;
}

std::string digest_text(const std::string& table, std::int64_t rows, const std::string& digest) {
  return table + ' ' + std::to_string(rows) + ' ' + digest;
}

void require(const Result<bool>& done) {
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().detail));
}

}  // namespace

// ---- mirrors ------------------------------------------------------------------------------------

template <class Work>
void Mirrors::with_engine(const State& state, Work&& work) {
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    std::filesystem::remove(entry.path());
  if (!state.pages.empty()) {
    std::ofstream out(file(), std::ios::binary);
    for (const Page& page : state.pages)
      out.write(page->data(), static_cast<std::streamsize>(page->size()));
  }
  Options options = TemporaryMirror::fast();
  options.spend_policy = state.policy;
  options.clock = [] { return time_at(1'000'000); };  // What it notes does not tell states apart.
  auto engine = Engine::open(file(), options);
  REQUIRE_MESSAGE(engine.has_value(), (engine ? "" : engine.error().detail));
  work(*engine);
}

std::vector<Mirrors::Page> Mirrors::read_pages(const std::vector<Page>& before) const {
  std::vector<Page> pages;
  std::ifstream in(file(), std::ios::binary);
  std::string page(page_size, '\0');
  while (in.read(page.data(), page_size)) {
    const std::size_t n = pages.size();
    const bool same = n < before.size() && *before[n] == page;
    pages.push_back(same ? before[n] : std::make_shared<const std::string>(page));
  }
  return pages;
}

std::optional<int> Mirrors::keep(SpendPolicy policy, const std::vector<Page>& before) {
  State state{policy, read_pages(before)};
  if (state.pages == before) return std::nullopt;
  std::string key = policy == SpendPolicy::leased ? "leased" : "optimistic";
  for (const auto& [table, rows] : dump(file())) {
    for (const std::string& row : rows) {
      // The epoch says how often rows were rewritten, and no more.
      if (!row.starts_with("'epoch'")) key.append(1, '\n').append(table).append(1, ' ').append(row);
    }
  }
  return states_.number_of(key, std::move(state));
}

template <class Work>
const Mirrors::Step& Mirrors::step(int mirror, const std::string& name, Work&& work) {
  const auto known = steps_.find({mirror, name});
  if (known != steps_.end()) return known->second;
  const State before = states_[mirror];
  Step step;
  with_engine(before, [&](Engine& engine) {
    work(engine, step);
    const auto account = engine.check(user_id_);
    step.pending = account ? account->pending_operations : 0;
  });
  step.to = keep(before.policy, before.pages).value_or(mirror);
  return steps_[{mirror, name}] = std::move(step);
}

int Mirrors::enrolled(const Enrolment& enrolment, SpendPolicy policy) {
  with_engine(State{policy, {}},
              [&](Engine& engine) { require(Replica(engine).enrol(enrolment)); });
  return keep(policy, {}).value();
}

const Mirrors::Step& Mirrors::apply(int mirror, const std::string& line) {
  return step(mirror, line, [&](Engine& engine, Step& step) {
    const auto verdicts = engine.submit({parse_trace_line(line).value()});
    REQUIRE(verdicts.has_value());
    step.code = verdicts->front().code;
  });
}

const Mirrors::Step& Mirrors::next_push(int mirror) {
  return step(mirror, "next_push", [&](Engine& engine, Step& step) {
    const auto push = Replica(engine).next_push(operations_max_, 1'000'000);
    REQUIRE(push.has_value());
    step.push = messages_.pushes.number_of(key_of(*push), *push);
  });
}

const Mirrors::Step& Mirrors::take(int mirror, int answer) {
  return step(mirror, "take " + std::to_string(answer), [&](Engine& engine, Step& step) {
    auto taken = Replica(engine).take(messages_.answers[answer].reply);
    if (!taken) {
      step.code = taken.error().code;
      return;
    }
    step.rejected = std::move(taken->rejected);
    step.diverged = !taken->diverged.empty();
  });
}

const Mirrors::Step& Mirrors::enrol_anew(int mirror, const Enrolment& enrolment) {
  return step(mirror, "anew " + enrolment.device_id.text(),
              [&](Engine& engine, Step&) { require(Replica(engine).enrol_anew(enrolment)); });
}

const Mirrors::Step& Mirrors::retry_forked(int mirror) {
  return step(mirror, "retry", [&](Engine& engine, Step&) {
    Replica replica(engine);
    const auto rejected = replica.rejected();
    REQUIRE(rejected.has_value());
    for (const RejectedOperation& operation : *rejected) {
      // What is refused now stays rejected.
      if (operation.code == Code::device_forked) (void)replica.retry(operation.number);
    }
  });
}

const Mirrors::Facts& Mirrors::facts(int mirror) {
  const auto known = facts_.find(mirror);
  if (known != facts_.end()) return known->second;
  Facts facts;
  with_engine(states_[mirror], [&](Engine& engine) {
    Replica replica(engine);
    const auto state = replica.state();
    REQUIRE(state.has_value());
    facts.pending = (*state)->pending;
    facts.acked = (*state)->acked;
    const auto rejected = replica.rejected();
    REQUIRE(rejected.has_value());
    for (const RejectedOperation& operation : *rejected)
      facts.rejected.insert(operation.command.op_id.text());
    const auto leases = replica.leases();
    REQUIRE(leases.has_value());
    for (const OpenLease& lease : *leases)
      facts.leases[lease.lease_id.text()] = lease.unspent.value;
    for (const char* table : tables) {
      const auto rows = engine.rows(table, user_id_);
      REQUIRE(rows.has_value());
      for (const ColumnTexts& row : texts_of(*rows)) facts.rows.push_back(row_text(table, row));
    }
    std::sort(facts.rows.begin(), facts.rows.end());
    const auto digest = engine.digest(user_id_);
    REQUIRE(digest.has_value());
    for (const TableDigest& table : *digest)
      facts.digest.push_back(digest_text(table.table, table.rows, std::to_string(table.digest)));
    const auto report = engine.audit();
    REQUIRE(report.has_value());
    for (const Finding& finding : report->findings)
      facts.findings.push_back(finding.invariant + ' ' + finding.detail);
  });
  facts.chain = text_of(query(file(), "select hex(chain) from tally_link"));
  return facts_[mirror] = std::move(facts);
}

// ---- canonical ----------------------------------------------------------------------------------

CanonicalStates::CanonicalStates(Messages& messages, const Uuid& user_id,
                                 const std::vector<std::string>& setup)
    : messages_(messages), user_id_(user_id), session_([this] {
        database_.migrate();
        return database_.session();
      }()) {
  for (const char* sql : {"tests/sync/still.sql", "tests/sync/explore.sql"})
    session_.ask(read_source(sql));
  for (const std::string& sql : setup) session_.ask(sql);
}

void CanonicalStates::add_identity(const std::optional<std::string>& reclaim_after) {
  const std::string made = session_.ask_one(
      "select device_id || ' ' || token from tally_sync.add_device('device " +
      std::to_string(identities_.size()) + "', array['author', 'worker'], '" + user_id_.text() +
      "', " + (reclaim_after ? "'" + *reclaim_after + "'" : "null") + ")");
  const std::size_t space = made.find(' ');
  identities_.push_back({{Uuid::parse(made.substr(0, space)).value(),
                          {Capability::author, Capability::worker},
                          user_id_},
                         made.substr(space + 1)});
}

void CanonicalStates::begin() {
  session_.ask("begin");
  REQUIRE(observe() == 0);
  save(0);
}

void CanonicalStates::save(int state) {
  session_.ask("savepoint s" + std::to_string(way_.size()));
  way_.push_back(state);
}

/// So that what was rolled back does not pile up.
void CanonicalStates::start_anew() {
  session_.ask("rollback");
  session_.ask("vacuum");
  session_.ask("begin");
  way_.clear();
  save(0);
}

std::vector<int> CanonicalStates::way_to(int state) const {
  std::vector<int> way{state};
  while (way.back() != 0) way.push_back(first_step_to_.at(way.back()).first);
  std::reverse(way.begin(), way.end());
  return way;
}

void CanonicalStates::go_to(int state) {
  constexpr std::size_t too_many = 2'000;
  if (++performed_ % too_many == 0) start_anew();
  const std::vector<int> way = way_to(state);
  const auto [here, there] = std::mismatch(way_.begin(), way_.end(), way.begin(), way.end());
  const auto common = static_cast<std::size_t>(here - way_.begin());
  if (common < way_.size()) {
    session_.ask("rollback to savepoint s" + std::to_string(common - 1));
    way_.resize(common);
  }
  for (std::size_t i = common; i < way.size(); ++i) {
    perform(first_step_to_.at(way[i]).second);
    ++replayed_;
    save(way[i]);
  }
}

const CanonicalStates::Step& CanonicalStates::call(int state, std::size_t identity, int push) {
  return step(state, Input{identity, push, {}});
}

const CanonicalStates::Step& CanonicalStates::operate(int state, const std::string& sql) {
  return step(state, Input{0, -1, sql});
}

const CanonicalStates::Step& CanonicalStates::step(int state, const Input& input) {
  const auto known = steps_.find({state, input});
  if (known != steps_.end()) return known->second;
  go_to(state);
  Step step = perform(input);
  const std::size_t before = states_.size();
  step.to = observe();
  if (states_.size() > before) {
    first_step_to_[step.to] = {state, input};
    save(step.to);
  } else {
    session_.ask("rollback to savepoint s" + std::to_string(way_.size() - 1));
  }
  return steps_[{state, input}] = std::move(step);
}

CanonicalStates::Step CanonicalStates::perform(const Input& input) {
  Step step = perform_alone(input);
  session_.ask("select explore.end_of_transaction()");
  return step;
}

CanonicalStates::Step CanonicalStates::perform_alone(const Input& input) {
  Step step;
  session_.ask("savepoint statement");
  if (input.push >= 0) {
    std::string key;
    sync::Answer answer = send(input.identity, messages_.pushes[input.push], key);
    step.answer = messages_.answers.number_of(key, std::move(answer));
  } else {
    step.text = session_.run(input.sql).text();
  }
  if (PQtransactionStatus(session_.handle()) == PQTRANS_INERROR)
    session_.ask("rollback to savepoint statement");
  return step;
}

sync::Answer call_canonical(Session& session, const sync::Call& call, std::string& told) {
  const auto parameters = sync::parameters_of(call);
  const sync::BoundParameters bound(parameters);
  PGresult* result = PQexecParams(session.handle(), sync::sync_statement, bound.count(), nullptr,
                                  bound.values(), bound.lengths(), bound.formats(), 0);
  const sync::Rows rows(result);
  if (PQresultStatus(result) != PGRES_TUPLES_OK) {
    told = PQresultErrorMessage(result);
    sync::Answer answer;
    answer.trouble = {sync::ErrorClass::transient, {Code::unreachable, told}};
    return answer;
  }
  told = std::to_string(call.push.acked);
  for (int row = 0; row < rows.count(); ++row) {
    for (int column = 0; column < 3; ++column) {
      told += column == 0 ? '\n' : ' ';
      told += rows.text(row, column);
    }
  }
  return sync::read_answer(rows, call.push);
}

sync::Answer CanonicalStates::send(std::size_t identity, const Push& push, std::string& key) {
  const Identity& device = identities_[identity];
  return call_canonical(
      session_, {.push = push, .token = device.token, .device_id = device.enrolment.device_id},
      key);
}

int CanonicalStates::observe() {
  const std::string hash = session_.ask_one("select explore.hash()");
  if (const auto known = states_.find(hash)) return *known;
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(
      PQexec(session_.handle(),
             "select wrong, watermarks, leases, reservations, applied from explore.state()"),
      PQclear);
  REQUIRE_MESSAGE(PQresultStatus(result.get()) == PGRES_TUPLES_OK,
                  std::string(PQresultErrorMessage(result.get())));
  const auto texts = [&](int column) {
    std::vector<std::string> out;
    const auto texts = sync::parse_text_array(PQgetvalue(result.get(), 0, column));
    for (const auto& text : texts.value()) out.push_back(text.value_or("NULL"));
    return out;
  };
  State state;
  state.wrong = texts(0);
  for (const std::string& text : texts(1)) {
    const std::size_t space = text.find(' ');
    state.watermarks[text.substr(0, space)] = std::stoll(text.substr(space + 1));
  }
  for (const std::string& text : texts(2)) {
    std::istringstream in(text);
    std::string lease_id;
    std::string device_id;
    std::int64_t unspent = 0;
    in >> lease_id >> device_id >> unspent;
    state.leases[{lease_id, device_id}] = unspent;
  }
  for (const std::string& text : texts(3)) {
    const std::size_t space = text.find(' ');
    state.reservations[text.substr(0, space)] = text.substr(space + 1);
  }
  for (const std::string& op_id : texts(4)) state.applied.insert(op_id);
  return states_.number_of(hash, std::move(state));
}

const RowTexts& CanonicalStates::rows(int state) {
  const auto known = rows_.find(state);
  if (known != rows_.end()) return known->second;
  go_to(state);
  RowTexts texts;
  for (const std::string& line :
       session_.ask("select array_prepend(table_name, fields) from explore.rows('" +
                    user_id_.text() + "')")) {
    const Texts fields = sync::parse_text_array(line).value();
    texts.push_back(row_text(*fields[0], {fields.begin() + 1, fields.end()}));
  }
  std::sort(texts.begin(), texts.end());
  return rows_[state] = std::move(texts);
}

const std::vector<std::string>& CanonicalStates::digest(int state) {
  const auto known = digests_.find(state);
  if (known != digests_.end()) return known->second;
  go_to(state);
  return digests_[state] =
             session_.ask("select table_name || ' ' || rows || ' ' || digest from tally.digest('" +
                          user_id_.text() + "')");
}

}  // namespace tally::test
