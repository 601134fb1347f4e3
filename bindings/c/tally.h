/* Tallystick from C, and from every language that can call C: the authoritative text of the ABI.
 *
 *   tally_error error = TALLY_ERROR_INIT;
 *   tally_engine* engine = NULL;
 *   if (tally_engine_open("mirror.db", 9, NULL, &engine, &error) != TALLY_OK) puts(error.detail);
 *   tally_reserve_credits(engine, &user_id, &job_id, 8, NULL, NULL, &error);
 *   tally_engine_free(engine);
 *
 * Answers. A function that returns tally_code answers TALLY_OK, a refusal (an everyday answer;
 * nothing changed) or a failure of the world (nothing was decided); tally_code_class() tells which.
 * What it has to say beyond that goes into the caller's tally_error, which may be NULL. Where the
 * answer is not TALLY_OK, what the other pointers point to is as it was, unless said otherwise.
 *
 * Arguments. A text is a pointer, then its length in bytes: UTF-8, no terminating zero asked for,
 * NULL and 0 where it is absent (a pointer that is not NULL is a text, if an empty one). Every
 * struct begins with its own size, which the caller sets (the TALLY_..._INIT macros do): a library
 * newer than the caller reads and writes no more of it than that, and an older one answers
 * invalid_argument when a field that it does not know is in use, as it does to a size that no
 * version had; nothing has happened then. A NULL where a pointer is needed is invalid_argument.
 * An operation's fields that are missing, or no value, are refused in the order of checks of the
 * contract's section 4, and the error's detail names the field. Credits are whole, within 0 to
 * 2,147,483,647, and cross as int64_t. Times are microseconds since 1970-01-01 UTC.
 *
 * Memory. Nothing here is thread-local. The caller frees what a function named tally_..._free says,
 * and nothing else.
 *
 * Threads. An engine is thread-safe. A tally_syncer is for one thread at a time, but for
 * tally_syncer_stop() and tally_syncer_free() (see there). A tally_text may be read from any
 * thread. Handles are of the process that made them: a child that fork() made may neither use nor
 * free them, and cannot open a mirror that its parent had open when it forked (invalid_argument:
 * SQLite has locks that a child does not inherit). Fork before the mirror is opened, or execute.
 *
 * Stability. TALLY_ABI_VERSION, which is also the shared library's SOVERSION, changes when a caller
 * would have to be built again. Until then functions, fields at the ends of structs and codes are
 * only added, and a caller treats a code that it does not know by its class.
 */
#ifndef TALLY_H
#define TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "tally_constants.h" /* The codes, operations, statuses and words: made from our tables. */

#if defined(_WIN32)
#if defined(TALLY_C_BUILD)
#define TALLY_C_API __declspec(dllexport)
#elif defined(TALLY_C_STATIC)
#define TALLY_C_API
#else
#define TALLY_C_API __declspec(dllimport)
#endif
#else
#define TALLY_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TALLY_ABI_VERSION 1

/* TALLY_OK or one of the other TALLY_... codes of tally_constants.h. */
typedef int32_t tally_code;

typedef struct tally_uuid {
  uint8_t bytes[16]; /* In network order. */
} tally_uuid;

/* The caller's. Untouched by a call that answers TALLY_OK. */
typedef struct tally_error {
  uint32_t struct_size;
  tally_code code;
  int64_t index;    /* Of a batch that was refused: which of its operations, from 0; else -1. */
  char detail[496]; /* For people, never parsed; UTF-8, cut to fit, ends with a zero. */
} tally_error;
#define TALLY_ERROR_INIT                     \
  {                                          \
    sizeof(tally_error), TALLY_OK, -1, { 0 } \
  }

/* ---- the library ---------------------------------------------------------------------------- */

/* TALLY_ABI_VERSION of the library in use: compare it with the header's when it was loaded by hand.
 */
TALLY_C_API uint32_t tally_abi_version(void);
/* `major.minor.patch`, and that of the SQLite inside. They live as long as the library. */
TALLY_C_API const char* tally_version(void);
TALLY_C_API const char* tally_sqlite_version(void);

