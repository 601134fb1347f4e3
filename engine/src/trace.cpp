#include "tally/trace.hpp"

#include <charconv>
#include <set>

#include "fields.hpp"
#include "json.hpp"
#include "tally/engine.hpp"
#include "tally/faults.hpp"
#include "tally/replica.hpp"
#include "trace_reading.hpp"

namespace tally {
namespace {

using json::Value;
using Kind = json::Value::Kind;

// ---- reading ----------------------------------------------------------------------------------

bool read(const Value& value, std::string& out) {
  if (value.kind != Kind::string) return false;
  out = value.text;
  return true;
}
bool read(const Value& value, Uuid& out) {
  const auto id = value.kind == Kind::string ? Uuid::parse(value.text) : std::nullopt;
  if (id) out = *id;
  return id.has_value();
}
bool read(const Value& value, std::int64_t& out) {
  bool fits = false;
  if (value.is_integer()) out = value.integer(fits);
  return fits;
}
/// An amount of any length is an integer; one beyond 64 bits is out of its range all the same.
bool read(const Value& value, Credits& out) {
  bool fits = false;
  if (value.is_integer()) out.value = value.integer(fits);
  return value.is_integer();
}
bool read(const Value& value, JobStatus& out) {
  const auto status = value.kind == Kind::string ? job_status_named(value.text) : std::nullopt;
  if (status) out = *status;
  return status.has_value();
}
bool read(const Value& value, Json& out) {
  auto text = json::jsonb_text(value);
  if (text) out.text = std::move(*text);
  return text.has_value();
}

template <class M>
bool read_member(const Value* value, M& member) {
  using Traits = MemberTraits<M>;
  if (value == nullptr) return !Traits::required;
  if (value->kind == Kind::null) {
    if constexpr (Traits::change) member = M::cleared();
    return Traits::nullable;
  }
  typename Traits::Value read_value{};
  if (!read(*value, read_value)) return false;
  member = std::move(read_value);
  return true;
}

template <std::size_t I = 0>
bool make_operation(std::string_view name, Operation& operation) {
  if constexpr (I < std::variant_size_v<Operation>) {
    if (operation_table[I].name != name) return make_operation<I + 1>(name, operation);
    operation.emplace<I>();
    return true;
  } else {
    return false;
  }
}

const Value* find_id(const Value& object, std::string_view key, Uuid& id) {
  const Value* value = object.find(key);
  return value != nullptr && read(*value, id) ? value : nullptr;
}

/// Reads `op_id`; one that is absent is made where that may be.
bool read_op_id(const Value& object, const MakeId* make_id, Uuid& op_id) {
  if (make_id != nullptr && object.find("op_id") == nullptr) {
    op_id = (*make_id)();
    return true;
  }
  return find_id(object, "op_id", op_id) != nullptr && op_id.version() >= 1 && op_id.version() <= 7;
}

bool read_fields(const Value& object, Command& command, std::size_t common_keys,
                 const MakeId* make_id);

/// Marks a command whose fields do not parse; whom and which job it names is told all the same.
void mark_malformed(const Value& object, Command& command) {
  command.malformed = Code::invalid_argument;
  Uuid id;
  if (find_id(object, "user_id", id) != nullptr) command.malformed_user_id = id;
  if (find_id(object, "job_id", id) != nullptr) command.malformed_job_id = id;
}

/// Reads `ops`; what can be read stays, so that the batch's user can be told.
bool read_batch(const Value& object, const Command& command, Batch& batch, const MakeId* make_id) {
  const Value* ops = object.find("ops");
  if (ops == nullptr || ops->kind != Kind::array) return false;
  bool well_formed = ops->items.size() <= batch_operations_max;
  bool says_nothing_before = false;
  for (const Value& item : ops->items) {
    Command inner;
    inner.at = command.at;
    const Value* op = item.kind == Kind::object ? item.find("op") : nullptr;
    if (op == nullptr || op->kind != Kind::string || op->text == Batch::row.name ||
        !make_operation(op->text, inner.operation) || !read_op_id(item, make_id, inner.op_id) ||
        item.find("at") != nullptr) {  // All take the batch's.
      well_formed = false;
      const bool says_nothing = item.kind != Kind::object;
      if (says_nothing && says_nothing_before) continue;  // A text of millions is one command.
      says_nothing_before = says_nothing;
      Command no_operation;
      mark_malformed(item, no_operation);
      batch.operations.push_back(std::move(no_operation));
      continue;
    }
    const std::size_t common_keys = item.find("op_id") == nullptr ? 1 : 2;
    if (!read_fields(item, inner, common_keys, make_id)) mark_malformed(item, inner);
    batch.operations.push_back(std::move(inner));
  }
  return well_formed;
}

/// Reads an operation's own fields; false where one is missing, unknown or malformed. So many of
/// the object's keys are those of every operation.
bool read_fields(const Value& object, Command& command, std::size_t common_keys,
                 const MakeId* make_id) {
  bool well_formed = true;
  std::size_t known = common_keys;
  const OperationRow& row = row_of(command.operation);
  std::visit(
      [&](auto& fields) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(fields)>, Batch>) {
          well_formed = read_batch(object, command, fields, make_id);
          if (object.find("ops") != nullptr) ++known;
        } else {
          for_each_field(fields, [&](const auto& field, auto& member) {
            const Value* value = object.find(field.name);
            if (value != nullptr) ++known;
            const bool fits = read_member(value, member);
            if (!fits) well_formed = false;
          });
        }
      },
      command.operation);
  if (const Value* reservation = object.find("reservation");
      row.names_reservation && reservation != nullptr) {
    ++known;
    Uuid id;
    if (reservation->kind != Kind::null) {
      if (!read(*reservation, id)) return false;
      command.reservation = id;
    }
  }
  // Keys beyond the known ones; a key that comes twice is one.
  std::set<std::string_view> keys;
  if (object.members.size() > known) {
    for (const auto& [key, value] : object.members) {
      if (keys.insert(key).second && keys.size() > known) return false;
    }
  }
  return well_formed;
}

