'use strict';
// Every operation, its answers and its errors.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { pathToFileURL } = require('node:url');
const { test } = require('node:test');
const { operations } = require('../lib/tables.js');
const { tally, opened, user, project, job, rejects } = require('./support.js');

test('a backup is the mirror, and replaces nothing unasked', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine, 5);
  const copy = `${engine.path}.backup`;
  const made = await engine.backup(copy);
  assert.deepEqual(
    [made.users, made.entries, made.jobs, made.bytes],
    [1, 2, 0, fs.statSync(copy).size],
  );
  await engine.add_credits({ user_id, amount: 5, type: 'grant' });
  const restored = await tally.open(copy);
  assert.equal(restored.balance(user_id), 15);
  await restored.close();
  await rejects(engine.backup(copy), 'already_exists');
  assert.equal((await engine.backup(pathToFileURL(copy), { replace: true })).entries, 3);
  await rejects(engine.backup(engine.path, { replace: true }), 'invalid_argument');
  await rejects(engine.backup(`${engine.path}-no/backup`), 'not_found');
  await assert.rejects(engine.backup(), TypeError);
  await assert.rejects(engine.backup(7), TypeError);
});

test('what is measured is told and added up, and nothing is unasked', async (t) => {
  const engine = await opened(t, { measure: true });
  const told = [];
  engine.on('metric', (measured) => told.push(measured));
  const user_id = await user(engine);
  const job_id = await job(engine, user_id, await project(engine, user_id));
  await rejects(
    engine.reserve_credits({ user_id, job_id, amount: 500 }),
    'insufficient_credits',
  );
  for (let i = 0; i < 3; ++i) await engine.add_credits({ user_id, amount: 1, type: 'grant' });
  const metrics = engine.metrics();
  const operations = metrics
    .filter((metric) => metric.metric === 'tally.operations')
    .map(({ attributes, value }) => [...Object.values(attributes), value].join(' '));
  assert.deepEqual(operations.sort(), [
    'add_credits ok 3',
    'create_job ok 1',
    'create_project ok 1',
    'create_user ok 1',
    'reserve_credits insufficient_credits 1',
  ]);
  const { value, ...commits } = metrics.find(({ metric }) => metric === 'tally.commit.duration');
  const values = told
    .filter(({ metric }) => metric === 'tally.commit.duration')
    .map((measured) => measured.value);
  assert.deepEqual(commits, {
    metric: 'tally.commit.duration',
    kind: 'histogram',
    unit: 's',
    attributes: {},
    count: 6,
    least: Math.min(...values),
    greatest: Math.max(...values),
  });
  assert.ok(Math.abs(value - values.reduce((sum, one) => sum + one)) < 1e-9 && value > 0);

  const silent = await opened(t);
  silent.on('metric', () => assert.fail('it was not asked for'));
  await user(silent);
  assert.throws(() => silent.metrics(), { code: 'ERR_INVALID_STATE' });
});