/* The code's name, `insufficient_credits`, its sentence, and its TALLY_CLASS_...; of an unknown
 * code "unknown", "", and TALLY_CLASS_FAILURE. They live as long as the library. */
TALLY_C_API const char* tally_code_name(tally_code code);
TALLY_C_API const char* tally_code_sentence(tally_code code);
TALLY_C_API int32_t tally_code_class(tally_code code);

/* Of a TALLY_METRIC_...: its name in OpenTelemetry's way, `tally.commit.duration`, its unit in
 * UCUM, `s`, and its TALLY_METRIC_KIND_..., which says what a host makes of its values: it adds
 * them up, sorts them into buckets, or keeps the latest. Of an unknown one "unknown", "" and -1.
 * They live as long as the library. engine/reference/telemetry.md lists them with their attributes.
 */
TALLY_C_API const char* tally_metric_name(int32_t metric);
TALLY_C_API const char* tally_metric_unit(int32_t metric);
TALLY_C_API int32_t tally_metric_kind(int32_t metric);

/* A UUID of version 7: ordered by time, and increasing within the process. Failures: internal (no
 * random bytes from the system). */
TALLY_C_API tally_code tally_uuid_new(tally_uuid* id);
/* From 36 characters, 8-4-4-4-12 hex digits in any case. Refusals: invalid_argument. */
TALLY_C_API tally_code tally_uuid_parse(const char* text, size_t length, tally_uuid* id);
/* 36 lower-case characters and a zero; of NULL the zero alone. */
TALLY_C_API void tally_uuid_format(const tally_uuid* id, char text[37]);

/* What a reading function brought: UTF-8, with a zero behind its last byte. Of NULL: "" and 0. */
typedef struct tally_text tally_text;
TALLY_C_API const char* tally_text_data(const tally_text* text);
TALLY_C_API size_t tally_text_length(const tally_text* text);
/* NULL is nothing. */
TALLY_C_API void tally_text_free(tally_text* text);

/* ---- the engine ----------------------------------------------------------------------------- */

/* One mirror file, open. Thread-safe; any number of engines, in any number of processes, may have
 * one file open, and each sees what the others commit. */
typedef struct tally_engine tally_engine;

/* What a value is of: `tally.result`, `ok`. Both end with a zero. */
typedef struct tally_attribute {
  const char* name;
  const char* value;
} tally_attribute;

/* Callbacks come on the thread whose call made the commit, after it, with no lock of the engine's
 * held, and before that call returns; they may call the engine, but not free it, and neither throw
 * nor jump out. What they get is gone when they return. */
typedef struct tally_callbacks {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  void* context;     /* The first argument of each. */
  void (*job_complete)(void* context, const tally_uuid* user_id, const tally_uuid* job_id);
  void (*job_failed)(void* context, const tally_uuid* user_id, const tally_uuid* job_id);
  void (*low_credits)(void* context, const tally_uuid* user_id, int64_t balance);
  /* Level: TALLY_LOG_... . A line begins with the name of its event and a colon. */
  void (*log)(void* context, int32_t level, const char* line, size_t length);
  /* Metric: TALLY_METRIC_... . The value is in its unit; seconds have fractions. Where it is NULL
   * nothing is measured. A syncer of this engine tells here too, on the thread that steps. */
  void (*metric)(void* context, int32_t metric, double value, const tally_attribute* attributes,
                 size_t count);
} tally_callbacks;
#define TALLY_CALLBACKS_INIT \
  { sizeof(tally_callbacks), 0, NULL, NULL, NULL, NULL, NULL, NULL }

