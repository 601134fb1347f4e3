// The calls that change something. What is wrong with a field is the engine's to say, in its order
// of checks: here such a command is only marked as malformed.

#include <type_traits>
#include <vector>

#include "answers.hpp"
#include "arguments.hpp"
#include "receipts.hpp"
#include "structs.hpp"
#include "tally/faults.hpp"

using namespace tally;
using namespace tally::c;

namespace {

// ---- reading arguments ------------------------------------------------------------------------

/// The arguments of one operation. What is missing, or no value, leaves a default and a mark.
class Arguments {
 public:
  Uuid user(const tally_uuid* id) { return named("user_id", id, user_id_); }
  Uuid job(const tally_uuid* id) { return named("job_id", id, job_id_); }
  Uuid project(const tally_uuid* id) {
    std::optional<Uuid> read;
    return named("project_id", id, read);
  }

  std::optional<std::string> text(std::string_view name, const char* text, std::size_t length) {
    // A text of these calls may have 65,536 bytes; of a longer one nobody reads more.
    const bool too_long = length > static_cast<std::size_t>(long_text_max);
    if (!is_text(text, length)) mark(name, "is NULL, but has a length");
    if (too_long) mark(name, "has more than 65536 bytes");
    if (text == nullptr || too_long) return std::nullopt;
    return std::string(text, length);
  }
  std::string required_text(std::string_view name, const char* given, std::size_t length) {
    if (given == nullptr) mark(name, "is missing");
    return text(name, given, length).value_or(std::string());
  }

  /// A word that is not in the list where the number is not: add_credits has a code for it.
  std::string entry_type(std::int32_t number) {
    return std::string(is_index(number, entry_types_added.size())
                           ? entry_types_added[static_cast<std::size_t>(number)]
                           : "unknown");
  }
  JobStatus status(std::string_view name, std::int32_t number) {
    if (is_index(number, job_status_names.size())) return static_cast<JobStatus>(number);
    mark(name, "is no TALLY_JOB_...");
    return JobStatus::QUEUED;
  }
  std::string step_name(std::int32_t number) {
    return std::string(name_of(status("step", number)));
  }

  /// What was wrong first, in words; empty where nothing was.
  const std::string& fault() const { return fault_; }
  void mark(std::string_view name, std::string_view what) {
    if (!fault_.empty()) return;
    fault_.append(name).append(" ").append(what);
  }
  /// Whom and which job a malformed command names is told all the same.
  void note_in(Command& command) const {
    if (fault_.empty()) return;
    command.malformed = Code::invalid_argument;
    command.malformed_user_id = user_id_;
    command.malformed_job_id = job_id_;
  }

 private:
  static bool is_index(std::int32_t number, std::size_t size) {
    return number >= 0 && static_cast<std::size_t>(number) < size;
  }
  Uuid named(std::string_view name, const tally_uuid* id, std::optional<Uuid>& read) {
    if (id == nullptr) {
      mark(name, "is NULL");
      return {};
    }
    read = id_of(*id);
    return *read;
  }

