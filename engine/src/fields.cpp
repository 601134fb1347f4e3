#include "fields.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "json.hpp"

namespace tally {
namespace {

// ---- checks -----------------------------------------------------------------------------------

bool text_fits(std::string_view text, std::int64_t bytes_min, std::int64_t bytes_max) {
  return std::cmp_greater_equal(text.size(), bytes_min) &&
         std::cmp_less_equal(text.size(), bytes_max) && text.find('\0') == std::string_view::npos &&
         json::is_utf8(text);
}

template <class T, class M>
Code check(const Field<T, M>& field, std::string& value) {
  if (!text_fits(value, field.min, field.max)) return Code::invalid_argument;
  if (!field.words.empty() &&
      std::find(field.words.begin(), field.words.end(), value) == field.words.end()) {
    return field.out_of_range;
  }
  return Code::ok;
}
template <class T, class M>
Code check(const Field<T, M>& field, std::int64_t& value) {
  return value < field.min || value > field.max ? field.out_of_range : Code::ok;
}
template <class T, class M>
Code check(const Field<T, M>& field, Credits& value) {
  return value.value < field.min || value.value > field.max ? field.out_of_range : Code::ok;
}
template <class T, class M>
Code check(const Field<T, M>&, JobStatus& value) {
  return value > JobStatus::FAILED ? Code::invalid_argument : Code::ok;
}
template <class T, class M>
Code check(const Field<T, M>&, Json& value) {
  auto text = json::jsonb_text(value.text);
  if (!text) return Code::invalid_argument;
  value.text = std::move(*text);
  return Code::ok;
}
template <class T, class M>
Code check(const Field<T, M>&, Uuid&) {
  return Code::ok;
}

bool is_rfc_version(const Uuid& id) noexcept { return id.version() >= 1 && id.version() <= 7; }

// ---- what is wrong, in words --------------------------------------------------------------------

template <class T, class M>
std::string expected(const Field<T, M>& field, const std::string&) {
  if (!field.words.empty()) {
    std::string words;
    for (const std::string_view word : field.words) {
      words += words.empty() ? "one of " : ", ";
      words += word;
    }
    return words;
  }
  return "UTF-8 without U+0000, of " + std::to_string(field.min) + " to " +
         std::to_string(field.max) + " bytes";
}
template <class T, class M>
std::string expected(const Field<T, M>& field, std::int64_t) {
  return "a whole number from " + std::to_string(field.min) + " to " + std::to_string(field.max);
}
template <class T, class M>
std::string expected(const Field<T, M>& field, Credits) {
  return expected(field, std::int64_t{0});
}
template <class T, class M>
std::string expected(const Field<T, M>&, JobStatus) {
  return "a job's status";
}
template <class T, class M>
std::string expected(const Field<T, M>&, const Json&) {
  return "JSON of at most 65536 bytes, 32 levels and 40 digits a number";
}
template <class T, class M>
std::string expected(const Field<T, M>&, const Uuid&) {
  return "a UUID";
}

// ---- comparison -------------------------------------------------------------------------------

/// Folds words into 64 bits by wide multiplication; equal inputs only, no secrets.
class Fold {
 public:
  void add(std::uint64_t word) noexcept {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(state_ ^ word) * 0x9e3779b97f4a7c15ULL;
    state_ = (static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U)) +
             0xd6e8feb86659fd93ULL;
  }
  void add(std::string_view text) noexcept {
    add(text.size());
    while (!text.empty()) {
      std::uint64_t word = 0;
      const std::size_t length = std::min<std::size_t>(8, text.size());
      std::memcpy(&word, text.data(), length);
      add(word);
      text.remove_prefix(length);
    }
  }
  void add(const std::string& text) noexcept { add(std::string_view(text)); }
  void add(const Json& value) noexcept { add(std::string_view(value.text)); }
  void add(const Uuid& id) noexcept {
    add(std::string_view(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()));
  }
  void add(std::int64_t number) noexcept { add(static_cast<std::uint64_t>(number)); }
  void add(Credits credits) noexcept { add(credits.value); }
  void add(JobStatus status) noexcept { add(static_cast<std::uint64_t>(status)); }
  std::uint64_t value() const noexcept { return state_; }

