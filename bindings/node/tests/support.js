'use strict';
// What the tests share: folders, users and jobs, the program tally, and a PostgreSQL.

const assert = require('node:assert/strict');
const child_process = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const tally = require('..');

const traces = path.join(__dirname, '..', '..', '..', 'tests', 'traces');
const program = process.env.TALLY_PROGRAM;

/** A folder that goes with the test. */
function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'tally-node-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

async function opened(t, options) {
  const engine = await tally.open(path.join(folder(t), 'mirror.db'), options);
  t.after(() => engine.close());
  return engine;
}

async function user(engine, credits = 0) {
  const user_id = tally.uuid();
  await engine.create_user({ user_id });
  if (credits > 0) await engine.add_credits({ user_id, amount: credits, type: 'grant' });
  return user_id;
}

async function project(engine, user_id) {
  const project_id = tally.uuid();
  await engine.create_project({
    project_id,
    user_id,
    title: 'Film',
    prompt_text: 'A lighthouse at dawn',
    niche_preset: 'history',
    target_minutes: 3,
  });
  return project_id;
}

async function job(engine, user_id, project_id) {
  const job_id = tally.uuid();
  await engine.create_job({
    job_id,
    project_id: project_id ?? (await project(engine, user_id)),
    user_id,
  });
  return job_id;
}

/** Rejects with that code of ours. */
function rejects(promise, code, more = {}) {
  return assert.rejects(promise, (error) => {
    assert.ok(error instanceof tally.TallyError, error.stack);
    assert.equal(error.code, code);
    for (const [name, value] of Object.entries(more)) assert.equal(error[name], value, name);
    return true;
  });
}

/** Runs a program to its end; answers with its status, signal and output. */
function run(file, args, { env, input, timeout = 60_000, cwd } = {}) {
  const done = child_process.spawnSync(file, args, {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    input,
    timeout,
    cwd,
    maxBuffer: 1 << 28,
  });
  if (done.error) throw done.error;
  return done;
}

/** Runs a script in a process of its own, which has `tally` and its arguments. */
function script(text, args = [], { flags = [], ...options } = {}) {
  const head = `const tally = require(${JSON.stringify(path.join(__dirname, '..'))});
    const [${args.map((_, i) => `a${i}`)}] = process.argv.slice(1);\n`;
  return run(process.execPath, [...flags, '-e', head + text, ...args], options);
}

function run_tally(...args) {
  const done = run(program, args);
  assert.equal(done.status, 0, done.stderr);
  return done.stdout;
}

/** Where PostgreSQL's programs are, or nothing. */
function postgres_binaries() {
  const root = '/usr/lib/postgresql';
  const folders = process.env.TALLY_PG_BINDIR
    ? [process.env.TALLY_PG_BINDIR]
    : fs.existsSync(root)
      ? fs
          .readdirSync(root)
          .sort((a, b) => b - a)
          .map((version) => path.join(root, version, 'bin'))
      : [];
  return folders.find((bin) => fs.existsSync(path.join(bin, 'initdb')));
}

/** Why a test that needs a PostgreSQL cannot run, or false. */
const no_postgres = postgres_binaries() ? false : 'tally-skip: no PostgreSQL server is installed';

function id_of(name) {
  return Number(run('id', ['-u', name]).stdout);
}

/** A server of the test's own, on a unix socket in a folder that goes with it. */
class Postgres {
  constructor() {
    this.bin = postgres_binaries();
    this.folder = fs.mkdtempSync('/tmp/tally-node-pg-');
    this.count = 0;
    this.as = {};
    if (process.getuid() === 0) {
      this.as = { uid: id_of('postgres') };
      fs.chownSync(this.folder, this.as.uid, -1);
    }
    this.#do('initdb', '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '-N');
    this.start();
  }

