// The package's types, by hand; those that come from the tables are in tables.d.ts.
/// <reference types="node" />

import { EventEmitter } from 'node:events';
import type {
  Code,
  CodeName,
  Durability,
  Id,
  Json,
  LogLevel,
  Operation,
  Operations,
  Call,
  Receipt,
  EntryType,
  JobStatus,
  NichePreset,
  ReportProgress,
  CompleteJob,
  AssetType,
  Capability,
  SpendPolicy,
  Stage,
  SyncErrorClass,
  SyncState,
  TranscriptMode,
} from './tables.js';

export * from './tables.js';

/** Of the library, `major.minor.patch`, and of the SQLite inside it. */
export declare const version: string;
export declare const sqlite_version: string;

/** A UUID of version 7: ordered by time, and increasing within the process. */
export declare function uuid(): Id;

/**
 * Opens, and by default makes, the mirror at that path. Failures: not_found, corrupt,
 * schema_too_new, sqlite_unsafe, read_only, busy, io, full.
 */
export declare function open(path: string | URL, options?: OpenOptions): Promise<Engine>;

export interface OpenOptions {
  /** What an `ok` survives; `full` by default. */
  durability?: Durability | undefined;
  /** Of a mirror that is enrolled as a device; `optimistic` by default. */
  spend_policy?: SpendPolicy | undefined;
  /** A file that does not exist is not_found, and none is made. */
  must_exist?: boolean | undefined;
  /** How long to wait for another process' transaction, then busy. 10,000 by default. */
  busy_timeout_ms?: number | undefined;
  /** Under `online`: for canonical's verdict, then pending. 10,000 by default. */
  verdict_timeout_ms?: number | undefined;
  /** low_credits is told when a balance falls below; 5 by default. */
  low_credits?: number | undefined;
  /** SQLite's page cache. */
  cache_kib?: number | undefined;
  /** Has `metric` events come, and metrics() answer. It takes time, so that nothing is measured by
   * default. */
  measure?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** A refusal, which changed nothing, or a failure of the world. */
export declare class TallyError extends Error {
  readonly name: 'TallyError';
  /** `insufficient_credits`. */
  readonly code: Exclude<CodeName, 'ok'>;
  readonly number: Exclude<(typeof Code)[CodeName], 0>;
  readonly class: 'refusal' | 'failure';
  /** Of a batch that was refused: which of its operations, from 0. */
  readonly index: number | undefined;
  /** Of an operation: the same one again, with this, counts once. */
  readonly op_id: Id | undefined;
}

/** What a call rejects with whose signal is aborted; `cause` is the signal's reason. */
export declare class AbortError extends Error {
  readonly name: 'AbortError';
  readonly code: 'ABORT_ERR';
  /** The operation may have happened all the same: repeat it with this to be sure. */
  readonly op_id: Id | undefined;
}

export interface ReadOptions {
  signal?: AbortSignal | undefined;
}
export interface TextOptions extends ReadOptions {
  /** The JSON as the library wrote it, to be parsed by the caller. */
  text: true;
}
export interface ParsedOptions extends ReadOptions {
  text?: false | undefined;
}

/** All or none of it, in one commit. `op_id` is made where it is absent. */
export type BatchOperation = Operation & { op_id?: Id | undefined };
export interface Batch {
  op: 'batch';
  ops: readonly BatchOperation[];
}

/** A result line of a trace. */
export interface Result {
  /** Null where the line is no operation. */
  op_id: Id | null;
  result: CodeName;
  balance: number | null;
  id?: Id;
  index?: number;
  /** Of a line that is no operation: which, from 1. */
  line?: number;
}

export interface Check {
  balance: number;
  /** The open holds, and what is unspent in leases, this device's and others'. */
  held: number;
  entries: number;
  /** Not yet confirmed by canonical. */
  pending_operations: number;
}
export interface Hold {
  job_id: Id;
  reservation: Id | null;
  amount: number;
}
export interface Account extends Check {
  holds: Hold[];
  leases: Lease[];
}

/** UTC, as in `2026-01-18T00:00:00.000000Z`. */
export type Time = string;

export interface Entry {
  id: Id;
  seq: number;
  type: EntryType | 'usage' | 'expire' | 'reserve';
  amount: number;
  balance_after: number;
  note: string | null;
  created_at: Time;
  job_id: Id | null;
  stripe_payment_id: string | null;
}

export interface ProjectRow {
  id: Id;
  user_id: Id;
  title: string;
  prompt_text: string;
  niche_preset: NichePreset;
  target_minutes: number;
  voice_profile_id: Id | null;
  transcript_mode: TranscriptMode;
  transcript_text: string | null;
  settings: Json;
  created_at: Time;
  updated_at: Time;
}

export interface JobRow {
  id: Id;
  project_id: Id;
  user_id: Id;
  status: JobStatus;
  progress: number;
  status_message: string | null;
  cost_credits_reserved: number | null;
  cost_credits_final: number | null;
  failed_step: Stage | null;
  error_code: string | null;
  error_message: string | null;
  output_url: string | null;
  manifest_json: Json;
  created_at: Time;
  started_at: Time | null;
  finished_at: Time | null;
}

export interface StepRow {
  id: Id;
  job_id: Id;
  step_name: Stage;
  step_order: number;
  state: 'pending' | 'started' | 'succeeded' | 'failed';
  progress_pct: number;
  status_message: string | null;
  error_message: string | null;
  logs_url: string | null;
  artifacts_json: Json;
  started_at: Time | null;
  finished_at: Time | null;
}

export interface AssetRow {
  id: Id;
  job_id: Id;
  type: AssetType;
  url: string;
  storage_path: string;
  size_bytes: number | bigint | null;
  mime_type: string | null;
  metadata_json: Json;
  created_at: Time;
}

export interface JobView {
  job: JobRow;
  steps: StepRow[];
  assets: AssetRow[];
}

export interface DraftRow {
  id: Id;
  session_token: string;
  prompt_text: string;
  template_id: string | null;
  options: Json;
  user_id: Id | null;
  created_at: Time;
  updated_at: Time;
  expires_at: Time;
}

/** The PRD's tables. */
export type Table =
  | 'profiles'
  | 'credit_ledger'
  | 'draft_prompts'
  | 'projects'
  | 'jobs'
  | 'job_steps'
  | 'assets'
  | 'voice_profiles';

/** Its keys are the table's columns. */
export type Row = Record<string, Json>;

export interface TableDigest {
  table: Table;
  rows: number;
  /** 16 hex digits. */
  digest: string;
}

export interface Audit {
  users: number;
  entries: number;
  jobs: number;
  findings: { invariant: string; user_id: Id | null; detail: string }[];
}

/** What a backup holds, which was compared with the mirror and audited. */
export interface Backup {
  /** Of the file. */
  bytes: number;
  users: number;
  entries: number;
  jobs: number;
}

/** One value of what is measured; engine/reference/telemetry.md lists what is. */
export interface Measurement {
  /** OpenTelemetry's name. */
  metric: string;
  kind: 'counter' | 'histogram' | 'gauge';
  /** In UCUM: `s`, `{operation}`. */
  unit: string;
  value: number;
  attributes: Record<string, string>;
}
/** What one metric with one set of attributes has come to since the engine was opened. */
export interface Metric extends Measurement {
  /** How many values came. */
  count: number;
  /** Their sum; of a gauge the latest. */
  value: number;
  least: number;
  greatest: number;
}

export interface SyncStatus {
  device_id: Id;
  /** The one user whom the device is for, or null: all. */
  scope: Id | null;
  capabilities: Capability[];
  acked: number;
  pending: number;
  blocked: number;
  rejected: number;
  synced_at: Time | null;
  attempts: number;
  error_class: SyncErrorClass;
  error: string | null;
  next_attempt_at: Time | null;
}

export interface Lease {
  user_id: Id;
  lease_id: Id;
  unspent: number;
  expires_at: Time;
  returning: boolean;
}

export interface Rejected {
  number: number;
  result: CodeName;
  index: number | null;
  rejected_at: Time;
  /** A trace's line. */
  operation: { op: string; op_id: Id; at: Time; [field: string]: Json };
}

/** The events of an engine: of what its own commits did. */
export interface EngineEvents {
  job_complete: [{ user_id: Id; job_id: Id }];
  job_failed: [{ user_id: Id; job_id: Id }];
  low_credits: [{ user_id: Id; balance: number }];
  log: [{ level: LogLevel; line: string }];
  /** Of an engine that was opened with `measure`. */
  metric: [Measurement];
}

/** What `engine.job()` does a job with. */
export interface JobOptions {
  user_id: Id;
  project_id: Id;
  /** Of a job that is to be taken, or made under this id; a new one's where it is absent. */
  job_id?: Id | undefined;
  /** What is reserved. A job that has its hold already needs none. */
  amount?: number | undefined;
  /** How long, in seconds, the claim lives beyond the death of this process; 300 by default. It is
   * renewed meanwhile. */
  ttl?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface RunningJob {
  readonly job_id: Id;
  readonly status: JobStatus;
  readonly has_ended: boolean;
  /** Aborted when the claim is lost, or JobOptions.signal is aborted. */
  readonly signal: AbortSignal;
  advance(to: Stage, status_message?: string): Promise<Receipt>;
  /** Of the stage that it is in. */
  progress(
    progress_pct: number,
    fields?: Omit<ReportProgress, 'job_id' | 'step_name' | 'progress_pct'>,
  ): Promise<Receipt>;
  /** READY, at that cost or that of the reservation, through whatever stages are left. */
  complete(fields?: Partial<Omit<CompleteJob, 'job_id'>>): Promise<Receipt>;
  fail(error_code: string, error_message?: string): Promise<Receipt>;
}

export interface Engine extends Operations {}

type Here<Method> = Method extends (...call: infer Arguments) => Promise<infer Answer>
  ? (...call: Arguments) => Answer
  : never;

/**
 * Every operation on the calling thread, which is its until the commit is done: about 0.1 ms where
 * it has to be on disk. In its turn behind what was called before. Throws what the promise would be
 * rejected with.
 */
export type SyncOperations = {
  readonly [Name in keyof Operations | 'apply' | 'batch']: Here<Engine[Name]>;
};

/** A mirror, open. Made by open(). */
export declare class Engine extends EventEmitter<EngineEvents> implements AsyncDisposable {
  private constructor();
  readonly path: string;
  readonly is_closed: boolean;
  /** Waits for every call that was made, closes its syncers, and ends it. Again is the same. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;

  /** From memory, in less than a microsecond. Throws user_not_found. */
  balance(user_id: Id): number;
  check(user_id: Id): Check;

