'use strict';
// engine.job(): a job from its reservation to its end.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { tally, opened, user, project, job, rejects, script } = require('./support.js');

async function world(t) {
  const engine = await opened(t);
  const user_id = await user(engine);
  return { engine, user_id, project_id: await project(engine, user_id) };
}

test('a job that comes to its end is READY and settled', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  let job_id;
  const value = await engine.job({ user_id, project_id, amount: 8 }, async (job) => {
    ({ job_id } = job);
    assert.equal(job.status, 'QUEUED');
    assert.equal(engine.balance(user_id), 2);
    await job.advance('SCRIPTING');
    await job.progress(40, { status_message: 'Act one' });
    assert.equal((await engine.job(job_id)).steps[0].progress_pct, 40);
    return { any: 'value' };
  });
  assert.deepEqual(value, { any: 'value' });
  const { job: row } = await engine.job(job_id);
  assert.deepEqual([row.status, row.cost_credits_final, row.progress], ['READY', 8, 100]);
});

test('complete() settles at another cost', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  await engine.job({ user_id, project_id, amount: 8 }, (job) =>
    job.complete({ final_cost: 5, output_url: 'u' }),
  );
  assert.equal(engine.balance(user_id), 5);
  assert.deepEqual(
    (await engine.jobs(user_id)).map((row) => row.output_url),
    ['u'],
  );
});

test('a job whose work throws is FAILED, and its credits are back', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  const trouble = Object.assign(new Error('out of paint'), { code: 'E_PAINT' });
  const work = async (job) => {
    await job.advance('SCRIPTING');
    throw trouble;
  };
  await assert.rejects(
    engine.job({ user_id, project_id, amount: 8 }, work),
    (error) => error === trouble,
  );
  const [row] = await engine.jobs(user_id);
  assert.deepEqual(
    [row.status, row.error_code, row.error_message, row.failed_step],
    ['FAILED', 'E_PAINT', 'out of paint', 'SCRIPTING'],
  );
  assert.equal(engine.balance(user_id), 10);
});

test('whatever is thrown, the credits are back', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  const messages = ['a\0b', 'half \ud83d', `${'x'.repeat(9_999)}\u{1f3a8}`, ''];
  for (const message of messages) {
    const trouble = Object.assign(new Error(message), { code: `E_\0${'\u{1f3a8}'.repeat(99)}` });
    const work = () => Promise.reject(trouble);
    await assert.rejects(
      engine.job({ user_id, project_id, amount: 8 }, work),
      (error) => error === trouble,
    );
    assert.equal(engine.balance(user_id), 10);
  }
  const jobs = await engine.jobs(user_id);
  assert.deepEqual(
    jobs.map((job) => job.error_message).sort(),
    ['a\\0b', 'half \ufffd', 'x'.repeat(9_999), null].sort(),
  );
});

test('where the credits are too few no job is made', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  await rejects(
    engine.job({ user_id, project_id, amount: 11 }, () => assert.fail()),
    'insufficient_credits',
  );
  await assert.rejects(
    engine.job({ user_id, project_id, amount: 1n }, () => {}),
    TypeError,
  );
  await assert.rejects(engine.job({ user_id, project_id, amount: 1 }), TypeError);
  assert.deepEqual(await engine.jobs(user_id), []);
});

test('a job that exists is taken where it is', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  const job_id = await job(engine, user_id, project_id);
  await engine.reserve_credits({ user_id, job_id, amount: 4 });
  await engine.job({ user_id, project_id, job_id }, (running) =>
    assert.equal(running.job_id, job_id),
  );
  assert.equal(engine.balance(user_id), 6);
  await rejects(
    engine.job({ user_id, project_id, job_id }, () => assert.fail()),
    'illegal_transition',
  );
});

test('a job that was retried goes on at the step that failed', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  const job_id = tally.uuid();
  await assert.rejects(
    engine.job({ user_id, project_id, job_id, amount: 4 }, async (running) => {
      await running.advance('SCRIPTING');
      await running.advance('VOICE_GEN');
      throw new Error('mute');
    }),
  );
  await engine.retry_job({ job_id, amount: 3 });
  await engine.job({ user_id, project_id, job_id }, () => {});
  assert.equal((await engine.job(job_id)).job.status, 'READY');
  assert.equal(engine.balance(user_id), 7);
});

test('another worker cannot take a job that is claimed', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  await engine.job({ user_id, project_id, amount: 4 }, (running) =>
    rejects(
      engine.job({ user_id, project_id, job_id: running.job_id }, () => assert.fail()),
      'already_claimed',
    ),
  );
});

test('an aborted job fails as CANCELLED', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  const stop = new AbortController();
  const work = (running) =>
    new Promise((_, reject) => {
      running.signal.addEventListener('abort', () => reject(running.signal.reason));
      stop.abort();
    });
  await assert.rejects(engine.job({ user_id, project_id, amount: 4, signal: stop.signal }, work), {
    name: 'AbortError',
  });
  const [row] = await engine.jobs(user_id);
  assert.deepEqual([row.status, row.error_code], ['FAILED', 'CANCELLED']);
});

test('of a process that died in a job, a sweep gives the credits back', async (t) => {
  const { engine, user_id, project_id } = await world(t);
  const died = script(
    `tally.open(a0).then((engine) => engine.job({ user_id: a1, project_id: a2, amount: 8, ttl: 1 }, async (job) => {
       await job.advance('SCRIPTING');
       process.kill(process.pid, 'SIGKILL');
       await new Promise(() => {});
     }));`,
    [engine.path, user_id, project_id],
  );
  assert.equal(died.signal, 'SIGKILL');
  assert.equal(engine.balance(user_id), 2);
  await engine.sweep({ grace: 1 }, { at: new Date(Date.now() + 5_000) });
  assert.equal(engine.balance(user_id), 10);
  assert.equal((await engine.jobs(user_id))[0].error_code, 'WORKER_LOST');
});