typedef struct tally_options {
  uint32_t struct_size;
  int32_t durability; /* TALLY_DURABILITY_FULL: an `ok` is on disk when the call returns;
                         _NORMAL: it survives the end of the process, not a power cut. */
  int32_t
      spend_policy;   /* TALLY_SPEND_OPTIMISTIC, _LEASED, _ONLINE; of a mirror that is enrolled. */
  int32_t must_exist; /* Not 0: a file that does not exist is not_found, and none is made. */
  int64_t busy_timeout_ms;    /* How long to wait for another process' transaction, then busy. */
  int64_t verdict_timeout_ms; /* Under _ONLINE: for canonical's verdict, then pending. */
  int64_t low_credits;        /* low_credits is told when a balance falls below. */
  int64_t cache_kib;          /* SQLite's page cache, for the writing connection. */
  const tally_callbacks* callbacks; /* NULL: none. Copied. */
} tally_options;
#define TALLY_OPTIONS_INIT                                                                    \
  {                                                                                           \
    sizeof(tally_options), TALLY_DURABILITY_FULL, TALLY_SPEND_OPTIMISTIC, 0, 10000, 10000, 5, \
        8192, NULL                                                                            \
  }

/* Opens, and by default makes, the mirror at that path; options NULL: TALLY_OPTIONS_INIT. A new
 * file is readable by its owner alone; an older schema is migrated in one transaction. Refusals:
 * invalid_argument. Failures: not_found, corrupt, schema_too_new, sqlite_unsafe, read_only, busy,
 * io, full. */
TALLY_C_API tally_code tally_engine_open(const char* path, size_t path_length,
                                         const tally_options* options, tally_engine** engine,
                                         tally_error* error);
/* Ends it; no call may be under way on it, and no syncer be left. Waits for nothing. NULL is
 * nothing. */
TALLY_C_API void tally_engine_free(tally_engine* engine);

/* ---- operations ------------------------------------------------------------------------------
 * Each applies whole or not at all; when it answers TALLY_OK it is as durable as the option says.
 * The refusals are those of the operation (engine/reference/operations.md); the failures busy, io,
 * full, corrupt, internal, and under TALLY_SPEND_ONLINE pending (it is queued, as durably as an
 * `ok`). Callers that wait at the same time share a commit. */

/* What identifies a call. NULL, or without a flag: the engine makes it. A repeat with the same
 * op_id and fields is `ok` and has no further effect: keep the op_id to try again after a failure.
 */
typedef struct tally_call {
  uint32_t struct_size;
  uint32_t flags; /* TALLY_CALL_OP_ID | TALLY_CALL_AT: which of these are given. */
  tally_uuid op_id;
  int64_t at_us;
} tally_call;
#define TALLY_CALL_OP_ID 1U
#define TALLY_CALL_AT 2U
#define TALLY_CALL_INIT \
  { sizeof(tally_call), 0, {{0}}, 0 }

/* What an operation that is `ok` answers. A call that is refused, pending or failed sets it, too,
 * as far as it knows: at least the op_id, unless it was no operation at all. */
typedef struct tally_receipt {
  uint32_t struct_size;
  uint32_t flags; /* TALLY_RECEIPT_BALANCE | TALLY_RECEIPT_ID: which of these are there. */
  tally_uuid op_id;
  tally_uuid id;   /* The draft that claim_draft found. */
  int64_t balance; /* Of the user whom it concerns, after it. */
} tally_receipt;
#define TALLY_RECEIPT_BALANCE 1U
#define TALLY_RECEIPT_ID 2U
#define TALLY_RECEIPT_INIT \
  { sizeof(tally_receipt), 0, {{0}}, {{0}}, 0 }

/* Any operation, as a trace's JSON (contract, section 9): {"op":"create_user","user_id":"..."}.
 * Without `op_id` or `at`, also in a batch's operations, the engine makes them. Refusals besides
 * the operation's: invalid_argument (no JSON object, an unknown `op`, a malformed `op_id` or `at`).
 */
TALLY_C_API tally_code tally_apply(tally_engine* engine, const char* json, size_t length,
                                   tally_receipt* receipt, tally_error* error);
/* Many, a line each, in order, each whole or not at all, in one commit: a trace, which carries
 * op_id and at. `results` gets the result lines, one a line, refusals among them, numbered from 1
 * where a line is no operation. Failures are the commit's: then nothing of it happened. */