  /** The operations without promises. */
  readonly sync: SyncOperations;

  /** Any operation, as in a trace; `op_id` and `at` in it or in `call`. */
  apply(
    operation: (Operation | Batch) & { op_id?: Id | undefined; at?: Date | string | undefined },
    call?: Call,
  ): Promise<Receipt>;
  /** 1 to 1,000 of one user, all or none, in one commit. */
  batch(ops: Iterable<BatchOperation>, call?: Call): Promise<Receipt>;
  /** A trace, or its operations: each whole or not at all, in order, in one commit. Refusals are
   * results. */
  submit(lines: Trace, options: TextOptions): Promise<string>;
  submit(lines: Trace, options?: ParsedOptions): Promise<Result[]>;

  /** What was measured since it was opened, its syncers' too. Throws ERR_INVALID_STATE where it was
   * opened without `measure`. */
  metrics(): Metric[];

  account(user_id: Id, options?: ReadOptions): Promise<Account>;
  /** Newest first. */
  history(
    user_id: Id,
    options?: ReadOptions & { limit?: number | undefined; before_seq?: number | undefined },
  ): Promise<Entry[]>;
  /** All of them, newest first, read a page at a time. */
  entries(
    user_id: Id,
    options?: ReadOptions & { page?: number | undefined; before_seq?: number | undefined },
  ): AsyncGenerator<Entry, void, void>;
  project(project_id: Id, options: TextOptions): Promise<string>;
  project(project_id: Id, options?: ParsedOptions): Promise<ProjectRow>;
  job(job_id: Id, options: TextOptions): Promise<string>;
  job(job_id: Id, options?: ParsedOptions): Promise<JobView>;
  /**
   * Does a job: makes or takes it, reserves, queues and claims it in one commit, calls `work`, and
   * completes it when that returns, or fails it, which gives the credits back, when it throws.
   * Resolves to what `work` returned. Where the process dies between, the claim ends after `ttl`,
   * and a `sweep` fails the job: no hold is stranded.
   */
  job<T>(job: JobOptions, work: (job: RunningJob) => T | PromiseLike<T>): Promise<T>;
  jobs(user_id: Id, options: TextOptions): Promise<string>;
  jobs(user_id: Id, options?: ParsedOptions): Promise<JobRow[]>;
  drafts(user_id: Id, options: TextOptions): Promise<string>;
  drafts(user_id: Id, options?: ParsedOptions): Promise<DraftRow[]>;
  users(options?: ReadOptions): Promise<Id[]>;
  rows(table: Table, options: TextOptions & { user_id?: Id | undefined }): Promise<string>;
  rows(table: Table, options?: ParsedOptions & { user_id?: Id | undefined }): Promise<Row[]>;
  digest(user_id: Id, options?: ReadOptions): Promise<TableDigest[]>;
  audit(options?: ReadOptions): Promise<Audit>;
  pending_operations(options?: ReadOptions): Promise<number>;
  /**
   * Copies the mirror as it is now, while others write; the file gets its name once it was compared
   * with the mirror, audited and synced. A copy of a device is that device, too. Refusals:
   * already_exists (without `replace`), invalid_argument (the mirror itself). Failures: busy (what
   * is to be replaced is open, or has a WAL beside it), not_found (no such folder), corrupt, io,
   * full.
   */
  backup(
    path: string | URL,
    options?: ReadOptions & { replace?: boolean | undefined },
  ): Promise<Backup>;

