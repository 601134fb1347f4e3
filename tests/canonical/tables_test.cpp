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

template <class T>
std::string fields_of() {
  std::string required;
  std::string optional;
  T operation{};
  for_each_field(operation, [&](const auto& field, const auto& member) {
    using Member = std::remove_cvref_t<decltype(member)>;
    std::string& list = MemberTraits<Member>::required ? required : optional;
    list += " " + std::string(field.name);
  });
  return "required" + required + " optional" + optional;
}

template <class... Ts>
Lines expected_operations(std::type_identity<std::variant<Ts...>>) {
  Lines lines;
  const auto add = [&](const OperationRow& row, const std::string& fields) {
    const bool in_batch = row.pushed && !row.needs_device && row.name != Batch::row.name;
    lines.insert(std::to_string(row.number) + " " + std::string(row.name) + " " +
                 std::string(capability_names[static_cast<std::size_t>(row.capability)]) + " " +
                 (in_batch ? "t " : "f ") + (row.names_reservation ? "t " : "f ") +
                 (row.name == Batch::row.name ? "required ops optional" : fields));
  };
  (add(Ts::row, fields_of<Ts>()), ...);
  return lines;
}

TEST_CASE("canonical's operations and their fields are the code's") {
  // Both lists of fields in the code's order: the order is not canonical's to decide.
  const Lines expected = expected_operations(std::type_identity<Operation>{});
  CHECK(migrated().ask(
            "select format('%s %s %s %s %s required%s optional%s', number, name, capability, "
            "in_batch,"
            " reservation, (select string_agg(' ' || f, '' order by n) from unnest(required)"
            " with ordinality u(f, n)), (select string_agg(' ' || f, '' order by n) from"
            " unnest(optional) with ordinality u(f, n))) from tally.operations") == expected);
}

}  // namespace
}  // namespace tally::test