  std::string fault_;
  std::optional<Uuid> user_id_;
  std::optional<Uuid> job_id_;
};

/// False where the struct, or a flag of it, is none that this library knows.
bool read_call(const tally_call* given, CallId& call) {
  if (given == nullptr) return true;
  tally_call read = TALLY_CALL_INIT;
  if (!read_struct(given, read)) return false;
  if ((read.flags & ~(TALLY_CALL_OP_ID | TALLY_CALL_AT)) != 0) return false;
  if ((read.flags & TALLY_CALL_OP_ID) != 0) call.op_id = id_of(read.op_id);
  if ((read.flags & TALLY_CALL_AT) != 0) call.at = Timestamp{read.at_us};
  return true;
}

// ---- answering --------------------------------------------------------------------------------

bool is_about_fields(Code code) {
  return code == Code::invalid_argument || code == Code::invalid_amount ||
         code == Code::invalid_type;
}

/// `explain(index)` says what is wrong with the fields, once the engine has found that they are.
template <class Explain>
tally_code apply_command(Engine& engine, Command command, tally_receipt* receipt,
                         tally_error* error, Explain explain) {
  const Uuid op_id = command.op_id;
  std::vector<Command> commands;
  commands.push_back(std::move(command));
  const auto verdicts = engine.submit(std::move(commands));
  if (!verdicts) {
    write_receipt(receipt, op_id, {}, {});
    return fail(error, verdicts.error());
  }
  const Verdict& verdict = verdicts->front();
  write_receipt(receipt, op_id, verdict.balance, verdict.id);
  if (verdict.code == Code::ok) return TALLY_OK;
  std::string detail;
  if (error != nullptr && is_about_fields(verdict.code)) detail = explain(verdict.index);
  return fail(error, verdict.code, detail, verdict.index ? std::int64_t{*verdict.index} : -1);
}

/// What is wrong with an operation's arguments, or else with its values.
std::string fault_in(const Arguments& arguments, const Operation& operation) {
  return arguments.fault().empty() ? tally::fault_in(operation)
                                   : std::string(row_of(operation).name) + ": " + arguments.fault();
}

/// Applies what `read(Arguments&)` makes of a typed call's arguments.
template <class Read>
tally_code apply(tally_engine* engine, const tally_call* call, tally_receipt* receipt,
                 tally_error* error, Read read) noexcept {
  return guarded(error, [&]() -> tally_code {
    std::string_view wrong;
    if (!is_callable(engine, receipt, wrong)) return invalid(error, wrong);
    CallId id;
    if (!read_call(call, id))
      return invalid(error, "tally_call: a size or a flag that this library does not know");
    Arguments arguments;
    Command command = engine->engine.make_command(read(arguments), id);
    arguments.note_in(command);
    const auto explain = [&](std::optional<std::uint32_t>) {
      Arguments again;
      const Operation operation = read(again);
      return fault_in(again, operation);
    };
    return apply_command(engine->engine, std::move(command), receipt, error, explain);
  });
}

// ---- one operation of a batch -----------------------------------------------------------------

/// Of each kind that a tally_operation can be; anything else is none.
std::optional<Operation> read_operation(const tally_operation& given, Arguments& arguments) {
  const auto user = [&] { return arguments.user(&given.user_id); };
  const auto job = [&] { return arguments.job(&given.job_id); };
  const auto text = [&](std::string_view name) {
    return arguments.text(name, given.text, given.text_length);
  };
  const Credits credits{given.number};
  switch (given.operation) {
    case TALLY_OPERATION_ADD_CREDITS:
      return AddCredits{user(), credits, arguments.entry_type(given.word), text("note")};
    case TALLY_OPERATION_CREATE_JOB:
      return CreateJob{job(), arguments.project(&given.project_id), user()};
    case TALLY_OPERATION_RESERVE_CREDITS:
      return ReserveCredits{user(), job(), credits};
    case TALLY_OPERATION_ADVANCE_JOB:
      return AdvanceJob{job(), arguments.status("to", given.word), text("status_message")};
    case TALLY_OPERATION_REPORT_PROGRESS:
      return ReportProgress{job(), arguments.step_name(given.word), given.number,
                            text("status_message")};
    case TALLY_OPERATION_FINALIZE_JOB_CREDITS:
      return FinalizeJobCredits{job(), credits};
    case TALLY_OPERATION_RELEASE_JOB_CREDITS:
      return ReleaseJobCredits{job()};
    case TALLY_OPERATION_COMPLETE_JOB:
      return CompleteJob{job(), credits, text("output_url")};
    case TALLY_OPERATION_FAIL_JOB:
      return FailJob{job(), arguments.required_text("error_code", given.text, given.text_length),
                     arguments.text("error_message", given.message, given.message_length)};
    case TALLY_OPERATION_CLAIM_JOB:
      return ClaimJob{job(), given.number};
    default:
      return std::nullopt;
  }
}

/// Of the one that was refused, or of the first that is no operation.
std::string fault_in(const tally_operation* operations, std::size_t count,
                     std::optional<std::uint32_t> index) {
  if (count < 1 || count > batch_operations_max) return "a batch has 1 to 1000 operations";
  const auto* bytes = reinterpret_cast<const unsigned char*>(operations);
  for (std::size_t i = index.value_or(0); i < count; ++i) {
    tally_operation given{};
    read_struct(reinterpret_cast<const tally_operation*>(bytes + i * operations->struct_size),
                given);
    Arguments arguments;
    const auto operation = read_operation(given, arguments);
    const std::string place = "operation " + std::to_string(i) + ": ";
    if (!operation) return place + "is none that a tally_operation can be";
    if (index) return place + fault_in(arguments, *operation);
  }
  return {};
}

/// Reads the array; false where a struct of it is none that this library knows. `is_malformed` is
/// set where one is no operation at all, which is the whole batch's fault.
bool read_operations(const tally_operation* operations, std::size_t count, Engine& engine,
                     std::vector<Command>& commands, bool& is_malformed) {
  if (count == 0) return true;
  const std::size_t stride = operations->struct_size;
  if (!has_known_size(operations) || stride % alignof(tally_operation) != 0) return false;
  // The engine refuses a longer batch for its length alone.
  const std::size_t read_count = std::min(count, batch_operations_max + 1);
  commands.reserve(read_count);
  const auto* bytes = reinterpret_cast<const unsigned char*>(operations);
  for (std::size_t i = 0; i < read_count; ++i, bytes += stride) {
    tally_operation given{};
    const auto* place = reinterpret_cast<const tally_operation*>(bytes);
    if (place->struct_size != stride || !read_struct(place, given)) return false;
    Arguments arguments;
    auto operation = read_operation(given, arguments);
    Command command;
    if (operation) {
      CallId id;
      if (const Uuid op_id = id_of(given.op_id); op_id != Uuid{}) id.op_id = op_id;
      command = engine.make_command(std::move(*operation), id);
    } else {
      is_malformed = true;
      arguments.mark("operation", "is none that a tally_operation can be");
    }
    arguments.note_in(command);
    commands.push_back(std::move(command));
  }
  return true;
}

// ---- traces -----------------------------------------------------------------------------------

/// The lines of a text, each without its end; the last may lack it.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

tally_code tally_apply(tally_engine* engine, const char* json, size_t length,
                       tally_receipt* receipt, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    std::string_view wrong;
    if (!is_callable(engine, receipt, wrong)) return invalid(error, wrong);
    if (!is_text(json, length)) return invalid(error, "json is NULL");
    const std::string_view text = view_of(json, length);
    auto command = engine->engine.parse_command(text);
    if (!command) return fail(error, command.error());
    return apply_command(
        engine->engine, std::move(*command), receipt, error,
        [&](std::optional<std::uint32_t> index) { return fault_in_line(text, index); });
  });
}