 private:
  std::uint64_t state_ = 0x2545f4914f6cdd1dULL;
};

void fold_operation(Fold& fold, const Operation& operation);

template <class T>
void fold_fields(Fold& fold, const T& operation) {
  if constexpr (std::is_same_v<T, Batch>) {
    fold.add(operation.operations.size());
    for (const Command& command : operation.operations) {
      fold.add(command.op_id);
      fold_operation(fold, command.operation);
    }
  } else {
    for_each_field(operation, [&](const auto& field, const auto& member) {
      using Traits = MemberTraits<std::remove_cvref_t<decltype(member)>>;
      if constexpr (!Traits::required) {
        // Absent, cleared and set differ, but an absent field is its default.
        bool present = member.has_value();
        if constexpr (Traits::change) {
          if (member.present() && !present) fold.add(std::uint64_t{2});
        }
        if (!present && !field.default_value.empty()) {
          fold.add(std::uint64_t{1});
          fold.add(field.default_value);
          return;
        }
        fold.add(std::uint64_t{present ? 1U : 0U});
      }
      with_value(member, [&](const auto& value) { fold.add(value); });
    });
  }
}

void fold_operation(Fold& fold, const Operation& operation) {
  fold.add(std::uint64_t{row_of(operation).number});
  std::visit([&](const auto& fields) { fold_fields(fold, fields); }, operation);
}

/// The field of that name where the operation has one and it holds a value.
std::optional<Uuid> named_id(const Operation& operation, std::string_view name) {
  std::optional<Uuid> found;
  std::visit(
      [&](const auto& fields) {
        for_each_field(fields, [&](const auto& field, const auto& member) {
          using Value = typename MemberTraits<std::remove_cvref_t<decltype(member)>>::Value;
          if constexpr (std::is_same_v<Value, Uuid>) {
            if (field.name == name) with_value(member, [&](const Uuid& id) { found = id; });
          }
        });
      },
      operation);
  return found;
}

/// Calls visit(field, value, code) for each field that is wrong by itself.
template <class Visit>
void for_each_fault(Operation& operation, Visit&& visit) {
  std::visit(
      [&](auto& fields) {
        for_each_field(fields, [&](const auto& field, auto& member) {
          with_value(member, [&](auto& value) {
            const Code code = check(field, value);
            if (code != Code::ok) visit(field, value, code);
          });
        });
      },
      operation);
}

/// What is wrong with an operation as a whole; empty where nothing is.
std::string_view fault_of_whole(const Operation& operation) {
  if (const auto* create = std::get_if<CreateJob>(&operation)) {
    if (!is_rfc_version(create->job_id)) return "job_id is expected to be a UUID of version 1 to 7";
  }
  if (const auto* create = std::get_if<CreateUser>(&operation)) {
    // On canonical it stands for nobody.
    if (create->user_id == Uuid{}) return "user_id is expected to be a UUID that is not all zeros";
  }
  if (const auto* update = std::get_if<UpdateDraft>(&operation)) {
    if (!update->session_token && !update->user_id) return "session_token or user_id is missing";
  }
  return {};
}

/// Whether this fault's code comes before the one that was found; the field codes are numbered in
/// their precedence.
bool comes_before(Code code, Code found) noexcept { return found == Code::ok || code < found; }

}  // namespace

Code check_fields(Command& command) {
  if (command.malformed != Code::ok) return command.malformed;
  if (!is_rfc_version(command.op_id) || command.at.us < Timestamp::us_min ||
      command.at.us > Timestamp::us_max) {
    return Code::invalid_argument;
  }
  Code worst = Code::ok;
  for_each_fault(command.operation, [&](const auto&, const auto&, Code code) {
    if (comes_before(code, worst)) worst = code;
  });
  if (!fault_of_whole(command.operation).empty()) return Code::invalid_argument;
  const auto* batch = std::get_if<Batch>(&command.operation);
  return batch == nullptr || has_operations(*batch) ? worst : Code::invalid_argument;
}

bool has_operations(const Batch& batch) {
  if (batch.operations.empty() || batch.operations.size() > batch_operations_max) return false;
  return std::all_of(batch.operations.begin(), batch.operations.end(), [](const Command& inner) {
    const OperationRow& row = row_of(inner.operation);
    const bool nests = std::holds_alternative<Batch>(inner.operation);
    return !nests && row.pushed && !row.needs_device && is_rfc_version(inner.op_id);
  });
}

std::string fault_of(Command command) {
  if (!is_rfc_version(command.op_id)) return "op_id is expected to be a UUID of version 1 to 7";
  std::string fault;
  Code worst = Code::ok;
  for_each_fault(command.operation, [&](const auto& field, const auto& value, Code code) {
    if (!comes_before(code, worst)) return;
    worst = code;
    fault = std::string(field.name) + " is expected to be " + expected(field, value);
  });
  const std::string_view whole = fault_of_whole(command.operation);
  return worst == Code::invalid_argument || whole.empty() ? fault : std::string(whole);
}

std::uint64_t fingerprint(const Operation& operation) {
  Fold fold;
  fold_operation(fold, operation);
  return fold.value();
}

bool has_field(const Operation& operation, std::string_view name) {
  return std::visit(
      [&](const auto& fields) {
        bool found = false;
        for_each_field(
            fields, [&](const auto& field, const auto&) { found = found || field.name == name; });
        return found;
      },
      operation);
}

std::optional<Uuid> named_user(const Command& command) {
  if (command.malformed != Code::ok) return command.malformed_user_id;
  return named_id(command.operation, "user_id");
}

std::optional<Uuid> named_job(const Command& command) {
  if (command.malformed != Code::ok) return command.malformed_job_id;
  return named_id(command.operation, "job_id");
}

Command as_called(Command command) {
  const auto forget = [](Command& each) {
    each.reservation.reset();
    each.lease.reset();
  };
  forget(command);
  if (auto* batch = std::get_if<Batch>(&command.operation)) {
    for (Command& inner : batch->operations) forget(inner);
  }
  return command;
}

}  // namespace tally
