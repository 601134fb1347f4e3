'use strict';
// The npm package, unpacked elsewhere and used from a script that knows nothing of this tree.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const {
  run,
  folder,
  no_postgres,
  Postgres,
  enrol,
  exports_openssl,
  uses_openssl,
  binds_to_its_own,
} = require('./support.js');

const root = path.join(__dirname, '..');
const has_patchelf = (process.env.PATH ?? '')
  .split(path.delimiter)
  .some((at) => fs.existsSync(path.join(at, 'patchelf')));
const skip = has_patchelf ? false : 'tally-skip: patchelf is not installed';

let installed;

/** The folder of an application that has the package installed. */
function application(t) {
  if (installed) return installed;
  const at = folder({ after: (remove) => process.on('exit', remove) });
  const made = run(process.execPath, [
    path.join(root, 'pack.js'),
    process.env.TALLY_NODE_ADDON,
    at,
  ]);
  assert.equal(made.status, 0, made.stderr);
  const archive = made.stdout.trim();
  const modules = path.join(at, 'node_modules');
  fs.mkdirSync(modules);
  assert.equal(run('tar', ['-xzf', archive, '-C', modules]).status, 0);
  fs.renameSync(path.join(modules, 'package'), path.join(modules, 'tally'));
  t.diagnostic(`${path.basename(archive)}: ${fs.statSync(archive).size} bytes`);
  return (installed = { at, archive, tally: path.join(modules, 'tally') });
}

/** A script in that application, with nothing of ours in its environment. */
function uses(t, text, args = [], env = {}) {
  const { at } = application(t);
  fs.writeFileSync(path.join(at, 'main.mjs'), text);
  const bare = { PATH: process.env.PATH, HOME: at, LD_LIBRARY_PATH: '', TALLY_NODE_ADDON: '' };
  return run(
    'env',
    [
      '-i',
      ...Object.entries({ ...bare, ...env }).map(([k, v]) => `${k}=${v}`),
      process.execPath,
      'main.mjs',
      ...args,
    ],
    { cwd: at },
  );
}

test('it has what it needs and nothing else', { skip }, (t) => {
  const { tally } = application(t);
  const manifest = JSON.parse(fs.readFileSync(path.join(tally, 'package.json')));
  assert.equal(
    manifest.version,
    fs.readFileSync(path.join(root, '..', '..', 'VERSION'), 'utf8').trim(),
  );
  assert.equal(manifest.dependencies, undefined);
  assert.deepEqual(
    fs
      .readdirSync(tally)
      .filter((name) => name !== 'LICENSE')
      .sort(),
    ['README.md', 'example.mjs', 'lib', 'package.json', 'prebuilds'],
  );
  for (const name of Object.values(manifest.exports['.']).flatMap(Object.values))
    assert.ok(fs.existsSync(path.join(tally, name)), name);
});

test('it runs with the libraries that it brought', { skip }, (t) => {
  const done = uses(
    t,
    `import { open, uuid, version } from 'tally';
     import fs from 'node:fs';
     const engine = await open('mirror.db');
     const user_id = uuid();
     await engine.create_user({ user_id });
     await engine.syncer({ conninfo: 'host=/nowhere', token: 'x' }).run(100).catch(() => {});
     const maps = fs.readFileSync('/proc/self/maps', 'utf8');
     const libraries = new Set(maps.match(/\\S*lib(pq|ssl|crypto|ldap)[^/\\s]*$/gm));
     console.log(JSON.stringify({ version, balance: engine.balance(user_id), libraries: [...libraries] }));
     await engine.close();`,
  );
  assert.equal(done.status, 0, done.stderr);
  const { balance, libraries } = JSON.parse(done.stdout);
  assert.equal(balance, 10);
  assert.ok(
    libraries.some((file) => /libpq/.test(file)) &&
      libraries.some((file) => /libcrypto/.test(file)),
    libraries.join(),
  );
  for (const file of libraries) assert.ok(file.startsWith(application(t).tally), file);
});

test('its OpenSSL is its own, beside the one inside node', { skip }, (t) => {
  exports_openssl();
  const head = `import tally from 'tally'; import { createRequire } from 'node:module';
    const require = createRequire(import.meta.url);`;
  const done = uses(t, head + uses_openssl, [], { LD_DEBUG: 'bindings' });
  assert.equal(done.status, 0);
  binds_to_its_own(done.stderr, /tally\.node$/);
});

const syncs = `
  import tally from 'tally';
  const engine = await tally.open(process.argv[2]);
  const user_id = tally.uuid();
  await engine.create_user({ user_id });
  const syncer = engine.syncer({ conninfo: process.argv[3], token: process.argv[4] });
  console.log(await syncer.run(), await syncer.verify(user_id), (await engine.digest(user_id)).length);
  await engine.close();`;

test(
  'it syncs, also where another malloc is in the process, as in Electron',
  { skip: skip || no_postgres },
  (t) => {
    const postgres = new Postgres();
    t.after(() => postgres.close());
    const canonical = postgres.canonical();
    const run_in = (env) => {
      const { conninfo, token } = enrol(canonical);
      const done = uses(t, syncs, [`${token.slice(-8)}.db`, conninfo, token], env);
      assert.equal(done.stdout, 'synced true 8\n', `${done.signal} ${done.stderr}`);
    };
    run_in({});
    const found = run('sh', ['-c', 'ls /usr/lib/*/libjemalloc.so.2']).stdout.trim();
    if (found) run_in({ LD_PRELOAD: found });
    else t.skip('tally-skip: libjemalloc2 is not installed');
  },
);
