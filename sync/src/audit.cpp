// The audit of canonical's ledger, and its corrections. What is wrong is decided in SQL
// (sql/canonical/…_audit.sql); here it is asked for and read.

#include <charconv>

#include "canonical_impl.hpp"

namespace tally::sync {
namespace {

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

Result<std::vector<CanonicalFinding>> Canonical::audit() noexcept {
  return guarded([&]() -> Result<std::vector<CanonicalFinding>> {
    const auto rows = impl_->connection.query(
        impl_
            ->here("select f.user_id, f.subject, f.kind, f.expected - f.actual - f.posted,"
                   " f.repairs, f.explanation from tally.audit() f")
            .c_str());
    if (!rows) return rows.error();
    std::vector<CanonicalFinding> findings;
    for (int row = 0; row < rows->count(); ++row) {
      CanonicalFinding finding;
      if (!rows->is_null(row, 0)) finding.user_id = Uuid::parse(rows->text(row, 0));
      finding.subject = rows->text(row, 1);
      finding.kind = rows->text(row, 2);
      finding.difference = number(rows->text(row, 3));
      finding.repairs = rows->text(row, 4) == "t";
      finding.explanation = rows->text(row, 5);
      findings.push_back(std::move(finding));
    }
    return findings;
  });
}

Result<std::vector<Correction>> Canonical::repair(const Uuid& user_id) noexcept {
  return guarded([&]() -> Result<std::vector<Correction>> {
    const auto rows = impl_->connection.query(
        impl_->here("select c.subject, c.type, c.amount, c.note from tally.repair($1::uuid) c")
            .c_str(),
        {text_parameter(user_id.text())});
    if (!rows) return rows.error();
    std::vector<Correction> corrections;
    corrections.reserve(static_cast<std::size_t>(rows->count()));
    for (int row = 0; row < rows->count(); ++row) {
      corrections.push_back({user_id, std::string(rows->text(row, 0)),
                             std::string(rows->text(row, 1)), Credits{number(rows->text(row, 2))},
                             std::string(rows->text(row, 3))});
    }
    return corrections;
  });
}

}  // namespace tally::sync