// ---- what is wrong, in words ------------------------------------------------------------------

std::string_view kind_of(const std::string&) { return "a string"; }
std::string_view kind_of(const Uuid&) { return "a UUID"; }
std::string_view kind_of(std::int64_t) { return "a whole number"; }
std::string_view kind_of(Credits) { return "a whole number"; }
std::string_view kind_of(JobStatus) { return "a job's status"; }
std::string_view kind_of(const Json&) { return "JSON within the limits"; }

/// What is wrong, of one object or of many, with semicolons between.
class Faults {
 public:
  void add(std::string_view name, std::string_view what, std::string_view of_what = {}) {
    if (!text_.empty()) text_ += "; ";
    text_.append(name).append(what).append(of_what);
  }
  bool empty() const { return text_.empty(); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

template <class M>
void add_fault(Faults& faults, std::string_view name, const Value* value, M member) {
  if (value == nullptr && MemberTraits<M>::required) return faults.add(name, " is missing");
  if (read_member(value, member)) return;
  faults.add(name, " is expected to be ", kind_of(typename MemberTraits<M>::Value{}));
}

bool is_common_key(std::string_view key, bool with_at) {
  return key == "op" || key == "op_id" || (with_at && key == "at");
}

/// Of one operation's own fields: missing, malformed, unknown; of these at most a few.
void add_faults(Faults& faults, const Value& object, const Command& command, bool with_at) {
  const OperationRow& row = row_of(command.operation);
  std::visit(
      [&](const auto& fields) {
        for_each_field(fields, [&](const auto& field, const auto& member) {
          add_fault(faults, field.name, object.find(field.name), member);
        });
      },
      command.operation);
  Uuid id;
  const Value* reservation = object.find("reservation");
  if (row.names_reservation && reservation != nullptr && reservation->kind != Kind::null &&
      !read(*reservation, id)) {
    faults.add("reservation", " is expected to be a UUID");
  }
  std::size_t unknown = 0;
  for (const auto& [key, value] : object.members) {
    const bool known = is_common_key(key, with_at) || has_field(command.operation, key) ||
                       (row.names_reservation && key == "reservation") ||
                       (row.name == Batch::row.name && key == "ops");
    if (!known && ++unknown <= 3) faults.add("there is no field '" + key, "'");
  }
}

std::string fault_in_object(const Value& object, bool with_at) {
  Faults faults;
  Command command;
  const Value* op = object.kind == Kind::object ? object.find("op") : nullptr;
  if (op == nullptr || op->kind != Kind::string || !make_operation(op->text, command.operation))
    return "no operation";
  const OperationRow& row = row_of(command.operation);
  const bool is_batch = std::holds_alternative<Batch>(command.operation);
  if (!with_at && (is_batch || !row.pushed || row.needs_device))
    return op->text + ": is none that a batch may hold";
  const Value* ops = object.find("ops");
  if (is_batch && (ops == nullptr || ops->kind != Kind::array || ops->items.empty() ||
                   ops->items.size() > batch_operations_max)) {
    faults.add("ops", " is expected to be 1 to 1000 operations");
  } else if (is_batch) {
    for (std::size_t i = 0; i < ops->items.size() && faults.empty(); ++i) {
      const std::string fault = fault_in_object(ops->items[i], false);
      if (!fault.empty()) faults.add("operation " + std::to_string(i), ": ", fault);
    }
  }
  add_faults(faults, object, command, with_at);
  if (faults.empty() && !is_batch) {
    const MakeId made = new_uuid_v7;
    if (!read_op_id(object, &made, command.op_id))
      return "op_id is expected to be a UUID of version 1 to 7";
    read_fields(object, command, object.members.size(), &made);
    if (const std::string fault = fault_of(command); !fault.empty()) faults.add(fault, "");
  }
  return faults.empty() ? std::string() : std::string(op->text) + ": " + faults.take();
}

// ---- writing ----------------------------------------------------------------------------------

void write(std::string& out, const std::string& text) { json::append_string(out, text); }
void write(std::string& out, const Uuid& id) { out += '"' + id.text() + '"'; }
void write(std::string& out, std::int64_t number) { out += std::to_string(number); }
void write(std::string& out, Credits credits) { write(out, credits.value); }
void write(std::string& out, JobStatus status) { json::append_string(out, name_of(status)); }
void write(std::string& out, const Json& value) { out += value.text; }

void write_fields(std::string& out, const Command& command) {
  std::visit(
      [&](const auto& fields) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(fields)>, Batch>) {
          out += ",\"ops\":[";
          for (std::size_t i = 0; i < fields.operations.size(); ++i) {
            const Command& inner = fields.operations[i];
            if (i > 0) out += ',';
            out += "{\"op\":\"";
            out += row_of(inner.operation).name;
            out += "\",\"op_id\":\"" + inner.op_id.text() + '"';
            write_fields(out, inner);
            out += '}';
          }
          out += ']';
        } else {
          for_each_field(fields, [&](const auto& field, const auto& member) {
            const auto key = [&] {
              out += ",\"";
              out += field.name;
              out += "\":";
            };
            if constexpr (MemberTraits<std::remove_cvref_t<decltype(member)>>::change) {
              if (member.present() && !member.has_value()) {
                key();
                out += "null";
              }
            }
            with_value(member, [&](const auto& value) {
              key();
              write(out, value);
            });
          });
        }
      },
      command.operation);
  if (command.reservation) out += ",\"reservation\":\"" + command.reservation->text() + '"';
}

}  // namespace

