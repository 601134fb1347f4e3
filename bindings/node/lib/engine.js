'use strict';
// An open mirror.

const { fileURLToPath } = require('node:url');

const tables = require('./tables.js');
const { Emitter } = require('./emitter.js');
const { TallyError, wrong_type } = require('./errors.js');
const { run_job } = require('./job.js');
const { parse } = require('./json.js');
const { Totals, measurement } = require('./metrics.js');
const { line_of, add_operations, text, whole } = require('./lines.js');
const { native, Calls, ask, attempt, register, forget, next_key } = require('./requests.js');
const { Sync } = require('./sync.js');
const { Syncer } = require('./syncer.js');

const asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');
const levels = Object.keys(tables.LogLevel);

const shapes = {
  job_complete: (user_id, job_id) => ({ user_id, job_id }),
  job_failed: (user_id, job_id) => ({ user_id, job_id }),
  low_credits: (user_id, balance) => ({ user_id, balance }),
  log: (level, line) => ({ level: levels[level], line }),
  metric: measurement,
};
const metric_bit = 1 << native.events.indexOf('metric');

function word(name, words, value) {
  if (value === undefined) return undefined;
  const number = Object.keys(words).indexOf(value);
  if (number >= 0) return number;
  throw wrong_type(name, `one of ${Object.keys(words).join(', ')}`, value);
}

function file_of(path) {
  if (path === undefined) throw wrong_type('path', 'a string or a file URL', path);
  return path instanceof URL ? fileURLToPath(path) : text('path', path);
}

function native_options(options) {
  return {
    durability: word('durability', tables.Durability, options.durability),
    spend_policy: word('spend_policy', tables.SpendPolicy, options.spend_policy),
    must_exist: options.must_exist ? 1 : 0,
    busy_timeout_ms: whole('busy_timeout_ms', options.busy_timeout_ms),
    verdict_timeout_ms: whole('verdict_timeout_ms', options.verdict_timeout_ms),
    low_credits: whole('low_credits', options.low_credits),
    cache_kib: whole('cache_kib', options.cache_kib),
    measure: options.measure ? 1 : 0,
  };
}

function receipt_of(line) {
  const { op_id, result, balance, id = null, index } = JSON.parse(line);
  if (result === 'ok') return { op_id, balance, id };
  throw TallyError.of_name(result, { index, op_id });
}

function lines_of(given) {
  if (typeof given === 'string') return given;
  if (given instanceof Uint8Array) return new TextDecoder().decode(given);
  if (typeof given?.[Symbol.iterator] !== 'function') {
    throw wrong_type('lines', 'a trace or its operations', given);
  }
  return Array.from(given, (one) => (typeof one === 'string' ? one : line_of(one).line)).join('\n');
}

