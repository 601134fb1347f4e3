'use strict';
// JSON that loses no digit of a whole number. JavaScript's numbers are exact to 2^53 only, and the
// JSON columns of a ledger's rows may hold longer ones: those are BigInts here, both ways. (Amounts
// are far below.)

const { wrong_type } = require('./errors.js');

// Texts of the ledger contain no U+0000, so none begins with it: it marks a number on its way.
const MARK = '\u0000';
const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;

function is_long(token) {
  return token[0] !== '"' && /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token));
}

function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  let any = false;
  const marked = text.replace(tokens, (token) => {
    if (!is_long(token)) return token;
    any = true;
    return `"\\u0000${token}"`;
  });
  if (!any) return JSON.parse(text);
  return JSON.parse(marked, (_, value) =>
    typeof value === 'string' && value[0] === MARK ? BigInt(value.slice(1)) : value,
  );
}

function stringify(value) {
  let any = false;
  const text = JSON.stringify(value, (key, inner) => {
    if (typeof inner === 'bigint') {
      any = true;
      return `${MARK}${inner}`;
    }
    if (typeof inner === 'string' && inner[0] === MARK) {
      throw wrong_type(key || 'a text', 'a text without U+0000', inner);
    }
    return inner;
  });
  return any ? text.replace(/"\\u0000(-?\d+)"/g, '$1') : text;
}

module.exports = { parse, stringify };