TALLY_C_API tally_code tally_submit(tally_engine* engine, const char* lines, size_t length,
                                    tally_text** results, tally_error* error);

/* The calls of a worker's day, typed. `call` and `receipt` may be NULL. */

TALLY_C_API tally_code tally_add_credits(tally_engine* engine, const tally_uuid* user_id,
                                         int64_t amount, int32_t type, /* TALLY_ENTRY_... */
                                         const char* note, size_t note_length,
                                         const tally_call* call, tally_receipt* receipt,
                                         tally_error* error);
TALLY_C_API tally_code tally_create_job(tally_engine* engine, const tally_uuid* job_id,
                                        const tally_uuid* project_id, const tally_uuid* user_id,
                                        const tally_call* call, tally_receipt* receipt,
                                        tally_error* error);
TALLY_C_API tally_code tally_reserve_credits(tally_engine* engine, const tally_uuid* user_id,
                                             const tally_uuid* job_id, int64_t amount,
                                             const tally_call* call, tally_receipt* receipt,
                                             tally_error* error);
TALLY_C_API tally_code tally_advance_job(tally_engine* engine, const tally_uuid* job_id,
                                         int32_t to, /* TALLY_JOB_... */
                                         const char* status_message, size_t status_message_length,
                                         const tally_call* call, tally_receipt* receipt,
                                         tally_error* error);
TALLY_C_API tally_code tally_report_progress(tally_engine* engine, const tally_uuid* job_id,
                                             int32_t step, /* TALLY_JOB_SCRIPTING to _PACKAGING */
                                             int64_t progress_pct, const char* status_message,
                                             size_t status_message_length, const tally_call* call,
                                             tally_receipt* receipt, tally_error* error);
TALLY_C_API tally_code tally_finalize_job_credits(tally_engine* engine, const tally_uuid* job_id,
                                                  int64_t final_cost, const tally_call* call,
                                                  tally_receipt* receipt, tally_error* error);
TALLY_C_API tally_code tally_release_job_credits(tally_engine* engine, const tally_uuid* job_id,
                                                 const tally_call* call, tally_receipt* receipt,
                                                 tally_error* error);
TALLY_C_API tally_code tally_complete_job(tally_engine* engine, const tally_uuid* job_id,
                                          int64_t final_cost, const char* output_url,
                                          size_t output_url_length, const tally_call* call,
                                          tally_receipt* receipt, tally_error* error);
TALLY_C_API tally_code tally_fail_job(tally_engine* engine, const tally_uuid* job_id,
                                      const char* error_code, size_t error_code_length,
                                      const char* error_message, size_t error_message_length,
                                      const tally_call* call, tally_receipt* receipt,
                                      tally_error* error);
TALLY_C_API tally_code tally_claim_job(tally_engine* engine, const tally_uuid* job_id,
                                       int64_t ttl_s, const tally_call* call,
                                       tally_receipt* receipt, tally_error* error);

/* One of the operations above in a batch. Which fields it reads, besides op_id:
 *
 *   TALLY_OPERATION_...     ids                           number        word      text
 *   ADD_CREDITS             user_id                       amount        entry     note
 *   CREATE_JOB              job_id, project_id, user_id
 *   RESERVE_CREDITS         user_id, job_id               amount
 *   ADVANCE_JOB             job_id                                      status    status_message
 *   REPORT_PROGRESS         job_id                        progress_pct  status    status_message
 *   FINALIZE_JOB_CREDITS    job_id                        final_cost
 *   RELEASE_JOB_CREDITS     job_id
 *   COMPLETE_JOB            job_id                        final_cost              output_url
 *   FAIL_JOB                job_id                                      error_code, and message
 *   CLAIM_JOB               job_id                        ttl in seconds
 */
