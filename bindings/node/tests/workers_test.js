'use strict';
// Worker threads: many on one file, each with its own engine, and some that are ended at work.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const path = require('node:path');
const { test } = require('node:test');
const { Worker } = require('node:worker_threads');
const { opened, user, tally } = require('./support.js');

const index = JSON.stringify(path.join(__dirname, '..'));

function worker(body, workerData) {
  const text = `
    const tally = require(${index});
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => { ${body} })().then(undefined, (error) => { throw error; });`;
  return new Worker(text, { eval: true, workerData });
}

test('workers on one file share the ledger', async (t) => {
  const engine = await opened(t, { durability: 'normal' });
  const user_id = await user(engine);
  const workers = Array.from({ length: 4 }, () =>
    worker(
      `const engine = await tally.open(workerData.file, { durability: 'normal' });
       const { user_id } = workerData;
       for (let i = 0; i < 20; i++) await engine.add_credits({ user_id, amount: 1, type: 'grant' });
       await Promise.all(Array.from({ length: 20 }, () => engine.add_credits({ user_id, amount: 1, type: 'grant' })));
       parentPort.postMessage(engine.balance(user_id));`,
      { file: engine.path, user_id },
    ),
  );
  const exits = await Promise.all(workers.map((one) => once(one, 'exit')));
  assert.deepEqual(exits, [[0], [0], [0], [0]]);
  assert.equal(engine.balance(user_id), 10 + 4 * 40);
  assert.deepEqual((await engine.audit()).findings, []);
});

test('workers that are terminated at work lose nothing that was ok, and harm nobody', async (t) => {
  const engine = await opened(t, { durability: 'normal' });
  const user_id = await user(engine);
  let acknowledged = 0;
  for (let round = 0; round < 12; round++) {
    const one = worker(
      `const engine = await tally.open(workerData.file, { durability: 'normal' });
       const { user_id } = workerData;
       engine.on('low_credits', () => {});
       engine.syncer({ conninfo: 'host=/nowhere', token: 'x' }).start();
       const syncer = engine.syncer({ conninfo: 'host=/nowhere', token: 'x' });
       syncer.run(60_000).catch(() => {});
       for (;;) {
         await Promise.all([engine.history(user_id), engine.audit(),
           engine.add_credits({ user_id, amount: 1, type: 'grant' }).then(() => parentPort.postMessage(1)),
           engine.add_credits({ user_id, amount: 1, type: 'grant' }).then(() => parentPort.postMessage(1))]);
       }`,
      { file: engine.path, user_id },
    );
    one.on('message', () => acknowledged++);
    await once(one, 'message');
    await new Promise((resolve) => setTimeout(resolve, round * 3));
    const began = Date.now();
    await one.terminate();
    assert.ok(Date.now() - began < 5_000, 'a terminated worker ends soon');
  }
  const { balance } = engine.check(user_id);
  assert.ok(acknowledged >= 12);
  assert.ok(balance >= 10 + acknowledged, `${balance}, ${acknowledged}`);
  assert.deepEqual((await engine.audit()).findings, []);
});

test('a worker may load and leave the addon before the main thread knows it', async () => {
  const fresh = worker(
    'await (await tally.open(":memory:".replace(/:/g, "") + process.pid + ".none", { must_exist: true }).catch((e) => e)).code;',
    {},
  );
  assert.deepEqual(await once(fresh, 'exit'), [0]);
  const loaded = require('./support.js').script(
    `const { Worker } = require('node:worker_threads');
     new Worker('require(' + JSON.stringify(a0) + ').uuid()', { eval: true }).on('exit', (code) => {
       new Worker('require(' + JSON.stringify(a0) + ').uuid()', { eval: true }).on('exit', (again) => process.exit(code || again));
     });`,
    [path.join(__dirname, '..')],
  );
  assert.equal(loaded.status, 0, loaded.stderr);
});

test('ids grow over all threads of a process', async () => {
  const before = tally.uuid();
  const one = worker('parentPort.postMessage(tally.uuid());', {});
  const [inside] = await once(one, 'message');
  assert.ok(before < inside && inside < tally.uuid());
});
