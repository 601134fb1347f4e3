#!/usr/bin/env node
'use strict';
// What a call costs from Node, beside the C call's own cost (bench_c.c, in a process beside this
// one). Times are medians of blocks that are taken in turn, so that what else the machine does meets
// them alike.
//
//   node bench.js [--tiny] [--json]
//
// TALLY_NODE_ADDON names an addon that is not installed, TALLY_BENCH_C the program of bench_c.c (else
// there is nothing to compare with), TALLY_BENCH_DIR a folder on the disk that is meant.

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

const began = process.hrtime.bigint();
const tally = require('./lib/index.js');

const tiny = process.argv.includes('--tiny');
const blocks = tiny ? 3 : 41;
const folder = fs.mkdtempSync(
  path.join(process.env.TALLY_BENCH_DIR ?? os.tmpdir(), 'tally-node-bench-'),
);

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
}

async function timed(count, work) {
  const start = process.hrtime.bigint();
  await work(count);
  return Number(process.hrtime.bigint() - start) / count;
}

/** A process of its own: from the import of the package to the first balance. */
function first_balance(file, user_id) {
  const text = `
    const start = process.hrtime.bigint();
    const tally = require(process.argv[1]);
    tally.open(process.argv[2]).then((engine) => {
      engine.balance(process.argv[3]);
      console.log(String(process.hrtime.bigint() - start));
    });`;
  return Number(
    execFileSync(process.execPath, ['-e', text, __dirname, file, user_id], { encoding: 'utf8' }),
  );
}

async function jobs_of(engine, user_id, project_id, count) {
  const jobs = Array.from({ length: count }, tally.uuid);
  const ops = jobs.map((job_id) => ({ op: 'create_job', job_id, project_id, user_id }));
  await engine.submit(ops);
  return jobs;
}

async function world(durability) {
  const engine = await tally.open(path.join(folder, `${durability}.db`), { durability });
  const [user_id, project_id] = [tally.uuid(), tally.uuid()];
  await engine.create_user({ user_id });
  await engine.add_credits({ user_id, amount: 100_000_000, type: 'grant' });
  await engine.create_project({
    project_id,
    user_id,
    title: 't',
    prompt_text: 'p',
    niche_preset: 'facts',
    target_minutes: 1,
  });
  const reserve = (job_id) => engine.reserve_credits({ user_id, job_id, amount: 1 });
  return {
    engine,
    user_id,
    async here(count) {
      const jobs = await jobs_of(engine, user_id, project_id, count);
      return timed(count, () => {
        for (const job_id of jobs) engine.sync.reserve_credits({ user_id, job_id, amount: 1 });
      });
    },
    async alone(count) {
      const jobs = await jobs_of(engine, user_id, project_id, count);
      return timed(count, async () => {
        for (const job_id of jobs) await reserve(job_id);
      });
    },
    async together(count) {
      const jobs = await jobs_of(engine, user_id, project_id, count);
      return timed(count, () => Promise.all(jobs.map(reserve)));
    },
  };
}

/** The C calls: answers with nanoseconds each. */
function c_calls() {
  if (!process.env.TALLY_BENCH_C) return undefined;
  const files = ['c-full.db', 'c-normal.db'].map((name) => path.join(folder, name));
  const program = spawn(process.env.TALLY_BENCH_C, files, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = readline.createInterface({ input: program.stdout })[Symbol.asyncIterator]();
  return {
    async time(what, count) {
      program.stdin.write(`${what} ${count}\n`);
      return Number((await answers.next()).value);
    },
    end: () => program.stdin.end(),
  };
}

async function measure() {
  const [full, normal] = [await world('full'), await world('normal')];
  const { engine, user_id } = full;
  const c = c_calls();
  const [often, some] = tiny ? [1_000, 4] : [50_000, 16];
  const rows = {
    'balance()': () =>
      timed(often, (count) => {
        for (let i = 0; i < count; i++) engine.balance(user_id);
      }),
    'reserve_credits, full, synchronous': () => full.here(some),
    'reserve_credits, normal, synchronous': () => normal.here(some),
    'reserve_credits(), full, one at a time': () => full.alone(some),
    'reserve_credits(), full, 64 at once': () => full.together(64),
    'reserve_credits(), normal, one at a time': () => normal.alone(some),
    'reserve_credits(), normal, 64 at once': () => normal.together(64),
  };
  const in_c = {
    'balance()': () => c.time('balance', often * 10),
    'reserve_credits, full, synchronous': () => c.time('full', some),
    'reserve_credits, normal, synchronous': () => c.time('normal', some),
    'reserve_credits(), full, one at a time': () => c.time('full', some),
    'reserve_credits(), normal, one at a time': () => c.time('normal', some),
  };
  const samples = Object.fromEntries(Object.keys(rows).map((name) => [name, { node: [], c: [] }]));
  for (let block = 0; block < blocks; block++) {
    for (const [name, sample] of Object.entries(rows)) {
      samples[name].node.push(await sample());
      if (c && in_c[name]) samples[name].c.push(await in_c[name]());
    }
  }
  const results = {};
  for (const [name, { node, c: beside }] of Object.entries(samples)) {
    results[name] = { ns: median(node), c_ns: beside.length > 0 ? median(beside) : undefined };
  }
  const starts = Array.from({ length: tiny ? 1 : 11 }, () => first_balance(engine.path, user_id));
  results['from require to the first balance'] = { ns: median(starts) };
  c?.end();
  await Promise.all([full.engine.close(), normal.engine.close()]);
  return results;
}

function shown(ns) {
  if (Math.abs(ns) < 1e4) return `${ns.toFixed(0)} ns`;
  return Math.abs(ns) < 1e7 ? `${(ns / 1e3).toFixed(1)} µs` : `${(ns / 1e6).toFixed(1)} ms`;
}

function show(results) {
  console.log(
    `Node ${process.version}, tally ${tally.version}, medians of ${blocks} blocks, a call:`,
  );
  for (const [name, { ns, c_ns }] of Object.entries(results)) {
    const beside = c_ns === undefined ? '' : `, C ${shown(c_ns)}, over it ${shown(ns - c_ns)}`;
    console.log(`${shown(ns).padStart(10)}  ${name}${beside}`);
  }
  console.log(`${shown(Number(process.hrtime.bigint() - began)).padStart(10)}  all of it`);
}

measure()
  .then((results) =>
    process.argv.includes('--json') ? console.log(JSON.stringify(results)) : show(results),
  )
  .finally(() => fs.rmSync(folder, { recursive: true, force: true }));