test('every operation of the table is a method, and does what it says', async (t) => {
  const engine = await opened(t);
  const called = new Set();
  const does = async (op, fields) => {
    called.add(op);
    return engine[op](fields);
  };
  const [user_id, draft_id, project_id, voice_profile_id, job_id, other] = Array.from(
    { length: 6 },
    tally.uuid,
  );
  assert.equal((await does('create_user', { user_id, email: 'ada@example.com' })).balance, 10);
  await does('update_profile', {
    user_id,
    display_name: 'Ada',
    notification_prefs: { job_complete: true },
  });
  assert.equal((await does('add_credits', { user_id, amount: 20, type: 'grant' })).balance, 30);
  assert.equal((await does('expire_credits', { user_id, amount: 5 })).balance, 25);
  await does('create_draft', { draft_id, session_token: 's', prompt_text: 'p' });
  await does('update_draft', { draft_id, session_token: 's', prompt_text: 'q' });
  assert.equal((await does('claim_draft', { session_token: 's', user_id })).id, draft_id);
  await does('purge_expired_drafts');
  await does('create_voice_profile', { voice_profile_id, user_id, name: 'n', audio_path: 'a' });
  await does('create_project', {
    project_id,
    user_id,
    title: 't',
    prompt_text: 'p',
    niche_preset: 'facts',
    target_minutes: 1,
    voice_profile_id,
  });
  await does('update_project', { project_id, user_id, title: 'u' });
  await does('delete_voice_profile', { voice_profile_id, user_id });
  await does('create_job', { job_id, project_id, user_id });
  assert.equal((await does('reserve_credits', { user_id, job_id, amount: 8 })).balance, 17);
  assert.equal((await does('release_job_credits', { job_id })).balance, 25);
  await engine.reserve_credits({ user_id, job_id, amount: 8 });
  await does('advance_job', { job_id, to: 'QUEUED' });
  await does('claim_job', { job_id, ttl: 60 });
  await does('renew_claim', { job_id, ttl: 60 });
  await does('drop_claim', { job_id });
  await engine.advance_job({ job_id, to: 'SCRIPTING' });
  await does('report_progress', { job_id, step_name: 'SCRIPTING', progress_pct: 50 });
  await does('add_asset', {
    asset_id: other,
    job_id,
    type: 'video',
    url: 'u',
    storage_path: 's',
    size_bytes: 7,
  });
  await does('fail_job', { job_id, error_code: 'E' });
  await does('retry_job', { job_id, amount: 6 });
  for (const to of [
    'SCRIPTING',
    'VOICE_GEN',
    'ALIGNMENT',
    'VISUAL_PLAN',
    'IMAGE_GEN',
    'TIMELINE',
    'RENDERING',
    'PACKAGING',
  ]) {
    await engine.advance_job({ job_id, to });
  }
  assert.equal((await does('complete_job', { job_id, final_cost: 5 })).balance, 20);
  const second = await job(engine, user_id, project_id);
  await engine.reserve_credits({ user_id, job_id: second, amount: 3 });
  assert.equal((await does('finalize_job_credits', { job_id: second, final_cost: 4 })).balance, 16);
  await does('sweep', { grace: 60 });
  await does('delete_project', { project_id, user_id });
  await rejects(
    does('lease_credits', { lease_id: other, user_id, amount: 1, ttl: 60 }),
    'not_permitted',
  );
  await rejects(does('return_lease', { lease_id: other }), 'not_permitted');
  assert.deepEqual([...called].sort(), Object.keys(operations).sort());
  assert.deepEqual((await engine.audit()).findings, []);
});

test('what is read is what was written', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine, 90);
  const project_id = await project(engine, user_id);
  const job_id = await job(engine, user_id, project_id);
  const { op_id } = await engine.reserve_credits({ user_id, job_id, amount: 8 });
  assert.equal(engine.balance(user_id), 92);
  const check = { balance: 92, held: 8, entries: 3, pending_operations: 5 };
  assert.deepEqual(engine.check(user_id), check);
  assert.deepEqual(await engine.account(user_id), {
    ...check,
    holds: [{ job_id, reservation: op_id, amount: 8 }],
    leases: [],
  });
  const entries = await engine.history(user_id);
  assert.deepEqual(
    entries.map(({ seq, type, amount }) => [seq, type, amount]),
    [
      [3, 'reserve', -8],
      [2, 'grant', 90],
      [1, 'grant', 10],
    ],
  );
  assert.deepEqual(await engine.history(user_id, { limit: 1, before_seq: 3 }), [entries[1]]);
  for (const page of [1, 2, 3, 1000]) {
    const all = [];
    for await (const entry of engine.entries(user_id, { page })) all.push(entry);
    assert.deepEqual(all, entries);
  }
  assert.equal((await engine.project(project_id)).title, 'Film');
  const view = await engine.job(job_id);
  assert.deepEqual([view.job.status, view.steps.length, view.assets], ['PENDING', 8, []]);
  assert.deepEqual(await engine.jobs(user_id), [view.job]);
  assert.deepEqual(await engine.drafts(user_id), []);
  assert.deepEqual(await engine.users(), [user_id]);
  assert.deepEqual(
    (await engine.rows('jobs')).map((row) => row.id),
    [job_id],
  );
  assert.deepEqual(await engine.rows('jobs', { user_id: job_id }), []);
  await rejects(engine.rows('no_table'), 'not_found');
  assert.equal(
    await engine.rows('jobs', { text: true }),
    JSON.stringify(await engine.rows('jobs')),
  );
  assert.equal((await engine.digest(user_id)).length, 8);
  assert.equal(await engine.pending_operations(), 5);
  assert.deepEqual(
    [await engine.sync_status(), await engine.leases(), await engine.rejected()],
    [null, [], []],
  );
});