typedef struct tally_operation {
  uint32_t struct_size;
  int32_t operation; /* TALLY_OPERATION_... ; any other than those above is invalid_argument. */
  tally_uuid op_id;  /* Zeros: the engine makes one. */
  tally_uuid user_id;
  tally_uuid project_id;
  tally_uuid job_id;
  int64_t number;
  int32_t word;      /* TALLY_ENTRY_... or TALLY_JOB_... */
  uint32_t reserved; /* 0 */
  const char* text;  /* fail_job: its error_code. */
  size_t text_length;
  const char* message; /* fail_job: its error_message. */
  size_t message_length;
} tally_operation;

/* 1 to 1,000 operations of one user, all or none, in one commit. The array's stride is the
 * struct_size of its first. */
TALLY_C_API tally_code tally_batch(tally_engine* engine, const tally_operation* operations,
                                   size_t count, const tally_call* call, tally_receipt* receipt,
                                   tally_error* error);

/* ---- reading --------------------------------------------------------------------------------
 * Balance and check are answered from memory, without a lock, in nanoseconds; they see every commit
 * of this engine that returned before, and every other process' that was visible in the file. The
 * others read the file, each in one snapshot, and block no writer. Failures: busy, io, corrupt. */

/* Refusals: user_not_found. */
TALLY_C_API tally_code tally_engine_balance(const tally_engine* engine, const tally_uuid* user_id,
                                            int64_t* balance, tally_error* error);
/* The same in one value, for callers to whom a pointer is dear: the balance, or INT64_MIN plus the
 * code, which is below TALLY_BALANCE_NONE, as no balance is. */
TALLY_C_API int64_t tally_engine_balance_value(const tally_engine* engine,
                                               const tally_uuid* user_id);
#define TALLY_BALANCE_NONE (INT64_MIN / 2)

typedef struct tally_check {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t balance;
  int64_t held; /* Its open holds, and what is unspent in leases, this device's and others'. */
  int64_t entries;
  int64_t pending_operations; /* Not yet confirmed by canonical. */
} tally_check;
#define TALLY_CHECK_INIT \
  { sizeof(tally_check), 0, 0, 0, 0, 0 }
/* Refusals: user_not_found. */
TALLY_C_API tally_code tally_engine_check(const tally_engine* engine, const tally_uuid* user_id,
                                          tally_check* check, tally_error* error);

typedef struct tally_hold {
  tally_uuid job_id;
  tally_uuid reservation; /* Zeros: none that has a name. */
  int64_t amount;
} tally_hold;
/* The check and the open holds, in one consistent read. `holds` has room for `capacity` of them
 * (NULL and 0: none are wanted); `count` gets how many there are, so that a caller with too little
 * room sees it and asks again. Refusals: user_not_found. */
TALLY_C_API tally_code tally_engine_account(const tally_engine* engine, const tally_uuid* user_id,
                                            tally_check* check, tally_hold* holds, size_t capacity,
                                            size_t* count, tally_error* error);

/* The others answer JSON. Rows are objects whose keys are the columns of the PRD's tables, in their
 * order: ids and times as texts, numbers as numbers, JSON columns as JSON, NULL as null. */

/* The account, its open holds and this device's leases of it, in one consistent read:
 * {"balance","held","entries","pending_operations","holds":[{"job_id","reservation","amount"}],
 * "leases":[as tally_engine_leases() has them]}. Refusals: user_not_found. */
TALLY_C_API tally_code tally_engine_account_state(const tally_engine* engine,
                                                  const tally_uuid* user_id, tally_text** json,
                                                  tally_error* error);
/* [{"id","seq","type","amount","balance_after","note","created_at","job_id","stripe_payment_id"},
 * ...]: the user's entries, newest first: at most `limit` (1 to 10,000), with a seq below
 * `before_seq` where that is not 0. Refusals: user_not_found, invalid_argument. */
TALLY_C_API tally_code tally_engine_history(const tally_engine* engine, const tally_uuid* user_id,
                                            size_t limit, int64_t before_seq, tally_text** json,
                                            tally_error* error);
