'use strict';
// The end of a process or of an engine that nobody closed: no crash, no hang, nothing lost.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { opened, user, folder, script } = require('./support.js');

function ends(text, args, status = 0, options = {}) {
  const began = Date.now();
  const done = script(text, args, options);
  assert.deepEqual([done.status, done.signal], [status, null], done.stderr);
  assert.ok(Date.now() - began < 20_000, 'it hangs');
  return done;
}

test('a process with an engine and a syncer that are open ends by itself', (t) => {
  ends(
    `tally.open(a0).then(async (engine) => {
       const user_id = tally.uuid();
       engine.on('low_credits', () => {});
       await engine.create_user({ user_id });
       const syncer = engine.syncer({ conninfo: 'host=/nowhere', token: 'x' });
       syncer.on('state', () => {});
       await syncer.start();
     });`,
    [`${folder(t)}/mirror.db`],
  );
});

test('what is called is waited for, without anything else to do', (t) => {
  const done = ends(
    `tally.open(a0).then((engine) => {
       const user_id = tally.uuid();
       engine.create_user({ user_id }).then((receipt) => console.log(receipt.balance));
     });`,
    [`${folder(t)}/mirror.db`],
  );
  assert.equal(done.stdout, '10\n');
});

test('process.exit() in the middle of everything is no crash', async (t) => {
  const engine = await opened(t, { durability: 'normal' });
  const user_id = await user(engine);
  for (const ms of [0, 1, 2, 5, 10, 20, 50]) {
    ends(
      `tally.open(a0, { durability: 'normal' }).then((engine) => {
         const grant = { user_id: a1, amount: 1, type: 'grant' };
         const again = () => engine.add_credits(grant).then(again);
         for (let i = 0; i < 32; i++) again();
         const read = () => engine.audit().then(read);
         read();
         engine.syncer({ conninfo: 'host=/nowhere', token: 'x' }).run(60_000).catch(() => {});
         setTimeout(() => process.exit(7), ${ms});
       });`,
      [engine.path, user_id],
      7,
    );
  }
  assert.ok(engine.balance(user_id) > 10);
  assert.deepEqual((await engine.audit()).findings, []);
});

test('a listener that throws is an uncaught exception, and ends the process', (t) => {
  const done = ends(
    `tally.open(a0, { low_credits: 10 }).then(async (engine) => {
       engine.on('low_credits', () => { throw new Error('heard it'); });
       const user_id = tally.uuid();
       await engine.create_user({ user_id });
       await engine.expire_credits({ user_id, amount: 1 });
       setTimeout(() => {}, 10_000);
     });`,
    [`${folder(t)}/mirror.db`],
    1,
  );
  assert.match(done.stderr, /heard it/);
});

test('a syncer that is ref()ed keeps the process alive, until unref()', (t) => {
  const done = ends(
    `tally.open(a0).then(async (engine) => {
       const syncer = engine.syncer({ conninfo: 'host=/nowhere', token: 'x' }).ref();
       setTimeout(() => { console.log('alive'); syncer.unref(); }, 300).unref();
     });`,
    [`${folder(t)}/mirror.db`],
  );
  assert.equal(done.stdout, 'alive\n');
});

test('an engine that nobody knows any more is closed when it is collected', (t) => {
  ends(
    `const fs = require('node:fs');
     const open = () => fs.readdirSync('/proc/self/fd').filter((fd) => {
       try { return fs.readlinkSync('/proc/self/fd/' + fd).startsWith(a0); } catch { return false; }
     }).length;
     (async () => {
       await (async () => {
         for (let i = 0; i < 5; i++) {
           const engine = await tally.open(a0);
           engine.syncer({ token: 'x' });
           await engine.create_user({ user_id: tally.uuid() });
         }
       })();
       if (open() === 0) process.exit(3);
       for (let i = 0; i < 100 && open() > 0; i++) {
         gc();
         await new Promise((resolve) => setTimeout(resolve, 20));
       }
       process.exit(open() === 0 ? 0 : 4);
     })();`,
    [`${folder(t)}/mirror.db`],
    0,
    { flags: ['--expose-gc'] },
  );
});
