// Canonical's rows of the contract's tables are those of the code.

#include <doctest/doctest.h>
#include <libpq-fe.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fields.hpp"
#include "support/postgres.hpp"
#include "tally/sync.hpp"

namespace tally::test {
namespace {

using Lines = std::set<std::string>;

/// The server, migrated, and what a query of one text column answers.
class Migrated {
 public:
  Migrated() : connection_(nullptr, PQfinish) {
    auto canonical = sync::Canonical::connect(server_.conninfo());
    REQUIRE(canonical.has_value());
    const auto migrated = canonical->migrate({.shim = true});
    REQUIRE_MESSAGE(migrated.has_value(), (migrated ? "" : migrated.error().detail));
    connection_.reset(PQconnectdb(server_.conninfo().c_str()));
    REQUIRE(PQstatus(connection_.get()) == CONNECTION_OK);
  }
  Lines ask(const std::string& sql) const {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(
        PQexec(connection_.get(), sql.c_str()), PQclear);
    REQUIRE_MESSAGE(PQresultStatus(result.get()) == PGRES_TUPLES_OK,
                    PQresultErrorMessage(result.get()));
    Lines lines;
    for (int i = 0; i < PQntuples(result.get()); ++i) lines.insert(PQgetvalue(result.get(), i, 0));
    return lines;
  }

 private:
  ThrowawayPostgres server_;
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

const Migrated& migrated() {
  static const Migrated migrated;
  return migrated;
}

TEST_CASE("canonical's codes are the code's") {
  constexpr const char* class_names[] = {"ok", "refusal", "failure"};
  Lines expected;
  for (const CodeRow& row : codes) {
    expected.insert(std::to_string(static_cast<int>(row.code)) + " " + std::string(row.name) + " " +
                    class_names[static_cast<int>(row.code_class)] + " " +
                    std::string(row.sentence));
  }
  CHECK(migrated().ask(
            "select format('%s %s %s %s', number, name, class, sentence) from tally.codes") ==
        expected);
}

TEST_CASE("canonical's job moves are the code's") {
  Lines expected;
  for (const JobMove& move : job_moves) {
    expected.insert(std::string(name_of(move.from)) + " " + std::string(name_of(move.to)) + " " +
                    std::string(move.by) + " " + std::string(name_of(move.hold)));
  }
  CHECK(migrated().ask("select format('%s %s %s %s', from_status, to_status, by_operation, hold)"
                       " from tally.job_moves") == expected);
}

/// What a value of that type is called in canonical's table.
template <class Value>
std::string kind_of(bool has_words) {
  if constexpr (std::is_same_v<Value, Uuid>) return "id";
  if constexpr (std::is_same_v<Value, Credits>) return "credits";
  if constexpr (std::is_same_v<Value, Json>) return "json";
  if constexpr (std::is_same_v<Value, std::int64_t>) return "integer";
  if constexpr (std::is_same_v<Value, std::string>) return has_words ? "word" : "text";
  if constexpr (std::is_same_v<Value, JobStatus>) return "word";
  return "ops";
}

template <class Traits, class Member>
std::string presence_of() {
  if constexpr (Traits::required) return "required";
  if constexpr (Traits::change) return "change";
  if constexpr (std::is_same_v<Member, NotNull<typename Traits::Value>>) return "not_null";
  return "optional";
}

std::string joined(Words words) {
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ",") + std::string(word);
  return text;
}

/// `15 1 user_id id required`, then bounds, words, the code out of range and the default.
template <class Member, class F>
std::string field_line(const F& field, int operation, int place) {
  using Traits = MemberTraits<Member>;
  using Value = typename Traits::Value;
  const std::string kind = kind_of<Value>(!field.words.empty());
  const bool is_status = std::is_same_v<Value, JobStatus>;
  std::string line = std::to_string(operation) + " " + std::to_string(place) + " " +
                     std::string(field.name) + " " + kind + " " + presence_of<Traits, Member>();
  if (is_status) {
    line += " 1.." + std::to_string(text_max) + " " + joined(job_status_names);
  } else if (kind != "id" && kind != "ops") {
    const std::int64_t least = kind == "json" ? 0 : field.min;
    line +=
        " " + std::to_string(least) + ".." + std::to_string(field.max) + " " + joined(field.words);
  } else {
    line += " .. ";
  }
  line += " " + std::string(name_of(field.out_of_range)) + " ";
  if (field.default_value.empty()) return line;
  const bool quoted = kind != "json";
  return line + (quoted ? "\"" : "") + std::string(field.default_value) + (quoted ? "\"" : "");
}

template <class T>
void add_fields(Lines& lines) {
  T operation{};
  if constexpr (std::is_same_v<T, Batch>) {
    lines.insert(std::to_string(T::row.number) + " 1 ops ops required ..  invalid_argument ");
  } else {
    int place = 0;
    for_each_field(operation, [&](const auto& field, const auto& member) {
      using Member = std::remove_cvref_t<decltype(member)>;
      lines.insert(field_line<Member>(field, T::row.number, ++place));
    });
  }
}

/// Fails with each line that only one side has.
void check_equal(const Lines& found, const Lines& expected) {
  for (const std::string& line : found)
    CHECK_MESSAGE(expected.contains(line), "only on canonical: ", line);
  for (const std::string& line : expected)
    CHECK_MESSAGE(found.contains(line), "only in the code: ", line);
}

template <class... Ts>
Lines expected_operations(std::type_identity<std::variant<Ts...>>) {
  Lines lines;
  const auto add = [&](const OperationRow& row) {
    const bool in_batch = row.pushed && !row.needs_device && row.name != Batch::row.name;
    lines.insert(std::to_string(row.number) + " " + std::string(row.name) + " " +
                 std::string(capability_names[static_cast<std::size_t>(row.capability)]) + " " +
                 (in_batch ? "t " : "f ") + (row.names_reservation ? "t" : "f"));
  };
  (add(Ts::row), ...);
  return lines;
}

template <class... Ts>
Lines expected_fields(std::type_identity<std::variant<Ts...>>) {
  Lines lines;
  (add_fields<Ts>(lines), ...);
  return lines;
}

TEST_CASE("canonical's operations are the code's") {
  check_equal(migrated().ask("select format('%s %s %s %s %s', number, name, capability, in_batch,"
                             " reservation) from tally.operations"),
              expected_operations(std::type_identity<Operation>{}));
}

TEST_CASE("canonical's fields, and what they may hold, are the code's") {
  check_equal(
      migrated().ask(
          "select format('%s %s %s %s %s %s..%s %s %s %s', operation, place, name, kind, presence,"
          " least, most, array_to_string(words, ','), out_of_range, default_value)"
          " from tally.fields"),
      expected_fields(std::type_identity<Operation>{}));
}

}  // namespace
}  // namespace tally::test