test('a refusal is a TallyError with its code, and changes nothing', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const job_id = await job(engine, user_id);
  const op_id = tally.uuid();
  await rejects(
    engine.reserve_credits({ user_id, job_id, amount: 11 }, { op_id }),
    'insufficient_credits',
    {
      number: 41,
      class: 'refusal',
      index: undefined,
      op_id,
      name: 'TallyError',
    },
  );
  await rejects(engine.reserve_credits({ user_id, job_id, amount: 0 }), 'invalid_amount');
  await rejects(engine.add_credits({ user_id, amount: 1, type: 'gift' }), 'invalid_type');
  await rejects(engine.create_user({}), 'invalid_argument');
  await rejects(engine.create_user({ user_id: tally.uuid(), color: 'red' }), 'invalid_argument');
  await rejects(engine.apply({ op: 'fly' }), 'invalid_argument');
  await rejects(engine.dismiss(1), 'not_found');
  await rejects(engine.retry(1), 'not_found');
  await rejects(engine.project(user_id), 'project_not_found');
  await rejects(engine.history(user_id, { limit: 0 }), 'invalid_argument');
  await rejects(engine.account('ada'), 'invalid_argument');
  assert.throws(() => engine.balance(job_id), { code: 'user_not_found', class: 'refusal' });
  assert.throws(() => engine.balance(`${user_id}0`), { code: 'invalid_argument' });
  assert.throws(() => engine.balance(7), TypeError);
  assert.throws(() => engine.check(job_id), { code: 'user_not_found' });
  assert.equal(engine.balance(user_id), 10);
});

test('a failure of the world is told apart', async (t) => {
  await rejects(tally.open('/nowhere/at/all.db'), 'not_found', { class: 'failure' });
  await rejects(tally.open('/tmp/no such mirror.db', { must_exist: true }), 'not_found', {
    class: 'failure',
  });
  await rejects(tally.open(__filename), 'corrupt', { class: 'failure' });
});

test('an amount is a safe integer, or nothing is sent', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  for (const amount of [1.5, NaN, Infinity, 2 ** 53, '5', 5n, {}, true]) {
    const wrong = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
    await assert.rejects(engine.add_credits({ user_id, amount, type: 'grant' }), wrong);
    await assert.rejects(
      engine.batch([{ op: 'add_credits', user_id, amount, type: 'grant' }]),
      wrong,
    );
    await assert.rejects(
      engine.submit([{ op: 'add_credits', user_id, amount, type: 'grant' }]),
      wrong,
    );
  }
  await assert.rejects(tally.open('x.db', { cache_kib: 1n }), TypeError);
  await assert.rejects(tally.open('x.db', { durability: 'some' }), TypeError);
  await assert.rejects(tally.open(7), TypeError);
  assert.ok(!fs.existsSync('x.db'));
  await rejects(
    engine.add_credits({ user_id, amount: 2 ** 53 - 1, type: 'grant' }),
    'invalid_amount',
  );
  assert.equal(engine.check(user_id).entries, 1);
});

