'use strict';
// Operations as lines of a trace, which is what the engine reads.

const native = require('./load.js');
const { operations } = require('./tables.js');
const { wrong_type } = require('./errors.js');
const { stringify } = require('./json.js');

const integers = new Map();
const with_json = new Set();
for (const [op, fields] of Object.entries(operations)) {
  const names = Object.keys(fields);
  integers.set(
    op,
    names.filter((name) => fields[name] === 'integer'),
  );
  if (names.some((name) => fields[name] === 'json')) with_json.add(op);
}

/** A number that is a whole one and exact, or nothing. */
function whole(name, value) {
  if (value === undefined || value === null || Number.isSafeInteger(value)) return value;
  throw wrong_type(name, 'a safe integer', value);
}

function text(name, value) {
  if (value === undefined || typeof value === 'string') return value;
  throw wrong_type(name, 'a string', value);
}

function check_numbers(op, fields) {
  for (const name of integers.get(op) ?? []) whole(name, fields[name]);
}

let last_ms = 0;
let until_ms = '';
let tick = 0;

/** The present, growing within a millisecond, too, in which JavaScript's clock stands still. */
function now() {
  const ms = Date.now();
  if (ms === last_ms) {
    tick = Math.min(tick + 1, 999);
  } else {
    last_ms = ms;
    until_ms = new Date(ms).toISOString().slice(0, -1);
    tick = 0;
  }
  return `${until_ms}${String(tick).padStart(3, '0')}Z`;
}

function time(at) {
  if (at === undefined || at === null) return now();
  if (at instanceof Date) return `${at.toISOString().slice(0, -1)}000Z`;
  return text('at', at);
}

/** One of a batch's, which takes the batch's time. */
function inner(operation) {
  const { op, op_id = native.new_id(), ...fields } = Object(operation);
  check_numbers(op, fields);
  return { op, op_id: text('op_id', op_id), ...fields };
}

/** What goes to the engine, with the op_id that it has there. */
function line_of(operation, call) {
  if (operation === null || typeof operation !== 'object') {
    throw wrong_type('an operation', 'an object', operation);
  }
  const { op, op_id: own_id, at: own_at, ...fields } = operation;
  const op_id = text('op_id', call?.op_id ?? own_id ?? native.new_id());
  const head = { op, op_id, at: time(call?.at ?? own_at) };
  if (op === 'batch' && Array.isArray(fields.ops)) {
    return { op_id, line: stringify({ ...head, ...fields, ops: fields.ops.map(inner) }) };
  }
  check_numbers(op, fields);
  const write = with_json.has(op) ? stringify : JSON.stringify;
  return { op_id, line: write({ ...head, ...fields }) };
}

/** Has each operation that is no method yet be one, which is apply() of it. */
function add_operations(prototype) {
  for (const op of Object.keys(operations)) {
    if (Object.hasOwn(prototype, op)) continue;
    const method = {
      [op](fields, call) {
        return this.apply({ ...fields, op }, call);
      },
    };
    Object.defineProperty(prototype, op, {
      configurable: true,
      writable: true,
      value: method[op],
    });
  }
}

module.exports = { line_of, add_operations, whole, text };
