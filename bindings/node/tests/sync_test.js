'use strict';
// Sync with a real PostgreSQL.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const { test, before, after } = require('node:test');
const {
  tally,
  opened,
  user,
  project,
  job,
  rejects,
  run,
  run_tally,
  no_postgres,
  Postgres,
  enrol,
} = require('./support.js');

let postgres;
before(() => {
  if (!no_postgres) postgres = new Postgres();
});
after(() => postgres?.close());

const needs = { skip: no_postgres };

async function device(t, conninfo, capabilities, options) {
  const engine = await opened(t, options);
  const syncer = engine.syncer({ ...enrol(conninfo, capabilities), poll_interval_ms: 100 });
  return { engine, syncer };
}

test('what one device does another gets, and both halves are equal', needs, async (t) => {
  const conninfo = postgres.canonical();
  const one = await device(t, conninfo);
  const heard = [];
  one.syncer.on('state', ({ state }) => heard.push(state));
  one.syncer.on('progress', (progress) => heard.push(progress));
  const user_id = await user(one.engine, 5);
  assert.equal(await one.syncer.run(), 'synced');
  assert.ok(
    heard.includes('synced') && heard.some((event) => event.acked === 2),
    JSON.stringify(heard),
  );
  assert.equal(await one.syncer.verify(user_id), true);
  const status = await one.engine.sync_status();
  assert.deepEqual(
    [status.pending, status.acked, status.capabilities],
    [0, 2, ['author', 'worker', 'service']],
  );

  const two = await device(t, conninfo);
  const changed = once(two.syncer, 'changed');
  assert.equal(await two.syncer.run(), 'synced');
  assert.deepEqual(await changed, [{ user_ids: [user_id] }]);
  assert.equal(two.engine.balance(user_id), 15);
  assert.deepEqual(await two.engine.digest(user_id), await one.engine.digest(user_id));
});

test('in the background what is applied is pushed at once', needs, async (t) => {
  const { engine, syncer } = await device(t, postgres.canonical());
  await syncer.start();
  const user_id = await user(engine);
  const synced = async () => {
    while ((await engine.sync_status())?.pending !== 0) await new Promise((r) => setTimeout(r, 10));
  };
  await synced();
  assert.equal(await syncer.verify(user_id), true);
  await engine.add_credits({ user_id, amount: 1, type: 'grant' });
  await synced();
  syncer.stop();
  await syncer.close();
  await assert.rejects(syncer.run(), { code: 'ERR_INVALID_STATE' });
});

test('what canonical rejects is told, kept, retried and dismissed', needs, async (t) => {
  const conninfo = postgres.canonical();
  const [one, two] = [await device(t, conninfo), await device(t, conninfo)];
  const user_id = await user(one.engine);
  await one.syncer.run();
  await two.syncer.run();
  const job_id = await job(one.engine, user_id);
  await one.engine.reserve_credits({ user_id, job_id, amount: 8 });
  await two.engine.expire_credits({ user_id, amount: 5 });
  await two.syncer.run();
  const told = once(one.syncer, 'rejected');
  assert.equal(await one.syncer.run(), 'idle');
  const [event] = await told;
  assert.deepEqual(
    [event.result, event.operation.op, event.operation.amount],
    ['insufficient_credits', 'reserve_credits', 8],
  );
  assert.deepEqual(await one.engine.rejected(), [event]);
  await rejects(one.engine.retry(event.number), 'insufficient_credits');
  await two.engine.add_credits({ user_id, amount: 5, type: 'grant' });
  await two.syncer.run();
  await one.syncer.run();
  assert.equal((await one.engine.retry(event.number)).balance, 2);
  assert.equal(await one.syncer.run(), 'synced');
  await rejects(one.engine.dismiss(event.number), 'not_found');
});

test('a worker is given the next job', needs, async (t) => {
  const conninfo = postgres.canonical();
  const author = await device(t, conninfo);
  const user_id = await user(author.engine);
  const job_id = await job(author.engine, user_id);
  await author.engine.reserve_credits({ user_id, job_id, amount: 8 });
  await author.engine.advance_job({ job_id, to: 'QUEUED' });
  await author.syncer.run();
  const worker = await device(t, conninfo, 'worker');
  await worker.syncer.start();
  assert.equal(await worker.syncer.claim_next(60), job_id);
  assert.equal(await worker.syncer.claim_next(60), null);
});

