'use strict';
// What an engine measured: each value as it comes, and what it all comes to.

const native = require('./load.js');

// In the order of C's TALLY_METRIC_KIND_...
const kinds = ['counter', 'histogram', 'gauge'];
const metrics = native.metrics.map(([metric, kind, unit]) => ({ metric, kind: kinds[kind], unit }));

/** The addon's arguments, of which the attributes come last, a name and a value each. */
function measurement(number, value, ...attributes) {
  const named = {};
  for (let i = 0; i < attributes.length; i += 2) named[attributes[i]] = attributes[i + 1];
  return { ...metrics[number], value, attributes: named };
}

class Totals {
  #of = new Map();

  add({ value, ...of }) {
    const key = JSON.stringify(of);
    const before = this.#of.get(key);
    if (before === undefined) {
      this.#of.set(key, { ...of, count: 1, value, least: value, greatest: value });
      return;
    }
    before.count += 1;
    before.value = of.kind === 'gauge' ? value : before.value + value;
    before.least = Math.min(before.least, value);
    before.greatest = Math.max(before.greatest, value);
  }

  /** Copies: the host may keep them. */
  read() {
    return Array.from(this.#of.values(), (total) => structuredClone(total));
  }
}

module.exports = { Totals, measurement };