tally_code tally_submit(tally_engine* engine, const char* lines, size_t length,
                        tally_text** results, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr || results == nullptr || !is_text(lines, length))
      return invalid(error, "engine, lines or results is NULL");
    std::vector<bool> is_operation;
    std::vector<Command> commands;
    for (const std::string_view line : lines_of(view_of(lines, length))) {
      auto command = parse_trace_line(line);
      is_operation.push_back(command.has_value());
      if (command) commands.push_back(std::move(*command));
    }
    const auto verdicts = engine->engine.submit(std::move(commands));
    if (!verdicts) return fail(error, verdicts.error());
    std::string out;
    auto verdict = verdicts->begin();
    for (std::size_t i = 0; i < is_operation.size(); ++i) {
      out += is_operation[i] ? result_line(*verdict++) : not_an_operation_line(i + 1);
      out += '\n';
    }
    *results = new_text(std::move(out));
    return TALLY_OK;
  });
}

tally_code tally_add_credits(tally_engine* engine, const tally_uuid* user_id, int64_t amount,
                             int32_t type, const char* note, size_t note_length,
                             const tally_call* call, tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return AddCredits{arguments.user(user_id), Credits{amount}, arguments.entry_type(type),
                      arguments.text("note", note, note_length)};
  });
}

tally_code tally_create_job(tally_engine* engine, const tally_uuid* job_id,
                            const tally_uuid* project_id, const tally_uuid* user_id,
                            const tally_call* call, tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return CreateJob{arguments.job(job_id), arguments.project(project_id), arguments.user(user_id)};
  });
}

