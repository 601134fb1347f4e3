#include <charconv>

#include "canonical_impl.hpp"

namespace tally::sync {
namespace {

/// The number that a text is; nothing else.
template <class Number>
std::optional<Number> read_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Error not_understood(std::string_view what) {
  return {Code::internal, "canonical answered with " + std::string(what) +
                              ", which this program does not know; is it older than the database?"};
}

/// From the columns op_id, result, balance, id, index.
Result<Verdict> read_verdict(const Rows& rows, int row) {
  Verdict verdict;
  if (!rows.is_null(row, 0)) {
    const auto op_id = Uuid::parse(rows.text(row, 0));
    if (!op_id) return not_understood(rows.text(row, 0));
    verdict.op_id = *op_id;
  }
  const auto code = code_named(rows.text(row, 1));
  if (!code) return not_understood(rows.text(row, 1));
  verdict.code = *code;
  if (const auto balance = read_number<std::int64_t>(rows.text(row, 2)))
    verdict.balance = Credits{*balance};
  if (!rows.is_null(row, 3)) verdict.id = Uuid::parse(rows.text(row, 3));
  verdict.index = read_number<std::uint32_t>(rows.text(row, 4));
  return verdict;
}

}  // namespace

Canonical::Canonical(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Canonical::Canonical(Canonical&&) noexcept = default;
Canonical& Canonical::operator=(Canonical&&) noexcept = default;
Canonical::~Canonical() = default;

Result<Canonical> Canonical::connect(const std::string& conninfo,
                                     const std::string& schema) noexcept {
  return guarded([&]() -> Result<Canonical> {
    if (!is_schema_name(schema)) {
      return Error{Code::invalid_argument,
                   "'" + schema +
                       "' cannot be a cell's schema: use lower-case letters, digits and "
                       "underscores, 41 at most"};
    }
    auto connection = Connection::open(conninfo);
    if (!connection) return connection.error();
    return Canonical(std::make_unique<Impl>(std::move(connection).value(), schema));
  });
}

Result<std::vector<Verdict>> Canonical::apply(std::span<const std::string> lines) noexcept {
  return guarded([&]() -> Result<std::vector<Verdict>> {
    const auto rows =
        impl_->connection.query(impl_
                                    ->here("select op_id, result, balance, id, index"
                                           " from tally.apply_operations($1::text[]) order by line")
                                    .c_str(),
                                {text_array(lines)});
    if (!rows) return rows.error();
    if (static_cast<std::size_t>(rows->count()) != lines.size())
      return not_understood("too few verdicts");
    std::vector<Verdict> verdicts;
    verdicts.reserve(lines.size());
    for (int row = 0; row < rows->count(); ++row) {
      auto verdict = read_verdict(*rows, row);
      if (!verdict) return verdict.error();
      verdicts.push_back(std::move(verdict).value());
    }
    return verdicts;
  });
}

Result<std::vector<Uuid>> Canonical::users() noexcept {
  return guarded([&]() -> Result<std::vector<Uuid>> {
    // A cell's users are those with an account in it.
    const auto rows = impl_->connection.query(
        impl_->schema == "public"
            ? "select id from auth.users order by id"
            : impl_->here("select user_id from tally.accounts order by user_id").c_str());
    if (!rows) return rows.error();
    std::vector<Uuid> ids;
    for (int row = 0; row < rows->count(); ++row) {
      const auto id = Uuid::parse(rows->text(row, 0));
      if (!id) return not_understood(rows->text(row, 0));
      ids.push_back(*id);
    }
    return ids;
  });
}

Result<std::vector<std::vector<TableDigest>>> Canonical::digests(
    std::span<const Uuid> user_ids) noexcept {
  return guarded([&]() -> Result<std::vector<std::vector<TableDigest>>> {
    const auto rows =
        impl_->connection.query(impl_
                                    ->here("select u.place - 1, d.table_name, d.rows, d.digest"
                                           " from unnest($1::uuid[]) with ordinality u(id, place)"
                                           " cross join lateral tally.digest(u.id) with ordinality"
                                           " d(table_name, rows, digest, place)"
                                           " order by u.place, d.place")
                                    .c_str(),
                                {uuid_array(user_ids)});
    if (!rows) return rows.error();
    std::vector<std::vector<TableDigest>> digests(user_ids.size());
    for (int row = 0; row < rows->count(); ++row) {
      const auto user = read_number<std::size_t>(rows->text(row, 0));
      const auto count = read_number<std::int64_t>(rows->text(row, 2));
      const auto digest = read_number<std::uint64_t>(rows->text(row, 3));
      if (!user || *user >= digests.size() || !count || !digest)
        return not_understood(rows->text(row, 3));
      digests[*user].push_back({std::string(rows->text(row, 1)), *count, *digest});
    }
    return digests;
  });
}

Result<std::vector<TableDigest>> Canonical::digest(const Uuid& user_id) noexcept {
  return guarded([&]() -> Result<std::vector<TableDigest>> {
    auto all = digests(std::span(&user_id, 1));
    if (!all) return all.error();
    return std::move(all->front());
  });
}

Result<std::vector<RowTexts>> Canonical::rows(std::string_view table,
                                              const Uuid& user_id) noexcept {
  return guarded([&]() -> Result<std::vector<RowTexts>> {
    const auto rows =
        impl_->connection.query(impl_->here("select * from tally.rows($1::text, $2::uuid)").c_str(),
                                {text_parameter(table), text_parameter(user_id.text())});
    if (!rows) return rows.error();
    std::vector<RowTexts> all;
    all.reserve(static_cast<std::size_t>(rows->count()));
    for (int row = 0; row < rows->count(); ++row)
      all.push_back(parse_text_array(rows->text(row, 0)).value_or(RowTexts{}));
    return all;
  });
}

Result<Timestamp> Canonical::now() noexcept {
  return guarded([&]() -> Result<Timestamp> {
    const auto rows = impl_->connection.query(
        "select to_char(clock_timestamp() at time zone 'UTC', "
        "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    if (!rows) return rows.error();
    const auto time = Timestamp::parse(rows->text(0, 0));
    if (!time) return not_understood(rows->text(0, 0));
    return *time;
  });
}

std::string libpq_version() {
  const int version = PQlibVersion();
  return std::to_string(version / 10'000) + "." + std::to_string(version % 10'000);
}

}  // namespace tally::sync
