'use strict';
// What a call rejects with.

const native = require('./load.js');
const { Code } = require('./tables.js');

const classes = ['ok', 'refusal', 'failure'];
const texts = new Map();

function texts_of(number) {
  let found = texts.get(number);
  if (!found) {
    const [name, code_class, sentence] = native.code_texts(number);
    found = { name, class: classes[code_class], sentence };
    texts.set(number, found);
  }
  return found;
}

/** A refusal, which changed nothing, or a failure of the world. */
class TallyError extends Error {
  constructor(number, detail, { index, op_id } = {}) {
    const { name, class: code_class, sentence } = texts_of(number);
    super(`${name}: ${detail || sentence}`);
    this.code = name;
    this.number = number;
    this.class = code_class;
    this.index = index >= 0 ? index : undefined;
    this.op_id = op_id;
  }

  static of_name(name, rest) {
    return new TallyError(Code[name] ?? Code.internal, undefined, rest);
  }
}
Object.defineProperty(TallyError.prototype, 'name', { value: 'TallyError', writable: true });

/** As Node's own functions reject when their signal is aborted. */
class AbortError extends Error {
  constructor(signal, op_id) {
    super('The operation was aborted', { cause: signal.reason });
    this.code = 'ABORT_ERR';
    this.op_id = op_id;
  }
}
Object.defineProperty(AbortError.prototype, 'name', { value: 'AbortError', writable: true });

function closed(what) {
  return Object.assign(new Error(`the ${what} is closed`), { code: 'ERR_INVALID_STATE' });
}

function wrong_type(name, wanted, value) {
  const shown =
    typeof value === 'bigint' ? `${value}n` : typeof value === 'number' ? value : typeof value;
  return Object.assign(new TypeError(`${name} is ${wanted}, not ${shown}`), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
}

module.exports = { TallyError, AbortError, closed, wrong_type };