function results_of(lines) {
  return lines
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

class Engine extends Emitter {
  #handle;
  #key;
  #calls;
  #sync;
  #syncers = new Set();
  #totals;

  constructor(handle, key, path, measure) {
    // What is measured is added up whether somebody listens or not.
    const always = measure ? metric_bit : 0;
    super(native.events, shapes, (bits) => {
      if (!this.is_closed) native.hear(handle, bits | always);
    });
    if (measure) this.#totals = new Totals();
    if (always) native.hear(handle, always);
    this.#handle = handle;
    this.#key = register(this, key);
    this.#calls = new Calls('engine', this, (id) => native.cancel(handle, id));
    this.path = path;
  }

  static open(path, options = {}) {
    return attempt(() => {
      const key = next_key();
      const file = file_of(path);
      const given = native_options(options);
      const make = (handle) => new Engine(handle, key, file, given.measure !== 0);
      return ask(undefined, (id) => native.open(id, key, file, given), {
        signal: options.signal,
        convert: make,
        dispose: (handle) => make(handle).close(),
      });
    });
  }

  hear(event, values) {
    if (event === 'metric') this.#totals.add(measurement(...values));
    super.hear(event, values);
  }

  get is_closed() {
    return this.#calls?.is_closed ?? false;
  }

  close() {
    return this.#calls.close(
      () => Promise.all([...this.#syncers].map((syncer) => syncer.close())),
      async () => {
        await ask(undefined, (id) => native.close(this.#handle, id));
        forget(this.#key);
      },
    );
  }

  [asyncDispose]() {
    return this.close();
  }

  // ---- operations ----

  apply(operation, call) {
    return attempt(() => {
      const { op_id, line } = line_of(operation, call);
      return ask(this.#calls, (id) => native.apply(this.#handle, id, line), {
        convert: receipt_of,
        signal: call?.signal,
        op_id,
      });
    });
  }

  batch(ops, call) {
    return attempt(() => this.apply({ op: 'batch', ops: [...ops] }, call));
  }

  submit(lines, { signal, text: as_text } = {}) {
    return attempt(() => {
      const given = lines_of(lines);
      return ask(this.#calls, (id) => native.submit(this.#handle, id, given), {
        convert: as_text ? (results) => results : results_of,
        signal,
      });
    });
  }

  static {
    add_operations(this.prototype);
  }

  get sync() {
    this.#sync ??= new Sync(this.#calls, this.#handle);
    return this.#sync;
  }

  // ---- from memory ----

  balance(user_id) {
    this.#calls.check();
    return native.balance(this.#handle, user_id);
  }

  check(user_id) {
    this.#calls.check();
    return native.check(this.#handle, user_id);
  }

  metrics() {
    if (this.#totals) return this.#totals.read();
    const error = new Error('nothing is measured: open the engine with { measure: true }');
    error.code = 'ERR_INVALID_STATE';
    throw error;
  }

  // ---- from the file ----

  #read(name, given, { signal, text: as_text } = {}, convert = parse) {
    return ask(this.#calls, (id) => native[name](this.#handle, id, ...given), {
      convert: as_text ? (json) => json : convert,
      signal,
    });
  }

  account(user_id, how) {
    return this.#read('account', [user_id], how);
  }

  async history(user_id, { limit = 100, before_seq = 0, ...how } = {}) {
    const page = [user_id, whole('limit', limit), whole('before_seq', before_seq)];
    return this.#read('history', page, how);
  }

  async *entries(user_id, { page = 1000, before_seq = 0, signal } = {}) {
    for (;;) {
      const entries = await this.history(user_id, { limit: page, before_seq, signal });
      yield* entries;
      if (entries.length < page) return;
      before_seq = entries[entries.length - 1].seq;
      if (before_seq === 1) return;
    }
  }

  project(project_id, how) {
    return this.#read('project', [project_id], how);
  }

  job(job, work) {
    if (typeof job === 'string') return this.#read('job', [job], work);
    return run_job(this, job, work);
  }

  jobs(user_id, how) {
    return this.#read('jobs', [user_id], how);
  }

  drafts(user_id, how) {
    return this.#read('drafts', [user_id], how);
  }

  users(how) {
    return this.#read('users', [], how);
  }

  rows(table, { user_id, ...how } = {}) {
    return this.#read('rows', [table, user_id], how);
  }

  digest(user_id, how) {
    return this.#read('digest', [user_id], how);
  }

  audit(how) {
    return this.#read('audit', [], how);
  }

  backup(path, { replace = false, signal } = {}) {
    return attempt(() => this.#read('backup', [file_of(path), replace ? 1 : 0], { signal }));
  }

  pending_operations(how) {
    return this.#read('pending_operations', [], how, (count) => count);
  }

  // ---- sync ----

  sync_status(how) {
    return this.#read('sync_status', [], how);
  }

  leases(how) {
    return this.#read('leases', [], how);
  }

  rejected(how) {
    return this.#read('rejected', [], how);
  }

  async dismiss(number, { signal } = {}) {
    whole('number', number);
    return ask(this.#calls, (id) => native.dismiss(this.#handle, id, number), { signal });
  }

  async retry(number, { signal } = {}) {
    whole('number', number);
    return ask(this.#calls, (id) => native.retry(this.#handle, id, number), {
      convert: (op_id, balance, id) => ({ op_id, balance, id }),
      signal,
    });
  }

  subscribe(user_ids, { signal } = {}) {
    return ask(this.#calls, (id) => native.subscribe(this.#handle, id, user_ids), { signal });
  }

  syncer(options = {}) {
    this.#calls.check();
    const syncer = new Syncer(this, this.#handle, options, () => this.#syncers.delete(syncer));
    this.#syncers.add(syncer);
    return syncer;
  }
}

module.exports = { Engine };
