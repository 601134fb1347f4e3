#pragma once
// What the engine does with an operation's fields without knowing which operation it is: check
// them, compare them, and find the user and the job that they name.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tally/operations.hpp"

namespace tally {

/// Calls `visit(field, value)` for each field of the operation, in the table's order.
template <class T, class Visit>
void for_each_field(T& operation, Visit&& visit) {
  std::apply([&](const auto&... fields) { (visit(fields, operation.*(fields.member)), ...); },
             std::remove_cvref_t<T>::fields());
}

template <class T>
struct MemberTraits {
  using Value = T;
  static constexpr bool required = true;
  static constexpr bool change = false;
  static constexpr bool nullable = false;
};
template <class T>
struct MemberTraits<std::optional<T>> {
  using Value = T;
  static constexpr bool required = false;
  static constexpr bool change = false;
  static constexpr bool nullable = true;
};
template <class T>
struct MemberTraits<NotNull<T>> {
  using Value = T;
  static constexpr bool required = false;
  static constexpr bool change = false;
  static constexpr bool nullable = false;
};
template <class T>
struct MemberTraits<Change<T>> {
  using Value = T;
  static constexpr bool required = false;
  static constexpr bool change = true;
  static constexpr bool nullable = true;
};

/// Calls `visit(value)` where the member holds one.
template <class M, class Visit>
void with_value(M& member, Visit&& visit) {
  using Traits = MemberTraits<std::remove_const_t<M>>;
  if constexpr (Traits::required) {
    visit(member);
  } else if constexpr (Traits::change) {
    if (member.has_value()) visit(member.value());
  } else {
    if (member.has_value()) visit(*member);
  }
}

/// The fields by themselves: invalid_argument, then invalid_amount, then invalid_type, else ok.
/// JSON comes out in jsonb's text form. A batch's operations are not looked into.
Code check_fields(Command& command);

/// Whether what is in a batch are operations that may be in one, 1 to 1,000 of them. One that is
/// not has no op_id by which it could be known.
bool has_operations(const Batch& batch);

/// Which field check_fields() found wrong, and what is expected of it; empty where none is.
std::string fault_of(Command command);

/// Whether two operations with the same op_id are the same one: a hash of the operation and of its
/// fields after defaults. `at` and the reservation are not in it. The fields were checked before.
std::uint64_t fingerprint(const Operation& operation);

/// Whether the operation has a field of that name.
bool has_field(const Operation& operation, std::string_view name);

/// The user, the job that the command names, also where other fields are malformed; then even by a
/// key that the operation does not have.
std::optional<Uuid> named_user(const Command& command);
std::optional<Uuid> named_job(const Command& command);

/// Without what the engine filled in: so it is judged anew wherever it is applied.
Command as_called(Command command);

}  // namespace tally
