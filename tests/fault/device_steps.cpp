#include "fault/device_steps.hpp"

#include "engine/fed_device.hpp"
#include "fault/faulty_memory.hpp"

namespace tally::test {
namespace {

Options of_a_device() {
  Options options;
  options.spend_policy = SpendPolicy::leased;
  options.clock = [] { return time_at(100); };
  return options;
}

std::string as_text(bool) { return "ok"; }
std::string as_text(const Receipt& receipt) {
  return receipt.op_id.text() + " " + std::to_string(receipt.balance.value_or(Credits{-1}).value);
}
std::string as_text(const Push& push) {
  std::string text = push.cursor.value_or("from the start") + " " + std::to_string(push.acked);
  for (const PushedOperation& operation : push.operations)
    text += "\n" + operation.line + operation.leases;
  return text;
}
std::string as_text(const Taken& taken) {
  std::string text;
  for (const RejectedOperation& rejected : taken.rejected)
    text += "rejected " + std::to_string(rejected.number) + " ";
  for (const auto& [what, users] : {std::pair{"changed ", &taken.changed},
                                    {"bootstrapped ", &taken.bootstrapped},
                                    {"diverged ", &taken.diverged}}) {
    for (const Uuid& user : *users) text += what + user.text() + " ";
  }
  return text;
}

Enrolment device(std::uint64_t n) { return {id('x', n), test::all, std::nullopt}; }

PulledUser::Row project(std::uint64_t n, std::uint64_t user) {
  Texts texts{project_id(n).text(), user_id(user).text(), "T", "P", "facts", "1"};
  texts.resize(9);
  texts.insert(texts.end(), {std::nullopt, fed_at, std::nullopt});
  return row("projects", std::move(texts));
}

PulledUser::Row grant_of_second() {
  PulledUser::Row grant = entry(1, "grant", 10, 10);
  grant.texts[0] = id('f', 1).text();
  grant.texts[1] = user_id(2).text();
  return grant;
}

}  // namespace

DeviceSteps::DeviceSteps() : Steps(of_a_device()) {
  work_before_enrolment();
  be_fed();
  have_one_rejected();
  retry_and_dismiss();
  be_fed_in_pages();
  return_the_lease();
  be_fed_anew();
  unsubscribe_from_one();
  become_another();
}

void DeviceSteps::work_before_enrolment() {
  record_line("create_user user_id=u1", "ok 10");
  record_call("enrol", [as = device(1)](Replica& replica) { return replica.enrol(as); },
              {.repeats = true, .is_synced = true});
  subscribe({user_id(1), user_id(2)});
  push();
  Reply verdicts = reply();
  verdicts.watermark = 1;
  verdicts.verdicts.push_back({1});
  take("verdicts alone", verdicts);
}

void DeviceSteps::be_fed() {
  lease_ = {user_id(1), id('l', 1), Credits{10}, time_at(3600)};
  Reply rows = reply();
  PulledUser& user = tell_of(rows, user_id(1), 0, 3, 20, 10);
  user.rows = {project(1, 1), project(2, 1)};
  add(user.rows, FedJob{.n = 1});
  user.rows.push_back(entry(1, "grant", 10, 10));
  user.rows.push_back(entry(2, "purchase", 20, 30));
  user.rows.push_back(entry(3, "reserve", -10, 20));
  take("rows", rows);

  Reply changes = reply();
  PulledUser& changed = tell_of(changes, user_id(1), 3, 4, 25, 10);
  changed.rows.push_back(entry(4, "grant", 5, 25));
  changed.gone.emplace_back("projects", project_id(2));
  take("rows and tombstones", changes);
}

/// What is added is spent behind it, so that its rejection blocks the spending.
void DeviceSteps::have_one_rejected() {
  record_line("lease_credits lease_id=l1 user_id=u1 amount=3 ttl=7200", "ok 25");
  record_line("reserve_credits op_id=o1 user_id=u1 job_id=j1 amount=6", "ok 25");
  record_line("add_credits user_id=u1 amount=3 type=grant", "ok 28");
  record_line("expire_credits user_id=u1 amount=27", "ok 1");
  push();
  lease_->unspent = Credits{7};
  Reply rejection = reply();
  rejection.watermark = 4;
  rejection.verdicts = {{2}, {3}, {4, Code::balance_overflow, {}, {}}};
  PulledUser& user = tell_of(rejection, user_id(1), 4, 7, 22, 13);
  add(user.rows,
      FedJob{.n = 1, .hold = 6, .reservation = op_id(1).text(), .lease = id('l', 1).text()});
  user.rows.push_back(entry(5, "reserve", -3, 22));
  user.rows.push_back(entry(6, "refund", 6, 28));
  user.rows.push_back(entry(7, "reserve", -6, 22, job_id(1).text()));
  take("a rejection which rebases", rejection);
  REQUIRE(Replica(mirror().engine()).state()->value().blocked == 1);
}

void DeviceSteps::retry_and_dismiss() {
  record_call("retry", [](Replica& replica) { return replica.retry(4); }, {.is_synced = true});
  record_call(
      "note_failure",
      [](Replica& replica) { return replica.note_failure("transient", "away", time_at(160)); }, {});
  push();
  Reply verdicts = reply();
  verdicts.watermark = 6;
  verdicts.verdicts = {{5, Code::insufficient_credits, {}, {}}, {6}};
  tell_of(verdicts, user_id(1), 7, 8, 25, 13).rows.push_back(entry(8, "grant", 3, 25));
  take("verdicts and rows", verdicts);
  record_call("dismiss", [](Replica& replica) { return replica.dismiss(5); }, {});
}

void DeviceSteps::be_fed_in_pages() {
  Reply first = reply();
  PulledUser& page = first.users.emplace_back();
  page.user_id = user_id(2);
  page.page = PulledUser::Page::first;
  page.rows = {project(3, 2), project(4, 2)};
  take("the first page", first);
  Reply next = reply();
  PulledUser& second = next.users.emplace_back();
  second.user_id = user_id(2);
  second.page = PulledUser::Page::next;
  second.rows = {project(5, 2)};
  take("the next page", next);
  Reply last = reply();
  PulledUser& user = tell_of(last, user_id(2), 0, 1, 10, 0);
  user.state->with_pages = true;
  user.rows.push_back(grant_of_second());
  user.gone.emplace_back("projects", project_id(4));
  take("the last page", last);
  REQUIRE(mirror().balance(2) == 10);
}

void DeviceSteps::return_the_lease() {
  record_line("return_lease lease_id=l1", "ok -");
  push();
  lease_.reset();
  Reply verdict = reply();
  verdict.watermark = 7;
  verdict.verdicts.push_back({7});
  tell_of(verdict, user_id(1), 8, 9, 32, 6).rows.push_back(entry(9, "refund", 7, 32));
  take("the lease's end", verdict);
}

void DeviceSteps::be_fed_anew() {
  record_call("forget_cursor", [](Replica& replica) { return replica.forget_cursor(); },
              {.repeats = true});
  Reply whole = reply();
  whole.complete.emplace();
  PulledUser& user = tell_of(whole, user_id(1), 0, 9, 32, 6);
  user.rows.push_back(project(1, 1));
  add(user.rows,
      FedJob{.n = 1, .hold = 6, .reservation = op_id(1).text(), .lease = id('l', 1).text()});
  const std::tuple<const char*, int, int> entries[] = {
      {"grant", 10, 10},   {"purchase", 20, 30}, {"reserve", -10, 20},
      {"grant", 5, 25},    {"reserve", -3, 22},  {"refund", 6, 28},
      {"reserve", -6, 22}, {"grant", 3, 25},     {"refund", 7, 32}};
  for (std::uint64_t n = 1; const auto& [type, amount, balance] : entries) {
    const bool is_of_job = n == 7;
    user.rows.push_back(entry(n++, type, amount, balance,
                              is_of_job ? std::optional(job_id(1).text()) : std::nullopt));
  }
  PulledUser& second = tell_of(whole, user_id(2), 0, 1, 10, 0);
  second.rows = {project(3, 2), project(5, 2), grant_of_second()};
  take("a whole feed anew", whole);
}

void DeviceSteps::unsubscribe_from_one() {
  subscribe({user_id(1)});
  take("the unsubscribed user goes", reply());
  REQUIRE(mirror()->users()->size() == 1);
}

void DeviceSteps::become_another() {
  record_line("release_job_credits job_id=j1", "ok 38");
  record_line("create_user user_id=u3", "ok 10");
  push();
  record_call("enrol_anew", [as = device(2)](Replica& replica) { return replica.enrol_anew(as); },
              {.is_synced = true});
  record_call("retry as another", [](Replica& replica) { return replica.retry(8); },
              {.is_synced = true});
}

template <class Call>
void DeviceSteps::record_call(const std::string& name, Call call, Step::Nature nature) {
  record({name,
          [call](Engine& engine) -> Result<std::string> {
            std::optional<Replica> replica;
            {
              const FaultyMemory::Reprieve memory;
              replica.emplace(engine);
            }
            const auto answer = call(*replica);
            const FaultyMemory::Reprieve memory;
            if (!answer) return answer.error();
            return as_text(*answer);
          },
          nature});
}

void DeviceSteps::subscribe(const std::vector<Uuid>& users) {
  record_call("subscribe",
              [asked = std::optional(users)](Replica& replica) { return replica.subscribe(asked); },
              {.repeats = true});
}

void DeviceSteps::push() {
  record_call("next_push", [](Replica& replica) { return replica.next_push(100, 100'000); },
              {.repeats = true, .is_synced = true});
}

void DeviceSteps::take(const std::string& name, const Reply& reply) {
  record_call("take: " + name, [reply](Replica& replica) { return replica.take(reply); },
              {.is_synced = !reply.verdicts.empty()});
  REQUIRE(last().answer.find("diverged") == std::string::npos);
}

Reply DeviceSteps::reply() {
  const Replica replica(mirror().engine());
  const LinkState state = replica.state()->value();
  Reply reply;
  reply.acked = reply.watermark = state.acked;
  reply.asked = state.cursor;
  reply.subscriptions = replica.subscriptions().value();
  reply.cursor = state.cursor.value_or("") + "1";
  if (lease_) reply.leases.push_back(*lease_);
  return reply;
}

PulledUser& DeviceSteps::tell_of(Reply& reply, const Uuid& user, std::int64_t since_entries,
                                 std::int64_t entries, std::int64_t balance, std::int64_t held) {
  PulledUser& told = reply.users.emplace_back();
  told.user_id = user;
  PulledState& state = told.state.emplace();
  state.since = since_entries == 0 ? 0 : 1;
  state.since_entries = since_entries;
  state.entries = entries;
  state.balance = balance;
  state.held = held;
  return told;
}

}  // namespace tally::test