/* An object. Refusals: project_not_found. */
TALLY_C_API tally_code tally_engine_project(const tally_engine* engine,
                                            const tally_uuid* project_id, tally_text** json,
                                            tally_error* error);
/* {"job":{...},"steps":[...],"assets":[...]}. Refusals: job_not_found. */
TALLY_C_API tally_code tally_engine_job(const tally_engine* engine, const tally_uuid* job_id,
                                        tally_text** json, tally_error* error);
/* Arrays of rows, without any where there is no such user. */
TALLY_C_API tally_code tally_engine_jobs(const tally_engine* engine, const tally_uuid* user_id,
                                         tally_text** json, tally_error* error);
TALLY_C_API tally_code tally_engine_drafts(const tally_engine* engine, const tally_uuid* user_id,
                                           tally_text** json, tally_error* error);
/* An array of ids, in order. */
TALLY_C_API tally_code tally_engine_users(const tally_engine* engine, tally_text** json,
                                          tally_error* error);
/* All rows of one of the PRD's tables, in id order; of one user where user_id is not NULL.
 * Failures: not_found (no such table). */
TALLY_C_API tally_code tally_engine_rows(const tally_engine* engine, const char* table,
                                         size_t table_length, const tally_uuid* user_id,
                                         tally_text** json, tally_error* error);
/* [{"table":"...","rows":3,"digest":"16 hex digits"}, ...]: what canonical computes, too. */
TALLY_C_API tally_code tally_engine_digest(const tally_engine* engine, const tally_uuid* user_id,
                                           tally_text** json, tally_error* error);
/* {"users":n,"entries":n,"jobs":n,"findings":[{"invariant","user_id","detail"}, ...]}: the
 * invariants computed anew from every entry. */
TALLY_C_API tally_code tally_engine_audit(const tally_engine* engine, tally_text** json,
                                          tally_error* error);
/* Copies the mirror as it is now into a new file, while others read and write: one snapshot,
 * checked by SQLite, audited and compared with the mirror, then synced and given its name; until
 * then nothing but what was there before is under it. `replace` 0: a file that is there is
 * already_exists. A copy of a device is that device, too: where both go on the second to sync is
 * device_forked. `json` gets {"bytes":n,"users":n,"entries":n,"jobs":n}. Refusals:
 * already_exists, invalid_argument (the mirror itself). Failures: busy (the file to be replaced is
 * open, or a WAL was left beside it), corrupt (the copy is not right, and is gone), io, full,
 * read_only. */
TALLY_C_API tally_code tally_engine_backup(const tally_engine* engine, const char* path,
                                           size_t path_length, int32_t replace, tally_text** json,
                                           tally_error* error);
/* How many operations wait to be pushed. */
TALLY_C_API tally_code tally_engine_pending_operations(const tally_engine* engine, int64_t* count,
                                                       tally_error* error);

/* ---- sync -----------------------------------------------------------------------------------
 * Keeps the mirror equal to canonical. Nothing here blocks on the network but what has a timeout,
 * and no thread runs unless tally_syncer_start() is called. One process syncs a mirror; another
 * takes over when it goes. Any number of processes may apply operations meanwhile.
 *
 * A syncer's calls are for one thread at a time. Where it runs on a thread of its own, that one
 * rests while another call has the syncer, as soon as its step is done, and goes on then. A time to
 * wait that is below 0 is 0, and one above a year is a year. */

typedef struct tally_syncer tally_syncer;

/* Called on the thread that steps (with tally_syncer_start(), that one); they may call the engine
 * and tally_syncer_stop(); anything else of the syncer answers invalid_argument there. They neither
 * throw nor jump out. Texts and ids are gone when they return. */