std::optional<Command> parse_trace_line(std::string_view line) {
  const auto object = json::parse(line);
  if (!object || object->kind != Kind::object) return std::nullopt;
  Command command;
  const Value* op = object->find("op");
  const Value* at = object->find("at");
  if (op == nullptr || op->kind != Kind::string || !make_operation(op->text, command.operation) ||
      !read_op_id(*object, nullptr, command.op_id) || at == nullptr || at->kind != Kind::string) {
    return std::nullopt;
  }
  const auto time = Timestamp::parse(at->text);
  if (!time) return std::nullopt;
  command.at = *time;
  if (!read_fields(*object, command, 3, nullptr)) mark_malformed(*object, command);
  return command;
}

Result<Command> read_command(std::string_view json, const MakeId& make_id,
                             const std::function<Timestamp()>& now) {
  const auto invalid = [](std::string detail) {
    return Error{Code::invalid_argument, std::move(detail)};
  };
  const auto object = json::parse(json);
  if (!object || object->kind != Kind::object) return invalid("no JSON object");
  const Value* op = object->find("op");
  if (op == nullptr) return invalid("op is missing");
  if (op->kind != Kind::string) return invalid("op is no text");
  Command command;
  if (!make_operation(op->text, command.operation))
    return invalid("there is no operation '" + op->text + "'");
  if (!read_op_id(*object, &make_id, command.op_id))
    return invalid("op_id is no UUID of version 1 to 7");
  std::size_t common_keys = object->find("op_id") == nullptr ? 1 : 2;
  if (const Value* at = object->find("at")) {
    const auto time = at->kind == Kind::string ? Timestamp::parse(at->text) : std::nullopt;
    if (!time) return invalid("at is no time like 2026-01-18T00:00:00.000000Z");
    command.at = *time;
    ++common_keys;
  } else {
    command.at = now();
  }
  if (!read_fields(*object, command, common_keys, &make_id)) mark_malformed(*object, command);
  return command;
}

std::string fault_in_line(std::string_view line, std::optional<std::uint32_t> index) {
  const auto object = json::parse(line);
  if (!object) return {};
  if (!index) {
    std::string fault = fault_in_object(*object, true);
    if (fault.empty() && line.size() > pushed_line_max)
      fault = "batch: its line has more than 16 MiB";
    return fault;
  }
  const Value* ops = object->find("ops");
  const bool has_it = ops != nullptr && *index < ops->items.size();
  return has_it ? fault_in_object(ops->items[*index], false) : std::string();
}

std::string fault_in(const Operation& operation) {
  Command command;
  command.op_id = new_uuid_v7();
  command.operation = operation;
  std::string fault = fault_of(std::move(command));
  return fault.empty() ? fault : std::string(row_of(operation).name) + ": " + fault;
}

std::string trace_line(const Command& command) {
  std::string out = "{\"op\":\"";
  out += row_of(command.operation).name;
  out += "\",\"op_id\":\"" + command.op_id.text() + "\",\"at\":\"" + command.at.text() + '"';
  write_fields(out, command);
  out += '}';
  return out;
}

std::string result_line(const Verdict& verdict) {
  std::string out = "{\"op_id\":\"" + verdict.op_id.text() + "\",\"result\":\"";
  out += name_of(verdict.code);
  out += "\",\"balance\":";
  out += verdict.balance ? std::to_string(verdict.balance->value) : "null";
  if (verdict.id) out += ",\"id\":\"" + verdict.id->text() + '"';
  if (verdict.index) out += ",\"index\":" + std::to_string(*verdict.index);
  out += '}';
  return out;
}

std::string not_an_operation_line(std::uint64_t number) {
  return "{\"op_id\":null,\"result\":\"invalid_argument\",\"balance\":null,\"line\":" +
         std::to_string(number) + '}';
}

}  // namespace tally