  syncer(options?: SyncOptions): Syncer;
  /** Null where the mirror never was a device. */
  sync_status(options?: ReadOptions): Promise<SyncStatus | null>;
  leases(options?: ReadOptions): Promise<Lease[]>;
  rejected(options: TextOptions): Promise<string>;
  rejected(options?: ParsedOptions): Promise<Rejected[]>;
  dismiss(number: number, options?: ReadOptions): Promise<void>;
  retry(number: number, options?: ReadOptions): Promise<Receipt>;
  /** A device over all users is fed these alone; null: all. */
  subscribe(user_ids: readonly Id[] | null, options?: ReadOptions): Promise<void>;
}

export type Trace = string | Uint8Array | Iterable<string | Operation | Batch>;

export interface SyncOptions {
  /** A URI or a conninfo string; absent: libpq's PG* environment. */
  conninfo?: string | undefined;
  /** The device's. */
  token?: string | undefined;
  schema?: string | undefined;
  /** A token of another device's then stops with invalid_argument. */
  device_id?: Id | undefined;
  /** Of one call: 1 to 10,000. */
  operations_max?: number | undefined;
  /** Of one call: 1 to 16 MiB, but for its last operation. */
  bytes_max?: number | undefined;
  /** Of one call: 1 to 1,000,000. */
  rows_max?: number | undefined;
  poll_interval_ms?: number | undefined;
  call_timeout_ms?: number | undefined;
  backoff_base_ms?: number | undefined;
  backoff_cap_ms?: number | undefined;
  digest_every?: number | undefined;
  lease_size?: number | undefined;
  lease_low_water?: number | undefined;
  lease_ttl_s?: number | undefined;
}

export interface SyncEvents {
  /** It stays in engine.rejected() until it is dismissed or retried. */
  rejected: [Rejected];
  /** Under `online`: on an operation that was queued. */
  verdict: [{ number: number; op_id: Id; code: CodeName }];
  progress: [{ acked: number; pending: number }];
  state: [{ state: SyncState; error_class: SyncErrorClass; error: string }];
  changed: [{ user_ids: Id[] }];
  diverged: [{ user_id: Id }];
}

export interface SyncCall {
  /** 30,000 by default. */
  timeout_ms?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Keeps a mirror equal to canonical. Made by engine.syncer(). */
export declare class Syncer extends EventEmitter<SyncEvents> implements AsyncDisposable {
  private constructor();
  readonly engine: Engine;
  readonly is_closed: boolean;
  /** Until everything is pushed and pulled: `synced`, or `idle` where something is rejected.
   * Failures: busy, unreachable, unauthorized, device_forked, history_lost, protocol, and the
   * mirror's own. */
  run(timeout_ms?: number, options?: { signal?: AbortSignal | undefined }): Promise<SyncState>;
  /** The same in the background, until stop() or close(). It keeps no process alive: see ref(). */
  start(): Promise<void>;
  /** Has it stop, and does not wait for it. A call under way rejects with unreachable. */
  stop(): void;
  /** The next job for a worker, claimed for so many seconds; null where there is none. */
  claim_next(ttl_s: number, options?: SyncCall): Promise<Id | null>;
  /** Whether both halves have the same rows of that user. */
  verify(user_id: Id, options?: SyncCall): Promise<boolean>;
  /** After an authentication error: another token, and on. */
  resume(token: string): Promise<void>;
  /** A mirror that is forked becomes the device of the options' token. */
  enrol_anew(options?: SyncCall): Promise<void>;
  /** Has it keep the process alive; it does not by default. */
  ref(): this;
  unref(): this;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