test('JSON columns lose no digit of a whole number, there and back', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const settings = {
    long: 12345678901234567890n,
    negative: -9007199254740993n,
    safe: 9007199254740991,
    text: '12345678901234567890',
    quoted: '"12345678901234567890": 1 \\',
    list: [1, 98765432109876543210n, null, 1.5],
  };
  const project_id = await project(engine, user_id);
  await engine.update_project({ project_id, user_id, settings });
  assert.deepEqual((await engine.project(project_id)).settings, settings);
  assert.match(
    await engine.project(project_id, { text: true }),
    /"long": ?12345678901234567890[,}]/,
  );
  await assert.rejects(
    engine.update_project({ project_id, user_id, settings: { a: '\u00001', b: 1n } }),
    TypeError,
  );
  assert.deepEqual((await engine.rows('projects'))[0].settings, settings);
});

test('an op_id counts once, however often it is sent', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const op_id = tally.uuid();
  const fields = { user_id, amount: 5, type: 'grant' };
  const once = await engine.add_credits(fields, { op_id });
  assert.deepEqual(once, { op_id, balance: 15, id: null });
  assert.deepEqual(await engine.add_credits({ ...fields, op_id }), once);
  assert.deepEqual(await engine.apply({ op: 'add_credits', ...fields }, { op_id }), once);
  await rejects(engine.add_credits({ ...fields, amount: 6 }, { op_id }), 'operation_conflict', {
    op_id,
  });
  await rejects(engine.add_credits(fields, { op_id: 'mine' }), 'invalid_argument');
  assert.equal(engine.balance(user_id), 15);
});

test('at is a Date or a text, and now by default', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const amount = { user_id, amount: 1, type: 'grant' };
  await engine.add_credits(amount, { at: new Date('2026-01-18T00:00:00.123Z') });
  await engine.add_credits(amount, { at: '2026-01-18T00:00:00.123456Z' });
  const before = new Date().toISOString();
  await engine.add_credits(amount);
  const [now, text, date] = (await engine.history(user_id)).map((entry) => entry.created_at);
  assert.deepEqual([text, date], ['2026-01-18T00:00:00.123456Z', '2026-01-18T00:00:00.123000Z']);
  assert.ok(
    now >= before.slice(0, -1) && now <= `${new Date().toISOString().slice(0, -1)}999Z`,
    now,
  );
  await assert.rejects(engine.add_credits(amount, { at: new Date(NaN) }), RangeError);
});

test('a batch applies whole or not at all, and says which of it was refused', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const project_id = await project(engine, user_id);
  const job_id = tally.uuid();
  const ops = (amount) => [
    { op: 'create_job', job_id, project_id, user_id },
    { op: 'reserve_credits', user_id, job_id, amount },
    { op: 'advance_job', job_id, to: 'QUEUED' },
  ];
  await rejects(engine.batch(ops(11)), 'insufficient_credits', { index: 1 });
  await rejects(engine.job(job_id), 'job_not_found');
  assert.equal((await engine.batch(new Set(ops(8)))).balance, 2);
  assert.equal((await engine.job(job_id)).job.status, 'QUEUED');
  await rejects(engine.batch([]), 'invalid_argument', { index: undefined });
  await assert.rejects(engine.batch(7), TypeError);
});

test('submit takes a trace as a text, as bytes, or its operations', async (t) => {
  const engine = await opened(t);
  const [one, two] = [tally.uuid(), tally.uuid()];
  const results = await engine.submit([
    { op: 'create_user', user_id: one },
    { op: 'create_user', user_id: one },
    'no operation',
    { op: 'batch', ops: [{ op: 'add_credits', user_id: one, amount: 3, type: 'grant' }] },
  ]);
  assert.deepEqual(
    results.map((r) => [r.result, r.balance, r.line]),
    [
      ['ok', 10, undefined],
      ['user_exists', 10, undefined],
      ['invalid_argument', null, 3],
      ['ok', 13, undefined],
    ],
  );
  const line = JSON.stringify({
    op: 'create_user',
    op_id: two,
    at: '2026-01-18T00:00:00.000000Z',
    user_id: two,
  });
  const expected = `{"op_id":"${two}","result":"ok","balance":10}\n`;
  assert.equal(await engine.submit(line, { text: true }), expected);
  assert.equal(await engine.submit(Buffer.from(`${line}\n`), { text: true }), expected);
  assert.deepEqual(await engine.submit(''), []);
});

