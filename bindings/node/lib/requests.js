'use strict';
// What is under way in the addon's threads, and how it comes back.

const native = require('./load.js');
const { TallyError, AbortError, closed } = require('./errors.js');

const pending = new Map();
const listeners = new Map();
let last_id = 0;
let last_key = 0;

native.listen(
  function settle(id, code, ...values) {
    const request = pending.get(id);
    finish(id, request);
    request.done(code, values);
  },
  function tell(key, event, ...values) {
    listeners.get(key)?.deref()?.hear(event, values);
  },
  (code, detail, index, op_id) => new TallyError(code, detail, { index, op_id }),
);

function finish(id, request) {
  pending.delete(id);
  if (request.signal) request.signal.removeEventListener('abort', request.abort);
  request.calls?.end(id);
}

/**
 * The calls of one engine or syncer that are under way in the addon. Each holds its owner, which is
 * therefore not collected before they are settled.
 */
class Calls {
  #open = new Set();
  #closing;
  #rest;

  constructor(what, owner, cancel) {
    this.what = what;
    this.owner = owner;
    this.cancel = cancel;
  }

  get is_closed() {
    return this.#closing !== undefined;
  }

  check() {
    if (this.#closing) throw closed(this.what);
  }

  begin(id) {
    this.#open.add(id);
  }

  end(id) {
    this.#open.delete(id);
    if (this.#open.size === 0) this.#rest?.();
  }

  /** Those that have not begun never happen. */
  drop() {
    for (const id of [...this.#open]) {
      if (!this.cancel(id)) continue;
      const request = pending.get(id);
      finish(id, request);
      request.reject(closed(this.what));
    }
  }

  /** Once: no more calls, then waits for the open ones, then `end`. */
  close(before, end) {
    this.#closing ??= (async () => {
      await before();
      if (this.#open.size > 0) await new Promise((resolve) => (this.#rest = resolve));
      await end();
    })();
    return this.#closing;
  }
}

/**
 * A promise of what `start(id)` asks for. `convert` makes the value of what comes; `dispose` gets
 * it where nobody waits any more.
 */
function ask(calls, start, { convert, dispose, signal, op_id } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw new AbortError(signal, op_id);
    calls?.check();
    const id = ++last_id;
    let waits = true;
    const request = {
      calls,
      signal,
      reject,
      done(code, values) {
        if (code !== 0) {
          if (waits) reject(new TallyError(code, values[0], { index: values[1], op_id }));
        } else if (waits) {
          answer(resolve, reject, convert, values);
        } else {
          dispose?.(...values);
        }
      },
      abort() {
        waits = false;
        if (calls?.cancel(id)) finish(id, request);
        reject(new AbortError(signal, op_id));
      },
    };
    start(id);
    pending.set(id, request);
    calls?.begin(id);
    signal?.addEventListener('abort', request.abort, { once: true });
  });
}

function answer(resolve, reject, convert, values) {
  try {
    resolve(convert?.(...values));
  } catch (error) {
    reject(error);
  }
}

/** What `work` throws is a rejection, as in an async function, but without a promise more. */
function attempt(work) {
  try {
    return work();
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Names an engine or syncer for the addon, which tells its events under that key. */
function next_key() {
  return ++last_key;
}

const collected = new FinalizationRegistry((key) => listeners.delete(key));

/** Events of that key go to `listener.hear`, as long as there is one. */
function register(listener, key) {
  listeners.set(key, new WeakRef(listener));
  collected.register(listener, key);
  return key;
}

function forget(key) {
  listeners.delete(key);
}

module.exports = { native, Calls, ask, attempt, register, forget, next_key };