test('under the policy online a call gets canonical’s verdict', needs, async (t) => {
  const conninfo = postgres.canonical();
  const first = await device(t, conninfo);
  const user_id = await user(first.engine);
  const project_id = await project(first.engine, user_id);
  await first.syncer.run();
  const { engine, syncer } = await device(t, conninfo, undefined, { spend_policy: 'online' });
  await syncer.run();
  const verdicts = [];
  syncer.on('verdict', (verdict) => verdicts.push(verdict.code));
  await syncer.start();
  const job_id = await job(engine, user_id, project_id);
  await rejects(engine.reserve_credits({ user_id, job_id, amount: 11 }), 'insufficient_credits');
  assert.equal((await engine.reserve_credits({ user_id, job_id, amount: 8 })).balance, 2);
  // The syncer's thread tells its events, which need not come before the call's own answer.
  while (verdicts.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(verdicts, ['ok', 'insufficient_credits', 'ok']);
});

test('a copied mirror is forked, and enrolled anew', needs, async (t) => {
  const conninfo = postgres.canonical();
  const { engine, syncer } = await device(t, conninfo);
  const user_id = await user(engine);
  await syncer.run();
  const copy = `${engine.path}.copy`;
  assert.equal(run('sqlite3', [engine.path, `vacuum into '${copy}'`]).status, 0);
  await engine.add_credits({ user_id, amount: 1, type: 'grant' });
  await syncer.run();
  const other = await tally.open(copy);
  t.after(() => other.close());
  await other.add_credits({ user_id, amount: 2, type: 'grant' });
  const forked = other.syncer({ conninfo, token: await token_of(engine, conninfo) });
  await rejects(forked.run(), 'device_forked', { class: 'failure' }).catch(() => {});
  await forked.close();
  const anew = other.syncer(enrol(conninfo));
  await anew.enrol_anew();
  const [kept] = await other.rejected();
  assert.equal(kept.result, 'device_forked');
  await other.retry(kept.number);
  assert.equal(await anew.run(), 'synced');
  assert.equal(other.balance(user_id), 13);
});

async function token_of(engine, conninfo) {
  const { device_id } = await engine.sync_status();
  return JSON.parse(run_tally('device', 'rotate', device_id, '--pg', conninfo, '--json')).token;
}

test('a token that canonical does not know is said, and another one goes on', needs, async (t) => {
  const conninfo = postgres.canonical();
  const { token } = enrol(conninfo);
  const engine = await opened(t);
  await user(engine);
  const syncer = engine.syncer({ conninfo, token: `tally_${'0'.repeat(64)}` });
  const state = once(syncer, 'state');
  await rejects(syncer.run(), 'unauthorized');
  await state;
  await syncer.resume(token);
  assert.equal(await syncer.run(), 'synced');
});

test('without a server nothing hangs, and the rest goes on', async (t) => {
  const engine = await opened(t);
  const user_id = await user(engine);
  const syncer = engine.syncer({ conninfo: 'host=/nowhere', token: 'x' });
  await rejects(syncer.run(200), 'unreachable', { class: 'failure' });
  const stop = new AbortController();
  const running = syncer.run(60_000, { signal: stop.signal });
  const waiting = syncer.claim_next(60);
  await engine.add_credits({ user_id, amount: 1, type: 'grant' });
  stop.abort();
  await assert.rejects(running, { name: 'AbortError' });
  const began = Date.now();
  const closing = syncer.close();
  await assert.rejects(waiting);
  await closing;
  assert.ok(Date.now() - began < 5_000);
  await assert.rejects(async () => engine.syncer({ rows_max: 1n }), TypeError);
  await assert.rejects(async () => engine.syncer({ rows_max: 0 }), { code: 'invalid_argument' });
  await assert.rejects(async () => engine.syncer({ device_id: 'x' }), { code: 'invalid_argument' });
});

test('closing an engine ends its syncers', needs, async (t) => {
  const { engine, syncer } = await device(t, postgres.canonical());
  await user(engine);
  await syncer.start();
  await engine.close();
  assert.ok(syncer.is_closed);
});

test('over TLS, beside the OpenSSL inside node', needs, async (t) => {
  const crypto = require('node:crypto');
  const folder = `${postgres.folder}/tls`;
  fs.mkdirSync(folder);
  const made = run('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=localhost',
    '-days',
    '2',
    '-addext',
    'subjectAltName=DNS:localhost',
    '-keyout',
    `${folder}/key.pem`,
    '-out',
    `${folder}/cert.pem`,
  ]);
  assert.equal(made.status, 0, made.stderr);
  const { uid } = fs.statSync(`${postgres.folder}/data`);
  fs.chmodSync(`${folder}/key.pem`, 0o600);
  for (const name of ['key.pem', 'cert.pem']) fs.chownSync(`${folder}/${name}`, uid, -1);
  const port = 20_000 + (process.pid % 30_000);
  postgres.stop();
  postgres.start(
    "listen_addresses='localhost'",
    `port=${port}`,
    'ssl=on',
    `ssl_cert_file=${folder}/cert.pem`,
    `ssl_key_file=${folder}/key.pem`,
  );
  t.after(() => {
    postgres.stop();
    postgres.start();
  });
  const local = postgres.conninfo.bind(postgres);
  postgres.conninfo = (database) => local(database).replace('port=5432', `port=${port}`);
  t.after(() => delete postgres.conninfo);
  const conninfo = postgres.canonical();
  const tls =
    conninfo.replace(/host=\S+/, 'host=localhost') +
    ` sslmode=verify-full sslrootcert=${folder}/cert.pem`;
  const engine = await opened(t);
  const user_id = await user(engine);
  const syncer = engine.syncer({ ...enrol(conninfo), conninfo: tls });
  const digest = crypto.createHash('sha256').update('tally').digest('hex');
  assert.equal(await syncer.run(), 'synced');
  assert.equal(await syncer.verify(user_id), true);
  assert.equal(crypto.createHash('sha256').update('tally').digest('hex'), digest);
  const plain = engine.syncer({
    ...enrol(conninfo),
    conninfo: tls.replace(/sslrootcert=\S+/, 'sslrootcert=/etc/hostname'),
  });
  await assert.rejects(plain.run(500));
});