/** The commits in a WAL: frames that say how large the file is behind them. */
function commits(file) {
  const wal = fs.readFileSync(`${file}-wal`);
  const page = wal.readUInt32BE(8);
  const salt = wal.subarray(16, 24);
  let count = 0;
  for (let at = 32; at + 24 + page <= wal.length; at += 24 + page) {
    if (wal.subarray(at + 8, at + 16).equals(salt) && wal.readUInt32BE(at + 4) > 0) count += 1;
  }
  return count;
}

test('calls that wait together share a commit, and apply in the order they were made', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const other = await user(engine);
  const before = commits(engine.path);
  // One that takes longer than the 64 take to be called.
  const grant = { op: 'add_credits', user_id: other, amount: 1, type: 'grant' };
  const long = engine.submit(Array.from({ length: 5_000 }, () => grant));
  const calls = Array.from({ length: 64 }, (_, i) =>
    engine.add_credits({ user_id, amount: 1, type: 'grant', note: `${i}` }),
  );
  const balances = (await Promise.all(calls)).map((receipt) => receipt.balance);
  assert.deepEqual(
    balances,
    Array.from({ length: 64 }, (_, i) => 11 + i),
  );
  await long;
  assert.ok(commits(engine.path) - before <= 4, `${commits(engine.path) - before} commits`);
  const [entry] = await engine.history(user_id);
  assert.equal(entry.note, '63');
});

test('a refusal among those that share a commit is its own', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const job_id = await job(engine, user_id);
  const settled = await Promise.allSettled([
    engine.reserve_credits({ user_id, job_id, amount: 11 }),
    engine.add_credits({ user_id, amount: 1, type: 'grant' }),
    engine.reserve_credits({ user_id, job_id, amount: 11 }),
    engine.reserve_credits({ user_id, job_id, amount: 11 }),
  ]);
  assert.deepEqual(
    settled.map((s) => s.reason?.code ?? s.value.balance),
    ['insufficient_credits', 11, 0, 'already_reserved'],
  );
});

test('events are told to who listens', async (t) => {
  const engine = await opened(t, { low_credits: 5 });
  const user_id = await user(engine);
  const heard = [];
  const job_failed = (event) => heard.push(event);
  engine.on('job_failed', job_failed);
  engine.once('low_credits', (event) => heard.push(event));
  const job_id = await job(engine, user_id);
  await engine.reserve_credits({ user_id, job_id, amount: 6 });
  await engine.fail_job({ job_id, error_code: 'E' });
  assert.deepEqual(heard, [
    { user_id, balance: 4 },
    { user_id, job_id },
  ]);
  engine.off('job_failed', job_failed);
  const other = await job(engine, user_id);
  await engine.fail_job({ job_id: other, error_code: 'E' });
  assert.equal(heard.length, 2);
});

test('sync: every operation is there, and answers without a promise', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine, 10);
  const job_id = await job(engine, user_id);
  for (const op of Object.keys(operations)) assert.equal(typeof engine.sync[op], 'function', op);
  const { op_id, balance, id } = engine.sync.reserve_credits({ user_id, job_id, amount: 8 });
  assert.deepEqual([balance, id], [12, null]);
  assert.equal(engine.balance(user_id), 12);
  const again = engine.sync.reserve_credits({ user_id, job_id, amount: 8 }, { op_id });
  assert.deepEqual(again, { op_id, balance: 12, id: null });
  const released = engine.sync.batch([{ op: 'release_job_credits', job_id }]);
  assert.equal(released.balance, 20);
  const draft_id = tally.uuid();
  engine.sync.create_draft({ draft_id, session_token: 's', prompt_text: 'p' });
  assert.equal(engine.sync.claim_draft({ session_token: 's', user_id }).id, draft_id);
});

