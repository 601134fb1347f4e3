'use strict';
// The operations on the calling thread, which is theirs until the commit.

const { AbortError } = require('./errors.js');
const { line_of, add_operations } = require('./lines.js');
const { native } = require('./requests.js');

/** Of `op_id balance id`. */
function receipt_of(text) {
  const end = text.indexOf(' ', 37);
  return {
    op_id: text.slice(0, 36),
    balance: end > 37 ? Number(text.slice(37, end)) : null,
    id: text.slice(end + 1) || null,
  };
}

class Sync {
  #calls;
  #handle;

  constructor(calls, handle) {
    this.#calls = calls;
    this.#handle = handle;
  }

  apply(operation, call) {
    const { op_id, line } = line_of(operation, call);
    if (call?.signal?.aborted) throw new AbortError(call.signal, op_id);
    this.#calls.check();
    return receipt_of(native.apply_now(this.#handle, line, op_id));
  }

  batch(ops, call) {
    return this.apply({ op: 'batch', ops: [...ops] }, call);
  }

  static {
    add_operations(this.prototype);
  }

  // What stands before every piece of work goes without JSON. Whatever is not plainly right, or
  // rare, is apply()'s, which says what is wrong with it.
  reserve_credits(fields, call) {
    const given = { ...fields };
    const { user_id, job_id, amount } = given;
    const is_plain = Object.keys(given).length === 3 && Number.isSafeInteger(amount);
    if (is_plain && call?.at === undefined && call?.signal === undefined) {
      this.#calls.check();
      const made = native.reserve_now(this.#handle, user_id, job_id, amount, call?.op_id);
      if (made !== undefined) return receipt_of(made);
    }
    return this.apply({ ...given, op: 'reserve_credits' }, call);
  }
}

module.exports = { Sync };
