// The addon's functions: what lib/ calls. Each is thin: arguments in, a request posted or an answer
// from memory out. Arguments are checked in JavaScript; here they are only prevented from doing
// harm.

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "engine.hpp"
#include "host.hpp"
#include "syncer.hpp"

namespace tally::node {
namespace {

napi_value nothing(const Call&) { return nullptr; }

std::shared_ptr<Syncer> open_syncer(const Call& call) {
  std::shared_ptr<Syncer> syncer = call.syncer(0);
  if (syncer && syncer->get() != nullptr) return syncer;
  napi_throw_error(call.env(), "ERR_INVALID_STATE", "the syncer is closed");
  throw Thrown{};
}

// ---- the library ------------------------------------------------------------------------------

/// listen(settle, tell, make_error)
napi_value listen(const Call& call) {
  call.host().listen(call[0], call[1], call[2]);
  return nothing(call);
}

napi_value new_id(const Call& call) {
  tally_uuid id;
  if (const tally_code code = tally_uuid_new(&id); code != TALLY_OK)
    throw_code(call.env(), code, tally_code_sentence(code));
  return to_js(call.env(), id);
}

/// code_texts(number): its name, its class, its sentence
napi_value code_texts(const Call& call) {
  const auto code = static_cast<tally_code>(call.integer(0));
  napi_value texts = nullptr;
  must(call.env(), napi_create_array_with_length(call.env(), 3, &texts));
  const napi_value parts[] = {
      to_js(call.env(), tally_code_name(code)),
      to_js(call.env(), Value(std::int64_t{tally_code_class(code)})),
      to_js(call.env(), tally_code_sentence(code)),
  };
  for (std::uint32_t i = 0; i < 3; ++i)
    must(call.env(), napi_set_element(call.env(), texts, i, parts[i]));
  return texts;
}

/// keep_alive(is): a syncer that is to keep the process running, or no longer
napi_value keep_alive(const Call& call) {
  if (call.integer(0) != 0) {
    call.host().keep_alive();
  } else {
    call.host().let_go();
  }
  return nothing(call);
}

// ---- engines ----------------------------------------------------------------------------------

/// open(id, key, path, options): settles with a handle
napi_value open(const Call& call) {
  const Properties properties(call.env(), call[3]);
  const tally_options options = read_engine_options(properties);
  std::int32_t measures = 0;
  properties.read("measure", measures);
  const auto engine = std::make_shared<Engine>(call.host().shared_from_this(), call.number(1),
                                               options.spend_policy, measures != 0);
  Host& host = call.host();
  host.post(host.pool(), {call.number(0), {}, [engine, options, path = call.text(2)] {
                            tally_error error = TALLY_ERROR_INIT;
                            if (engine->open(path, options, error) != TALLY_OK)
                              return failed(error);
                            return Answer{TALLY_OK, {engine}};
                          }});
  return nothing(call);
}

/// close(engine, id): when everything that was called has happened
napi_value close(const Call& call) {
  const std::shared_ptr<Engine> engine = call.shared_engine(0);
  Host& host = call.host();
  host.post(host.pool(), {call.number(1), {}, [engine] {
                            engine->end();
                            return Answer{};
                          }});
  return nothing(call);
}

/// hear(engine, events): the events that somebody listens to, as bits
napi_value hear(const Call& call) {
  call.engine(0).listen(static_cast<std::uint32_t>(call.integer(1)));
  return nothing(call);
}

/// balance(engine, user_id)
napi_value balance(const Call& call) {
  const tally_uuid user_id = call.id(1);
  const std::int64_t balance = tally_engine_balance_value(call.engine(0).get(), &user_id);
  if (balance < TALLY_BALANCE_NONE) {
    const auto code = static_cast<tally_code>(balance - INT64_MIN);
    throw_code(call.env(), code, tally_code_sentence(code));
  }
  napi_value value = nullptr;
  must(call.env(), napi_create_int64(call.env(), balance, &value));
  return value;
}

/// check(engine, user_id)
napi_value check(const Call& call) {
  const napi_env env = call.env();
  const tally_uuid user_id = call.id(1);
  tally_check check = TALLY_CHECK_INIT;
  tally_error error = TALLY_ERROR_INIT;
  if (tally_engine_check(call.engine(0).get(), &user_id, &check, &error) != TALLY_OK)
    throw_error(env, error);
  napi_value object = nullptr;
  must(env, napi_create_object(env, &object));
  const std::pair<const char*, std::int64_t> properties[] = {
      {"balance", check.balance},
      {"held", check.held},
      {"entries", check.entries},
      {"pending_operations", check.pending_operations}};
  for (const auto& [name, number] : properties)
    must(env, napi_set_named_property(env, object, name, to_js(env, Value(number))));
  return object;
}

// ---- operations, in order ---------------------------------------------------------------------

/// apply(engine, id, line): settles with the result line
napi_value apply(const Call& call) {
  call.host().post(call.engine(0).writer(), {call.number(1), call.text(2), {}});
  return nothing(call);
}

/// Work on the engine's own thread, which ends before the engine does.
template <class Work>
napi_value post_write(const Call& call, Work work) {
  Engine& engine = call.engine(0);
  call.host().post(engine.writer(), {call.number(1), {}, [&engine, work = std::move(work)] {
                                       tally_error error = TALLY_ERROR_INIT;
                                       Answer answer;
                                       if (work(engine.get(), answer, error) == TALLY_OK)
                                         return answer;
                                       return failed(error);
                                     }});
  return nothing(call);
}

/// submit(engine, id, lines): settles with the result lines
napi_value submit(const Call& call) {
  return post_write(call, [lines = call.text(2)](tally_engine* engine, Answer& answer,
                                                 tally_error& error) {
    Text results;
    const tally_code code = tally_submit(engine, lines.data(), lines.size(), &results.text, &error);
    if (code == TALLY_OK) answer.values = {results.value()};
    return code;
  });
}

/// dismiss(engine, id, number)
napi_value dismiss(const Call& call) {
  return post_write(call,
                    [number = call.integer(2)](tally_engine* engine, Answer&, tally_error& error) {
                      return tally_engine_dismiss(engine, number, &error);
                    });
}

/// retry(engine, id, number): settles with op_id, balance, id
napi_value retry(const Call& call) {
  return post_write(
      call, [number = call.integer(2)](tally_engine* engine, Answer& answer, tally_error& error) {
        tally_receipt receipt = TALLY_RECEIPT_INIT;
        const tally_code code = tally_engine_retry(engine, number, &receipt, &error);
        answer.values = {text_of(receipt.op_id), Value{}, Value{}};
        if ((receipt.flags & TALLY_RECEIPT_BALANCE) != 0) answer.values[1] = receipt.balance;
        if ((receipt.flags & TALLY_RECEIPT_ID) != 0) answer.values[2] = text_of(receipt.id);
        return code;
      });
}

/// subscribe(engine, id, user_ids or null)
napi_value subscribe(const Call& call) {
  const bool all = call.is_absent(2);
  return post_write(call, [all, ids = all ? std::vector<tally_uuid>{} : call.ids(2)](
                              tally_engine* engine, Answer&, tally_error& error) {
    const tally_uuid none{};  // An empty vector's data may be null, which stands for all.
    const tally_uuid* const of = ids.empty() ? &none : ids.data();
    return tally_engine_subscribe(engine, all ? nullptr : of, ids.size(), &error);
  });
}

// ---- operations, on this thread ---------------------------------------------------------------

/// `op_id balance id`, without what there is none of. One text crosses twice as fast as an array.
napi_value receipt_text(napi_env env, const tally_receipt& receipt) {
  char text[96];
  tally_uuid_format(&receipt.op_id, text);
  char* end = text + 36;
  *end++ = ' ';
  if ((receipt.flags & TALLY_RECEIPT_BALANCE) != 0)
    end = std::to_chars(end, end + 20, receipt.balance).ptr;
  *end++ = ' ';
  if ((receipt.flags & TALLY_RECEIPT_ID) != 0) {
    tally_uuid_format(&receipt.id, end);
    end += 36;
  }
  napi_value value = nullptr;
  must(env, napi_create_string_latin1(env, text, static_cast<std::size_t>(end - text), &value));
  return value;
}

/// `work` in its turn; answers with the receipt's text. `op_id` null: the engine's.
template <class Work>
napi_value apply_here(const Call& call, napi_value op_id, Work work) {
  const napi_env env = call.env();
  Engine& engine = call.engine(0);
  engine.await_turn();
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  tally_error error = TALLY_ERROR_INIT;
  if (work(engine.get(), &receipt, &error) != TALLY_OK)
    throw_error(env, error, op_id != nullptr ? op_id : to_js(env, receipt.op_id));
  return receipt_text(env, receipt);
}

/// apply_now(engine, line, op_id): a receipt's text
napi_value apply_now(const Call& call) {
  return apply_here(call, call[2], [line = call.text(1)](tally_engine* engine, auto... out) {
    return tally_apply(engine, line.data(), line.size(), out...);
  });
}

/// reserve_now(engine, user_id, job_id, amount, op_id?): the same; nothing, and nothing done, where
/// an argument is not of its type
napi_value reserve_now(const Call& call) {
  tally_uuid user_id;
  tally_uuid job_id;
  tally_call identity = TALLY_CALL_INIT;
  if (!call.is_id(1, user_id) || !call.is_id(2, job_id)) return nothing(call);
  if (!call.is_absent(4)) {
    if (!call.is_id(4, identity.op_id)) return nothing(call);
    identity.flags |= TALLY_CALL_OP_ID;
  }
  const std::int64_t amount = call.integer(3);
  return apply_here(call, nullptr, [&](tally_engine* engine, auto... out) {
    return tally_reserve_credits(engine, &user_id, &job_id, amount, &identity, out...);
  });
}

// ---- reads ------------------------------------------------------------------------------------

/// Work on the pool, which keeps the engine as long.
template <class Work>
napi_value post_read(const Call& call, Work work) {
  Host& host = call.host();
  host.post(host.pool(),
            {call.number(1), {}, [engine = call.shared_engine(0), work = std::move(work)] {
               tally_error error = TALLY_ERROR_INIT;
               Text text;
               if (work(engine->get(), &text.text, &error) != TALLY_OK) return failed(error);
               return Answer{TALLY_OK, {text.value()}};
             }});
  return nothing(call);
}

/// name(engine, id): settles with JSON
template <tally_code (*read)(const tally_engine*, tally_text**, tally_error*)>
napi_value read_all(const Call& call) {
  return post_read(call, read);
}

/// name(engine, id, uuid): settles with JSON
template <tally_code (*read)(const tally_engine*, const tally_uuid*, tally_text**, tally_error*)>
napi_value read_one(const Call& call) {
  return post_read(
      call, [id = call.id(2)](const tally_engine* engine, tally_text** text, tally_error* error) {
        return read(engine, &id, text, error);
      });
}

/// history(engine, id, user_id, limit, before_seq)
napi_value history(const Call& call) {
  const std::int64_t limit = call.integer(3);
  return post_read(call, [user_id = call.id(2), limit, before_seq = call.integer(4)](
                             const tally_engine* engine, tally_text** text, tally_error* error) {
    return tally_engine_history(engine, &user_id, static_cast<std::size_t>(limit < 0 ? 0 : limit),
                                before_seq, text, error);
  });
}

/// rows(engine, id, table, user_id?)
napi_value rows(const Call& call) {
  const bool all = call.is_absent(3);
  return post_read(call, [table = call.text(2), all, user_id = all ? tally_uuid{} : call.id(3)](
                             const tally_engine* engine, tally_text** text, tally_error* error) {
    return tally_engine_rows(engine, table.data(), table.size(), all ? nullptr : &user_id, text,
                             error);
  });
}

/// backup(engine, id, path, replace)
napi_value backup(const Call& call) {
  return post_read(call, [path = call.text(2), replace = call.integer(3) != 0](
                             const tally_engine* engine, tally_text** text, tally_error* error) {
    return tally_engine_backup(engine, path.data(), path.size(), replace ? 1 : 0, text, error);
  });
}

/// pending_operations(engine, id): settles with a number
napi_value pending_operations(const Call& call) {
  Host& host = call.host();
  host.post(host.pool(),
            {call.number(1), {}, [engine = call.shared_engine(0)] {
               tally_error error = TALLY_ERROR_INIT;
               std::int64_t count = 0;
               if (tally_engine_pending_operations(engine->get(), &count, &error) != TALLY_OK)
                 return failed(error);
               return Answer{TALLY_OK, {count}};
             }});
  return nothing(call);
}

/// cancel(engine, id): whether it was still waiting; then it never happens, nor settles
napi_value cancel(const Call& call) {
  Engine& engine = call.engine(0);
  const double id = call.number(1);
  const bool waited = engine.writer().cancel(id) || call.host().pool().cancel(id);
  if (waited) call.host().let_go();
  return to_js(call.env(), Value(waited));
}

// ---- sync -------------------------------------------------------------------------------------

/// syncer(engine, key, options): a handle
napi_value make_syncer(const Call& call) {
  return to_js(call.env(),
               Handle{{},
                      std::make_shared<Syncer>(call.env(), call.shared_engine(0), call.number(1),
                                               Properties(call.env(), call[2]))});
}

/// Work on the syncer's own thread, which ends before the syncer does.
template <class Work>
napi_value post_sync(const Call& call, Work work) {
  const std::shared_ptr<Syncer> syncer = open_syncer(call);
  tally_syncer* const handle = syncer->get();
  call.host().post(syncer->lane(), {call.number(1), {}, [handle, work = std::move(work)] {
                                      tally_error error = TALLY_ERROR_INIT;
                                      Answer answer;
                                      if (work(handle, answer, error) == TALLY_OK) return answer;
                                      return failed(error);
                                    }});
  return nothing(call);
}

/// sync_run(syncer, id, timeout_ms): settles with the state's number
napi_value sync_run(const Call& call) {
  return post_sync(call, [timeout_ms = call.integer(2)](tally_syncer* syncer, Answer& answer,
                                                        tally_error& error) {
    std::int32_t state = 0;
    const tally_code code = tally_syncer_run(syncer, timeout_ms, &state, &error);
    answer.values = {std::int64_t{state}};
    return code;
  });
}

/// sync_start(syncer, id)
napi_value sync_start(const Call& call) {
  return post_sync(call, [](tally_syncer* syncer, Answer&, tally_error& error) {
    return tally_syncer_start(syncer, &error);
  });
}

/// sync_stop(syncer)
napi_value sync_stop(const Call& call) {
  tally_syncer_stop(open_syncer(call)->get());
  return nothing(call);
}

/// sync_resume(syncer, id, token)
napi_value sync_resume(const Call& call) {
  return post_sync(call, [token = call.text(2)](tally_syncer* syncer, Answer&, tally_error& error) {
    return tally_syncer_resume(syncer, token.data(), token.size(), &error);
  });
}

/// sync_enrol_anew(syncer, id, timeout_ms)
napi_value sync_enrol_anew(const Call& call) {
  return post_sync(
      call, [timeout_ms = call.integer(2)](tally_syncer* syncer, Answer&, tally_error& error) {
        return tally_syncer_enrol_anew(syncer, timeout_ms, &error);
      });
}

/// sync_claim_next(syncer, id, timeout_ms, ttl_s): settles with a job's id or null
napi_value sync_claim_next(const Call& call) {
  return post_sync(call, [timeout_ms = call.integer(2), ttl_s = call.integer(3)](
                             tally_syncer* syncer, Answer& answer, tally_error& error) {
    tally_uuid job_id{};
    std::int32_t found = 0;
    const tally_code code =
        tally_syncer_claim_next(syncer, ttl_s, timeout_ms, &job_id, &found, &error);
    answer.values = {found != 0 ? Value(text_of(job_id)) : Value{}};
    return code;
  });
}

/// sync_verify(syncer, id, timeout_ms, user_id): settles with whether both halves are equal
napi_value sync_verify(const Call& call) {
  return post_sync(call, [timeout_ms = call.integer(2), user_id = call.id(3)](
                             tally_syncer* syncer, Answer& answer, tally_error& error) {
    std::int32_t equal = 0;
    const tally_code code = tally_syncer_verify(syncer, &user_id, timeout_ms, &equal, &error);
    answer.values = {equal != 0};
    return code;
  });
}

/// sync_hear(syncer, events): the events that somebody listens to, as bits
napi_value sync_hear(const Call& call) {
  open_syncer(call)->listen(static_cast<std::uint32_t>(call.integer(1)));
  return nothing(call);
}

/// sync_cancel(syncer, id): whether it was still waiting; then it never happens, nor settles
napi_value sync_cancel(const Call& call) {
  const bool waited = open_syncer(call)->lane().cancel(call.number(1));
  if (waited) call.host().let_go();
  return to_js(call.env(), Value(waited));
}

/// sync_close(syncer, id)
napi_value sync_close(const Call& call) {
  const std::shared_ptr<Syncer> syncer = open_syncer(call);
  Host& host = call.host();
  host.post(host.pool(), {call.number(1), {}, [syncer] {
                            syncer->end();
                            return Answer{};
                          }});
  return nothing(call);
}

// ---- what the addon exports -------------------------------------------------------------------

struct Function {
  const char* name;
  napi_callback callback;
};

constexpr Function functions[] = {
    {"listen", entry<listen>},
    {"new_id", entry<new_id>},
    {"code_texts", entry<code_texts>},
    {"keep_alive", entry<keep_alive>},
    {"open", entry<open>},
    {"close", entry<close>},
    {"hear", entry<hear>},
    {"balance", entry<balance>},
    {"check", entry<check>},
    {"apply", entry<apply>},
    {"apply_now", entry<apply_now>},
    {"reserve_now", entry<reserve_now>},
    {"submit", entry<submit>},
    {"dismiss", entry<dismiss>},
    {"retry", entry<retry>},
    {"subscribe", entry<subscribe>},
    {"account", entry<read_one<tally_engine_account_state>>},
    {"history", entry<history>},
    {"project", entry<read_one<tally_engine_project>>},
    {"job", entry<read_one<tally_engine_job>>},
    {"jobs", entry<read_one<tally_engine_jobs>>},
    {"drafts", entry<read_one<tally_engine_drafts>>},
    {"users", entry<read_all<tally_engine_users>>},
    {"rows", entry<rows>},
    {"digest", entry<read_one<tally_engine_digest>>},
    {"audit", entry<read_all<tally_engine_audit>>},
    {"backup", entry<backup>},
    {"pending_operations", entry<pending_operations>},
    {"sync_status", entry<read_all<tally_engine_sync_status>>},
    {"leases", entry<read_all<tally_engine_leases>>},
    {"rejected", entry<read_all<tally_engine_rejected>>},
    {"cancel", entry<cancel>},
    {"syncer", entry<make_syncer>},
    {"sync_run", entry<sync_run>},
    {"sync_start", entry<sync_start>},
    {"sync_stop", entry<sync_stop>},
    {"sync_resume", entry<sync_resume>},
    {"sync_enrol_anew", entry<sync_enrol_anew>},
    {"sync_claim_next", entry<sync_claim_next>},
    {"sync_verify", entry<sync_verify>},
    {"sync_hear", entry<sync_hear>},
    {"sync_cancel", entry<sync_cancel>},
    {"sync_close", entry<sync_close>},
};

template <std::size_t count>
napi_value names(napi_env env, const char* const (&events)[count]) {
  napi_value array = nullptr;
  must(env, napi_create_array_with_length(env, count, &array));
  for (std::uint32_t i = 0; i < count; ++i)
    must(env, napi_set_element(env, array, i, to_js(env, events[i])));
  return array;
}

/// Of each metric, in the order of their numbers, an array of its name, its kind's number, its
/// unit.
napi_value metrics(napi_env env) {
  napi_value array = nullptr;
  must(env, napi_create_array(env, &array));
  for (std::int32_t i = 0; tally_metric_kind(i) >= 0; ++i) {
    napi_value row = nullptr;
    must(env, napi_create_array_with_length(env, 3, &row));
    must(env, napi_set_element(env, row, 0, to_js(env, tally_metric_name(i))));
    must(env, napi_set_element(env, row, 1, to_js(env, Value(std::int64_t{tally_metric_kind(i)}))));
    must(env, napi_set_element(env, row, 2, to_js(env, tally_metric_unit(i))));
    must(env, napi_set_element(env, array, static_cast<std::uint32_t>(i), row));
  }
  return array;
}

void fill(napi_env env, napi_value exports) {
  Host::make(env);
  for (const Function& function : functions) {
    napi_value value = nullptr;
    must(env, napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback, nullptr,
                                   &value));
    must(env, napi_set_named_property(env, exports, function.name, value));
  }
  const std::pair<const char*, napi_value> constants[] = {
      {"version", to_js(env, tally_version())},
      {"sqlite_version", to_js(env, tally_sqlite_version())},
      {"abi_version", to_js(env, Value(std::int64_t{tally_abi_version()}))},
      {"events", names(env, Engine::events)},
      {"metrics", metrics(env)},
      {"sync_events", names(env, Syncer::events)},
  };
  for (const auto& [name, value] : constants)
    must(env, napi_set_named_property(env, exports, name, value));
}

}  // namespace
}  // namespace tally::node

NAPI_MODULE_INIT() {
  try {
    tally::node::fill(env, exports);
  } catch (const tally::node::Thrown&) {
    return nullptr;
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
    return nullptr;
  }
  return exports;
}