test('sync: refusals are thrown, with the op_id to repeat, and change nothing', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const job_id = await job(engine, user_id);
  const throws = (call, code) =>
    assert.throws(call, (error) => {
      assert.ok(error instanceof tally.TallyError, error.stack);
      assert.equal(error.code, code);
      assert.match(error.op_id, /^[0-9a-f-]{36}$/);
      return true;
    });
  throws(() => engine.sync.reserve_credits({ user_id, job_id, amount: 11 }), 'insufficient_credits');
  throws(() => engine.sync.reserve_credits({ user_id, job_id, amount: 0 }), 'invalid_amount');
  throws(() => engine.sync.reserve_credits({ user_id, job_id: 'x', amount: 1 }), 'invalid_argument');
  throws(
    () => engine.sync.reserve_credits({ user_id, job_id, amount: 1, amont: 1 }),
    'invalid_argument',
  );
  const op_id = tally.uuid();
  assert.throws(() => engine.sync.reserve_credits({ user_id, job_id, amount: 99 }, { op_id }), {
    op_id,
  });
  for (const amount of [1.5, 2 ** 53, 8n, '8']) {
    assert.throws(() => engine.sync.reserve_credits({ user_id, job_id, amount }), TypeError);
  }
  const signal = AbortSignal.abort();
  assert.throws(() => engine.sync.reserve_credits({ user_id, job_id, amount: 1 }, { signal }), {
    name: 'AbortError',
  });
  assert.equal(engine.balance(user_id), 10);
  await engine.close();
  assert.throws(() => engine.sync.reserve_credits({ user_id, job_id, amount: 1 }));
});

test('sync: in its turn behind the promises, and a callback in it may call again', async (t) => {
  const engine = await opened(t, { low_credits: 5 });
  const user_id = await user(engine);
  const job_id = await job(engine, user_id);
  const notes = [];
  const low = new Promise((resolve) => engine.once('low_credits', resolve));
  engine.once('low_credits', () => {
    notes.push(engine.sync.add_credits({ user_id, amount: 1, type: 'grant' }).balance);
  });
  const promised = Array.from({ length: 50 }, () =>
    engine.add_credits({ user_id, amount: 1, type: 'grant' }),
  );
  assert.equal(engine.sync.reserve_credits({ user_id, job_id, amount: 57 }).balance, 3);
  assert.deepEqual(
    (await Promise.all(promised)).map(({ balance }) => balance),
    Array.from({ length: 50 }, (_, i) => 11 + i),
  );
  await low;
  assert.deepEqual(notes, [4]);
});

test('close waits for what was called, and nothing can be called behind it', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const last = engine.add_credits({ user_id, amount: 1, type: 'grant' });
  const read = engine.history(user_id);
  const [closing, again] = [engine.close(), engine.close()];
  assert.equal(closing, again);
  const closed = { code: 'ERR_INVALID_STATE' };
  await assert.rejects(engine.users(), closed);
  await assert.rejects(engine.add_credits({ user_id, amount: 1, type: 'grant' }), closed);
  assert.throws(() => engine.balance(user_id), closed);
  assert.throws(() => engine.syncer(), closed);
  await closing;
  assert.equal((await last).balance, 11);
  assert.ok((await read).length >= 1);
  assert.ok(engine.is_closed);
  const anew = await tally.open(engine.path);
  assert.equal(anew.balance(user_id), 11);
  await anew[Symbol.asyncDispose]();
  assert.ok(anew.is_closed);
});
