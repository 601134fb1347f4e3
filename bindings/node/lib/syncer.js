'use strict';
// What keeps a mirror equal to canonical.

const tables = require('./tables.js');
const { Emitter } = require('./emitter.js');
const { parse } = require('./json.js');
const { text, whole } = require('./lines.js');
const { native, Calls, ask, register, forget, next_key } = require('./requests.js');

const asyncDispose = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');
const states = Object.keys(tables.SyncState);
const error_classes = Object.keys(tables.SyncErrorClass);
const TIMEOUT_MS = 30_000;

const shapes = {
  rejected: (json) => parse(json),
  verdict: (number, op_id, code) => ({ number, op_id, code }),
  progress: (acked, pending) => ({ acked, pending }),
  state: (state, error_class, error) => ({
    state: states[state],
    error_class: error_classes[error_class],
    error,
  }),
  changed: (...user_ids) => ({ user_ids }),
  diverged: (user_id) => ({ user_id }),
};

const texts = ['conninfo', 'token', 'schema', 'device_id'];
const numbers = [
  'operations_max',
  'bytes_max',
  'rows_max',
  'poll_interval_ms',
  'call_timeout_ms',
  'backoff_base_ms',
  'backoff_cap_ms',
  'digest_every',
  'lease_size',
  'lease_low_water',
  'lease_ttl_s',
];

function native_options(options) {
  const read = {};
  for (const name of texts) read[name] = text(name, options[name]);
  for (const name of numbers) read[name] = whole(name, options[name]);
  return read;
}

/** The started ones, which go on when nobody else knows them any more. */
const started = new Set();

class Syncer extends Emitter {
  #handle;
  #key = next_key();
  #calls;
  #ended;
  #kept_alive = false;

  constructor(engine, engine_handle, options, ended) {
    const given = native_options(options);
    super(native.sync_events, shapes, (bits) => {
      if (!this.is_closed) native.sync_hear(this.#handle, bits);
    });
    this.engine = engine;
    this.#handle = native.syncer(engine_handle, this.#key, given);
    register(this, this.#key);
    this.#calls = new Calls('syncer', this, (id) => this.#cancel(id));
    this.#ended = ended;
  }

  get is_closed() {
    return this.#calls?.is_closed ?? false;
  }

  #ask(name, given, { signal } = {}, convert) {
    return ask(this.#calls, (id) => native[name](this.#handle, id, ...given), { convert, signal });
  }

  // One that has begun is told to come to its end, unless that would end the background, too.
  #cancel(id) {
    if (native.sync_cancel(this.#handle, id)) return true;
    if (!started.has(this)) native.sync_stop(this.#handle);
    return false;
  }

  async run(timeout_ms = TIMEOUT_MS, how) {
    return this.#ask('sync_run', [whole('timeout_ms', timeout_ms)], how, (state) => states[state]);
  }

  async start() {
    await this.#ask('sync_start', []);
    if (!this.is_closed) started.add(this);
  }

  stop() {
    started.delete(this);
    if (!this.is_closed) native.sync_stop(this.#handle);
  }

  async claim_next(ttl_s, { timeout_ms = TIMEOUT_MS, ...how } = {}) {
    const given = [whole('timeout_ms', timeout_ms), whole('ttl_s', ttl_s)];
    return this.#ask('sync_claim_next', given, how, (job_id) => job_id);
  }

  async verify(user_id, { timeout_ms = TIMEOUT_MS, ...how } = {}) {
    const given = [whole('timeout_ms', timeout_ms), user_id];
    return this.#ask('sync_verify', given, how, (equal) => equal);
  }

  async resume(token) {
    return this.#ask('sync_resume', [text('token', token)]);
  }

  async enrol_anew({ timeout_ms = TIMEOUT_MS, ...how } = {}) {
    return this.#ask('sync_enrol_anew', [whole('timeout_ms', timeout_ms)], how);
  }

  ref() {
    if (!this.#kept_alive && !this.is_closed) native.keep_alive(1);
    this.#kept_alive ||= !this.is_closed;
    return this;
  }

  unref() {
    if (this.#kept_alive) native.keep_alive(0);
    this.#kept_alive = false;
    return this;
  }

  close() {
    return this.#calls.close(
      async () => {
        this.unref();
        started.delete(this);
        this.#calls.drop();
      },
      async () => {
        await ask(undefined, (id) => native.sync_close(this.#handle, id));
        forget(this.#key);
        this.#ended();
      },
    );
  }

  [asyncDispose]() {
    return this.close();
  }
}

module.exports = { Syncer };