  #do(name, ...args) {
    const options = { cwd: '/', stdio: 'ignore', ...this.as };
    const all = ['-D', path.join(this.folder, 'data'), ...args];
    const done = child_process.spawnSync(path.join(this.bin, name), all, options);
    assert.equal(done.status, 0, name);
  }

  start(...settings) {
    const all = [
      "listen_addresses=''",
      `unix_socket_directories=${this.folder}`,
      'fsync=off',
      ...settings,
    ];
    this.#do(
      'pg_ctl',
      '-w',
      '-l',
      path.join(this.folder, 'log'),
      '-o',
      all.map((s) => `-c ${s}`).join(' '),
      'start',
    );
  }

  stop() {
    this.#do('pg_ctl', '-m', 'immediate', '-w', 'stop');
  }

  close() {
    this.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  conninfo(database = 'postgres') {
    return `host=${this.folder} port=5432 user=postgres dbname=${database}`;
  }

  sql(text, database) {
    const done = run(path.join(this.bin, 'psql'), [
      '-XqAt',
      '-v',
      'ON_ERROR_STOP=1',
      '-d',
      this.conninfo(database),
      '-c',
      text,
    ]);
    assert.equal(done.status, 0, done.stderr);
    return done.stdout.trim();
  }

  /** A database with canonical's schema. */
  canonical() {
    if (this.count === 0) {
      this.sql('create database canonical template template0');
      run_tally('migrate', '--pg', this.conninfo('canonical'), '--shim');
    }
    const name = `canonical_${++this.count}`;
    this.sql(`create database ${name} template canonical`);
    return this.conninfo(name);
  }
}

/** A device of that canonical: what a syncer needs. */
function enrol(conninfo, capabilities = 'author,worker,service', ...more) {
  const made = run_tally(
    'device',
    'add',
    '--pg',
    conninfo,
    '--name',
    'node',
    '--capabilities',
    capabilities,
    ...more,
    '--json',
  );
  return { conninfo, ...JSON.parse(made) };
}

/** What has the addon use its OpenSSL; `tally` is there. */
const uses_openssl = `
  const engine = await tally.open(require('node:os').tmpdir() + '/tally-node-openssl-' + process.pid + '.db');
  const user_id = tally.uuid();
  await engine.create_user({ user_id });
  await engine.digest(user_id);
  await engine.syncer({ conninfo: 'host=127.0.0.1 port=1 sslmode=require', token: 'x' }).run(100).catch(() => {});
  await engine.close();
  for (const end of ['', '-wal', '-shm']) require('node:fs').rmSync(engine.path + end, { force: true });
`;

/** A node that exports none could not mix them up, and a test would show nothing. */
function exports_openssl() {
  assert.match(
    run('nm', ['-D', '--defined-only', process.execPath]).stdout,
    / T EVP_DigestInit_ex$/m,
  );
}

/** What LD_DEBUG=bindings wrote: our libraries' OpenSSL is nobody else's. */
function binds_to_its_own(text, addon) {
  const line =
    /binding file (\S+) \[0\] to (\S+) \[0\]: normal symbol .((?:EVP|SHA|SSL|OPENSSL|CRYPTO|BIO|X509)_?\w*)'/g;
  const ours = [...text.matchAll(line)].filter(([, from]) =>
    /tally|libpq|libssl|libcrypto/.test(from),
  );
  assert.ok(
    ours.some(([, from]) => addon.test(from)) && ours.length > 100,
    `${ours.length} bindings`,
  );
  const wrong = ours.filter(([, , to]) => !/lib(crypto|ssl)[^/]*$/.test(to));
  assert.deepEqual(
    wrong.map(([one]) => one),
    [],
  );
}

module.exports = {
  uses_openssl,
  exports_openssl,
  binds_to_its_own,
  tally,
  traces,
  program,
  folder,
  opened,
  user,
  project,
  job,
  rejects,
  run,
  script,
  run_tally,
  no_postgres,
  Postgres,
  enrol,
};
