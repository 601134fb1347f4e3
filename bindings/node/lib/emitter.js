'use strict';
// An EventEmitter that has the addon send the events that somebody listens to, and no others.

const { EventEmitter } = require('node:events');

class Emitter extends EventEmitter {
  #events;
  #shapes;
  #want;
  #wanted = 0;

  /** `want(bits)` is called with the events that are listened to, a bit each. */
  constructor(events, shapes, want) {
    super();
    this.#events = events;
    this.#shapes = shapes;
    this.#want = want;
  }

  #changed() {
    const bits = this.#events.reduce(
      (sum, event, i) => (this.listenerCount(event) > 0 ? sum | (1 << i) : sum),
      0,
    );
    if (bits === this.#wanted) return;
    this.#wanted = bits;
    this.#want(bits);
  }

  /** What the addon tells. */
  hear(event, values) {
    this.emit(event, this.#shapes[event](...values));
  }

  static {
    for (const name of [
      'on',
      'addListener',
      'prependListener',
      'off',
      'removeListener',
      'removeAllListeners',
    ]) {
      const plain = EventEmitter.prototype[name];
      Object.defineProperty(this.prototype, name, {
        configurable: true,
        writable: true,
        value(...given) {
          plain.apply(this, given);
          this.#changed();
          return this;
        },
      });
    }
  }
}

module.exports = { Emitter };
