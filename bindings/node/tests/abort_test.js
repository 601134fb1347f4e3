'use strict';
// AbortSignal: who waits no longer, and what may have happened all the same.

const assert = require('node:assert/strict');
const child_process = require('node:child_process');
const { once } = require('node:events');
const { test } = require('node:test');
const { tally, opened, user, folder } = require('./support.js');

/** Another process that holds the mirror's write lock until `release()`. */
async function locked(t, file) {
  const shell = child_process.spawn('sqlite3', [file], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => shell.kill());
  shell.stdin.write(".timeout 5000\nbegin immediate;\nselect 'locked';\n");
  await once(shell.stdout, 'data');
  return async () => {
    shell.stdin.end('rollback;\n');
    await once(shell, 'exit');
  };
}

test('a signal that is aborted already sends nothing', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const op_id = tally.uuid();
  const reason = new Error('enough');
  const call = { op_id, signal: AbortSignal.abort(reason) };
  await assert.rejects(engine.add_credits({ user_id, amount: 1, type: 'grant' }, call), {
    name: 'AbortError',
    code: 'ABORT_ERR',
    op_id,
    cause: reason,
  });
  const aborted = { name: 'AbortError' };
  await assert.rejects(engine.history(user_id, { signal: AbortSignal.abort() }), aborted);
  await assert.rejects(engine.submit('', { signal: AbortSignal.abort() }), aborted);
  await assert.rejects(tally.open(`${folder(t)}/x.db`, { signal: AbortSignal.abort() }), aborted);
  assert.equal(engine.balance(user_id), 10);
});

test('one that waits in the queue never happens; one that has begun may, and counts once', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const release = await locked(t, engine.path);
  const stop = new AbortController();
  const grant = { user_id, amount: 1, type: 'grant' };
  const begun = engine.add_credits(grant, { signal: stop.signal });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const queued = [1, 2].map(() => engine.add_credits(grant, { signal: stop.signal }));
  const other = engine.add_credits(grant);
  stop.abort();
  const { op_id } = await begun.catch((error) => error);
  for (const call of [begun, ...queued]) await assert.rejects(call, { name: 'AbortError' });
  await release();
  await other;
  assert.equal(engine.balance(user_id), 12);
  assert.equal((await engine.add_credits(grant, { op_id })).balance, 12);
});

test('closing waits for an aborted call that has begun', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const release = await locked(t, engine.path);
  const stop = new AbortController();
  const call = engine.add_credits({ user_id, amount: 1, type: 'grant' }, { signal: stop.signal });
  await new Promise((resolve) => setTimeout(resolve, 100));
  stop.abort();
  await assert.rejects(call, { name: 'AbortError' });
  let closed = false;
  const closing = engine.close().then(() => (closed = true));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(!closed);
  await release();
  await closing;
});

test('an engine that nobody waits for any more is closed', async (t) => {
  const file = `${folder(t)}/mirror.db`;
  const stop = new AbortController();
  const opening = tally.open(file, { signal: stop.signal });
  stop.abort();
  await assert.rejects(opening, { name: 'AbortError' });
  const engine = await tally.open(file);
  await engine.close();
});

test('signals keep no listeners of calls that are over', async (t) => {
  const engine = await opened(t);
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...given) => (listeners++, addEventListener.apply(signal, given));
  signal.removeEventListener = (...given) => (
    listeners--, removeEventListener.apply(signal, given)
  );
  await engine.users({ signal });
  await engine.create_user({ user_id: tally.uuid() }, { signal });
  assert.equal(listeners, 0);
});
