#pragma once
// libpq, wrapped once: a connection, a result, parameters, and errors as codes.

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tally/result.hpp"
#include "tally/values.hpp"

namespace tally::sync {

/// A bound parameter of a statement.
struct Parameter {
  std::string bytes;
  bool binary = false;
};

/// Parameters in the form that libpq's calls take; a missing one is NULL. Of what must outlive it.
class BoundParameters {
 public:
  explicit BoundParameters(std::span<const std::optional<Parameter>> parameters) {
    for (const auto& parameter : parameters) add(parameter ? &*parameter : nullptr);
  }
  explicit BoundParameters(std::span<const Parameter> parameters) {
    for (const Parameter& parameter : parameters) add(&parameter);
  }
  int count() const { return static_cast<int>(values_.size()); }
  const char* const* values() const { return values_.data(); }
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

 private:
  void add(const Parameter* parameter) {
    values_.push_back(parameter != nullptr ? parameter->bytes.c_str() : nullptr);
    lengths_.push_back(parameter != nullptr ? static_cast<int>(parameter->bytes.size()) : 0);
    formats_.push_back(parameter != nullptr && parameter->binary ? 1 : 0);
  }
  std::vector<const char*> values_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

Parameter text_parameter(std::string_view text);
/// A one-dimensional array in Postgres' binary form, in which no byte needs an escape.
Parameter text_array(std::span<const std::string> texts);
Parameter uuid_array(std::span<const Uuid> ids);

/// The rows of a statement, in text form.
class Rows {
 public:
  explicit Rows(PGresult* result) : result_(result, &PQclear) {}
  int count() const { return PQntuples(result_.get()); }
  bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  std::string_view text(int row, int column) const {
    return {PQgetvalue(result_.get(), row, column),
            static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
  }
  std::optional<std::string> optional_text(int row, int column) const {
    if (is_null(row, column)) return std::nullopt;
    return std::string(text(row, column));
  }

 private:
  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

class Connection {
 public:
  static Result<Connection> open(const std::string& conninfo);

  /// One statement, one round trip.
  Result<Rows> query(const char* sql, const std::vector<Parameter>& parameters = {});
  /// Any number of statements; the last one's rows.
  Result<Rows> script(const std::string& sql);
  /// Whether the last failure was the server's way out of a deadlock: the same transaction again
  /// can help.
  bool was_deadlock() const { return was_deadlock_; }

 private:
  explicit Connection(PGconn* connection) : connection_(connection, &PQfinish) {}
  Result<Rows> checked(PGresult* result);
  Error error_of(const PGresult* result) const;

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
  bool was_deadlock_ = false;
};

/// The elements of a text[] in Postgres' text form, `{a,"b \"c\"",NULL}`; nothing where it is none.
std::optional<std::vector<std::optional<std::string>>> parse_text_array(std::string_view text);

}  // namespace tally::sync