typedef struct tally_sync_callbacks {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  void* context;
  /* Canonical rejected an operation; it stays in tally_engine_rejected() until it is dismissed or
   * retried. `json`: an object as there. */
  void (*rejected)(void* context, const char* json, size_t length);
  /* Under TALLY_SPEND_ONLINE: the verdict on an operation that was queued. */
  void (*verdict)(void* context, int64_t number, const tally_uuid* op_id, tally_code code);
  void (*progress)(void* context, int64_t acked, int64_t pending);
  /* TALLY_SYNC_..., TALLY_SYNC_ERROR_..., and what is wrong, for people. */
  void (*state)(void* context, int32_t state, int32_t error_class, const char* error,
                size_t error_length);
  /* The users whose rows came with an answer. */
  void (*changed)(void* context, const tally_uuid* user_ids, size_t count);
  /* A user's rows were not canonical's; they are fed anew. */
  void (*diverged)(void* context, const tally_uuid* user_id);
} tally_sync_callbacks;
#define TALLY_SYNC_CALLBACKS_INIT \
  { sizeof(tally_sync_callbacks), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

typedef struct tally_sync_options {
  uint32_t struct_size;
  uint32_t flags;       /* TALLY_SYNC_DEVICE_ID: that one is given. */
  const char* conninfo; /* A URI, a conninfo string, or absent for libpq's PG* environment. */
  size_t conninfo_length;
  const char* token; /* The device's. */
  size_t token_length;
  const char* schema; /* Absent: public. */
  size_t schema_length;
  tally_uuid device_id;     /* A token of another device's then stops with invalid_argument. */
  int64_t operations_max;   /* Of one call: 1 to 10,000. */
  int64_t bytes_max;        /* The same: 1 to 16 MiB, but for its last operation. */
  int64_t rows_max;         /* The same: 1 to 1,000,000. */
  int64_t poll_interval_ms; /* Between calls when there is nothing to push. */
  int64_t call_timeout_ms;  /* A call for which nothing moves for so long is made again. */
  int64_t backoff_base_ms;  /* After the k-th transient error in a row: a random time up to the */
  int64_t backoff_cap_ms;   /* least of cap and base times 2^k. */
  int64_t digest_every;     /* Every so many idle calls a user's digest is compared; 0: not. */
  /* Keeps the device's leases at lease_size credits, refilled below lease_low_water, for
   * lease_ttl_s seconds; lease_size 0: none are kept. */
  int64_t lease_size;
  int64_t lease_low_water; /* At most lease_size. */
  int64_t lease_ttl_s;
  const tally_sync_callbacks* callbacks; /* NULL: none. Copied. */
} tally_sync_options;
#define TALLY_SYNC_DEVICE_ID 1U
#define TALLY_SYNC_OPTIONS_INIT                                                                  \
  {                                                                                              \
    sizeof(tally_sync_options), 0, NULL, 0, NULL, 0, NULL, 0, {{0}}, 1000, 4194304, 20000, 2000, \
        60000, 250, 60000, 100, 0, 0, 0, NULL                                                    \
  }

/* Makes one for that engine, which must outlive it; connects to nothing yet. Refusals:
 * invalid_argument. */
TALLY_C_API tally_code tally_syncer_new(tally_engine* engine, const tally_sync_options* options,
                                        tally_syncer** syncer, tally_error* error);
/* Stops it, waits for its thread where one was started, and ends it; not from a callback. NULL is
 * nothing. */
TALLY_C_API void tally_syncer_free(tally_syncer* syncer);

/* What a step leaves to wait for. */
typedef struct tally_wait {
  uint32_t struct_size;
  int32_t state;  /* TALLY_SYNC_... */
  int64_t socket; /* -1: only the time. */
  int32_t readable;
  int32_t writable;
  int64_t timeout_ms;
} tally_wait;
#define TALLY_WAIT_INIT \
  { sizeof(tally_wait), 0, -1, 0, 0, 0 }
/* Does what can be done without waiting for the network, and says what to wait for: for hosts with
 * a loop of their own. Commits to the mirror's file happen in here. */
TALLY_C_API tally_code tally_syncer_step(tally_syncer* syncer, tally_wait* wait,
                                         tally_error* error);
/* Steps until everything is pushed and pulled, or the time is over: TALLY_OK with the state SYNCED,
 * or IDLE where something is rejected. Failures: busy (another process syncs this mirror),
 * unreachable (the time was over), unauthorized, device_forked, history_lost, protocol, and the
 * mirror's own. `state` may be NULL. */
TALLY_C_API tally_code tally_syncer_run(tally_syncer* syncer, int64_t timeout_ms, int32_t* state,
                                        tally_error* error);
/* The same on a thread of its own, until tally_syncer_stop() or _free(). Where it runs already it
 * goes on. Failures: internal (the system gives no thread). */
TALLY_C_API tally_code tally_syncer_start(tally_syncer* syncer, tally_error* error);
/* From any thread, and from callbacks: has its own thread end after the step that it is at, and
 * does not wait for it; tally_syncer_start() starts it again. A call that is under way answers as
 * if its time were over. NULL is nothing. */
TALLY_C_API void tally_syncer_stop(tally_syncer* syncer);
/* After an authentication error: another token, and on; also after a protocol error that an
 * operator has mended. */
TALLY_C_API tally_code tally_syncer_resume(tally_syncer* syncer, const char* token,
                                           size_t token_length, tally_error* error);
/* A mirror that is forked becomes another device, whose token the options have; what it has not
 * pushed is kept as rejected, to be retried. Failures as tally_syncer_run(). */
TALLY_C_API tally_code tally_syncer_enrol_anew(tally_syncer* syncer, int64_t timeout_ms,
                                               tally_error* error);
/* The next job for a worker, claimed for ttl_s seconds (1 to 2,592,000). `found` gets 0 where there
 * is none, and job_id stays as it was. Refusals: invalid_argument. Failures as
 * tally_syncer_run(). */
TALLY_C_API tally_code tally_syncer_claim_next(tally_syncer* syncer, int64_t ttl_s,
                                               int64_t timeout_ms, tally_uuid* job_id,
                                               int32_t* found, tally_error* error);
/* Compares the user's digest with canonical's, once everything is pushed and pulled; `equal` gets 0
 * where they differ. Failures as tally_syncer_run(). */
TALLY_C_API tally_code tally_syncer_verify(tally_syncer* syncer, const tally_uuid* user_id,
                                           int64_t timeout_ms, int32_t* equal, tally_error* error);

/* How far the mirror and canonical have come, in any process; null where it never was a device:
 * {"device_id","capabilities","scope","acked","pending","blocked","rejected","cursor","synced_at",
 * "attempts","error_class","error","next_attempt_at"}. */
TALLY_C_API tally_code tally_engine_sync_status(const tally_engine* engine, tally_text** json,
                                                tally_error* error);
/* The leases of this device, as canonical last showed them, less what pending operations drew:
 * [{"lease_id","user_id","unspent","expires_at","returning"}, ...]. */
TALLY_C_API tally_code tally_engine_leases(const tally_engine* engine, tally_text** json,
                                           tally_error* error);
/* What canonical did not apply: [{"number","result","index","rejected_at","operation":{a trace's
 * line}}, ...]. */
TALLY_C_API tally_code tally_engine_rejected(const tally_engine* engine, tally_text** json,
                                             tally_error* error);
/* Forgets a rejected operation. Refusals: not_found. */
TALLY_C_API tally_code tally_engine_dismiss(tally_engine* engine, int64_t number,
                                            tally_error* error);
/* Applies it anew, under its op_id; then it is pending again. Refusals: not_found, and the
 * operation's: then it stays rejected. */
TALLY_C_API tally_code tally_engine_retry(tally_engine* engine, int64_t number,
                                          tally_receipt* receipt, tally_error* error);
/* A device over all users is fed these alone from its next call on; NULL and 0: all. Refusals:
 * invalid_argument (a device for one user, or more than 10,000), illegal_transition (an operation
 * of one who would go is still pending: push it first). */
TALLY_C_API tally_code tally_engine_subscribe(tally_engine* engine, const tally_uuid* user_ids,
                                              size_t count, tally_error* error);

#ifdef __cplusplus
}
#endif

#endif
