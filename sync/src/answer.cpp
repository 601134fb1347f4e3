#include "answer.hpp"

#include <charconv>
#include <iterator>

namespace tally::sync {
namespace {

constexpr int protocol = 1;

/// Reads numbers, and remembers when one was none.
class Numbers {
 public:
  template <class Number>
  Number of(const std::optional<std::string>& text) {
    Number value{};
    const char* const begin = text ? text->data() : nullptr;
    const char* const end = text ? begin + text->size() : nullptr;
    const auto [at, error] = std::from_chars(begin, end, value);
    all_are_ = all_are_ && text && error == std::errc{} && at == end;
    return value;
  }
  bool all_are() const noexcept { return all_are_; }

 private:
  bool all_are_ = true;
};

ErrorClass class_of(Code code) {
  switch (code) {
    case Code::unauthorized:
      return ErrorClass::authentication;
    case Code::device_forked:
    case Code::history_lost:
    case Code::protocol:
    case Code::not_found:
      return ErrorClass::protocol;
    default:
      return ErrorClass::transient;
  }
}

}  // namespace

const char* const sync_statement =
    "select part, user_id, fields from tally_sync.sync($1::integer, $2::text, $3::bigint, "
    "$4::bytea, $5::uuid[], $6::text[], $7::text[], $8::jsonb, $9::integer, $10::integer, "
    "$11::uuid, $12::uuid, $13::integer, $14::uuid[], $15::uuid)";

std::vector<std::optional<Parameter>> parameters_of(const Call& call) {
  std::vector<Uuid> users;
  std::vector<std::string> lines;
  std::vector<std::string> leases;
  for (const PushedOperation& operation : call.push.operations) {
    users.push_back(operation.user_id.value_or(Uuid{}));
    lines.push_back(operation.line);
    leases.push_back(operation.leases);
  }
  const auto text = [](const auto& value) { return text_parameter(value); };
  const auto id = [&](const std::optional<Uuid>& value) {
    return value ? std::optional(text(value->text())) : std::nullopt;
  };
  const auto number = [&](std::int64_t value) { return text(std::to_string(value)); };
  const Push& push = call.push;
  return {number(protocol),
          text(call.token),
          number(push.acked),
          Parameter{push.chain, true},
          uuid_array(users),
          text_array(lines),
          text_array(leases),
          push.cursor ? std::optional(text(*push.cursor)) : std::nullopt,
          number(call.users_max),
          call.claim_ttl_s ? std::optional(number(*call.claim_ttl_s)) : std::nullopt,
          id(call.digest_of),
          id(call.device_id),
          number(call.rows_max),
          push.subscriptions ? std::optional(uuid_array(*push.subscriptions)) : std::nullopt,
          id(call.before)};
}

Answer read_answer(const Rows& rows, const Push& push) {
  Answer answer;
  answer.reply.acked = push.acked;
  answer.reply.asked = push.cursor;
  answer.reply.subscriptions = push.subscriptions;
  const auto not_understood = [&] {
    answer.trouble = {ErrorClass::protocol,
                      {Code::protocol, "canonical answered with what this program does not know"}};
    return answer;
  };
  bool has_state = false;
  Numbers numbers;
  for (int row = 0; row < rows.count(); ++row) {
    const std::string_view part = rows.text(row, 0);
    const auto user_id = rows.is_null(row, 1) ? std::nullopt : Uuid::parse(rows.text(row, 1));
    auto array = parse_text_array(rows.text(row, 2));
    if (!array) return not_understood();
    Texts& fields = *array;
    const auto need = [&](std::size_t n) { return fields.size() >= n; };
    if (part == "refused") {
      const auto code = need(1) && fields[0] ? code_named(*fields[0]) : std::nullopt;
      if (!code) return not_understood();
      answer.trouble = {class_of(*code), {*code, std::string(row_of(*code).sentence)}};
      return answer;
    }
    if (part == "state" && need(10) && fields[4] && fields[5]) {
      has_state = true;
      answer.reply.watermark = numbers.of<std::int64_t>(fields[0]);
      answer.more = fields[2] == "true";
      if (fields[3]) answer.claimed = Uuid::parse(*fields[3]);
      answer.reply.cursor = *fields[4];
      const auto device_id = Uuid::parse(*fields[5]);
      if (!device_id) return not_understood();
      answer.device.device_id = *device_id;
      if (fields[6]) answer.device.scope = Uuid::parse(*fields[6]);
      if (const auto after = fields[8] ? Uuid::parse(*fields[8]) : std::nullopt)
        answer.reply.complete = {*after, fields[9] ? Uuid::parse(*fields[9]) : std::nullopt};
      for (const Capability capability :
           {Capability::author, Capability::worker, Capability::service}) {
        const std::string name(capability_names[static_cast<std::size_t>(capability)]);
        if (("," + fields[7].value_or("") + ",").find("," + name + ",") != std::string::npos)
          answer.device.capabilities.push_back(capability);
      }
    } else if (part == "verdict" && need(5) && fields[2]) {
      PulledVerdict verdict;
      verdict.number = numbers.of<std::int64_t>(fields[0]);
      const auto code = code_named(*fields[2]);
      if (!code) return not_understood();
      verdict.code = *code;
      if (fields[3]) verdict.id = Uuid::parse(*fields[3]);
      if (fields[4]) verdict.index = numbers.of<std::uint32_t>(fields[4]);
      answer.reply.verdicts.push_back(verdict);
    } else if (part == "lease" && need(3) && user_id && fields[0] && fields[2]) {
      const auto id = Uuid::parse(*fields[0]);
      const auto expires = Timestamp::parse(*fields[2]);
      if (!id || !expires) return not_understood();
      answer.reply.leases.push_back(
          {*user_id, *id, Credits{numbers.of<std::int64_t>(fields[1])}, *expires});
    } else if (part == "digest" && need(3) && fields[0]) {
      answer.digest.push_back(
          {*fields[0], numbers.of<std::int64_t>(fields[1]), numbers.of<std::uint64_t>(fields[2])});
    } else if ((part == "row" || part == "gone" || part == "page" || part == "user") && user_id &&
               !fields.empty()) {
      auto& users = answer.reply.users;
      if (users.empty() || users.back().user_id != *user_id)
        users.emplace_back().user_id = *user_id;
      PulledUser& user = users.back();
      if (part == "row" && fields[0]) {
        PulledUser::Row fed{*fields[0], {}};
        fed.texts.assign(std::make_move_iterator(fields.begin() + 1),
                         std::make_move_iterator(fields.end()));
        user.rows.push_back(std::move(fed));
      } else if (part == "gone" && need(2) && fields[0] && fields[1]) {
        const auto id = Uuid::parse(*fields[1]);
        if (!id) return not_understood();
        user.gone.emplace_back(*fields[0], *id);
      } else if (part == "page") {
        user.page = fields[0] == "first" ? PulledUser::Page::first : PulledUser::Page::next;
      } else if (part == "user" && need(7)) {
        PulledState& state = user.state.emplace();
        state.since = numbers.of<std::int64_t>(fields[0]);
        state.since_entries = numbers.of<std::int64_t>(fields[1]);
        state.entries = numbers.of<std::int64_t>(fields[3]);
        state.balance = numbers.of<std::int64_t>(fields[4]);
        state.held = numbers.of<std::int64_t>(fields[5]);
        state.with_pages = fields[6] == "true";
        state.with_email = need(9);
        if (state.with_email) {
          state.email = fields[7];
          state.meta = fields[8];
        }
      } else {
        return not_understood();
      }
    } else {
      return not_understood();
    }
  }
  if (!has_state || !numbers.all_are()) return not_understood();
  return answer;
}

}  // namespace tally::sync