tally_code tally_reserve_credits(tally_engine* engine, const tally_uuid* user_id,
                                 const tally_uuid* job_id, int64_t amount, const tally_call* call,
                                 tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return ReserveCredits{arguments.user(user_id), arguments.job(job_id), Credits{amount}};
  });
}

tally_code tally_advance_job(tally_engine* engine, const tally_uuid* job_id, int32_t to,
                             const char* status_message, size_t status_message_length,
                             const tally_call* call, tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return AdvanceJob{arguments.job(job_id), arguments.status("to", to),
                      arguments.text("status_message", status_message, status_message_length)};
  });
}

tally_code tally_report_progress(tally_engine* engine, const tally_uuid* job_id, int32_t step,
                                 int64_t progress_pct, const char* status_message,
                                 size_t status_message_length, const tally_call* call,
                                 tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return ReportProgress{arguments.job(job_id), arguments.step_name(step), progress_pct,
                          arguments.text("status_message", status_message, status_message_length)};
  });
}

tally_code tally_finalize_job_credits(tally_engine* engine, const tally_uuid* job_id,
                                      int64_t final_cost, const tally_call* call,
                                      tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return FinalizeJobCredits{arguments.job(job_id), Credits{final_cost}};
  });
}

tally_code tally_release_job_credits(tally_engine* engine, const tally_uuid* job_id,
                                     const tally_call* call, tally_receipt* receipt,
                                     tally_error* error) {
  return apply(engine, call, receipt, error,
               [&](Arguments& arguments) { return ReleaseJobCredits{arguments.job(job_id)}; });
}

tally_code tally_complete_job(tally_engine* engine, const tally_uuid* job_id, int64_t final_cost,
                              const char* output_url, size_t output_url_length,
                              const tally_call* call, tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return CompleteJob{arguments.job(job_id), Credits{final_cost},
                       arguments.text("output_url", output_url, output_url_length)};
  });
}

tally_code tally_fail_job(tally_engine* engine, const tally_uuid* job_id, const char* error_code,
                          size_t error_code_length, const char* error_message,
                          size_t error_message_length, const tally_call* call,
                          tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return FailJob{arguments.job(job_id),
                   arguments.required_text("error_code", error_code, error_code_length),
                   arguments.text("error_message", error_message, error_message_length)};
  });
}

tally_code tally_claim_job(tally_engine* engine, const tally_uuid* job_id, int64_t ttl_s,
                           const tally_call* call, tally_receipt* receipt, tally_error* error) {
  return apply(engine, call, receipt, error, [&](Arguments& arguments) {
    return ClaimJob{arguments.job(job_id), ttl_s};
  });
}

tally_code tally_batch(tally_engine* engine, const tally_operation* operations, size_t count,
                       const tally_call* call, tally_receipt* receipt, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    std::string_view wrong;
    if (!is_callable(engine, receipt, wrong)) return invalid(error, wrong);
    if (operations == nullptr && count > 0) return invalid(error, "operations is NULL");
    CallId id;
    if (!read_call(call, id))
      return invalid(error, "tally_call: a size or a flag that this library does not know");
    Batch batch;
    bool is_malformed = false;
    if (!read_operations(operations, count, engine->engine, batch.operations, is_malformed))
      return invalid(error, "tally_operation: struct_size is none that this library knows");
    Command command = engine->engine.make_command(std::move(batch), id);
    if (is_malformed) command.malformed = Code::invalid_argument;
    return apply_command(
        engine->engine, std::move(command), receipt, error,
        [&](std::optional<std::uint32_t> index) { return fault_in(operations, count, index); });
  });
}
