'use strict';
// The acceptance traces: the same results as the program's, byte for byte.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { tally, traces, folder, opened, run, run_tally, program } = require('./support.js');

const demo = fs.readFileSync(path.join(traces, 'demo.jsonl'), 'utf8');
const expected = fs.readFileSync(path.join(traces, 'demo.expected.jsonl'), 'utf8');

test('the demo’s trace, all at once', async (t) => {
  const engine = await opened(t);
  assert.equal(await engine.submit(demo, { text: true }), expected);
});

test('the demo’s trace, a call each', async (t) => {
  const engine = await opened(t);
  const lines = demo.trimEnd().split('\n');
  for (const [i, line] of expected.trimEnd().split('\n').entries()) {
    const { op, ...fields } = JSON.parse(lines[i]);
    const { op_id, result, balance, id = null, index } = JSON.parse(line);
    const call = op === 'batch' ? engine.apply({ op, ...fields }) : engine[op](fields);
    const answer = await call.catch((error) => error);
    if (result === 'ok') assert.deepEqual(answer, { op_id, balance, id }, lines[i]);
    else
      assert.deepEqual([answer.code, answer.op_id, answer.index], [result, op_id, index], lines[i]);
  }
});

test('the demo’s trace, without waiting between the calls', async (t) => {
  const engine = await opened(t, { durability: 'normal' });
  const calls = demo
    .trimEnd()
    .split('\n')
    .map((line) => engine.apply(JSON.parse(line)));
  const results = (await Promise.allSettled(calls)).map((one) => one.reason?.code ?? 'ok');
  assert.deepEqual(
    results,
    expected
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).result),
  );
});

/** A longer one: users, jobs, and every way of going wrong that a small random mind comes upon. */
function generated(operations, seed) {
  let state = seed;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const id = (kind, n) => `${kind}0000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
  const user_id = () => id('a', random(12));
  const job_id = () => id('c', random(300));
  const statuses = Object.keys(tally.JobStatus);
  const kinds = [
    () => ({ op: 'create_user', user_id: user_id(), display_name: 'Ünï ☂' }),
    () => ({
      op: 'add_credits',
      user_id: user_id(),
      amount: random(40) - 1,
      type: ['grant', 'purchase', 'gift'][random(3)],
    }),
    () => ({
      op: 'create_project',
      project_id: id('b', random(40)),
      user_id: user_id(),
      title: 't',
      prompt_text: 'p',
      niche_preset: 'facts',
      target_minutes: random(30),
      settings: { n: random(1000) },
    }),
    () => ({
      op: 'create_job',
      job_id: job_id(),
      project_id: id('b', random(40)),
      user_id: user_id(),
    }),
    () => ({ op: 'reserve_credits', user_id: user_id(), job_id: job_id(), amount: random(12) }),
    () => ({ op: 'advance_job', job_id: job_id(), to: statuses[random(statuses.length)] }),
    () => ({
      op: 'report_progress',
      job_id: job_id(),
      step_name: statuses[2 + random(8)],
      progress_pct: random(120),
    }),
    () => ({ op: 'complete_job', job_id: job_id(), final_cost: random(12) }),
    () => ({ op: 'fail_job', job_id: job_id(), error_code: 'E' }),
    () => ({ op: 'retry_job', job_id: job_id(), amount: 1 + random(5) }),
    () => ({ op: 'finalize_job_credits', job_id: job_id(), final_cost: random(12) }),
    () => ({ op: 'release_job_credits', job_id: job_id() }),
  ];
  const lines = [];
  for (let n = 0; n < operations; n++) {
    const op_id = `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
    const at = `2026-01-18T00:00:00.${String(n).padStart(6, '0')}Z`;
    const line = JSON.stringify({ ...kinds[random(kinds.length)](), op_id, at });
    // Now and then no operation, or one from before: as it was, or as another one with its op_id.
    const chance = random(400);
    if (chance < 2) lines.push('{"no":"operation"}');
    else if (chance < 20 && n > 0)
      lines.push(lines[random(n)].replace(/"amount":1\d?/, '"amount":9'));
    else lines.push(line);
  }
  return `${lines.join('\n')}\n`;
}

test(
  'a longer trace, and the rows that it leaves',
  { skip: program ? false : 'tally-skip: the program tally is not built' },
  async (t) => {
    const trace = generated(20_000, 42);
    const file = path.join(folder(t), 'program.db');
    const replayed = run(program, ['replay', '-', '--db', file], { input: trace });
    assert.equal(replayed.status, 0, replayed.stderr);
    const engine = await opened(t, { durability: 'normal' });
    const results = await engine.submit(trace, { text: true });
    assert.ok(results === replayed.stdout, 'the results differ');
    const codes = new Set(
      results
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).result),
    );
    assert.ok(codes.size >= 15, [...codes].join());
    const other = await tally.open(file);
    t.after(() => other.close());
    for (const user_id of await engine.users()) {
      assert.deepEqual(await engine.digest(user_id), await other.digest(user_id));
      assert.equal(
        run_tally('balance', user_id, '--db', engine.path),
        `${engine.balance(user_id)}\n`,
      );
    }
  },
);
